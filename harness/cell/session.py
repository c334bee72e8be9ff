"""The life of a cell's machine: opened and booted for the first check that needs it, closed after the last.

Booting has a broken latch: the first failure is one error, and every later check that needs the machine is
skipped with that reason.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness import terminal
from harness.cell.leaks import check_files, files_with_secrets
from harness.cell.options import CellOptions
from harness.cell.record import CellFacts, TestLog, accelerator_before_boot, write_cell
from harness.cell.tls_setting import TlsSetting, prepare_tls
from harness.deadline import Deadline
from harness.errors import HarnessError
from harness.locations import cache_root
from harness.profiles import find_profile
from harness.redaction import REDACTOR
from harness.results.model import CellTimings, Check, Label, Metric

if TYPE_CHECKING:
    from harness.machine.cell import CellRequest
    from harness.machine.endpoint import Endpoint
    from harness.machine.protocol import Machine

READY_WITHIN_S = 180.0
"""Seconds from power-on to ready on real hardware, stretched for slow accelerators. Far above the target: a
late guest should be measured and judged, a dead one given up."""

REACHED_WITHIN_S = 60.0
"""Seconds in which an appliance that runs already has to say that it is ready."""

BOOT_HOST_LOAD = "boot_host_load"
"""Metric: cores of the host that others kept busy while the machine booted."""

FLAVOR_FILE = "/opt/slm-copilot/flavor.env"

KEPT_FILE = "kept"
"""Stands in the evidence while a failed machine is kept up: whoever started us knows what we wait for."""


class CellSession:
    """One cell. Not thread-safe: pytest calls it from one thread."""

    def __init__(
        self,
        options: CellOptions,
        open_machine: Callable[[CellRequest], AbstractContextManager[Machine]],
        stretch: float,
    ) -> None:
        self.options = options
        self.stretch = stretch
        self.boot_failure = ""
        self.failures = 0
        self.tls = TlsSetting()
        self.context: Mapping[str, str] = {"ONEAPP_SLM_TLS_MODE": options.tls_mode}
        self.log = TestLog(options.evidence)
        self.open_machine = open_machine
        self._machine: Machine | None = None
        self._stack = ExitStack()
        self._started = time.monotonic()
        self._boot_s = 0.0
        self._facts = CellFacts(
            options.profile,
            options.tls_mode,
            options.machine,
            accelerator_before_boot(options.machine, options.accelerator),
        )
        write_cell(self._facts, options.evidence)

    def machine(self) -> Machine:
        """The booted, ready machine.

        Raises HarnessError when it can't be opened (the host's fault) or booted (the guest's), and the same
        again for whoever asks later.
        """
        if self.boot_failure:
            raise HarnessError(self.boot_failure)
        if self._machine is None:
            endpoint = self.options.endpoint
            self._machine = self._boot() if endpoint is None else self._reach(endpoint)
        return self._machine

    def _reach(self, endpoint: Endpoint) -> Machine:
        from harness.machine.endpoint import EndpointMachine

        machine = EndpointMachine(endpoint)
        try:
            with terminal.step(f"Reach {endpoint.url}") as step:
                step.waiting_for("the appliance to be ready")
                machine.wait_ready(Deadline.after(REACHED_WITHIN_S))
        except BaseException as error:
            self._latch(error)
            raise
        return machine

    def _boot(self) -> Machine:
        from harness.machine.boot import boot
        from harness.machine.cell import CellRequest, context_for
        from harness.machine.host_load import HostLoadMeter

        started = time.monotonic()
        load = HostLoadMeter()
        machine: Machine | None = None
        try:
            request = CellRequest(
                profile=find_profile(self.options.profile),
                tls_mode=self.options.tls_mode,
                machine=self.options.machine,
                image=self.options.image,
                context=self.context,
                accelerator=self.options.accelerator,
                work=work_folder(),
            )
            machine = self._stack.enter_context(self.open_machine(request))
            self._machine = machine
            self.tls = prepare_tls(self.options.tls_mode, machine, self._stack, self.options.evidence)
            if self.tls.context:
                self.context = {**self.context, **self.tls.context}
                machine.insert_context(context_for(machine, self.context))
            with terminal.step(f"Boot {self.options.machine} with profile {self.options.profile}") as step:
                step.waiting_for("the appliance to be ready")
                booted = boot(machine, Deadline.after(READY_WITHIN_S * self.stretch))
        except BaseException as error:
            self._latch(error)
            raise
        finally:
            self._boot_s = time.monotonic() - started
        timings = booted.timings
        self._facts = replace(
            self._facts,
            accelerator=machine.accelerator,
            timings=CellTimings(
                boot_s=timings.power_on_to_ssh_s,
                configure_s=timings.configure_s,
                ready_s=timings.power_on_to_ready_s,
            ),
            guest=read_flavor(machine),
        )
        self.add_metric(Metric(BOOT_HOST_LOAD, "cores", load.others_cores()))
        return machine

    def _latch(self, error: BaseException) -> None:
        self.boot_failure = REDACTOR.redact(str(error) or type(error).__name__)
        guest_at_fault = isinstance(error, HarnessError) and error.exit_code == 1
        interrupted = isinstance(error, KeyboardInterrupt)
        hint = getattr(error, "hint", "")
        fault = f"{self.boot_failure} ({hint})" if hint else self.boot_failure
        if guest_at_fault or interrupted:
            fault = ""
        self._facts = replace(self._facts, boot_failure=self.boot_failure, fault=fault)
        write_cell(self._facts, self.options.evidence)

    @property
    def any_failed(self) -> bool:
        """Whether a check has failed."""
        return self.failures > 0

    def met(self, machine: Machine) -> None:
        """A check opened a guest of its own; where the cell's machine is never booted, that guest says what
        the cell ran on."""
        if self._machine is None and machine.kind == self.options.machine:
            self._facts = replace(self._facts, accelerator=machine.accelerator)
            write_cell(self._facts, self.options.evidence)

    def leave_out(self, sentence: str) -> None:
        """Keep which checks were not collected, and why."""
        self._facts = replace(self._facts, left_out=sentence)
        write_cell(self._facts, self.options.evidence)

    def add_metric(self, metric: Metric) -> None:
        """Keep a measured value; a later one of the same name and labels replaces it."""
        others = tuple(one for one in self._facts.metrics if not one.is_same_as(metric))
        self._facts = replace(self._facts, metrics=(*others, metric))
        write_cell(self._facts, self.options.evidence)

    def add_conditions(self, conditions: Mapping[str, Label]) -> None:
        """Keep what was measured under; a later value of the same name replaces the earlier one."""
        self._facts = replace(self._facts, conditions={**self._facts.conditions, **conditions})
        write_cell(self._facts, self.options.evidence)

    def finish(self, *, interrupted: bool) -> Check:
        """After the last check: save the evidence, look for secrets in it and mask them, write `cell.json`.

        Returns the harness's own check on secrets.
        """
        suite_s = max(0.0, time.monotonic() - self._started - self._boot_s)
        if self._machine is not None:
            with terminal.step("Save console, journal and logs"):
                try:
                    self._machine.save_evidence(self.options.evidence)
                except Exception as error:  # best effort: what is there already must still be reported
                    terminal.say(f"  some evidence could not be saved: {error}")
        started = time.monotonic()
        found = files_with_secrets(self.options.evidence)
        check = check_files(self.options.evidence, time.monotonic() - started, found)
        self.log.ended(check)
        self.log.close()
        timings = replace(self._facts.timings, suite_s=suite_s)
        self._facts = replace(self._facts, finished=not interrupted, timings=timings)
        write_cell(self._facts, self.options.evidence)
        REDACTOR.redact_tree(self.options.evidence)
        return check

    def wants_keeping(self) -> bool:
        """True when a failed machine shall stay up."""
        return self.options.keep == "on-error" and self._machine is not None and self.any_failed

    def mark_kept(self) -> None:
        """Tell other processes that this cell is over and only keeps its machine up."""
        (self.options.evidence / KEPT_FILE).write_text(
            "\n".join(self.how_to_reach()) + "\n", encoding="utf-8"
        )

    def how_to_reach(self) -> list[str]:
        """How a person gets at the machine: one line each."""
        if self._machine is None:
            return []
        lines = [f"ssh -F {shlex.quote(str(self._machine.ssh_config()))} guest"]
        try:
            https = self._machine.forward(443)
            lines.append(f"https://{https.host}:{https.port}/readyz")
        except Exception as error:  # a machine that failed early may have no forwards
            lines.append(f"https: not reachable ({error})")
        lines.append(f"evidence: {self.options.evidence}")
        return lines

    def close(self) -> None:
        """No process, mount or file of the machine is left. May be called again, also when interrupted."""
        self._machine = None
        (self.options.evidence / KEPT_FILE).unlink(missing_ok=True)
        self._stack.close()


def work_folder() -> Path:
    """Where machines make their disks: in the cache folder, which lies on a disk (/tmp may be memory)."""
    folder = cache_root() / "work"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HarnessError(
            f"can't make {folder}: {error.strerror}", hint="set SLM_CACHE to a folder you can write to"
        ) from None
    return folder


def read_flavor(machine: Machine) -> dict[str, str]:
    """What is baked into the guest: the KEY=value lines of its flavor.env, {} when it has none."""
    result = machine.run(f"cat {FLAVOR_FILE}", timeout=60)
    if result.exit_status != 0:
        return {}
    return parse_env(result.stdout)


def parse_env(text: str) -> dict[str, str]:
    """KEY=value lines as a shell reads them, without expansions; comments and broken lines are dropped."""
    values = {}
    for line in text.splitlines():
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            continue
        if len(words) == 1 and "=" in words[0]:
            name, _, value = words[0].partition("=")
            values[name] = value
    return values
