"""The command line's grammar."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from pathlib import Path

from harness.cell.options import ACCELERATORS, KEEP, MACHINES, TLS_MODES
from harness.matrix.choice import ALL

EXIT_CODES = """\
exit codes:
  0    PASS
  1    FAIL: the appliance broke a promise, or misses a target of the benchmarks
  2    infrastructure or wrong usage: no image, no accelerator, no disk, unknown option
  3    INCONCLUSIVE: too little ran, or was measured not surely enough, to say either
  130  interrupted; everything it started has been ended

make itself exits with 2 whatever the reason; `.venv/bin/slm` gives these codes.
Make variables have the options' names (`make help`): make test-image MACHINE=nspawn TESTS=auth
"""


def parser() -> argparse.ArgumentParser:
    """The parser of `slm`."""
    top = argparse.ArgumentParser(
        prog="slm",
        description="Build the SLM-Copilot appliance, boot it, and prove it over HTTPS.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, what: str) -> argparse.ArgumentParser:
        # No abbreviations: an option added later must not change what a script's short form means.
        return commands.add_parser(
            name, help=what, description=f"{what[0].upper()}{what[1:]}.", allow_abbrev=False
        )

    _fetch(add("fetch", "download and verify what the image is made of"))
    add("engine", "build the engine from its pinned source, or find it in the cache")
    _image(add("image", "build the image, or find it in the cache"))
    _test_image(add("test-image", "judge an image: boot it, run the suites, report"))
    _test_endpoint(add("test-endpoint", "judge an appliance that runs already, from outside, and measure it"))
    _bench(add("bench", "measure tokens per second, latencies and what the appliance costs"))
    _shell(add("shell", "boot a cell and log in over SSH"))
    _bench_compare(add("bench-compare", "hold two runs of the benchmarks, or two images, against each other"))
    _size_host(add("size-host", "tell how fast this machine would be with a model, before it is downloaded"))
    _report(add("report", "draw the reports of a results.json again"))
    _gate(add("gate", "tell whether an image's results allow its release"))
    _release(add("release", "write the marketplace bundle of an image that passes the gate"))
    _validate_bundle(add("validate-bundle", "hold a bundle against every rule of the marketplace"))
    return top


def _fetch(command: argparse.ArgumentParser) -> None:
    command.add_argument("names", nargs="*", metavar="NAME", help="artifacts (default: the flavor's)")
    _flavor(command)


def _image(command: argparse.ArgumentParser) -> None:
    _flavor(command)
    _base(command)
    _accelerator(command)


def _test_image(command: argparse.ArgumentParser) -> None:
    command.epilog, command.formatter_class = EXIT_CODES, argparse.RawDescriptionHelpFormatter
    _which_image(command)
    _names(command, "--profiles", ("ci",), "hardware profiles of profiles.yaml")
    _names(command, "--tls-modes", TLS_MODES, f"TLS modes, or all: {', '.join(TLS_MODES)}", TLS_MODES)
    what = "suites of suites/cells.yaml, all of them, other folders of suites/, or paths"
    _names(
        command,
        "--suites",
        (),
        what,
        all_is=(ALL,),
        empty_is=(),
        shown="those that suites/cells.yaml has by default",
    )
    _names(command, "--cells", (), "only these cells of the run, by their names", empty_is=())
    command.add_argument(
        "--jobs",
        type=_jobs,
        metavar="N",
        help="cells that run side by side (default: auto, as many as cores and memory have room for)",
    )
    _machine(command)
    _accelerator(command)
    _tests(command)
    command.add_argument(
        "--keep",
        choices=KEEP,
        default="never",
        help="on-error: a failed machine stays up until Ctrl-C, and how to reach it is printed",
    )
    command.add_argument(
        "--minimum-checks",
        type=_count,
        metavar="N",
        help="checks a cell must execute to PASS (default: what suites/cells.yaml asks for each suite)",
    )


def _test_endpoint(command: argparse.ArgumentParser) -> None:
    command.epilog, command.formatter_class = EXIT_CODES, argparse.RawDescriptionHelpFormatter
    command.add_argument(
        "--url", default="", metavar="URL", help="its address: https://HOST or https://HOST:PORT"
    )
    command.add_argument(
        "--ca",
        type=_optional_path,
        metavar="PEM",
        help="what its certificate is verified with: an authority, or the certificate itself "
        "(default: the authorities of this host)",
    )
    command.add_argument(
        "--fingerprint",
        default="",
        metavar="SHA256",
        help="or the certificate it must serve, by its fingerprint: sha256:...",
    )
    command.add_argument(
        "--password-file",
        type=_optional_path,
        metavar="FILE",
        help="holds the password and can be read by nobody else (default: it is asked for)",
    )
    command.add_argument(
        "--profile",
        default="",
        metavar="NAME",
        help="the profile of profiles.yaml whose speed it must reach (default: measured, not judged)",
    )
    _tests(command)


def _bench(command: argparse.ArgumentParser) -> None:
    command.epilog, command.formatter_class = EXIT_CODES, argparse.RawDescriptionHelpFormatter
    _which_image(command)
    _names(command, "--profiles", ("ci",), "hardware profiles of profiles.yaml")
    _machine(command, "qemu where KVM works, else a container at native speed; nspawn always a container")
    _accelerator(command)
    _tests(command)


def _tests(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--tests",
        default="",
        metavar="EXPRESSION",
        help="only these checks: a pytest -k expression, or files and node ids (suites/x/test_y.py::test_z)",
    )


def _shell(command: argparse.ArgumentParser) -> None:
    _which_image(command)
    command.add_argument("--profile", default="ci", metavar="NAME", help="hardware profile (default: ci)")
    command.add_argument("--tls-mode", choices=TLS_MODES, default="selfsigned", help="default: selfsigned")
    _machine(command)
    _accelerator(command)


COMPARE_EXIT_CODES = """\
exit codes:
  0    nothing got worse by more than the threshold
  1    something did
  2    wrong usage or infrastructure: a file that isn't there or is no results.json, no metrics in common
  3    nothing could be told: too few samples, too noisy, emulated

better, worse and same are what the whole 95 % interval of B/A says. Two images are booted on this host and
measured in turns, in containers where QEMU would emulate; samples taken in turns are compared in pairs.
"""


def _bench_compare(command: argparse.ArgumentParser) -> None:
    command.epilog, command.formatter_class = COMPARE_EXIT_CODES, argparse.RawDescriptionHelpFormatter
    for name, what in (("before", "A"), ("after", "B")):
        command.add_argument(
            name,
            type=_optional_path,
            metavar=what,
            help=f"{what}: a results.json or the folder of a run, or a qcow2 image to boot and measure",
        )
    command.add_argument(
        "--threshold",
        type=_percent,
        default=5.0,
        metavar="PERCENT",
        help="what may differ and still be the same (default: 5)",
    )
    command.add_argument(
        "--plot",
        type=_optional_path,
        metavar="HTML",
        help="where the plot goes (default: bench-compare.html in the folder of reports)",
    )
    command.add_argument(
        "--profile", default="ci", metavar="NAME", help="hardware profile of two images (default: ci)"
    )
    _machine(command)
    _accelerator(command)


def _size_host(command: argparse.ArgumentParser) -> None:
    command.epilog, command.formatter_class = EXIT_CODES, argparse.RawDescriptionHelpFormatter
    command.add_argument(
        "--model",
        default="devstral-24b-q4km",
        metavar="NAME",
        help="a shape of harness/sizing/models.yaml; nothing is downloaded (default: devstral-24b-q4km)",
    )
    command.add_argument(
        "--minutes",
        type=_count,
        default=5,
        metavar="N",
        help="how long to measure, beside writing and loading (default: 5)",
    )
    command.add_argument("--keep", action="store_true", help="keep the file in the cache for the next time")


def _report(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "results",
        nargs="?",
        type=Path,
        metavar="RESULTS_JSON",
        help="default: reports/latest/results.json",
    )


GATE_EXIT_CODES = """\
exit codes:
  0    PASS: every requirement of gate.yaml is met by results that count
  1    FAIL: something that can be believed speaks against the image
  2    no image, no results of it, or something that can't be read
  3    INCONCLUSIVE: too little that can be believed speaks for it
"""


def _gate(command: argparse.ArgumentParser) -> None:
    command.epilog, command.formatter_class = GATE_EXIT_CODES, argparse.RawDescriptionHelpFormatter
    _judged_image(command)
    # Not of a release: its notes say that it was asked by gate.yaml.
    command.add_argument(
        "--rules", type=_optional_path, metavar="YAML", help="what is required (default: gate.yaml)"
    )


RELEASE_EXIT_CODES = """\
exit codes:
  0    the bundle is written and keeps every rule
  1    the gate says FAIL
  2    no image, no results, no room, or the bundle would break a rule; nothing of it is left
  3    the gate says INCONCLUSIVE
"""


def _release(command: argparse.ArgumentParser) -> None:
    command.epilog, command.formatter_class = RELEASE_EXIT_CODES, argparse.RawDescriptionHelpFormatter
    _judged_image(command)
    command.add_argument(
        "--output",
        type=_optional_path,
        metavar="FOLDER",
        help="where the bundle's folder is made (default: build/release)",
    )


def _validate_bundle(command: argparse.ArgumentParser) -> None:
    command.add_argument("folder", type=Path, metavar="FOLDER", help="the bundle")
    command.add_argument(
        "--upload", action="store_true", help="it is meant to be uploaded: nothing may stand for none"
    )


def _judged_image(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--image",
        type=_optional_path,
        metavar="PATH",
        help="the qcow2 (default: what the results judged, else the flavor's image in the cache)",
    )
    _flavor(command)
    _base(command)
    command.add_argument(
        "--results",
        type=_paths,
        default=(),
        metavar="PATHS",
        help="results.json files, folders of a run, or folders of runs, by blanks (default: the folder of "
        "reports)",
    )


def _which_image(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--image", type=_optional_path, metavar="PATH", help="judge this qcow2 instead of building one"
    )
    _flavor(command)
    _base(command)


def _flavor(command: argparse.ArgumentParser) -> None:
    command.add_argument("--flavor", default="ci", metavar="NAME", help="what is baked in (default: ci)")
    command.add_argument(
        "--engine", default="", metavar="NAME", help="engine of the image (default: the flavor's own)"
    )


def _base(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--base",
        default="",
        metavar="NAME",
        help="the distribution it is made on, a file of packer/base/ (default: the flavor's first)",
    )


def _machine(
    command: argparse.ArgumentParser,
    what: str = "qemu gives the verdict that counts; nspawn is the fast inner loop",
) -> None:
    command.add_argument("--machine", choices=MACHINES, default="qemu", help=f"{what} (default: qemu)")


def _accelerator(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--accelerator", choices=ACCELERATORS, default="auto", help="of qemu (default: auto, by a probe)"
    )


def _names(
    command: argparse.ArgumentParser,
    option: str,
    default: tuple[str, ...],
    what: str,
    accepted: tuple[str, ...] | None = None,
    *,
    all_is: tuple[str, ...] | None = None,
    empty_is: tuple[str, ...] | None = None,
    shown: str = "",
) -> None:
    """An option that takes several names. `all_is` is what the word `all` stands for (the accepted ones by
    default), `empty_is` what an empty value does; None where that is a mistake. `shown` is the default in
    words."""
    shown = shown or " ".join(default) or "all"
    command.add_argument(
        option,
        type=_name_list(accepted, accepted if all_is is None else all_is, empty_is),
        default=default,
        metavar="NAMES",
        help=f"{what}; several by comma or space (default: {shown})",
    )


def _name_list(
    accepted: tuple[str, ...] | None, all_is: tuple[str, ...] | None, empty_is: tuple[str, ...] | None
) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        names = tuple(dict.fromkeys(text.replace(",", " ").split()))
        if not names:
            if empty_is is not None:
                return empty_is
            raise argparse.ArgumentTypeError("needs at least one name")
        if names == ("all",) and all_is is not None:
            return all_is
        for name in names:
            if accepted is not None and name not in accepted:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(accepted)}")
        return names

    return parse


def _jobs(text: str) -> int | None:
    """`auto` (or nothing) is as many as there is room for."""
    return None if text in ("", "auto") else _count(text)


def _optional_path(text: str) -> Path | None:
    """An empty value is no value: `make test-image IMAGE=` asks for the default."""
    return Path(text).expanduser().absolute() if text else None


def _paths(text: str) -> tuple[Path, ...]:
    """Paths by blanks, quoted as for a shell; one with blanks in it that is there needs no quotes."""
    try:
        if len(text.split()) > 1 and Path(text).expanduser().exists():
            return (Path(text).expanduser().absolute(),)
        return tuple(Path(word).expanduser().absolute() for word in shlex.split(text))
    except (ValueError, OSError) as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None


def _percent(text: str) -> float:
    try:
        percent = float(text)
    except ValueError:
        percent = -1.0
    if not 0 <= percent < 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a percentage of at least 0 and below 100")
    return percent


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)
