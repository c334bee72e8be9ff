"""Which suites run in which cells, on which machine, and how many cells fit the host at once."""
