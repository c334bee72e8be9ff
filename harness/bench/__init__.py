"""Measures speed and cost, and says how sure it is; never asserts."""
