"""The `condev` command, a file per group of verbs."""
