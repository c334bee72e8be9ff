"""A short benchmark of an appliance that is reached by its address alone."""
