"""The only file that touches the internals of sentence-transformers."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed.nn  # sentence-transformers gathers with it, and not every version of torch imports it
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.base.losses import CachedLossMixin, gradcache, has_static_embedding_input
from sentence_transformers.base.losses.gradcache import _get_batch_size, _minibatch_ranges
from sentence_transformers.base.modality import infer_modality, is_message_dict
from sentence_transformers.base.model import BaseModel
from sentence_transformers.base.model_card import get_losses
from sentence_transformers.sentence_transformer.losses import (
    CachedGISTEmbedLoss,
    CachedMultipleNegativesRankingLoss,
    CachedMultipleNegativesSymmetricRankingLoss,
    GISTEmbedLoss,
    MegaBatchMarginLoss,
    MultipleNegativesRankingLoss,
    MultipleNegativesSymmetricRankingLoss,
)
from sentence_transformers.sentence_transformer.losses.adaptive_layer import TransformerDecorator
from sentence_transformers.sparse_encoder.losses import SparseMultipleNegativesRankingLoss
from sentence_transformers.util import all_gather, all_gather_with_grad, cos_sim, dot_score
from torch import Tensor, nn
from transformers import PreTrainedModel

__all__ = [
    "EMBEDDERS",
    "LOSSES_OF_PAIRS",
    "CachedLossMixin",
    "all_gather",
    "all_gather_with_grad",
    "builds_evaluation",
    "check_encoder",
    "cos_sim",
    "count_minibatches",
    "count_rows",
    "device_of",
    "dot_score",
    "embed",
    "embeds_in_step",
    "get_losses",
    "has_static_embedding_input",
    "infer_modality",
    "is_message_dict",
    "inner_loss",
    "layers_are_replayed",
    "preprocess_column",
    "trains_a_transformer",
]

EMBEDDERS = (SentenceTransformer, SparseEncoder)
"""The kinds of model that make one vector of an input."""

LOSSES_OF_PAIRS = (
    CachedGISTEmbedLoss,
    CachedMultipleNegativesRankingLoss,
    CachedMultipleNegativesSymmetricRankingLoss,
    GISTEmbedLoss,
    MegaBatchMarginLoss,
    MultipleNegativesRankingLoss,
    MultipleNegativesSymmetricRankingLoss,
    SparseMultipleNegativesRankingLoss,
)
"""The host's losses of rows (anchor, positive[, negatives]) without labels: row i of every column belongs together."""


def check_encoder(model: Any, kinds: tuple[type, ...], purpose: str, remedy: str = "") -> None:
    """Raise TypeError if a model is of a kind that cannot serve, before it fails with an error of its own.

    What sentence-transformers did not make, such as a stand-in with the same methods, passes.

    Args:
        model: What the user gave; wrappers of compiled or distributed models are looked through.
        kinds: What can serve, such as `EMBEDDERS`.
        purpose: What for: the beginning of the message, such as "RankingLoss".
        remedy: What to do instead: the end of the message.
    """
    model = _unwrapped(model)
    if isinstance(model, str | type) or (isinstance(model, BaseModel) and not isinstance(model, kinds)):
        got = repr(model) if isinstance(model, str | type) else f"a {type(model).__name__}"
        remedy = f"; {remedy}" if remedy else ""
        raise TypeError(f"{purpose} needs a {' or a '.join(kind.__name__ for kind in kinds)}, got {got}{remedy}.")


def inner_loss(loss: nn.Module) -> nn.Module:
    """Return the loss within wrappers such as MatryoshkaLoss and SpladeLoss; one that wraps none, as it is."""
    while isinstance(inner := getattr(loss, "loss", None), nn.Module) and hasattr(inner, "model"):
        loss = inner
    return loss


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

    The model gets the features themselves, not a copy: it writes into them, and AdaptiveLayerLoss, which calls a loss
    once per layer with the same features, finds the layers' embeddings there.
    """
    embeddings: Tensor = model(features)["sentence_embedding"]
    return embeddings


def preprocess_column(collator: Any, batch: dict[str, Any], column: str, inputs: list[Any]) -> dict[str, Any]:
    """Preprocess the documents of a batch as the host's collator does its other columns.

    Args:
        collator: A SentenceTransformerDataCollator.
        batch: What it has made of the columns of single inputs.
        column: The name of the documents' column, the second one.
        inputs: The documents.

    Returns:
        The features, and the task if there is one, under the column's name.
    """
    task = collator._get_task_for_column(column, 1, collator._resolve_router_mapping(batch))
    prompt = collator._get_prompt_for_column(collator._resolve_prompts(batch), column)
    options = {} if (length := collator._get_max_length_for_task(task)) is None else {"max_length": length}
    features = collator.preprocess_fn(inputs, prompt=prompt, task=task, **options)
    made = {f"{column}_{key}": value for key, value in features.items()}
    return made if task is None else made | {f"{column}_task": task}


def layers_are_replayed(model: Any) -> bool:
    """Return whether AdaptiveLayerLoss or Matryoshka2dLoss is calling: then the model hands out its layers in turn."""
    model = _unwrapped(model)
    return isinstance(model, BaseModel) and isinstance(model[0].forward, TransformerDecorator)


def embeds_in_step(model: Any) -> bool:
    """Return whether all processes must embed the same number of mini-batches, or some wait in vain.

    So it is where parameters lie in pieces on several processes, and where each mini-batch's gradients are exchanged at
    once, as by the cached losses of sentence-transformers before 6.2.
    """
    kinds = {kind.__name__ for kind in type(model).__mro__}
    exchanged = not hasattr(gradcache, "_ddp_replay_context") and "DistributedDataParallel" in kinds
    return exchanged or bool({"FSDPModule", "FullyShardedDataParallel"} & kinds)


def count_minibatches(features: Mapping[str, Any], size: int, tokens: int | None) -> int:
    """Count the mini-batches that `CachedLossMixin` makes of a column.

    Args:
        features: Of the column.
        size: Inputs in a mini-batch.
        tokens: Tokens in a mini-batch, instead of ``size``.

    Returns:
        Their number.
    """
    return len(_minibatch_ranges(dict(features), size, tokens))


def _unwrapped(model: Any) -> Any:
    """Return a model without the wrappers of compiling and distributed training."""
    for wrapper in ("module", "_orig_mod"):
        if not isinstance(model, BaseModel):
            model = getattr(model, wrapper, model)
    return model


def trains_a_transformer(model: Any) -> bool:
    """Return whether any of a model's trained parameters are a transformer's."""
    if not isinstance(model, nn.Module):
        return False
    transformers = (module for module in model.modules() if isinstance(module, PreTrainedModel))
    return any(parameter.requires_grad for module in transformers for parameter in module.parameters())


def device_of(model: Any) -> torch.device:
    """Return where a model is, also behind the wrapper of a distributed engine."""
    parameter = next(model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device
