"""The SQL base: engine, sessions, migrations."""
