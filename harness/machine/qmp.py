"""A client of QEMU's monitor: JSON lines over a socket, answers told apart from events."""

import json
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from harness.deadline import Deadline
from harness.errors import HarnessError

Event = dict[str, Any]


class QmpError(HarnessError):
    """QEMU refused a command (`reason` is its own description), or the monitor is gone."""

    def __init__(self, message: str, *, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class QmpClient:
    """Speaks QMP over a connected stream socket, which it owns. One command at a time, from any thread."""

    def __init__(self, connection: socket.socket, *, timeout: float = 10) -> None:
        """Read the greeting and leave capability negotiation; raises QmpError within `timeout` seconds."""
        self._connection = connection
        self._received = b""
        self._events: deque[Event] = deque(maxlen=1000)
        self._lock = threading.RLock()
        greeting = self._read_message(Deadline.after(timeout), "its greeting")
        if "QMP" not in greeting:
            raise QmpError(f"QEMU's monitor did not greet: {_shortened(greeting)}")
        self.execute("qmp_capabilities", timeout=timeout)

    def execute(
        self, command: str, arguments: Mapping[str, Any] | None = None, *, timeout: float = 10
    ) -> Any:
        """Run a command and return its "return" member; raises QmpError."""
        request: dict[str, Any] = {"execute": command}
        if arguments is not None:
            request["arguments"] = dict(arguments)
        deadline = Deadline.after(timeout)
        with self._lock:
            try:
                self._connection.settimeout(timeout)
                self._connection.sendall(json.dumps(request).encode() + b"\n")
            except OSError as error:
                raise QmpError(f"QEMU's monitor is gone ({command} could not be sent)") from error
            while True:
                message = self._read_message(deadline, f"the answer to {command}")
                if "return" in message:
                    return message["return"]
                if "error" in message:
                    reason = str(message["error"].get("desc", message["error"]))
                    raise QmpError(f"QEMU refused {command}: {reason}", reason=reason)
                self._keep_event(message)

    def human(self, line: str, *, timeout: float = 10) -> str:
        """Run a command of the human monitor; what it prints, "" for most that succeed."""
        return str(self.execute("human-monitor-command", {"command-line": line}, timeout=timeout)).strip()

    def wait_event(self, matches: Callable[[Event], bool], *, what: str, timeout: float) -> Event:
        """The first event that matches, whether it came already or comes within `timeout` seconds."""
        deadline = Deadline.after(timeout)
        with self._lock:
            while True:
                for event in self._events:
                    if matches(event):
                        self._events.remove(event)
                        return event
                self._keep_event(self._read_message(deadline, what))

    def close(self) -> None:
        self._connection.close()

    def _keep_event(self, message: dict[str, Any]) -> None:
        if "event" in message:
            self._events.append(message)

    def _read_message(self, deadline: Deadline, what: str) -> dict[str, Any]:
        while b"\n" not in self._received:
            try:
                # A timeout of 0 would mean "non-blocking"; an expired deadline still gets its TimeoutError.
                self._connection.settimeout(max(deadline.remaining, 0.001))
                chunk = self._connection.recv(65536)
            except TimeoutError:
                raise QmpError(f"QEMU's monitor did not send {what} within {deadline.seconds:g} s") from None
            except OSError as error:
                raise QmpError(f"QEMU's monitor is gone, waiting for {what}: {error}") from error
            if not chunk:
                raise QmpError(f"QEMU closed its monitor, waiting for {what}")
            self._received += chunk
        line, self._received = self._received.split(b"\n", 1)
        try:
            message = json.loads(line)
        except ValueError as error:
            raise QmpError(f"QEMU's monitor sent no JSON: {_shortened(line)}") from error
        if not isinstance(message, dict):
            raise QmpError(f"QEMU's monitor sent no object: {_shortened(message)}")
        return message


def asked_by_guest(event: Event, name: str, *, since: float) -> bool:
    """Whether the guest itself caused this event (RESET, SHUTDOWN), not before the Unix time `since`."""
    if event.get("event") != name or not event.get("data", {}).get("guest"):
        return False
    stamp = event.get("timestamp", {})
    return bool(stamp.get("seconds", 0) + stamp.get("microseconds", 0) / 1e6 >= since)


def _shortened(value: object) -> str:
    return repr(value)[:200]
