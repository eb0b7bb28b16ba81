"""Grouping, and the problems that groups lead to."""
