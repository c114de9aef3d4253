"""The subcommands, one file each: a function from parsed arguments to an exit status."""
