"""The command line: what `make` calls."""
