"""Questions about a model: its kind, its parts, and what its embeddings depend on."""

from __future__ import annotations

import hashlib
import json
from itertools import islice
from typing import Any

import torch
from sentence_transformers import CrossEncoder, MultiVectorEncoder, SentenceTransformer, SparseEncoder
from sentence_transformers.base.model import BaseModel
from torch import nn
from transformers import PreTrainedModel

__all__ = [
    "CrossEncoder",
    "EMBEDDERS",
    "SentenceTransformer",
    "check_encoder",
    "check_one_output",
    "device_of",
    "embeds_tokens",
    "kind_of",
    "model_fingerprint",
    "scores_pairs",
    "trained_dimension",
    "trains_a_transformer",
    "transformers_in",
    "unwrapped",
]

EMBEDDERS = (SentenceTransformer, SparseEncoder, MultiVectorEncoder)
"""The kinds of models that embed inputs one by one: as one vector, or as one per token."""


def unwrapped(model: Any) -> Any:
    """Return a model without the wrappers of compilation and distributed training."""
    for wrapper in ("module", "_orig_mod"):
        if not isinstance(model, BaseModel):
            model = getattr(model, wrapper, model)
    return model


def check_encoder(model: Any, kinds: tuple[type, ...], purpose: str, remedy: str = "") -> None:
    """Raise TypeError for a model of an unsupported kind, before it fails with an obscure error.

    Other objects that have the methods of a model pass, such as a stand-in with ``preprocess``; not any other module.

    Args:
        model: The user's model; wrappers of compiled or distributed models are removed.
        kinds: The supported kinds, such as `EMBEDDERS`.
        purpose: The start of the message, such as "RankingLoss".
        remedy: The end of the message, with an alternative.
    """
    model = unwrapped(model)
    stands_in = hasattr(model, "preprocess") and not isinstance(model, BaseModel)
    unsupported = isinstance(model, nn.Module) and not isinstance(model, kinds) and not stands_in
    if isinstance(model, str | type) or unsupported:
        got = repr(model) if isinstance(model, str | type) else f"a {type(model).__name__}"
        *others, last = (f"a {kind.__name__}" for kind in kinds)
        names = f"{', '.join(others)} or {last}" if others else last
        remedy = f"; {remedy}" if remedy else ""
        raise TypeError(f"{purpose} needs {names}, got {got}{remedy}.")


def kind_of(model: Any) -> type:
    """Return the kind of a model, one of `EMBEDDERS`; a stand-in from elsewhere counts as a SentenceTransformer."""
    kinds: list[type] = [kind for kind in EMBEDDERS if isinstance(unwrapped(model), kind)]
    return kinds[0] if kinds else SentenceTransformer


def scores_pairs(model: Any) -> bool:
    """Return whether a model scores pairs of inputs."""
    return isinstance(unwrapped(model), CrossEncoder)


def embeds_tokens(model: Any) -> bool:
    """Return whether a model embeds each token of an input, rather than the input as a whole."""
    return kind_of(model) is MultiVectorEncoder


def check_one_output(model: Any, purpose: str) -> None:
    """Raise ValueError for a cross-encoder that gives a pair several scores, such as one of classes."""
    count = getattr(unwrapped(model), "num_labels", 1)
    if count != 1:
        raise ValueError(
            f"{purpose} needs a CrossEncoder with one output, got num_labels={count}: load it with "
            "CrossEncoder(..., num_labels=1)."
        )


def transformers_in(model: Any) -> list[PreTrainedModel]:
    """Return the transformers in a model; an empty list for anything but a module."""
    modules = model.modules() if isinstance(model, nn.Module) else ()
    return [module for module in modules if isinstance(module, PreTrainedModel)]


def trains_a_transformer(model: Any) -> bool:
    """Return whether any trainable parameters of a model belong to a transformer."""
    return any(parameter.requires_grad for module in transformers_in(model) for parameter in module.parameters())


def trained_dimension(model: Any) -> int | None:
    """Return the size of a model's embeddings in training, which ``truncate_dim`` does not cut; None if unknown."""
    declared = getattr(model, "get_embedding_dimension", lambda: None)
    given = getattr(model, "truncate_dim", None)
    if given is not None:
        model.truncate_dim = None
    dimension: int | None = declared()
    if given is not None:
        model.truncate_dim = given
    return dimension


def device_of(model: Any) -> torch.device:
    """Return the device of a model, even behind the wrapper of a distributed engine."""
    parameter = next(model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def model_fingerprint(model: Any) -> str:
    """Return a digest of what the embeddings of a model depend on.

    These are its weights, modules, their configurations, limits and tokenizers, also those of routes, its prompts, and
    the adapters that are in use.

    Args:
        model: A model of sentence-transformers.

    Returns:
        A hexadecimal number, the same for a copy of the model, on any device.
    """
    model = unwrapped(model)
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr((model, model.prompts, model.default_prompt_name, model.truncate_dim)).encode())
    for module in islice(model.modules(), 1, None):  # the model itself passes on the tokenizer of its first module
        digest.update(json.dumps(_settings(module), default=str).encode())
    for name, value in model.state_dict().items():
        if isinstance(value, torch.Tensor):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _settings(module: nn.Module) -> dict[str, Any]:
    """Return what neither the weights nor the name of a module say about its output."""
    names = ("max_seq_length", "active_adapters", "disable_adapters", "merged_adapters", "scaling")
    found = {name: getattr(module, name, None) for name in names}
    found = {name: value for name, value in found.items() if value is not None and not callable(value)}
    tokenizer = getattr(module, "tokenizer", None)
    side = getattr(tokenizer, "truncation_side", None)
    tokenizer = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if tokenizer is not None and hasattr(tokenizer, "to_str"):
        # Encoding sets truncation and padding, according to the batch.
        found["tokenizer"] = {**json.loads(tokenizer.to_str()), "truncation": side, "padding": None}
    if isinstance(module, PreTrainedModel):
        found["config"] = _without_origin(module.config.to_dict())
    return found


def _without_origin(config: Any) -> Any:
    """Return a configuration without what differs between copies of a model: its origin, dtype and attention kernel."""
    if not isinstance(config, dict):
        return config
    origin = ("architectures", "dtype", "torch_dtype", "transformers_version")
    return {
        name: _without_origin(value)
        for name, value in config.items()
        if name not in origin and not str(name).startswith("_")
    }
