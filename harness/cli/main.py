"""The entry point `slm`: reads the command line, runs the command, turns its outcome into an exit code."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence

from harness import terminal
from harness.cli.arguments import parser
from harness.cli.child import adopt_orphans, end_leftovers
from harness.errors import HarnessError
from harness.results.verdict import EXIT_INTERRUPTED

# Each command imports what it needs when it is called: `slm report` must work where no QEMU is installed.


def fetch(arguments: argparse.Namespace) -> int:
    """`slm fetch`: every artifact is in the cache, verified."""
    from harness.image.provenance import obtain_all

    for part in obtain_all(arguments.flavor, arguments.engine, names=arguments.names):
        terminal.say(f"{part.name}: {part.path}")
        if not part.pinned:
            terminal.say(f"  {part.note}", "yellow")
    return 0


def engine(arguments: argparse.Namespace) -> int:  # noqa: ARG001  (every command has this signature)
    """`slm engine`: the engine's tree is in the cache."""
    from harness.image.engine import build_engine

    terminal.say(str(build_engine()))
    return 0


def image(arguments: argparse.Namespace) -> int:
    """`slm image`: the image is in the cache."""
    from harness.image.build import build_image

    with terminal.step(f"Get the image of flavor {arguments.flavor}"):
        built = build_image(
            arguments.flavor, arguments.accelerator, base=arguments.base, engine=arguments.engine
        )
    terminal.say(f"image   {built.path}")
    terminal.say(f"sha256  {built.sha256}")
    return 0


def test_image(arguments: argparse.Namespace) -> int:
    """`slm test-image`: the main job."""
    from harness.cli.test_image import TestImageRequest, run

    return run(
        TestImageRequest(
            image=arguments.image,
            flavor=arguments.flavor,
            base=arguments.base,
            engine=arguments.engine,
            profiles=arguments.profiles,
            tls_modes=arguments.tls_modes,
            machine=arguments.machine,
            accelerator=arguments.accelerator,
            suites=arguments.suites,
            cells=arguments.cells,
            jobs=arguments.jobs,
            selection=arguments.tests.strip(),
            keep=arguments.keep,
            minimum_checks=arguments.minimum_checks,
        )
    )


def test_endpoint(arguments: argparse.Namespace) -> int:
    """`slm test-endpoint`: an appliance that runs already, judged from outside."""
    from harness.cli.test_endpoint import EndpointRequest, run

    return run(
        EndpointRequest(
            url=arguments.url,
            ca=arguments.ca,
            fingerprint=arguments.fingerprint.strip(),
            password_file=arguments.password_file,
            profile=arguments.profile.strip(),
            selection=arguments.tests.strip(),
        )
    )


def bench(arguments: argparse.Namespace) -> int:
    """`slm bench`: tokens per second of an image on this host, and what the appliance costs."""
    from harness.cli.test_image import BENCH, TestImageRequest, run

    return run(
        TestImageRequest(
            image=arguments.image,
            flavor=arguments.flavor,
            base=arguments.base,
            engine=arguments.engine,
            profiles=arguments.profiles,
            tls_modes=("selfsigned",),
            machine=arguments.machine,
            accelerator=arguments.accelerator,
            suites=("benchmark",),
            # side by side they would measure each other
            jobs=1,
            selection=arguments.tests.strip(),
            target=BENCH,
        )
    )


def shell(arguments: argparse.Namespace) -> int:
    """`slm shell`: a booted cell to look around in."""
    from harness.cli.shell import ShellRequest, run

    return run(
        ShellRequest(
            image=arguments.image,
            flavor=arguments.flavor,
            base=arguments.base,
            engine=arguments.engine,
            profile=arguments.profile,
            tls_mode=arguments.tls_mode,
            machine=arguments.machine,
            accelerator=arguments.accelerator,
        )
    )


def bench_compare(arguments: argparse.Namespace) -> int:
    """`slm bench-compare`: did anything get worse?"""
    from harness.cli.bench_compare import CompareRequest, run

    return run(
        CompareRequest(
            before=arguments.before,
            after=arguments.after,
            threshold=arguments.threshold / 100,
            plot=arguments.plot,
            profile=arguments.profile,
            machine=arguments.machine,
            accelerator=arguments.accelerator,
        )
    )


def size_host(arguments: argparse.Namespace) -> int:
    """`slm size-host`: what this machine would do with a model it doesn't have yet."""
    from harness.sizing.size_host import SizeHostRequest, run

    return run(SizeHostRequest(model=arguments.model, budget_s=60.0 * arguments.minutes, keep=arguments.keep))


def report(arguments: argparse.Namespace) -> int:
    """`slm report`: everything that is drawn from a results.json, drawn again beside it."""
    from harness.results.folder import reports_root
    from harness.results.model import read_results
    from harness.results.publish import RESULTS_FILE, render

    path = arguments.results or reports_root() / "latest" / RESULTS_FILE
    if path.is_dir():
        path /= RESULTS_FILE
    published = render(read_results(path), path.parent)
    for drawn in (published.report, published.summary, published.junit):
        terminal.say(str(drawn))
    return 0


def gate(arguments: argparse.Namespace) -> int:
    """`slm gate`: may this image be released?"""
    from harness.cli.gate import GateRequest, run
    from harness.gate.rules import GATE_FILE

    return run(
        GateRequest(
            image=arguments.image,
            flavor=arguments.flavor,
            base=arguments.base,
            engine=arguments.engine,
            results=arguments.results,
            rules=arguments.rules or GATE_FILE,
        )
    )


def release(arguments: argparse.Namespace) -> int:
    """`slm release`: the bundle of an image that passed the gate."""
    from harness.cli.gate import GateRequest
    from harness.cli.release import OUTPUT, release

    request = GateRequest(
        image=arguments.image,
        flavor=arguments.flavor,
        base=arguments.base,
        engine=arguments.engine,
        results=arguments.results,
    )
    return release(request, arguments.output or OUTPUT)


def validate_bundle(arguments: argparse.Namespace) -> int:
    """`slm validate-bundle`: does a bundle keep the marketplace's rules?"""
    from harness.cli.release import validate

    return validate(arguments.folder, upload=arguments.upload)


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "fetch": fetch,
    "engine": engine,
    "image": image,
    "test-image": test_image,
    "test-endpoint": test_endpoint,
    "bench": bench,
    "shell": shell,
    "bench-compare": bench_compare,
    "size-host": size_host,
    "report": report,
    "gate": gate,
    "release": release,
    "validate-bundle": validate_bundle,
}


def main(words: Sequence[str] | None = None) -> int:
    """Run `slm`; returns the exit code. A traceback leaves it only for a defect of ours."""
    arguments = parser().parse_args(words)
    for number in (signal.SIGINT, signal.SIGTERM):
        # SIGTERM cleans up as Ctrl-C does; and a shell that started us in the background had SIGINT ignored.
        signal.signal(number, signal.default_int_handler)
    adopt_orphans()
    try:
        return COMMANDS[arguments.command](arguments)
    except HarnessError as error:
        terminal.complain(error.message, error.hint)
        return error.exit_code
    except KeyboardInterrupt:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # the end is near: nothing may interrupt the cleaning up
        left = end_leftovers(())
        terminal.complain("interrupted" + (f"; ended {', '.join(left)}" if left else ""))
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone (`slm report | head`): no reason for a traceback.
        sys.stderr.close()
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
