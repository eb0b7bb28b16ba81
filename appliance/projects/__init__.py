"""Monitored applications, their ingest keys and settings."""
