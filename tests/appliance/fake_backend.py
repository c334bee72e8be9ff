#!/usr/bin/env python3
"""A backend of cardboard: listens on its --addr, after WAIT_S seconds, until it is ended."""

import os
import socket
import sys
import time

time.sleep(float(os.environ.get("WAIT_S", "0")))
host, port = sys.argv[-1].split(":")
server = socket.create_server((host, int(port)))
print("listening", flush=True)
kept = []
while True:
    kept.append(server.accept()[0])
