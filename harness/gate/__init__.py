"""The gate: what an image must have shown before it is released, and whether it has."""
