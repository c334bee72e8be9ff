"""Stands in for qemu-system-x86_64: speaks QMP on the socket it inherits and plays one scenario.

FAKE_QEMU names a JSON file:
  "busy_ports"   host ports that cannot be forwarded; "busy_attempts": so many forwards fail whatever the port
  "console"      text written to the console file after `cont`
  "die_at_start" text for stderr, then exit 1 before the greeting
  "die_after_s"  seconds after `cont` until it dies with "die_with" on stderr; "exit_status" to do it with
  "ignore_power_button"  true: system_powerdown does nothing
  "resets"       seconds after `cont` at which the guest resets itself, a list
Every QMP command is appended to the file "log".
"""

import json
import os
import re
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any


def main() -> None:
    scenario: dict[str, Any] = json.loads(Path(os.environ["FAKE_QEMU"]).read_text())
    if "die_at_start" in scenario:
        sys.stderr.write(scenario["die_at_start"])
        sys.exit(1)
    line = " ".join(sys.argv)
    descriptor = int(re.search(r"socket,id=qmp,fd=(\d+)", line)[1])  # type: ignore[index]
    console = Path(re.search(r"file,id=console,append=on,path=(\S+)", line)[1])  # type: ignore[index]
    with socket.socket(fileno=descriptor) as connection:
        serve(connection, scenario, console)


def serve(connection: socket.socket, scenario: dict[str, Any], console: Path) -> None:
    lock = threading.Lock()

    def send(message: dict[str, Any]) -> None:
        with lock:
            connection.sendall(json.dumps(message).encode() + b"\r\n")

    def reset_after(seconds: float) -> None:
        time.sleep(seconds)
        now, data = time.time(), {"guest": True, "reason": "guest-reset"}
        stamp = {"seconds": int(now), "microseconds": int(now % 1 * 1e6)}
        send({"event": "RESET", "data": data, "timestamp": stamp})

    send({"QMP": {"version": {}, "capabilities": []}})
    failures_left = scenario.get("busy_attempts", 0)
    for raw in connection.makefile():
        request = json.loads(raw)
        with Path(scenario["log"]).open("a") as log:
            log.write(raw)
        answer: Any = {}
        match request["execute"]:
            case "human-monitor-command":
                port = int(re.search(r"127\.0\.0\.1:(\d+)", raw)[1])  # type: ignore[index]
                answer = ""
                if failures_left > 0 or port in scenario.get("busy_ports", []):
                    failures_left -= 1
                    answer = "could not set up host forwarding rule 'tcp:127.0.0.1'\r\n"
            case "cont" | "system_reset":
                with console.open("a") as file:
                    file.write(scenario.get("console", ""))
                send({"event": "RESUME", "timestamp": {}})
                for seconds in scenario.get("resets", []):
                    threading.Thread(target=reset_after, args=(seconds,), daemon=True).start()
                if "die_after_s" in scenario:
                    threading.Thread(target=die, args=(scenario,), daemon=True).start()
            case "system_powerdown" if not scenario.get("ignore_power_button"):
                send({"return": {}})
                return
        send({"return": answer})


def die(scenario: dict[str, Any]) -> None:
    time.sleep(scenario["die_after_s"])
    sys.stderr.write(scenario.get("die_with", ""))
    sys.stderr.flush()
    os._exit(scenario.get("exit_status", 1))


if __name__ == "__main__":
    main()
