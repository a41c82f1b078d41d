"""The `kvraft` command and its subcommands."""
