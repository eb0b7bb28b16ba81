"""Traces: timed operations, and what they were made of."""
