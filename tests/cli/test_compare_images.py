"""What comes after two images were measured in turns: results of both sides that can be compared again."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.bench import compare
from harness.bench.conditions import measured_window
from harness.bench.in_turns import Pairs
from harness.cli import compare_images
from harness.cli.main import main
from harness.cli.test_image import ChosenAccelerator, TestImageRequest
from harness.errors import HarnessError
from harness.image.build import Image
from harness.matrix.quick_machine import QuickMachine
from harness.results.model import read_results


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two images that nobody boots: B answers twice as late, and one of its requests failed."""

    def measured(*_: object) -> compare_images._Run:
        with measured_window() as window:
            pairs = Pairs(failures=["B: a warm prompt of 128 tokens: timeout: 300 s were not enough"])
            pairs.stopped = "6 of 8 rounds were measured: 300 s were over"
        pairs.samples["ttft", 128, "cold"] = [(one, 2 * one) for one in (0.2, 0.21, 0.5, 0.2, 0.19, 0.2)]
        return compare_images._Run(pairs, window.conditions, datetime(2026, 1, 31, tzinfo=UTC), 5.0)

    def get_image(request: TestImageRequest) -> Image:
        assert request.image is not None
        return Image(path=request.image, sha256=f"{request.image.stat().st_size:064x}")

    # However busy the host of the tests is.
    monkeypatch.setattr(compare, "CROWDED_FOR_PAIRS", 9)
    monkeypatch.setenv("SLM_REPORTS", str(tmp_path / "reports"))
    monkeypatch.setattr(compare_images, "_measure", measured)
    monkeypatch.setattr(compare_images, "get_image", get_image)
    for name, size in (("a", 1000), ("b", 1010)):
        (tmp_path / f"{name}.qcow2").write_bytes(b"QFI\xfb" + bytes(1024 * size))
    return [str(tmp_path / f"{name}.qcow2") for name in "ab"]


def test_the_slower_image_is_told_and_both_results_are_kept(
    images: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench-compare", *images, "--machine", "nspawn"]) == 1
    out = capsys.readouterr().out
    assert "failed: B: a warm prompt of 128 tokens: timeout" in out
    assert "note: 1 request failed; its pair is left out" in out
    assert "note: 6 of 8 rounds were measured: 300 s were over" in out
    assert "1 worse, 0 better, 1 same, 0 unclear (threshold 5%)" in out
    sides = sorted((tmp_path / "reports").glob("*/[AB]/results.json"))
    cells = [read_results(side).cells[0] for side in sides]
    assert len({cell.conditions["interleaved"] for cell in cells}) == 1
    assert main(["bench-compare", *(str(side) for side in sides)]) == 1
    assert "worse: ci-selfsigned: ttft" in capsys.readouterr().out


def test_an_interrupted_comparison_leaves_nothing(
    images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(setting: compare_images._Setting, _: object) -> None:
        (setting.folder / "A").mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(compare_images, "_measure", interrupted)
    request = compare_images.ImagesRequest(Path(images[0]), Path(images[1]), machine="nspawn")
    with pytest.raises(KeyboardInterrupt):
        compare_images.compare_images(request)
    assert list((tmp_path / "reports").iterdir()) == []


def test_emulation_is_refused_before_anything_is_booted(
    images: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compare_images, "choose", lambda _: ChosenAccelerator("tcg", "no KVM here"))
    monkeypatch.setattr(compare_images, "choose_quick", lambda asked, _: QuickMachine(asked, "no containers"))
    assert main(["bench-compare", *images]) == 3
    error, hint = capsys.readouterr().err.splitlines()
    assert error == "error: here QEMU only emulates (TCG), where no speed means anything"
    assert "KVM" in hint


def test_an_unknown_profile_is_refused(images: list[str]) -> None:
    request = compare_images.ImagesRequest(Path(images[0]), Path(images[1]), profile="huge")
    with pytest.raises(HarnessError, match="unknown profile 'huge'"):
        compare_images.compare_images(request)
