"""Users, sessions, tokens, roles and who may do what."""
