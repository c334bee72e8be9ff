"""Whether the second run got worse, better, stayed the same, or can't be told from the first."""

from __future__ import annotations

import random
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from comparable import cell, metric, noisy, run_of
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from harness.bench.compare import INTERLEAVED, Comparison, change, compare
from harness.bench.comparison_page import Axis, axis_for, comparison_html
from harness.bench.comparison_table import comparison_lines, comparison_table
from harness.bench.statistics import Interval
from harness.cli.main import main
from harness.errors import HarnessError
from harness.results.model import Better, Cell, Label, Metric, write_results

DECODE = metric("decode_speed", noisy(100.0))


def compared(before: Metric, after: Metric, threshold: float = 0.05) -> Comparison:
    return compare(run_of(cell(before)), run_of(cell(after)), threshold=threshold)


@pytest.mark.parametrize(
    ("factor", "better", "finding", "exit_code"),
    [
        (1.2, "higher", "better", 0),
        (1.2, "lower", "worse", 1),
        (0.8, "higher", "worse", 1),
        (0.8, "lower", "better", 0),
        (1.02, "higher", "same", 0),
        (1.02, "lower", "same", 0),
        (1.05, "higher", "unclear", 3),
        (0.95, "higher", "unclear", 3),
    ],
)
def test_a_change_is_told_in_the_direction_of_the_metric(
    factor: float, better: Better, finding: str, exit_code: int
) -> None:
    before = metric("speed", noisy(100.0), better=better)
    comparison = compared(before, metric("speed", noisy(100.0 * factor, seed=2), better=better))
    (row,) = comparison.rows
    assert row.finding == finding
    assert row.ratio is not None
    assert row.ratio.value == pytest.approx(factor, rel=0.01)
    assert comparison.exit_code == exit_code


def test_one_worse_among_many_decides() -> None:
    good, bad = metric("e2e", noisy(1.0), "s", "lower"), metric("ttft", noisy(1.0), "s", "lower")
    worse = metric("ttft", noisy(1.5), "s", "lower")
    comparison = compare(run_of(cell(DECODE, good, bad)), run_of(cell(DECODE, good, worse)))
    assert comparison.counts == {"worse": 1, "better": 0, "same": 2, "unclear": 0}
    assert comparison.exit_code == 1
    lines = comparison_lines(comparison)
    assert lines[0].startswith("worse: ci-bench: ttft: 4")
    assert lines[-1] == "1 worse, 0 better, 2 same, 0 unclear (threshold 5%)"


def test_one_clear_metric_is_not_drowned_by_unclear_ones() -> None:
    few = metric("boot_phase", (1.0, 1.1), "s", "lower")
    comparison = compare(run_of(cell(DECODE, few)), run_of(cell(DECODE, few)))
    assert comparison.counts["unclear"] == 1
    assert comparison.exit_code == 0


def test_a_size_alone_decides_nothing_about_speeds() -> None:
    size = Metric("image_size", "MiB", 500.0, n=1, better="lower")
    few = metric("ttft", (1.0, 1.1), "s", "lower")
    comparison = compare(run_of(cell(few, size)), run_of(cell(few, size)))
    assert comparison.counts == {"worse": 0, "better": 0, "same": 1, "unclear": 1}
    assert comparison.exit_code == 3
    assert compared(size, size).exit_code == 0


def test_metrics_are_matched_by_cell_name_and_labels() -> None:
    short, long = (metric("ttft", noisy(n), "s", "lower", {"prompt_tokens": n}) for n in (128, 512))
    slower = metric("ttft", noisy(1000), "s", "lower", {"prompt_tokens": 512})
    before = run_of(cell(short, long), cell(DECODE, name="minimum-bench"))
    after = run_of(cell(DECODE, name="optimal-bench"), cell(slower, DECODE))
    comparison = compare(before, after)
    assert [(row.cell, row.title, row.finding) for row in comparison.rows] == [
        ("ci-bench", "ttft (prompt_tokens 512)", "worse")
    ]
    assert comparison.notes == (
        "both are the same image",
        "ci-bench: only A has ttft (prompt_tokens 128)",
        "ci-bench: only B has decode_speed",
        "only one of the two has minimum-bench, optimal-bench",
    )


def test_what_has_no_direction_is_left_out() -> None:
    load = metric("boot_host_load", noisy(1.0), "cores", "")
    assert len(compare(run_of(cell(DECODE, load)), run_of(cell(DECODE, load))).rows) == 1
    with pytest.raises(HarnessError, match="no metric in common") as caught:
        compared(load, load)
    assert caught.value.exit_code == 2


def pairs(**conditions: Label) -> list[Cell]:
    """Two cells measured in turns on a host whose speed changes threefold: the second is 10 % faster."""
    generator = random.Random(3)
    moments = [generator.uniform(30, 90) for _ in range(12)]
    samples = [[one * factor * generator.uniform(0.99, 1.01) for one in moments] for factor in (1, 1.1)]
    return [cell(metric("decode_speed", one), **conditions) for one in samples]


def test_samples_taken_in_turns_are_compared_in_pairs() -> None:
    one, other = pairs(**{INTERLEAVED: "20260131T094500Z"})
    (row,) = compare(run_of(one), run_of(other)).rows
    assert row.paired
    assert row.finding == "better"
    assert row.ratio is not None
    assert row.ratio.high - row.ratio.low < 0.04


def test_pairs_are_judged_on_a_crowded_host_too() -> None:
    one, other = pairs(**{INTERLEAVED: "20260131T094500Z", "steal_percent": 9.0, "others_cores": 4.0})
    assert compare(run_of(one), run_of(other)).rows[0].finding == "better"


def test_pairs_are_not_judged_where_their_engines_lacked_cpus() -> None:
    one, other = pairs(**{INTERLEAVED: "20260131T094500Z", "others_cores": 4.1})
    (row,) = compare(run_of(one), run_of(other)).rows
    assert (row.finding, row.reason) == ("unclear", "others used 4.10 of the host's 16 cores")


def test_samples_of_two_runs_are_no_pairs() -> None:
    others = [pairs(), [pairs(**{INTERLEAVED: run})[place] for place, run in enumerate(("x", "y"))]]
    for one, other in others:
        (row,) = compare(run_of(one), run_of(other)).rows
        assert not row.paired
        assert row.finding == "unclear"


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ((1.0, 1.1, 1.2, 1.0), (9.0,) * 5, "only 4 samples, at least 5 are needed"),
        ((1.0,), (9.0,) * 5, "only 1 sample, at least 5 are needed"),
        ((-1.0, 1.0, 1.0, 1.0, 1.0), (9.0,) * 5, "values of 0 and less have no ratio"),
    ],
)
def test_what_can_not_be_told_says_why(
    before: tuple[float, ...], after: tuple[float, ...], reason: str
) -> None:
    (row,) = compared(metric("x", before), metric("x", after)).rows
    assert (row.finding, row.reason) == ("unclear", reason)


def test_values_with_intervals_are_compared_by_their_far_ends() -> None:
    one, other = (
        Metric("auto_threads", "ratio", value, value - 0.01, value + 0.01, 6, better="higher")
        for value in (0.99, 0.8)
    )
    (row,) = compared(one, other).rows
    assert row.ratio == Interval(0.8 / 0.99, (0.8 - 0.01) / (0.99 + 0.01), (0.8 + 0.01) / (0.99 - 0.01), 6)
    assert row.finding == "worse"
    (row,) = compared(one, one).rows
    assert row.finding == "same"
    nonsense = Metric("auto_threads", "ratio", 9.0, 2.0, 1.0, 6, better="higher")
    assert compared(one, nonsense).rows[0].ratio is not None


def test_a_metric_without_samples_or_with_another_unit_is_unclear() -> None:
    bare = Metric("decode_speed", "tok/s", 100.0, better="higher")
    reasons = [compared(*two).rows[0].reason for two in ((bare, DECODE), (DECODE, bare))]
    assert reasons == [f"{which} has neither samples nor an interval of it" for which in "AB"]
    (row,) = compared(DECODE, metric("decode_speed", noisy(100.0), "tok/min")).rows
    assert row.reason == "A has it in tok/s, B in tok/min"


def test_a_size_needs_no_repetition() -> None:
    small, large = (Metric("image_size", "MiB", size, n=1, better="lower") for size in (500.0, 600.0))
    (row,) = compared(small, large).rows
    assert (row.finding, row.reason) == ("worse", "20% higher")
    (row,) = compared(small, small).rows
    assert (row.finding, row.reason) == ("same", "no change, within 5%")


def test_emulation_tells_nothing() -> None:
    twice = metric("decode_speed", noisy(200.0))
    for machines in (("tcg", "native"), ("kvm", "tcg"), ("tcg", "tcg")):
        one, other = (cell(DECODE, accelerator=machines[0]), cell(twice, accelerator=machines[1]))
        (row,) = compare(run_of(one), run_of(other)).rows
        assert row.finding == "unclear"
        assert row.reason == "measured under emulation (TCG), where no speed means anything"


@pytest.mark.parametrize(
    ("crowd", "words"),
    [
        ({"steal_percent": 1.5}, "B: 1.5% of the CPU time was stolen"),
        ({"others_cores": 0.9}, "B: others used 0.90 of the host's 16 cores"),
    ],
)
def test_a_crowded_host_is_not_taken_for_a_slower_image(crowd: dict[str, float], words: str) -> None:
    slow = metric("decode_speed", noisy(50.0))
    ratio, lower = (metric("decode_ratio", noisy(value), "ratio") for value in (0.99, 0.5))
    comparison = compare(run_of(cell(DECODE, ratio)), run_of(cell(slow, lower, **crowd)))
    absolute, already_ratio = comparison.rows
    assert (absolute.finding, absolute.reason) == ("unclear", words)
    assert already_ratio.finding == "worse"


def test_what_else_differs_is_noted() -> None:
    one = run_of(cell(DECODE, engine_cpu_variant="zen4", others_cores=0.2))
    other = run_of(
        cell(DECODE, accelerator="kvm", engine_cpu_variant="haswell", seconds_measured=9.0),
        cpu="Xeon",
        sha256="cd" * 32,
    )
    assert compare(one, other).notes == (
        "the host's processor differs: AMD EPYC 9554, Xeon",
        "ci-bench: the machine differs: nspawn (native), nspawn (kvm)",
        "ci-bench: engine_cpu_variant differs: zen4, haswell",
    )


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (1.1, 1.2, "10 to 20% higher"),
        (0.8, 0.9, "10 to 20% lower"),
        (0.9, 1.1, "10% lower to 10% higher"),
        (1.0, 1.0, "no change"),
    ],
)
def test_a_change_is_told_in_words(low: float, high: float, words: str) -> None:
    assert change(Interval((low + high) / 2, low, high, 5)) == words


@settings(max_examples=15, deadline=None)
@given(
    samples=st.lists(st.floats(1, 1000), min_size=5, max_size=8),
    factor=st.floats(0.2, 5),
    threshold=st.floats(0, 0.5),
)
def test_swapping_the_two_never_makes_both_worse(
    samples: list[float], factor: float, threshold: float
) -> None:
    one, other = metric("x", samples), metric("x", [factor * value for value in reversed(samples)])
    there, back = compared(one, other, threshold), compared(other, one, threshold)
    assert {there.rows[0].finding, back.rows[0].finding} not in ({"worse"}, {"better"})


def drawn() -> Comparison:
    hostile = metric("ttft<script>alert(1)</script>", noisy(1.0), "s", "lower", {"path": "a & b"})
    huge = metric("prefill_speed", noisy(10.0))
    none = metric("added_ttft", (-1.0, 1.0, 1.0, 1.0, 1.0), "s", "lower")
    after = (metric(hostile.name, noisy(1.4), "s", "lower", hostile.labels), metric(huge.name, noisy(90.0)))
    return compare(
        run_of(cell(DECODE, hostile, huge, none)), run_of(cell(DECODE, *after, none)), names=("a<b>", "b&c")
    )


def test_the_page_is_well_formed_offline_and_has_every_metric() -> None:
    page = comparison_html(drawn())
    assert "<script" not in page
    assert not re.search(r"(src|href)=|url\(|@import", page)
    body = page[page.index("<body>") :].replace("</html>", "")
    root = ElementTree.fromstring(body)  # noqa: S314  (our own page)
    assert len(root.findall(".//circle")) == 2
    assert len(root.findall(".//line[@class='bar']")) == 3
    assert "▶" in page
    text = " ".join("".join(root.itertext()).split())
    assert "ttft<script>alert(1)</script> (path a & b)" in text
    assert "1 worse, 1 better, 1 same, 1 unclear (threshold 5%)" in text


def test_the_page_begins_with_what_got_worse_and_folds_what_can_not_be_drawn() -> None:
    page = comparison_html(drawn())
    assert re.findall(r'<span class="finding (\w+)">', page) == ["worse", "better", "same", "unclear"]
    drawn_rows, _, folded = page.partition("<details>")
    assert "1 without a ratio" in folded
    assert "added_ttft" in folded
    assert "added_ttft" not in drawn_rows


def test_the_axis_has_room_for_threshold_and_intervals() -> None:
    assert axis_for((), 0.05).reach == pytest.approx(1.05 * 1.1)
    assert axis_for((), 0.2).reach == pytest.approx(1.05 * 1.3)
    assert axis_for(drawn().rows, 0.05).reach == 1.5
    axis = Axis(4.0)
    assert [axis.place(one) for one in (0.25, 0.5, 1, 2, 4, 9, 0.01)] == [0, 25, 50, 75, 100, 100, 0]
    assert [label for _, label in axis.ticks] == ["0.25", "0.50", "1.00", "2.00", "4.00"]


def test_the_table_fits_a_terminal() -> None:
    labels = {"path": "appliance", "prompt_tokens": 8192, "state": "cold", "clients": 4, "statistic": "p50"}
    one = metric("ttft", noisy(12.345), "s", "lower", labels)
    console = Console(width=80, force_terminal=False)
    with console.capture() as capture:
        console.print(comparison_table(compared(one, one)))
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= 80
    assert any("same" in line for line in lines)


def test_the_command_tells_draws_and_exits_with_what_it_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLM_REPORTS", str(tmp_path / "reports"))
    write_results(run_of(cell(DECODE)), tmp_path / "a" / "results.json")
    write_results(run_of(cell(metric("decode_speed", noisy(90.0)))), tmp_path / "b.json")
    words = ["bench-compare", str(tmp_path / "a"), str(tmp_path / "b.json")]
    assert main(words) == 1
    out = capsys.readouterr().out
    assert "worse: ci-bench: decode_speed: " in out
    assert (tmp_path / "reports" / "bench-compare.html").is_file()
    assert main([*words, "--threshold", "20", "--plot", str(tmp_path / "plot.html")]) == 0
    assert "(threshold 20%)" in (tmp_path / "plot.html").read_text()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "no results at"),
        ("QFI\xfb", "is not JSON"),
        ('{"schema_version": 2}', "schema_version 2; this harness reads 1"),
        ('{"schema_version": 1}', "doesn't follow the results schema"),
    ],
)
def test_what_is_no_run_gets_one_clear_line(
    content: str | None, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    write_results(run_of(cell(DECODE)), good)
    if content is not None:
        bad.write_text(content)
    for words in ([str(good), str(bad)], [str(bad), str(good)]):
        assert main(["bench-compare", *words]) == 2
        error, *hint = capsys.readouterr().err.splitlines()
        assert told in error
        assert len(hint) == 1


def test_one_run_is_not_enough(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench-compare", "", ""]) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert error == "error: two runs are needed to compare, or two images"
    assert hint.startswith("hint: make bench-compare")


@pytest.mark.parametrize("percent", ["-1", "100", "five", "nan"])
def test_a_threshold_that_makes_no_sense_is_refused(percent: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["bench-compare", "a", "b", f"--threshold={percent}"])
    assert caught.value.code == 2
    assert "is not a percentage" in capsys.readouterr().err
