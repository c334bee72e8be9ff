"""The header of a GGUF file: what is in it, and one clear line for each thing that can be wrong with it."""

import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from gguf_sample import DENSE, TENSORS, gguf_bytes

from harness.bench.gguf_header import LongArray, block_type, parse_header, read_guest_header, read_header
from harness.bench.shell import run_on_host
from harness.errors import HarnessError
from harness.machine.protocol import Machine


def parsed(data: bytes) -> Any:
    return parse_header(data, len(data), "a.gguf")


def test_metadata_and_tensors_are_read(tmp_path: Path) -> None:
    file = tmp_path / "a.gguf"
    file.write_bytes(gguf_bytes())
    header = read_header(file)
    assert header.metadata["general.name"] == "Small"
    assert header.metadata["llama.block_count"] == 2
    assert [(one.name, one.shape, one.type.name) for one in header.tensors] == [
        (name, tuple(shape), kind) for name, shape, kind in TENSORS
    ]
    assert header.file_bytes == file.stat().st_size


def test_bytes_of_a_tensor_are_those_of_its_blocks() -> None:
    tensors = {one.name: one for one in parsed(gguf_bytes()).tensors}
    assert tensors["token_embd.weight"].bytes == 100 * 2 * 34
    assert tensors["blk.1.ffn_up.weight"].bytes == 256 * 2 * 18
    assert tensors["output_norm.weight"].bytes == 64 * 4


def test_a_short_array_is_kept_and_a_vocabulary_only_counted() -> None:
    words = [f"word{number}" for number in range(5000)]
    metadata = {**DENSE, "short": [3, 1, 2], "tokens": words, "types": [1] * 5000, "after": 7}
    header = parsed(gguf_bytes(metadata))
    assert header.metadata["short"] == (3, 1, 2)
    assert header.metadata["tokens"] == LongArray(5000)
    assert header.metadata["types"] == LongArray(5000)
    assert header.metadata["after"] == 7


def test_a_file_cut_short_anywhere_is_refused_in_one_line() -> None:
    whole = gguf_bytes()
    header_ends = parsed(whole).data_start
    for length in (*range(header_ends), *range(header_ends, len(whole), 997)):
        with pytest.raises(
            HarnessError, match=r"a\.gguf: (is cut short|ends in the|is not a GGUF)"
        ) as caught:
            parsed(whole[:length])
        assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "is not a GGUF file"),
        (b"<html>not found</html>", "is not a GGUF file"),
        (gguf_bytes(version=1), "has GGUF version 1; readable are 2 and 3"),
        (gguf_bytes().replace(b"\x08\x00\x00\x00\x05\x00\x00\x00", b"\x63\x00\x00\x00\x05\x00\x00\x00", 1),
         "unknown type 99"),
        (gguf_bytes(tensors=[("odd", (33, 2), "Q4_0")]), "rows of 33 values"),
        (b"GGUF\x03\0\0\0" + b"\xff" * 16, "the header is broken"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(data: bytes, complaint: str) -> None:
    with pytest.raises(HarnessError, match=complaint):
        parsed(data)


def test_a_file_that_is_not_there_or_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="cannot be read: No such file"):
        read_header(tmp_path / "none.gguf")
    (tmp_path / "empty.gguf").touch()
    with pytest.raises(HarnessError, match="is not a GGUF file"):
        read_header(tmp_path / "empty.gguf")


def test_the_header_of_a_guests_file_comes_through_the_guests_shell(tmp_path: Path) -> None:
    file = tmp_path / "a model's.gguf"
    file.write_bytes(gguf_bytes())
    guest = cast(Machine, SimpleNamespace(run=run_on_host))
    assert read_guest_header(guest, str(file)) == read_header(file)
    with pytest.raises(HarnessError, match=r"none\.gguf in the guest: cannot be read.*No such file"):
        read_guest_header(guest, f"{shlex.quote(str(tmp_path))}/none.gguf")


def test_of_a_guests_file_more_is_fetched_until_the_header_is_whole(tmp_path: Path) -> None:
    words = [f"{number:01000d}" for number in range(4500)]
    file = tmp_path / "a.gguf"
    file.write_bytes(gguf_bytes({**DENSE, "tokens": words}))
    fetched = []

    def run(command: str, **options: Any) -> Any:
        fetched.append(re.findall(r"head -c (\d+)", command)[0])
        return run_on_host(command, **options)

    guest = cast(Machine, SimpleNamespace(run=run))
    assert read_guest_header(guest, str(file)).metadata["tokens"] == LongArray(4500)
    assert fetched == ["4194304", "16777216"]


def test_a_tensor_type_is_found_by_its_name_in_any_case() -> None:
    assert block_type("q8_0").bytes == 34
    with pytest.raises(HarnessError, match="unknown tensor type 'q9'") as caught:
        block_type("q9")
    assert "Q8_0" in caught.value.hint
