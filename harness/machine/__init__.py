"""Machines that run the appliance: one protocol, implemented by QEMU and by systemd-nspawn."""
