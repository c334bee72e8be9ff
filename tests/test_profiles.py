"""profiles.yaml says what the product's sizing table says, and a slip in it is told in one clear line."""

from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.profiles import Profile, Targets, find_profile, load_profiles

GOOD = "profiles:\n  tiny: {vcpus: 1, ram_gib: 0.5, disk_gib: 4}\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "profiles.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("name", "vcpus", "ram_gib", "disk_gib", "decode"),
    [
        ("minimum", 8, 24, 40, (1, 2)),
        ("recommended", 16, 32, 50, (3, 5)),
        ("optimal", 32, 64, 50, (5, 10)),
        ("ci", 2, 2, 8, None),
    ],
)
def test_the_sizing_table(
    name: str, vcpus: int, ram_gib: int, disk_gib: int, decode: tuple[float, float] | None
) -> None:
    targets = Targets("Devstral Small 2 24B Q4_K_M", *decode) if decode else None
    assert load_profiles()[name] == Profile(name, vcpus, ram_gib * 1024, disk_gib, targets)


def test_fractions_of_a_gib_are_fine(tmp_path: Path) -> None:
    assert load_profiles(written(tmp_path, GOOD))["tiny"].ram_mib == 512


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "the file: must be a mapping with profiles"),
        ("profiles: {}", "profiles: must be a mapping from a name to its hardware"),
        ("profiles: [", "is not valid YAML"),
        ("profiles:\n  CI!: {}", "profile 'CI!': the name must be lower-case"),
        (GOOD.replace("vcpus: 1, ", ""), "profile tiny: lacks vcpus"),
        (
            GOOD.replace("vcpus: 1", "vcpus: 1, cpus: 2"),
            "profile tiny: has unknown cpus; known are disk_gib,",
        ),
        (
            GOOD.replace("vcpus: 1", "vcpus: yes"),
            "tiny, vcpus: must be a whole number from 1 to 512, not True",
        ),
        (GOOD.replace("vcpus: 1", "vcpus: 0"), "tiny, vcpus: must be a whole number from 1 to 512, not 0"),
        (GOOD.replace("0.5", "half"), "tiny, ram_gib: must be a number from 0.25 to 4096, not 'half'"),
        (GOOD.replace("0.5", ".nan"), "tiny, ram_gib: must be a number"),
        (GOOD + "  tiny: {vcpus: 2, ram_gib: 1, disk_gib: 4}\n", "'tiny' is given twice"),
        (
            GOOD.replace("4}", "4, targets: {model: m, decode_tokens_per_s: {min: 3, max: 2}}}"),
            r"tiny, targets: min \(3\) must not be above max \(2\)",
        ),
        (
            GOOD.replace("4}", "4, targets: {model: '', decode_tokens_per_s: {min: 3, max: 4}}}"),
            "model: must name",
        ),
    ],
)
def test_slips_are_named(tmp_path: Path, text: str, complaint: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(HarnessError, match=complaint) as caught:
        load_profiles(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_missing_or_binary_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="cannot be read: No such file"):
        load_profiles(tmp_path / "absent.yaml")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(HarnessError, match="is not UTF-8 text"):
        load_profiles(tmp_path / "binary")


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="unknown profile 'huge'") as caught:
        find_profile("huge", written(tmp_path, GOOD))
    assert "tiny" in caught.value.hint
