"""Measurements: web vitals, long tasks, jank."""
