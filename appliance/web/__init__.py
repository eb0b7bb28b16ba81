"""Layout, templates, static files and htmx helpers; no business logic."""
