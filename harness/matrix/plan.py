"""From profiles, TLS modes and suites to the cells of a run: pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.errors import HarnessError
from harness.matrix.suites import Share, Suite


@dataclass(frozen=True)
class SuiteInCell:
    """A suite and the part of it that a cell runs."""

    suite: Suite
    share: Share

    @property
    def targets(self) -> tuple[str, ...]:
        """What pytest is told to run: the suite's folder, or files and functions in it."""
        if not self.share.checks:
            return (str(self.suite.folder),)
        return tuple(str(self.suite.folder / check) for check in self.share.checks)


@dataclass(frozen=True)
class PlannedCell:
    """One cell of a run. `vm_only`: of its suites only the checks marked `vm`."""

    name: str
    profile: str
    tls_mode: str
    machine: str
    suites: tuple[SuiteInCell, ...]
    vm_only: bool = False

    @property
    def seconds(self) -> int:
        """About how long its checks take."""
        return sum(one.share.seconds for one in self.suites)

    @property
    def boots_alone(self) -> bool:
        """Whether nothing else of the run may begin while its machine boots."""
        return any(one.share.boots_alone for one in self.suites)

    def cores(self, vcpus: int) -> float:
        """Cores of the host it keeps busy, at most the `vcpus` of its profile: its hungriest suite's."""
        wanted = [vcpus if one.share.cores is None else one.share.cores for one in self.suites]
        return min(vcpus, max(wanted, default=vcpus))


@dataclass(frozen=True)
class Plan:
    """The cells of a run, and one line for each thing the run leaves out."""

    cells: tuple[PlannedCell, ...]
    notes: tuple[str, ...] = field(default=())


def plan_cells(
    profiles: Sequence[str],
    tls_modes: Sequence[str],
    suites: Sequence[Suite],
    *,
    asked: str,
    quick: str,
    suites_named: bool,
) -> Plan:
    """The cells for these profiles, TLS modes and suites. `asked` is the machine asked for, `quick` the one
    for what needn't be a virtual machine. A suite that runs in none of the TLS modes is left out with a note
    when it is there by default, and refused when it was named (`suites_named`).

    Raises HarnessError when no cell is left, too.
    """
    homeless = [suite for suite in suites if not set(suite.tls_modes) & set(tls_modes)]
    notes = tuple(f"{one.name} runs in TLS mode {', '.join(one.tls_modes)} only" for one in homeless)
    if homeless and (suites_named or len(homeless) == len(suites)):
        raise HarnessError(
            f"no cell for {', '.join(one.name for one in homeless)} in TLS mode {', '.join(tls_modes)}",
            hint="; ".join(notes),
        )
    cells = [
        cell
        for profile in profiles
        for cell in (
            *_tls_cells(profile, tls_modes, suites, asked),
            *(cell for one in suites for cell in _own_cells(profile, tls_modes, one, asked, quick)),
        )
    ]
    names = [cell.name for cell in cells]
    if twice := {name for name in names if names.count(name) > 1}:
        raise HarnessError(
            f"two cells would be called {', '.join(sorted(twice))}", hint="rename the suite or the profile"
        )
    return Plan(tuple(cells), tuple(f"left out: {note}" for note in notes))


def _tls_cells(
    profile: str, tls_modes: Sequence[str], suites: Sequence[Suite], asked: str
) -> list[PlannedCell]:
    """One cell a TLS mode, shared by the suites of that kind; a suite runs whole in its first mode."""
    cells = []
    seen: set[str] = set()
    for tls_mode in tls_modes:
        here = [one for one in suites if one.cell == "tls" and tls_mode in one.tls_modes]
        shares = tuple(SuiteInCell(one, _share(one, first=one.name not in seen)) for one in here)
        seen |= {one.name for one in here}
        if shares:
            cells.append(PlannedCell(f"{profile}-{tls_mode}", profile, tls_mode, asked, shares))
    return cells


def _share(suite: Suite, *, first: bool) -> Share:
    return suite.whole if first or suite.later_modes is None else suite.later_modes


def _own_cells(
    profile: str, tls_modes: Sequence[str], suite: Suite, asked: str, quick: str
) -> list[PlannedCell]:
    """The cells a suite has for itself: one a TLS mode, and one for its `vm` checks where the quick machine
    is no virtual machine."""
    if suite.cell != "own":
        return []
    modes = [mode for mode in tls_modes if mode in suite.tls_modes]
    machine = asked if suite.machine == "asked" else quick
    cells = []
    for mode in modes:
        name = f"{profile}-{suite.name}" if len(suite.tls_modes) == 1 else f"{profile}-{suite.name}-{mode}"
        whole = (SuiteInCell(suite, suite.whole),)
        cells.append(PlannedCell(name, profile, mode, machine, whole))
        if suite.on_vm is not None and asked == "qemu" and machine != "qemu":
            on_vm = (SuiteInCell(suite, suite.on_vm),)
            cells.append(PlannedCell(f"{name}-vm", profile, mode, asked, on_vm, vm_only=True))
    return cells


def pick_cells(plan: Plan, names: Sequence[str]) -> Plan:
    """Only the cells of these names; () is all of them. Raises HarnessError for a name the plan hasn't."""
    if not names:
        return plan
    known = [cell.name for cell in plan.cells]
    if unknown := [name for name in names if name not in known]:
        raise HarnessError(f"no cell {', '.join(unknown)} in this run", hint=f"it has: {', '.join(known)}")
    return Plan(tuple(cell for cell in plan.cells if cell.name in names))
