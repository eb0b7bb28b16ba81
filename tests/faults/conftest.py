"""Real `condev serve` processes to break things under, each over its own copy of a prepared data directory."""

from tests.appliances import envelope_path, envelopes, owner, prepared, serve

__all__ = ["envelope_path", "envelopes", "owner", "prepared", "serve"]
