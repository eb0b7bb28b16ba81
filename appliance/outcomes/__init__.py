"""What was not kept, and why."""
