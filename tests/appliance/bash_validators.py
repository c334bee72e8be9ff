"""The bash validators in one process that judges whole batches of contexts.

A context is a mapping from variable to bytes. A batch goes to bash in a file, NUL-separated, since neither
names nor values can hold a NUL; what it says comes back the same way.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bash_guest import APPLIANCE, Guest

Context = Mapping[str, bytes]

# Reads the path of a batch, judges its contexts, writes PATH.out, says "done".
JUDGE = r"""
set -o pipefail
umask 0077
msg() {
  local kind=$1
  shift
  printf '%s: %s\n' "${kind^^}" "$*"
  [[ $kind != error ]]
}
. "$SLM_APPLIANCE_DIR/appliance.sh"
load_flavor >/dev/null
SLM_FAILURE_FILE=/dev/null
SLM_MODEL_PATH=/models/m.gguf SLM_THREADS=2 SLM_THREADS_BATCH=2 SLM_PRIMARY_ADDRESS=192.0.2.7

# Storing passwords is test_password.py's; here one is generated and used where a context gives none.
SLM_VALUE[admin_password]=
! $RENDER || resolve_password
keep_password() { :; }

render() {
  resolve_password
  render_auth_map
  printf '\0'
  render_cors_origins
  printf '\0'
  render_engine_environment
  printf '\0'
}

judge() {
  local -a words=()
  local -i at=0 count
  local name status
  mapfile -d '' -t words <"$1"
  while ((at < ${#words[@]})); do
    count=${words[at++]}
    while ((count-- > 0)); do
      export "${words[at]}=${words[at + 1]}"
      at+=2
    done
    SLM_VALUE=()
    status=0
    validate_parameters 2>&1 || status=$?
    printf '\0%s\0' "$status"
    if ((status == 0)); then
      for name in "${SLM_PARAM_NAMES[@]}"; do
        printf '%s\0' "${SLM_VALUE[${SLM_PARAM_LABEL[$name]}]}"
      done
      ! $RENDER || render
    fi
    for name in "${!ONEAPP_SLM_@}"; do
      unset "$name"
    done
  done
}

while IFS= read -r batch; do
  judge "$batch" >"$batch.out" 2>"$batch.err"
  echo "done"
done
"""


@dataclass(frozen=True)
class Judgement:
    """What the validators made of a context. `values` by parameter name, `rendered` the pieces of
    configuration files (auth map, CORS origins, engine environment); both only where it was accepted."""

    accepted: bool
    said: tuple[str, ...]
    values: Mapping[str, bytes]
    rendered: tuple[str, ...]


class Validators:
    """A running bash. Judges batches; see `open_validators`."""

    def __init__(
        self, process: subprocess.Popen[bytes], names: Sequence[str], folder: Path, pieces: int
    ) -> None:
        self._process = process
        self._names = names
        self._pieces = pieces
        self.batch = folder / "batch"

    def judge(self, contexts: Sequence[Context]) -> list[Judgement]:
        """One judgement a context, in order. AssertionError when bash died or wrote to its stderr."""
        words: list[bytes] = []
        for context in contexts:
            words.append(str(len(context)).encode())
            for name, value in context.items():
                words += [name.encode(), value]
        self.batch.write_bytes(b"".join(word + b"\0" for word in words))
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{self.batch}\n".encode())
        self._process.stdin.flush()
        said = self._process.stdout.readline()
        errors = self.batch.with_suffix(".err").read_text(errors="replace")
        assert said == b"done\n", f"bash ended: {errors}"
        assert errors == "", f"something but msg wrote to stderr: {errors[:500]}"
        return list(self._judgements(self.batch.with_suffix(".out").read_bytes()))

    def _judgements(self, output: bytes) -> Iterator[Judgement]:
        words = iter(output.split(b"\0")[:-1])
        for said in words:
            accepted = next(words) == b"0"
            values = {name: next(words) for name in self._names} if accepted else {}
            rendered = tuple(next(words).decode("ascii") for _ in range(self._pieces)) if accepted else ()
            # ASCII on purpose: anything else in a message fails the test here
            yield Judgement(accepted, tuple(said.decode("ascii").splitlines()), values, rendered)


@contextmanager
def open_validators(
    guest: Guest, names: Sequence[str], *, render: bool = False, appliance: Path = APPLIANCE
) -> Iterator[Validators]:
    """Bash with the appliance's functions, its working folder an empty one that has to stay empty."""
    folder, empty = guest.path("/batches"), guest.path("/empty")
    folder.mkdir()
    empty.mkdir()
    process = subprocess.Popen(
        ["bash", "-c", JUDGE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=empty,
        env={
            "PATH": f"{guest.stubs}:{os.environ['PATH']}",
            "SLM_ROOT": str(guest.root),
            "SLM_APPLIANCE_DIR": str(appliance),
            # not C: the appliance has to see to that itself
            "LC_ALL": "C.UTF-8",
            "RENDER": "true" if render else "false",
        },
    )
    with process:
        try:
            yield Validators(process, names, folder, 3 if render else 0)
        finally:
            process.kill()
