"""`slm test-endpoint`: is the appliance that runs at this address one, and how fast is it?"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx

from harness import terminal
from harness.cell.record import ONLY_INSIDE
from harness.cli.asked_password import read_password
from harness.cli.run_cell import CellPlan
from harness.cli.run_cells import run_cells
from harness.cli.selection import Selection, select_of
from harness.cli.test_image import NO_IMAGE, conclude
from harness.client.https import open_client
from harness.client.trust import Trusted, establish_trust, parse_fingerprint, parse_url
from harness.deadline import Deadline
from harness.errors import HarnessError
from harness.machine.endpoint import UNKNOWN, Endpoint
from harness.matrix.room import Room
from harness.matrix.suites import SUITES_FOLDER
from harness.profiles import find_profile
from harness.results import host
from harness.results.folder import new_run_folder, reports_root
from harness.results.model import Cell, HostFacts, ImageFacts, Results, RunTimings
from harness.results.publish import publish
from harness.results.rerun import make_command
from harness.results.verdict import exit_code
from harness.strict_yaml import Reader, read_yaml

SUITES_FILE = SUITES_FOLDER / "endpoint.yaml"
CELL = "endpoint"
ENGINE_OF_OWNER = {"llamacpp": "llama-server"}
"""Engines by what they say of their models' owner."""
LONGEST_MODEL = 200
"""Characters of a model's name."""
READ_TIMEOUT_S = 30.0
"""For the list of models and readiness; neither asks the model anything."""
LARGEST_ANSWER = 1_000_000
"""Bytes of either: what is no appliance may send anything, and without an end."""


@dataclass(frozen=True)
class EndpointRequest:
    """What `slm test-endpoint` was asked for. `profile` "": speed is measured and not judged."""

    url: str
    ca: Path | None = None
    fingerprint: str = ""
    password_file: Path | None = None
    profile: str = ""
    selection: str = ""


def run(request: EndpointRequest) -> int:
    """Verify whom we talk to, ask for the password, run what can be checked from outside, report; returns the
    exit code. Raises HarnessError, before any run begins, for what can't be reached, verified or opened."""
    place = parse_url(request.url)
    if request.fingerprint:
        parse_fingerprint(request.fingerprint)
    if request.profile:
        find_profile(request.profile)
    minimums = suites_at_endpoint()
    selection = select_of(request.selection, [SUITES_FOLDER / name for name in minimums])
    started, clock = datetime.now(UTC), time.monotonic()
    run_folder = new_run_folder(reports_root())
    evidence = run_folder / "cells" / CELL
    try:
        evidence.mkdir(parents=True)
        with terminal.step(f"Verify the certificate of {place.url}") as step:
            trusted = establish_trust(
                place, evidence / "trust.pem", ca=request.ca, fingerprint=request.fingerprint
            )
            step.note(f"{trusted.leaf.subject}, by {trusted.by}")
        password = read_password(request.password_file)
        with terminal.step(f"Log in at {place.url}") as step:
            endpoint = log_in(place.url, trusted, password)
            step.note(f"it serves {endpoint.model}")
    except BaseException:
        _forget(run_folder)
        raise
    plan = _plan(request, endpoint, selection, minimums, run_folder)
    cells: list[Cell] = []
    interrupted = run_cells([plan], Room(host.usable_cores(), 0, jobs=1), cells.append)
    if not cells:  # interrupted before it began
        raise KeyboardInterrupt
    results = _results(request, endpoint, cells, tuple(minimums), started, clock, interrupted=interrupted)
    conclude(results, publish(results, run_folder))
    if only_inside := results.cells[0].conditions.get(ONLY_INSIDE):
        terminal.say(f"not measurable from outside: {only_inside}", "dim")
    return exit_code(results.verdict, fault=bool(results.fault), interrupted=results.interrupted)


def suites_at_endpoint(path: Path = SUITES_FILE) -> Mapping[str, int]:
    """The suites by name, with the checks each must execute. Raises HarnessError for a file that is wrong."""
    reader = Reader(path)
    top = reader.mapping(read_yaml(path), "the file", required={"suites"})
    entries = reader.mapping(top["suites"], "suites", required=set(top["suites"]))
    minimums = {}
    for name, entry in entries.items():
        if not (path.parent / str(name)).is_dir():
            reader.fail(f"suite {name}", f"there is no folder {path.parent / str(name)}")
        fields = reader.mapping(entry, f"suite {name}", required={"minimum"})
        minimums[str(name)] = reader.integer(fields, "minimum", f"suite {name}", low=1, high=100_000)
    return minimums


def log_in(url: str, trusted: Trusted, password: str) -> Endpoint:
    """The appliance with the model it serves. Raises HarnessError when it isn't ready, isn't one, or refuses
    the password."""
    own = trusted.leaf.subject == trusted.leaf.issuer
    endpoint = Endpoint(url, trusted.file, password, "", "selfsigned" if own else "issued")
    try:
        # Readiness first and without the password: what is no appliance doesn't get it.
        with open_client(endpoint.address, auth="none", read_timeout_s=READ_TIMEOUT_S) as stranger:
            _answer(url, stranger, "/readyz")
        with open_client(endpoint.address, read_timeout_s=READ_TIMEOUT_S) as client:
            listed = _answer(url, client, "/v1/models")
    except httpx.RequestError as error:
        told = " ".join(str(error).split()) or type(error).__name__
        raise HarnessError(f"{url} broke off: {told}") from None
    try:
        first = json.loads(listed)["data"][0]
        model, engine = str(first["id"]), ENGINE_OF_OWNER.get(str(first.get("owned_by")), "")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        model = engine = ""
    if not model.isprintable() or not 0 < len(model) <= LONGEST_MODEL:
        raise HarnessError(f"{url} is no SLM-Copilot: its /v1/models is no list of models")
    return Endpoint(url, trusted.file, password, model, endpoint.tls_mode, engine)


def _answer(url: str, client: httpx.Client, path: str) -> bytes:
    """What it answers with 200. Raises HarnessError for another status, and for an answer that is too long or
    takes too long; httpx.RequestError for what is no HTTP."""
    deadline, body = Deadline.after(READ_TIMEOUT_S), bytearray()
    with client.stream("GET", path) as answer:
        _require(url, answer.status_code, path)
        for piece in answer.iter_bytes():
            body += piece
            if len(body) > LARGEST_ANSWER or deadline.expired:
                raise HarnessError(f"{url} is no SLM-Copilot: its answer to {path} has no end")
    return bytes(body)


def _require(url: str, status: int, path: str) -> None:
    match status:
        case 200:
            return
        case 401:
            raise HarnessError(
                f"{url} refuses the password", hint="in the guest: grep ^password /etc/one-appliance/config"
            )
        case 503:
            raise HarnessError(
                f"{url} is not ready: {path} answers 503",
                hint="it may be loading its model; in the guest: cat /etc/one-appliance/config",
            )
        case _:
            raise HarnessError(f"{url} is no SLM-Copilot: {path} answers {status}")


def _plan(
    request: EndpointRequest,
    endpoint: Endpoint,
    selection: Selection,
    minimums: Mapping[str, int],
    run_folder: Path,
) -> CellPlan:
    return CellPlan(
        name=CELL,
        profile=request.profile or UNKNOWN,
        tls_mode=endpoint.tls_mode,
        machine="endpoint",
        accelerator="auto",
        image=Path(),
        targets=selection.targets,
        expression=selection.expression,
        minimums={name: 0 if request.selection else least for name, least in minimums.items()},
        keep="never",
        run_folder=run_folder,
        rerun=_command(request, selection=""),
        endpoint=endpoint,
    )


def _command(request: EndpointRequest, selection: str) -> str:
    return make_command(
        "test-endpoint",
        {
            "URL": request.url,
            "CA": str(request.ca or ""),
            "FINGERPRINT": request.fingerprint,
            "PASSWORD_FILE": str(request.password_file or ""),
            "PROFILE": request.profile,
            "TESTS": selection,
        },
    )


def _results(
    request: EndpointRequest,
    endpoint: Endpoint,
    cells: list[Cell],
    suites: tuple[str, ...],
    started: datetime,
    clock: float,
    *,
    interrupted: bool,
) -> Results:
    wall_s = time.monotonic() - clock
    cell = cells[0]
    return Results(
        verdict=cell.verdict,
        reason=cell.reason,
        fault=cell.fault,
        interrupted=interrupted or cell.interrupted,
        image=ImageFacts(**{**vars(NO_IMAGE), "model": endpoint.model, "engine": endpoint.engine}),
        host=HostFacts(
            cpu=host.cpu_name(host.read_proc("cpuinfo")),
            cores=host.usable_cores(),
            ram_mib=host.ram_mib(host.read_proc("meminfo")),
            kernel=host.read_proc("sys/kernel/osrelease").strip(),
            accelerator=UNKNOWN,
            accelerator_reason=f"{endpoint.url} was judged from this host; what it runs on can't be seen",
            machine="endpoint",
        ),
        cells=tuple(cells),
        suites=suites,
        selection=request.selection,
        started=started.strftime("%Y-%m-%dT%H:%M:%SZ"),
        wall_s=wall_s,
        timings=RunTimings(image_s=0.0, cells_s=wall_s),
        commit=host.git_commit(),
        command=_command(request, request.selection),
    )


def _forget(run_folder: Path) -> None:
    """Nothing was judged: no folder that looks like a run."""
    with suppress(OSError):
        for path in sorted(run_folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        run_folder.rmdir()
