"""Shapes of models (models.yaml): which tensors a model has, of which type, how large its file is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.sizing.quant_blocks import FORMATS, tensor_bytes
from harness.strict_yaml import Reader, read_yaml

MODELS_FILE = Path(__file__).with_name("models.yaml")

_NORM = "F32"


@dataclass(frozen=True)
class MoreBits:
    """Tensors that get a larger type in some layers; the fields are described in models.yaml."""

    type: str
    tensors: tuple[str, ...]
    ends: int
    every: int
    offset: int

    def in_layer(self, layer: int, layers: int) -> bool:
        """Whether layer number `layer` (from 0) of `layers` is one of them; llama.cpp: use_more_bits."""
        first = layers // self.ends
        last = (self.ends - 1) * layers // self.ends
        return layer < first or layer >= last or (layer - first) % self.every == self.offset


@dataclass(frozen=True)
class Mixture:
    """Which tensor gets which type."""

    name: str
    file_type: int
    default: str
    output: str
    more_bits: MoreBits | None


@dataclass(frozen=True)
class Tensor:
    """One tensor of a file: `dimensions` in elements, the row's length first; `kind` is a name of
    quant_blocks.FORMATS."""

    name: str
    dimensions: tuple[int, ...]
    kind: str

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        count = 1
        for length in self.dimensions:
            count *= length
        return count

    @property
    def size(self) -> int:
        """Its bytes."""
        return tensor_bytes(FORMATS[self.kind], self.elements)


@dataclass(frozen=True)
class ModelShape:
    """A model without its weights; the fields are described in models.yaml."""

    key: str
    name: str
    architecture: str
    mixture: Mixture
    layers: int
    hidden: int
    feed_forward: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    context: int
    rope_base: float
    tied_output: bool
    biases: bool
    published: int

    def tensors(self) -> tuple[Tensor, ...]:
        """Every tensor of the file, in the order in which it has them."""
        before = [self._tensor("token_embd.weight", (self.hidden, self.vocabulary), self._embedding_type())]
        after = [self._tensor("output_norm.weight", (self.hidden,), _NORM)]
        if not self.tied_output:
            after.append(self._tensor("output.weight", (self.hidden, self.vocabulary), self.mixture.output))
        layers = [tensor for layer in range(self.layers) for tensor in self._layer(layer)]
        return (*before, *layers, *after)

    @property
    def weight_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.size for tensor in self.tensors())

    @property
    def parameters(self) -> int:
        """Numbers in all tensors."""
        return sum(tensor.elements for tensor in self.tensors())

    def kv_elements(self) -> int:
        """Elements of keys and values that one token of context adds, in all layers."""
        return self.layers * self.kv_heads * self.head_size * 2

    def _embedding_type(self) -> str:
        return self.mixture.output if self.tied_output else self.mixture.default

    def _layer(self, layer: int) -> list[Tensor]:
        queries, pairs = self.heads * self.head_size, self.kv_heads * self.head_size
        matrices = {
            "attn_q": (self.hidden, queries),
            "attn_k": (self.hidden, pairs),
            "attn_v": (self.hidden, pairs),
            "attn_output": (queries, self.hidden),
            "ffn_gate": (self.hidden, self.feed_forward),
            "ffn_up": (self.hidden, self.feed_forward),
            "ffn_down": (self.feed_forward, self.hidden),
        }
        found = [
            self._tensor(f"blk.{layer}.{name}.weight", (self.hidden,), _NORM)
            for name in ("attn_norm", "ffn_norm")
        ]
        for name, dimensions in matrices.items():
            found.append(
                self._tensor(f"blk.{layer}.{name}.weight", dimensions, self._matrix_type(name, layer))
            )
        if self.biases:
            for name in ("attn_q", "attn_k", "attn_v"):
                found.append(self._tensor(f"blk.{layer}.{name}.bias", matrices[name][1:], _NORM))
        return found

    def _matrix_type(self, name: str, layer: int) -> str:
        more = self.mixture.more_bits
        if more is not None and name in more.tensors and more.in_layer(layer, self.layers):
            return more.type
        return self.mixture.default

    def _tensor(self, name: str, dimensions: tuple[int, ...], kind: str) -> Tensor:
        return Tensor(name, dimensions, kind)


def load_models(path: Path = MODELS_FILE) -> dict[str, ModelShape]:
    """Read and check the shapes, in the order of the file.

    Raises HarnessError naming the file, the model, the key, its problem and what is accepted.
    """
    reader = Reader(path)
    top = reader.mapping(read_yaml(path), "the file", required={"mixtures", "models"})
    mixtures = {
        name: _mixture(reader, name, entry)
        for name, entry in _entries(reader, top["mixtures"], "mixtures").items()
    }
    return {
        name: _model(reader, name, entry, mixtures)
        for name, entry in _entries(reader, top["models"], "models").items()
    }


def find_model(key: str, path: Path = MODELS_FILE) -> ModelShape:
    """The shape called `key`; raises HarnessError listing the known ones."""
    models = load_models(path)
    if key not in models:
        raise HarnessError(
            f"unknown model {key!r}",
            hint=f"known are: {', '.join(models)} (shapes are data: add yours to {path.name})",
        )
    return models[key]


def _entries(reader: Reader, value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict) or not value:
        reader.fail(where, "must be a mapping with at least one entry")
    for name in value:
        if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", name):
            reader.fail(
                f"{where}, {name!r}", "the name must be lower-case letters, digits, '.', '_', '-', up to 64"
            )
    return value


def _mixture(reader: Reader, name: str, entry: object) -> Mixture:
    where = f"mixture {name}"
    fields = reader.mapping(entry, where, required={"file_type", "default", "output"}, optional={"more_bits"})
    return Mixture(
        name=name,
        file_type=reader.integer(fields, "file_type", where, low=0, high=1024),
        default=_kind(reader, fields, "default", where),
        output=_kind(reader, fields, "output", where),
        more_bits=_more_bits(reader, fields["more_bits"], f"{where}, more_bits")
        if "more_bits" in fields
        else None,
    )


def _more_bits(reader: Reader, entry: object, where: str) -> MoreBits:
    fields = reader.mapping(entry, where, required={"type", "tensors", "ends", "every", "offset"})
    tensors = fields["tensors"]
    if not isinstance(tensors, list) or not tensors or not all(isinstance(one, str) for one in tensors):
        reader.fail(f"{where}, tensors", "must be a list of names of a layer's tensors")
    every = reader.integer(fields, "every", where, low=1, high=64)
    return MoreBits(
        type=_kind(reader, fields, "type", where),
        tensors=tuple(tensors),
        ends=reader.integer(fields, "ends", where, low=2, high=64),
        every=every,
        offset=reader.integer(fields, "offset", where, low=0, high=every - 1),
    )


def _kind(reader: Reader, fields: Mapping[str, Any], key: str, where: str) -> str:
    packed = [name for name, form in FORMATS.items() if form.scales]
    if fields[key] not in packed:
        reader.fail(f"{where}, {key}", f"must be one of {', '.join(packed)}, not {fields[key]!r}")
    return str(fields[key])


_SIZES = {
    "layers": 1024,
    "hidden": 65536,
    "feed_forward": 1048576,
    "heads": 1024,
    "kv_heads": 1024,
    "head_size": 1024,
    "vocabulary": 1048576,
    "context": 16777216,
}
"""What is counted, with the largest number that is believed."""

_MOST_BYTES_A_WORD = 100
"""What a published file may have beside its tensors; the models listed have 36 to 65 bytes for each word of
their vocabulary (the word, its type, the merges)."""


def _model(reader: Reader, key: str, entry: object, mixtures: Mapping[str, Mixture]) -> ModelShape:
    where = f"model {key}"
    others = {"name", "architecture", "mixture", "rope_base", "tied_output", "biases", "published"}
    fields = reader.mapping(entry, where, required=set(_SIZES) | others)
    for text in ("name", "architecture"):
        if not isinstance(fields[text], str) or not fields[text].strip():
            reader.fail(f"{where}, {text}", "must be a text")
    for flag in ("tied_output", "biases"):
        if not isinstance(fields[flag], bool):
            reader.fail(f"{where}, {flag}", f"must be true or false, not {fields[flag]!r}")
    if fields["mixture"] not in mixtures:
        reader.fail(f"{where}, mixture", f"must be one of {', '.join(mixtures)}, not {fields['mixture']!r}")
    shape = ModelShape(
        key=key,
        name=fields["name"],
        architecture=fields["architecture"],
        mixture=mixtures[fields["mixture"]],
        rope_base=reader.number(fields, "rope_base", where, low=1.0, high=1e12),
        tied_output=fields["tied_output"],
        biases=fields["biases"],
        published=reader.integer(fields, "published", where, low=1, high=10**13),
        **{name: reader.integer(fields, name, where, low=1, high=high) for name, high in _SIZES.items()},
    )
    _check(reader, shape, where)
    return shape


def _check(reader: Reader, shape: ModelShape, where: str) -> None:
    if shape.heads % shape.kv_heads:
        reader.fail(where, f"heads ({shape.heads}) must be a multiple of kv_heads ({shape.kv_heads})")
    for tensor in shape.tensors():
        form = FORMATS[tensor.kind]
        if tensor.dimensions[0] % form.elements:
            reader.fail(
                where,
                f"{tensor.name} has rows of {tensor.dimensions[0]} elements, "
                f"which {tensor.kind} with its blocks of {form.elements} can't hold",
            )
    words = shape.published - shape.weight_bytes
    if not 0 <= words <= _MOST_BYTES_A_WORD * shape.vocabulary:
        reader.fail(
            f"{where}, published",
            f"{shape.published} bytes, but tensors of this shape take {shape.weight_bytes} and "
            f"{shape.vocabulary} words of vocabulary at most {_MOST_BYTES_A_WORD} bytes each: "
            "shape or mixture can't be right",
        )
