"""Releases, and what each brought."""
