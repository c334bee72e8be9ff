"""results.json: the schema says what the dataclasses say, and faulty files get one clear line."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from sample import CELL, RESULTS

from harness.errors import HarnessError
from harness.results import model
from harness.results.model import from_json, read_results, to_json, validator, write_results, write_whole


def plain() -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(to_json(RESULTS)))
    return copy


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_results(RESULTS, path)
    assert read_results(path) == RESULTS
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]


ADDED_LATER: dict[type, set[str]] = {
    model.Results: {"seal"},
    model.Cell: {"suites", "conditions"},
    model.ImageFacts: {"base", "unpinned"},
    model.Metric: {"labels", "samples", "outliers", "reason", "better", "formula"},
}


def test_a_file_from_before_the_benchmarks_is_read(tmp_path: Path) -> None:
    older = plain()
    for name in ADDED_LATER[model.ImageFacts]:
        del older["image"][name]
    for cell in older["cells"]:
        for name in ADDED_LATER[model.Cell]:
            del cell[name]
        for metric in cell["metrics"]:
            for name in ADDED_LATER[model.Metric]:
                del metric[name]
    path = tmp_path / "results.json"
    path.write_text(json.dumps(older))
    read = read_results(path).cells[0]
    assert read.conditions == {}
    assert read.metrics[0] == model.Metric("decode", "tok/s", 1.85, 1.79, 1.9, 5, None, None)


def test_name_and_labels_together_say_which_metric_it_is() -> None:
    short = model.Metric("ttft", "s", 1.0, labels={"prompt_tokens": 128, "state": "cold"})
    assert short.is_same_as(model.Metric("ttft", "s", 2.0, labels={"state": "cold", "prompt_tokens": 128}))
    assert not short.is_same_as(dataclasses.replace(short, labels={"prompt_tokens": 512, "state": "cold"}))
    assert not short.is_same_as(dataclasses.replace(short, name="tpot"))
    assert short.title == "ttft (prompt_tokens 128, state cold)"
    assert model.Metric("ttft", "s", 1.0).title == "ttft"


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(validator().schema)


def test_the_design_names_are_there() -> None:
    written = plain()
    assert next(iter(written)) == "schema_version"
    assert {"schema_version", "verdict", "image", "host", "cells", "started", "wall_s"} <= set(written)
    assert {"path", "sha256", "flavor", "base", "engine", "engine_version", "model", "unpinned"} == set(
        written["image"]
    )
    assert {"cpu", "cores", "ram_mib", "accelerator", "machine"} <= set(written["host"])
    cell = written["cells"][0]
    assert {"profile", "tls_mode", "machine", "verdict", "tests", "timings", "metrics"} <= set(cell)
    assert {"passed", "failed", "skipped", "errors"} == set(cell["tests"])
    assert {"boot_s", "configure_s", "ready_s", "suite_s"} == set(cell["timings"])
    expected = {"name", "unit", "value", "ci_low", "ci_high", "n", "target", "verdict"}
    assert expected | ADDED_LATER[model.Metric] == set(cell["metrics"][0])


@pytest.mark.parametrize(
    ("definition", "dataclass"),
    [
        ("image", model.ImageFacts),
        ("host", model.HostFacts),
        ("run_timings", model.RunTimings),
        ("cell", model.Cell),
        ("counts", model.Counts),
        ("suite_counts", model.SuiteCounts),
        ("cell_timings", model.CellTimings),
        ("metric", model.Metric),
        ("check", model.Check),
        ("seal", model.Seal),
        (None, model.Results),
    ],
)
def test_schema_and_dataclass_have_the_same_fields(definition: str | None, dataclass: type) -> None:
    schema: Any = validator().schema
    part = schema if definition is None else schema["$defs"][definition]
    names = {field.name for field in dataclasses.fields(dataclass)}
    assert set(part["properties"]) == names
    # What was added after the first release of the schema is optional: older files are read as well.
    added_later = ADDED_LATER.get(dataclass, set())
    assert set(part["required"]) == names - added_later
    assert part["additionalProperties"] is False


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("verdict",), "MAYBE"),
        (("wall_s",), -1),
        (("started",), "yesterday"),
        (("image", "sha256"), "xyz"),
        (("host", "cores"), 0),
        (("cells", 0, "tests", "passed"), 1.5),
        (("cells", 0, "timings", "boot_s"), "21"),
        (("cells", 0, "checks", 0, "status"), "ok"),
        (("cells", 0, "evidence"), "/var/absolute"),
        (("cells", 0, "metrics", 0, "n"), 0),
        (("cells", 0, "metrics", 0, "labels"), {"clients": [1]}),
        (("cells", 0, "metrics", 0, "labels"), {"flash_attention": True}),
        (("cells", 0, "metrics", 0, "samples"), ["1.85"]),
        (("cells", 0, "metrics", 0, "outliers"), [-1]),
        (("cells", 0, "metrics", 0, "better"), "faster"),
        (("cells", 0, "conditions"), {"avx2": None}),
        (("surprise",), 1),
        (("cells", 0, "surprise"), 1),
    ],
)
def test_what_breaks_the_schema_is_refused(
    path: tuple[str | int, ...], value: object, tmp_path: Path
) -> None:
    broken = plain()
    target: Any = broken
    for part in path[:-1]:
        target = target[part]
    target[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        from_json(broken)
    file = tmp_path / "results.json"
    file.write_text(json.dumps(broken))
    with pytest.raises(HarnessError, match=r"doesn't follow the results schema") as caught:
        read_results(file)
    assert "\n" not in str(caught.value)


def test_results_that_break_the_schema_are_not_written(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_results(RESULTS, path)
    before = path.read_bytes()
    with pytest.raises(jsonschema.ValidationError):
        write_results(dataclasses.replace(RESULTS, wall_s=-1.0), path)
    assert path.read_bytes() == before


def test_a_number_that_json_has_no_word_for_is_refused(tmp_path: Path) -> None:
    metric = dataclasses.replace(CELL.metrics[0], value=float("nan"))
    cell = dataclasses.replace(CELL, metrics=(metric,))
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_results(dataclasses.replace(RESULTS, cells=(cell,)), tmp_path / "results.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no results at"),
        ("{", "is not JSON"),
        ('{"wall_s": NaN}', "is not JSON: NaN is no number"),
        ("[]", "schema_version None"),
        ('{"schema_version": 99}', "schema_version 99; this harness reads 1"),
    ],
)
def test_faulty_files_get_one_clear_line(content: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(HarnessError, match=message) as caught:
        read_results(path)
    assert str(path) in str(caught.value)
    assert caught.value.hint
    assert caught.value.exit_code == 2


def test_a_folder_that_refuses_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HarnessError, match="can't write"):
        write_whole(tmp_path / "file" / "results.json", "x")
