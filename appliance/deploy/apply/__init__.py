"""Brings an installation on this host to what its config.toml says, and back when that does not work."""
