"""Visits, and the pages shown in them."""
