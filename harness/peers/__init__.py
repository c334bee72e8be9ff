"""The other side of the appliance: real or played counterparts on the host, one file each."""
