"""How fast an image is on this host, what the appliance itself costs, and whether that meets its targets."""
