"""Makes the image: artifacts, engine, base disk, Packer."""
