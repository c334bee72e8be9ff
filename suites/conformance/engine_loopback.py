"""What the engine itself says on the guest's loopback, where no proxy stands between."""

from __future__ import annotations

import json
from typing import Any

from harness.machine.protocol import Machine

ENGINE_URL = "http://127.0.0.1:8080"


def engine_json(machine: Machine, path: str) -> Any:
    """GET a JSON document from the engine, inside the guest."""
    result = machine.run(f"curl --silent --show-error --fail --max-time 20 {ENGINE_URL}{path}", timeout=40)
    assert result.exit_status == 0, f"the engine does not answer {path} on loopback: {result.stderr.strip()}"
    return json.loads(result.stdout)


def newest_task(machine: Machine) -> int:
    """The number of the last task any slot worked on: it rises with every request that reaches the engine."""
    return max(int(slot.get("id_task", -1)) for slot in engine_json(machine, "/slots"))


def busy_slots(machine: Machine) -> int:
    """How many slots are working now."""
    return sum(bool(slot["is_processing"]) for slot in engine_json(machine, "/slots"))


UNTIL_BUSY = f"""
for try in {{1..400}}; do
  case $(curl --silent --max-time 10 {ENGINE_URL}/slots) in *'"is_processing":true'*) exit 0 ;; esac
done
exit 1
"""
"""Bash for the guest: waits until a slot works."""
