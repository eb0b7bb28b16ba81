"""Real `condev` processes to back up, and to restore into."""

from tests.appliances import envelope_path, envelopes, owner, prepared, serve

__all__ = ["envelope_path", "envelopes", "owner", "prepared", "serve"]
