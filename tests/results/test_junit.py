"""JUnit XML: counts, properties, and characters that XML can't carry."""

import dataclasses
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from sample import CELL, RESULTS

from harness.results.junit import junit_xml
from harness.results.model import Check, Results


def parsed(results: Results) -> Element:
    return ElementTree.fromstring(junit_xml(results).encode())  # noqa: S314  (our own output)


def test_one_suite_a_cell_with_its_counts() -> None:
    second = dataclasses.replace(CELL, name="minimum-selfsigned")
    root = parsed(dataclasses.replace(RESULTS, cells=(CELL, second)))
    assert root.tag == "testsuites"
    assert [suite.get("name") for suite in root] == ["ci-selfsigned", "minimum-selfsigned"]
    assert (root.get("tests"), root.get("failures"), root.get("skipped"), root.get("errors")) == (
        "10",
        "2",
        "2",
        "0",
    )
    assert root[0].get("timestamp") == "2026-01-31T09:45:00"


def test_what_was_judged_stands_in_the_properties() -> None:
    root = parsed(RESULTS)
    properties = {one.get("name"): one.get("value") for one in root.iter("property")}
    assert properties["image_sha256"] == "5f" * 32
    assert properties["commit"] == "ab" * 20
    assert properties["machine"] == "qemu"
    assert properties["accelerator"] == "tcg"
    assert properties["metric.decode"] == "1.85 tok/s"


def test_outcomes() -> None:
    cases = list(parsed(RESULTS).iter("testcase"))
    failed = next(case for case in cases if case.find("failure") is not None)
    failure = failed.find("failure")
    assert failed.get("classname") == "suites.conformance.test_auth"
    assert failure is not None
    assert "200 for GET /v1/models" in str(failure.get("message"))
    assert "<script>alert(1)</script>" in str(failure.text)
    reasons = [one.get("message") for case in cases for one in case.findall("skipped")]
    assert reasons == ["node is not installed on this host"]


def test_control_characters_do_not_break_the_file() -> None:
    odd = Check("id", "f.py", "t\x00\x1b[31m", "failed", 0.1, "m\x07", "d\ufffe\ud800")
    root = parsed(dataclasses.replace(RESULTS, cells=(dataclasses.replace(CELL, checks=(odd,)),)))
    case = next(root.iter("testcase"))
    assert case.get("name") == "t\ufffd\ufffd[31m"
