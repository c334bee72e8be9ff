"""What a decode reads for each token, from models whose sizes are known."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from gguf_sample import DENSE, TENSORS, gguf_bytes

from harness.bench.gguf_facts import ModelFacts, model_facts
from harness.bench.gguf_header import parse_header
from harness.errors import HarnessError

EMBEDDING_BYTES = 100 * 2 * 34
LAYER_BYTES = 64 * 4 + 256 * 2 * 18


def facts(metadata: Mapping[str, Any] = DENSE, tensors: Any = TENSORS) -> ModelFacts:
    data = gguf_bytes(metadata, tensors)
    return model_facts(parse_header(data, len(data), "a.gguf"), "a.gguf")


def test_an_embedding_table_that_is_the_output_too_is_read_whole() -> None:
    known = facts()
    assert known.tied_output
    assert known.decode_bytes == known.weights_bytes == EMBEDDING_BYTES + 2 * LAYER_BYTES + 64 * 4
    assert known.output_parameters == 6400


def test_of_an_embedding_table_beside_an_output_matrix_one_row_is_read() -> None:
    known = facts(tensors=[*TENSORS, ("output.weight", (64, 100), "F16")])
    assert not known.tied_output
    assert known.weights_bytes - known.decode_bytes == EMBEDDING_BYTES - 2 * 34


def test_of_experts_only_those_in_use_are_read_and_computed() -> None:
    moe = {**DENSE, "llama.expert_count": 8, "llama.expert_used_count": 2}
    experts = [*TENSORS, ("blk.0.ffn_up_exps.weight", (64, 32, 8), "F16")]
    known = facts(moe, experts)
    assert known.weights_bytes - known.decode_bytes == 64 * 32 * 8 * 2 * 6 // 8
    assert known.layer_parameters == 2 * 64 * 256 + 64 * 32 * 2


def test_a_token_of_context_takes_what_layers_heads_and_types_say() -> None:
    known = facts()
    assert known.kv_heads == (2, 2)
    assert known.kv_bytes_per_token() == 2 * 2 * (16 + 16) * 2
    assert known.kv_bytes_per_token("q8_0", "q8_0") == 2 * 2 * 32 * 34 / 32
    assert known.decode_bytes_at(100, "f16", "q8_0") == known.decode_bytes + 100 * 4 * (16 * 2 + 16 * 34 / 32)


def test_the_24b_model_takes_160_kib_of_context_a_token() -> None:
    # 40 layers, 8 KV heads of 128 values: 2.5 GiB at 16k, as published for Mistral Small 3.
    known = replace(facts(), kv_heads=(8,) * 40, key_length=128, value_length=128)
    assert known.kv_bytes_per_token() == 160 * 1024
    assert known.kv_bytes_per_token() * 16384 == 2.5 * 1024**3


def test_heads_may_differ_by_layer_and_lengths_be_given() -> None:
    other = {
        **DENSE,
        "llama.attention.head_count_kv": [0, 1],
        "llama.attention.key_length": 32,
        "llama.attention.value_length": 8,
    }
    assert facts(other).kv_bytes_per_token() == (32 + 8) * 2


def test_prefill_takes_two_operations_a_parameter_and_attention() -> None:
    known = facts()
    matrices = 2 * 64 * 256
    attention = 2 * 2 * 4 * (16 + 16) * 10 / 2
    assert known.prefill_flops(10) == 10 * (2 * matrices + attention) + 2 * 6400


@pytest.mark.parametrize(
    ("key", "what"),
    [
        ("attention.sliding_window", "sliding"),
        ("attention.kv_lora_rank", "compressed"),
        ("ssm.state_size", "recurr"),
    ],
)
def test_another_way_to_keep_context_is_refused(key: str, what: str) -> None:
    with pytest.raises(HarnessError, match=rf"a\.gguf: has a {what}"):
        facts({**DENSE, f"llama.{key}": 512})


def test_a_window_of_no_tokens_is_none() -> None:
    assert facts({**DENSE, "llama.attention.sliding_window": 0}).layers == 2


@pytest.mark.parametrize("missing", ["general.architecture", "llama.block_count", "llama.context_length"])
def test_a_missing_key_is_named(missing: str) -> None:
    with pytest.raises(HarnessError, match=f"lacks the .* {missing}"):
        facts({key: value for key, value in DENSE.items() if key != missing})


def test_a_file_without_an_output_matrix_is_no_language_model() -> None:
    with pytest.raises(HarnessError, match="no language model"):
        facts(tensors=TENSORS[1:])
