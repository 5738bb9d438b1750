"""The only file that touches the internals of sentence-transformers."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from sentence_transformers.base.losses import CachedLossMixin, has_static_embedding_input
from sentence_transformers.base.losses.gradcache import _get_batch_size
from sentence_transformers.base.modality import infer_modality, is_message_dict
from sentence_transformers.sentence_transformer.losses import CoSENTLoss
from sentence_transformers.util import all_gather, all_gather_with_grad, cos_sim, dot_score
from torch import Tensor

__all__ = [
    "CachedLossMixin",
    "all_gather",
    "all_gather_with_grad",
    "builds_evaluation",
    "cos_sim",
    "cosent",
    "count_rows",
    "device_of",
    "dot_score",
    "embed",
    "has_static_embedding_input",
    "infer_modality",
    "is_message_dict",
]


def builds_evaluation() -> bool:
    """Return whether the trainer is building the batches of an evaluation or a prediction.

    The trainer calls a batch sampler for training and for evaluation alike, with arguments that do not tell the two
    apart; only the call stack does.
    """
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code.co_name in ("get_eval_dataloader", "get_test_dataloader"):
            return True
        frame = frame.f_back
    return False


def count_rows(features: Mapping[str, Any]) -> int:
    """Count the inputs in the features of one column, before the model has seen them."""
    if "offsets" in features:  # StaticEmbedding: one flat list of tokens
        return len(features["offsets"])
    return int(_get_batch_size(dict(features)))


def embed(model: Any, features: Mapping[str, Any]) -> Tensor:
    """Embed one column: shape ``(rows, dimensions)``.

    The model gets a copy of the features, because it writes into them, and wrappers such as MatryoshkaLoss
    call a loss again with the same ones.
    """
    embeddings: Tensor = model(dict(features))["sentence_embedding"]
    return embeddings


def device_of(model: Any) -> torch.device:
    """Tell where a model is, also behind the wrapper of a distributed engine."""
    parameter = next(model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def cosent(similarity: Tensor, relevance: Tensor, judged: Tensor, scale: float) -> Tensor:
    """Compute ST's CoSENTLoss of each list: ``(Q, D)`` to ``(Q,)``.

    What is unjudged gets the highest label and a similarity so high that it is in order with everything.
    """
    loss = CoSENTLoss(None, scale=scale, similarity_fct=_first)
    top = 1 + relevance.amax(-1, keepdim=True)
    labels = torch.where(judged, relevance, top)
    placed = torch.where(judged, similarity, min(1e30 / scale, 1e30))
    rows = zip(placed, labels, strict=True)
    return torch.stack([loss.compute_loss_from_embeddings([row, row], label) for row, label in rows])


def _first(first: Tensor, second: Tensor) -> Tensor:
    """A similarity function for what are similarities already."""
    return first
