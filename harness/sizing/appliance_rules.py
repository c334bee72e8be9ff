"""What the appliance's own bash says: threads and memory of this machine, and what a model needs beside it.

Asked of the files in appliance/lib that decide it in the guest, so that an answer here can't differ from what
the appliance will do.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError
from harness.image.external_tool import find_tool
from harness.locations import REPOSITORY

APPLIANCE = REPOSITORY / "appliance"
ENGINE_FILE = APPLIANCE / "engines" / "llama-server.sh"

_TIMEOUT_S = 30.0

_QUESTIONS = """
set -euo pipefail
for file in paths threads capacity parameter_table; do . "$SLM_APPLIANCE_DIR/lib/$file.sh"; done
. "$SLM_ENGINE_FILE"
declare -A SLM_VALUE=([threads]=0)
resolve_threads
echo "$SLM_THREADS $SLM_THREADS_BATCH $(machine_memory_kib)"
echo "$SLM_CAPACITY_ENGINE_KIB $SLM_CAPACITY_MASK_BYTES $SLM_CAPACITY_SYSTEM_KIB $SLM_CAPACITY_SLACK"
echo "$((SLM_ENGINE_CACHE_MIB * 1024)) $SLM_ENGINE_BATCH"
echo "${SLM_PARAM_MINIMUM[ONEAPP_SLM_CONTEXT_SIZE]} ${SLM_PARAM_DEFAULT[ONEAPP_SLM_CONTEXT_SIZE]}"
"""


@dataclass(frozen=True)
class Reserves:
    """What the appliance counts beside weights and keys and values (capacity.sh, the engine's file).

    KiB of the engine's buffers, of the system and of the engine's prompt cache; bytes of mask for a token of
    context; one part in `slack` of the memory stays free.
    """

    engine_kib: int
    mask_bytes: int
    system_kib: int
    slack: int
    cache_kib: int


@dataclass(frozen=True)
class Appliance:
    """The appliance's answers on this machine.

    `decode_threads`: physical cores it may use; `prefill_threads`: logical processors it may use;
    `memory_kib`: the machine's memory or a tighter limit on it; `batch`: tokens of a prompt that the engine
    reads at once; `smallest_context`, `default_context`: tokens.
    """

    decode_threads: int
    prefill_threads: int
    memory_kib: int
    reserves: Reserves
    batch: int
    smallest_context: int
    default_context: int


def ask_appliance(root: Path | None = None) -> Appliance:
    """Run the appliance's functions on this machine (or on what `root` holds of one: proc, sys).

    Raises HarnessError when they fail.
    """
    answer = subprocess.run(
        [str(find_tool("bash", "bash")), "-c", _QUESTIONS],
        env={
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "LC_ALL": "C",
            "SLM_ROOT": "" if root is None else str(root),
            "SLM_APPLIANCE_DIR": str(APPLIANCE),
            "SLM_ENGINE_FILE": str(ENGINE_FILE),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    numbers = [int(word) for word in answer.stdout.split() if word.isdecimal()]
    if answer.returncode != 0 or len(numbers) != 11:
        raise HarnessError(
            "the appliance's files don't tell what memory and threads it takes: "
            f"{' '.join(answer.stderr.split())[:300] or 'not eleven numbers'}"
        )
    decode, prefill, memory, engine, mask, system, slack, cache, batch, smallest, default = numbers
    return Appliance(
        decode_threads=decode,
        prefill_threads=prefill,
        memory_kib=memory,
        reserves=Reserves(engine, mask, system, slack, cache),
        batch=batch,
        smallest_context=smallest,
        default_context=default,
    )
