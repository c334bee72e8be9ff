#!/usr/bin/env python3
"""A backend of cardboard: listens on its --addr, after WAIT_S seconds, until it is ended.

FAMILY=6 has it use a socket of IPv6 for its address of IPv4, as gRPC's servers do.
"""

import os
import socket
import sys
import time

time.sleep(float(os.environ.get("WAIT_S", "0")))
host, port = sys.argv[-1].split(":")
if os.environ.get("FAMILY") == "6":
    server = socket.create_server((f"::ffff:{host}", int(port)), family=socket.AF_INET6, dualstack_ipv6=True)
else:
    server = socket.create_server((host, int(port)))
print("listening", flush=True)
kept = []
while True:
    kept.append(server.accept()[0])
