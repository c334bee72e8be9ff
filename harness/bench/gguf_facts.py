"""What a model costs: bytes of weights and KV cache that a decode reads for each token, and arithmetic.

Known for dense and mixture-of-experts transformers with full attention. Where a model keeps its context in
another way (a sliding window, a compressed or recurrent state) this refuses to guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.bench.gguf_header import GgufHeader, Tensor, Value, block_type
from harness.errors import HarnessError

_EMBEDDING, _OUTPUT = "token_embd.weight", "output.weight"
_EXPERTS = "_exps."
"""In the name of a tensor that holds all experts of a layer."""

_OTHER_CONTEXT = {
    "attention.sliding_window": "a sliding attention window",
    "attention.kv_lora_rank": "a compressed KV cache",
    "ssm.state_size": "a recurrent state",
    "wkv.head_size": "a recurrent state",
}


@dataclass(frozen=True)
class ModelFacts:
    """Sizes of a model; bytes, and numbers of parameters.

    `weights_bytes`: all tensors. `decode_bytes`: of these what a decode reads for one token: everything, but
    of experts only those in use, and of the embedding table one row, unless the table is the output matrix
    too. `layer_parameters` and `output_parameters` are those in use of the layers' matrices and of the
    output matrix. `kv_heads` has an entry for each layer; `key_length`, `value_length` are values a head.
    """

    name: str
    architecture: str
    weights_bytes: int
    decode_bytes: int
    parameters: int
    layer_parameters: int
    output_parameters: int
    tied_output: bool
    layers: int
    heads: int
    kv_heads: tuple[int, ...]
    key_length: int
    value_length: int
    context_length: int

    def kv_bytes_per_token(self, key_type: str = "f16", value_type: str = "f16") -> float:
        """Bytes one token of context takes in the KV cache, all of which each later token reads.

        Sum over layers of KV heads x (key length x bytes of a key value + the same for values). A type's
        bytes are those of its blocks: f16 2, q8_0 34/32.
        """
        keys, values = block_type(key_type), block_type(value_type)
        per_head = (
            self.key_length * keys.bytes / keys.values + self.value_length * values.bytes / values.values
        )
        return sum(self.kv_heads) * per_head

    def decode_bytes_at(self, depth: float, key_type: str = "f16", value_type: str = "f16") -> float:
        """Bytes a token reads that is decoded with `depth` tokens of context before it."""
        return self.decode_bytes + depth * self.kv_bytes_per_token(key_type, value_type)

    def prefill_flops(self, tokens: int, depth: int = 0) -> float:
        """Floating point operations to read `tokens` prompt tokens that follow `depth` others.

        2 for each parameter in use and token (multiply, add); the output matrix is needed for the last token
        only. Attention multiplies keys with the query and values with the result, for half of the prompt on
        average: 2 x heads x (key length + value length) a layer, token and token before it.
        """
        attended = depth + tokens / 2
        attention = 2 * self.layers * self.heads * (self.key_length + self.value_length) * attended
        return tokens * (2 * self.layer_parameters + attention) + 2 * self.output_parameters


def model_facts(header: GgufHeader, name: str) -> ModelFacts:
    """The facts of a model from its file's header; `name` is used in complaints and where it has none.

    Raises HarnessError naming the missing or impossible key, or the way of keeping context that isn't known.
    """
    metadata = _Metadata(header.metadata, name)
    architecture = metadata.text("general.architecture")
    for key, what in _OTHER_CONTEXT.items():
        if metadata.has(f"{architecture}.{key}"):
            raise HarnessError(f"{name}: has {what}; how much context it reads for a token is not known here")
    layers = metadata.integer(f"{architecture}.block_count")
    heads = max(metadata.integers(f"{architecture}.attention.head_count", layers))
    kv_key = f"{architecture}.attention.head_count_kv"
    kv_heads = metadata.integers(kv_key, layers) if metadata.has(kv_key) else (heads,) * layers
    key_length = metadata.integer(
        f"{architecture}.attention.key_length",
        default=metadata.integer(f"{architecture}.embedding_length") // heads,
    )
    tied = not any(tensor.name == _OUTPUT for tensor in header.tensors)
    share = _expert_share(metadata, architecture)
    layer_matrices = [tensor for tensor in header.tensors if _in_layers(tensor)]
    output = _output_matrix(header.tensors, tied, name)
    return ModelFacts(
        name=metadata.text("general.name", default=name),
        architecture=architecture,
        weights_bytes=sum(tensor.bytes for tensor in header.tensors),
        decode_bytes=round(sum(_read_bytes(tensor, tied, share) for tensor in header.tensors)),
        parameters=sum(tensor.values for tensor in header.tensors),
        layer_parameters=round(sum(tensor.values * _used(tensor, share) for tensor in layer_matrices)),
        output_parameters=output.values,
        tied_output=tied,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        key_length=key_length,
        value_length=metadata.integer(f"{architecture}.attention.value_length", default=key_length),
        context_length=metadata.integer(f"{architecture}.context_length"),
    )


def _output_matrix(tensors: tuple[Tensor, ...], tied: bool, name: str) -> Tensor:
    wanted = _EMBEDDING if tied else _OUTPUT
    for tensor in tensors:
        if tensor.name == wanted:
            return tensor
    raise HarnessError(f"{name}: has neither {_OUTPUT} nor {_EMBEDDING}; it is no language model")


def _in_layers(tensor: Tensor) -> bool:
    return tensor.name.startswith("blk.") and len(tensor.shape) > 1


def _expert_share(metadata: _Metadata, architecture: str) -> float:
    count = metadata.integer(f"{architecture}.expert_count", default=0)
    return metadata.integer(f"{architecture}.expert_used_count") / count if count else 1.0


def _used(tensor: Tensor, expert_share: float) -> float:
    return expert_share if _EXPERTS in tensor.name else 1.0


def _read_bytes(tensor: Tensor, tied: bool, expert_share: float) -> float:
    if tensor.name == _EMBEDDING and not tied:
        rows = tensor.values // tensor.shape[0]
        return tensor.bytes / rows
    return tensor.bytes * _used(tensor, expert_share)


class _Metadata:
    """Typed access to a header's metadata; every complaint names file and key."""

    def __init__(self, values: Mapping[str, Value], name: str) -> None:
        self._values = values
        self._name = name

    def has(self, key: str) -> bool:
        value = self._values.get(key)
        # A window or rank of 0 is how a file says that it has none.
        return key in self._values and value != 0

    def text(self, key: str, default: str | None = None) -> str:
        value = self._values.get(key, default)
        if not isinstance(value, str):
            raise HarnessError(f"{self._name}: lacks the text {key}")
        return value

    def integer(self, key: str, default: int | None = None) -> int:
        value = self._values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise HarnessError(f"{self._name}: lacks the whole number {key}")
        return value

    def integers(self, key: str, count: int) -> tuple[int, ...]:
        """One number for each of `count` layers, or one for all of them."""
        value = self._values.get(key)
        if not isinstance(value, tuple):
            return (self.integer(key),) * count
        if len(value) != count or not all(isinstance(entry, int) and entry >= 0 for entry in value):
            raise HarnessError(f"{self._name}: {key} must have a whole number for each of {count} layers")
        return tuple(int(entry) for entry in value)
