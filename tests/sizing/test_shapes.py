"""Shapes as data: the tensors that follow from them are the published files' ones."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import yaml

from harness.errors import HarnessError
from harness.sizing.gguf_header import file_bytes
from harness.sizing.shapes import MODELS_FILE, Tensor, find_model, load_models

MODELS = load_models()

# What the published files' own metadata say.
PARAMETERS = {"qwen2.5-coder-7b-q4km": 7_615_616_512, "smollm2-135m-q4_1": 134_515_008}

# Tensors of SmolLM2-135M-Instruct.Q4_1.gguf, as its header lists them.
SMOLLM2 = {
    ("token_embd.weight", (576, 49152), "Q8_0"): 1,
    ("output_norm.weight", (576,), "F32"): 1,
    ("attn_norm.weight", (576,), "F32"): 30,
    ("ffn_norm.weight", (576,), "F32"): 30,
    ("attn_q.weight", (576, 576), "Q4_1"): 30,
    ("attn_k.weight", (576, 192), "Q4_1"): 30,
    ("attn_v.weight", (576, 192), "Q4_1"): 30,
    ("attn_output.weight", (576, 576), "Q4_1"): 30,
    ("ffn_gate.weight", (576, 1536), "Q4_1"): 30,
    ("ffn_up.weight", (576, 1536), "Q4_1"): 30,
    ("ffn_down.weight", (1536, 576), "Q4_1"): 30,
}


def test_the_tensors_of_devstral_are_within_a_thousandth_of_its_published_size() -> None:
    shape = find_model("devstral-24b-q4km")
    assert shape.published == 14_334_446_752
    assert abs(shape.weight_bytes - shape.published) < 0.001 * shape.published
    assert round(shape.parameters / 1e9, 2) == 23.57


@pytest.mark.parametrize("key", MODELS)
def test_the_file_is_as_large_as_the_published_one(key: str) -> None:
    assert file_bytes(MODELS[key]) == MODELS[key].published


@pytest.mark.parametrize("key", PARAMETERS)
def test_the_parameters_are_the_published_ones(key: str) -> None:
    assert MODELS[key].parameters == PARAMETERS[key]


def without_layer(tensor: Tensor) -> str:
    return tensor.name.split(".", 2)[-1] if tensor.name.startswith("blk.") else tensor.name


def test_smollm2_has_the_tensors_of_the_file_in_the_image() -> None:
    shape = find_model("smollm2-135m-q4_1")
    found = Counter((without_layer(one), one.dimensions, one.kind) for one in shape.tensors())
    assert found == SMOLLM2
    assert shape.weight_bytes == 96_576_768


def test_half_of_the_layers_get_more_bits_those_that_the_quantizer_gives_them() -> None:
    kinds = {tensor.name: tensor.kind for tensor in find_model("devstral-24b-q4km").tensors()}
    more = [layer for layer in range(40) if kinds[f"blk.{layer}.ffn_down.weight"] == "Q6_K"]
    assert more == [0, 1, 2, 3, 4, 7, 10, 13, 16, 19, 22, 25, 28, 31, 34, 35, 36, 37, 38, 39]
    assert more == [layer for layer in range(40) if kinds[f"blk.{layer}.attn_v.weight"] == "Q6_K"]
    assert {kinds[f"blk.{layer}.attn_k.weight"] for layer in range(40)} == {"Q4_K"}
    assert (kinds["token_embd.weight"], kinds["output.weight"]) == ("Q4_K", "Q6_K")


def test_an_unknown_model_lists_the_known_ones() -> None:
    with pytest.raises(HarnessError, match="unknown model 'gpt-5'") as refused:
        find_model("gpt-5")
    assert all(key in refused.value.hint for key in MODELS)


@pytest.mark.parametrize(
    ("place", "value", "problem"),
    [
        (("models", "smollm2-135m-q4_1", "layers"), 0, "layers: must be a whole number from 1 to 1024"),
        (("models", "smollm2-135m-q4_1", "layers"), True, "layers: must be a whole number"),
        (("models", "smollm2-135m-q4_1", "size"), 3, "has unknown size"),
        (("models", "smollm2-135m-q4_1", "mixture"), "q2", "must be one of q4_k_m, q4_1, not 'q2'"),
        (("models", "smollm2-135m-q4_1", "mixture"), "q4_k_m", "has rows of 576 elements, which Q6_K"),
        (("models", "smollm2-135m-q4_1", "kv_heads"), 2, r"heads \(9\) must be a multiple of kv_heads \(2\)"),
        (("models", "smollm2-135m-q4_1", "biases"), "no", "must be true or false, not 'no'"),
        (("models", "smollm2-135m-q4_1", "name"), " ", "name: must be a text"),
        (("models", "devstral-24b-q4km", "tied_output"), True, "shape or mixture can't be right"),
        (("models", "devstral-24b-q4km", "layers"), 41, "shape or mixture can't be right"),
        (("mixtures", "q4_k_m", "default"), "Q9", "default: must be one of Q4_1, Q8_0, Q4_K, Q6_K, not 'Q9'"),
        (("mixtures", "q4_k_m", "default"), "F32", "default: must be one of Q4_1"),
        (("mixtures", "q4_k_m", "more_bits"), {"type": "Q6_K"}, "lacks ends, every, offset, tensors"),
        (("mixtures", "Q4"), {}, "the name must be lower-case"),
        (("models",), {}, "must be a mapping with at least one entry"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_place(
    tmp_path: Path, place: tuple[str, ...], value: object, problem: str
) -> None:
    document = yaml.safe_load(MODELS_FILE.read_text())
    inner = document
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    path = tmp_path / "models.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    with pytest.raises(HarnessError, match=problem) as refused:
        load_models(path)
    assert str(path) in refused.value.message
