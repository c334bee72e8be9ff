"""Lends the machine of a cell to the suites; everything is in the plugin."""

pytest_plugins = ["harness.cell.plugin"]
