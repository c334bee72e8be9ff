"""The pytest plugin of a cell: it lends one booted machine to the suites and records what they find."""
