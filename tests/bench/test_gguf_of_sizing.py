"""The synthetic models that `make size-host` writes are read back as what they were meant to be."""

import pytest

from harness.bench.gguf_facts import model_facts
from harness.bench.gguf_header import block_types, parse_header
from harness.sizing.gguf_header import file_bytes, header_of
from harness.sizing.memory import token_bytes
from harness.sizing.quant_blocks import FORMATS
from harness.sizing.shapes import find_model, load_models


@pytest.mark.parametrize("name", sorted(load_models()))
def test_the_header_of_a_synthetic_model_reads_back(name: str) -> None:
    shape = find_model(name)
    header = header_of(shape, shape.tensors())
    facts = model_facts(parse_header(header, file_bytes(shape), name), name)
    assert facts.weights_bytes == sum(tensor.size for tensor in shape.tensors())
    assert facts.kv_bytes_per_token() == token_bytes(shape, "f16")
    assert facts.kv_bytes_per_token("q8_0", "q8_0") == token_bytes(shape, "q8_0")


def test_both_know_the_same_block_formats() -> None:
    known = {kind.name: (number, kind.values, kind.bytes) for number, kind in block_types().items()}
    for name, form in FORMATS.items():
        assert known[name] == (form.number, form.elements, form.size)
