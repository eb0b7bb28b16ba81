"""HTTP in: admission, then the spool. Opens no database."""
