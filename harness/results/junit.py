"""JUnit XML of a run, for CI systems: one test suite a cell, with what was judged as properties."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from harness.results.model import Cell, Check, Results

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(results: Results) -> str:
    """The whole run as JUnit XML; characters that XML can't carry are replaced by U+FFFD."""
    root = ElementTree.Element("testsuites", name="slm-copilot", time=f"{results.wall_s:.3f}")
    totals = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    for cell in results.cells:
        suite = _suite(cell, results)
        for name in totals:
            totals[name] += int(suite.get(name, "0"))
        root.append(suite)
    for name, total in totals.items():
        root.set(name, str(total))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _suite(cell: Cell, results: Results) -> ElementTree.Element:
    suite = ElementTree.Element(
        "testsuite",
        name=cell.name,
        tests=str(len(cell.checks)),
        failures=str(cell.tests.failed),
        errors=str(cell.tests.errors),
        skipped=str(cell.tests.skipped),
        time=f"{sum(check.seconds for check in cell.checks):.3f}",
        timestamp=results.started.removesuffix("Z"),
        hostname=_clean(results.host.machine),
    )
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in _properties(cell, results).items():
        ElementTree.SubElement(properties, "property", name=name, value=_clean(value))
    for check in cell.checks:
        suite.append(_case(check))
    if cell.fault:
        ElementTree.SubElement(suite, "system-err").text = _clean(cell.fault)
    return suite


def _properties(cell: Cell, results: Results) -> dict[str, str]:
    facts = {
        "image": results.image.path,
        "image_sha256": results.image.sha256,
        "commit": results.commit,
        "profile": cell.profile,
        "tls_mode": cell.tls_mode,
        "machine": cell.machine,
        "accelerator": cell.accelerator,
        "verdict": cell.verdict,
    }
    return facts | {f"metric.{one.title}": f"{one.value:g} {one.unit}".strip() for one in cell.metrics}


def _case(check: Check) -> ElementTree.Element:
    where = check.file.removesuffix(".py").replace("/", ".")
    case = ElementTree.Element(
        "testcase", classname=_clean(where), name=_clean(check.title), time=f"{check.seconds:.3f}"
    )
    tag = {"failed": "failure", "error": "error", "skipped": "skipped"}.get(check.status)
    if tag is not None:
        outcome = ElementTree.SubElement(case, tag, message=_clean(check.message))
        if check.status != "skipped":
            outcome.text = _clean(check.details)
    return case


def _clean(text: str) -> str:
    return _NOT_XML.sub("�", text)
