"""The only file that touches the internals of sentence-transformers and datasets."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed.nn  # used by sentence-transformers for gathering, but not imported by every version of torch
from sentence_transformers import CrossEncoderTrainer, MultiVectorEncoder, SentenceTransformer, SparseEncoder
from sentence_transformers.base.data_collator import BaseDataCollator
from sentence_transformers.base.losses import CachedLossMixin, gradcache, has_static_embedding_input
from sentence_transformers.base.losses.gradcache import _get_batch_size, _minibatch_ranges
from sentence_transformers.base.modality import format_modality, infer_modality, is_message_dict
from sentence_transformers.base.modality_types import MULTIMODAL_DICT_KEYS as MODALITIES
from sentence_transformers.base.model import BaseModel
from sentence_transformers.base.model_card import get_losses
from sentence_transformers.cross_encoder import losses as cross_encoder_losses
from sentence_transformers.multi_vector_encoder.data_collator import MultiVectorEncoderDataCollator
from sentence_transformers.multi_vector_encoder.losses import (
    CachedMultiVectorMultipleNegativesRankingLoss,
    MultiVectorMultipleNegativesRankingLoss,
)
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
    "LOSSES_OF_LISTS",
    "LOSSES_OF_PAIRS",
    "MODALITIES",
    "CachedLossMixin",
    "StreamingCrossEncoderTrainer",
    "TasksOfModel",
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
    "format_modality",
    "get_losses",
    "has_static_embedding_input",
    "infer_modality",
    "is_message_dict",
    "is_of_host",
    "inner_loss",
    "layers_are_replayed",
    "preprocess_column",
    "steps_of",
    "trains_a_transformer",
]

EMBEDDERS = (SentenceTransformer, SparseEncoder)
"""The kinds of models that produce one vector per input."""

LOSSES_OF_PAIRS = (
    CachedGISTEmbedLoss,
    CachedMultipleNegativesRankingLoss,
    CachedMultipleNegativesSymmetricRankingLoss,
    GISTEmbedLoss,
    MegaBatchMarginLoss,
    MultipleNegativesRankingLoss,
    MultipleNegativesSymmetricRankingLoss,
    SparseMultipleNegativesRankingLoss,
    MultiVectorMultipleNegativesRankingLoss,
    CachedMultiVectorMultipleNegativesRankingLoss,
    cross_encoder_losses.MultipleNegativesRankingLoss,
)
"""Losses of sentence-transformers for unlabelled rows (anchor, positive[, negatives]), aligned across columns."""

LOSSES_OF_LISTS = (
    cross_encoder_losses.ADRMSELoss,
    cross_encoder_losses.LambdaLoss,
    cross_encoder_losses.ListNetLoss,
    cross_encoder_losses.PListMLELoss,
)
"""Losses of sentence-transformers for (query, [documents]) + [grades], and those that inherit from them."""


def check_encoder(model: Any, kinds: tuple[type, ...], purpose: str, remedy: str = "") -> None:
    """Raise TypeError for a model of an unsupported kind, before it fails with an obscure error.

    Objects from outside sentence-transformers, such as a stand-in with the same methods, pass.

    Args:
        model: The user's model; wrappers of compiled or distributed models are removed.
        kinds: The supported kinds, such as `EMBEDDERS`.
        purpose: The start of the message, such as "RankingLoss".
        remedy: The end of the message, with an alternative.
    """
    model = _unwrapped(model)
    if isinstance(model, str | type) or (isinstance(model, BaseModel) and not isinstance(model, kinds)):
        got = repr(model) if isinstance(model, str | type) else f"a {type(model).__name__}"
        remedy = f"; {remedy}" if remedy else ""
        raise TypeError(f"{purpose} needs a {' or a '.join(kind.__name__ for kind in kinds)}, got {got}{remedy}.")


def inner_loss(loss: nn.Module) -> nn.Module:
    """Return the loss inside wrappers such as MatryoshkaLoss and SpladeLoss, or an unwrapped loss unchanged."""
    while isinstance(inner := getattr(loss, "loss", None), nn.Module) and hasattr(inner, "model"):
        loss = inner
    return loss


def is_of_host(loss: nn.Module) -> bool:
    """Return whether a loss is one of sentence-transformers, whose input formats are known."""
    return type(loss).__module__.partition(".")[0] == "sentence_transformers"


def builds_evaluation() -> bool:
    """Return whether the trainer is building batches for evaluation or prediction.

    The trainer calls a batch sampler for training and evaluation with indistinguishable arguments; only the call stack
    differs.
    """
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code.co_name in ("get_eval_dataloader", "get_test_dataloader"):
            return True
        frame = frame.f_back
    return False


def count_rows(features: Mapping[str, Any]) -> int:
    """Count the inputs in the features of one column, before the model runs."""
    if "offsets" in features:  # StaticEmbedding: one flat list of tokens
        return len(features["offsets"])
    return int(_get_batch_size(dict(features)))


def embed(model: Any, features: Mapping[str, Any]) -> Tensor:
    """Embed one column: shape ``(rows, dimensions)``.

    The model gets the original features, not a copy, and writes to them: AdaptiveLayerLoss calls a loss once per layer
    with the same features, and reads the embeddings of the layers from them.
    """
    embeddings: Tensor = model(features)["sentence_embedding"]
    return embeddings


def preprocess_column(collator: Any, batch: dict[str, Any], column: str, inputs: list[Any]) -> dict[str, Any]:
    """Preprocess the documents of a batch as the collator of sentence-transformers does other columns.

    Args:
        collator: A SentenceTransformerDataCollator.
        batch: Its output for the columns of single inputs.
        column: The name of the document column, the second one.
        inputs: The documents.

    Returns:
        The features, and the task if any, under the name of the column.
    """
    task = collator._get_task_for_column(column, 1, collator._resolve_router_mapping(batch))
    prompt = collator._get_prompt_for_column(collator._resolve_prompts(batch), column)
    options = {} if (length := collator._get_max_length_for_task(task)) is None else {"max_length": length}
    features = collator.preprocess_fn(inputs, prompt=prompt, task=task, **options)
    made = {f"{column}_{key}": value for key, value in features.items()}
    return made if task is None else made | {f"{column}_task": task}


@dataclass
class TasksOfModel(BaseDataCollator):
    """A collator that gives each column the task that the collator of the model's own kind gives it.

    That of a multi-vector model is "query" for the first column and "document" for the others, even without a router.
    """

    def _get_task_for_column(
        self, column_name: str, column_position: int, router_mapping: dict[str, str]
    ) -> str | None:
        function: Any = self.preprocess_fn
        while isinstance(function, functools.partial):
            function = function.func
        own = MultiVectorEncoderDataCollator if _is_multi_vector(function) else BaseDataCollator
        task: str | None = own._get_task_for_column(self, column_name, column_position, router_mapping)
        return task


def _is_multi_vector(method: Any) -> bool:
    return isinstance(_unwrapped(getattr(method, "__self__", None)), MultiVectorEncoder)


class StreamingCrossEncoderTrainer(CrossEncoderTrainer):
    """A CrossEncoderTrainer for streaming datasets, too.

    The host refuses them, because accelerate's dispatcher cannot concatenate columns of strings: a subclass must switch
    the dispatcher off. The constructor that it skips does nothing else.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super(CrossEncoderTrainer, self).__init__(*args, **kwargs)


def layers_are_replayed(model: Any) -> bool:
    """Return whether AdaptiveLayerLoss or Matryoshka2dLoss is calling, so that the model returns one layer per call."""
    model = _unwrapped(model)
    return isinstance(model, BaseModel) and isinstance(model[0].forward, TransformerDecorator)


def embeds_in_step(model: Any) -> bool:
    """Return whether all processes must embed the same number of mini-batches to avoid a deadlock.

    This applies if parameters are sharded over several processes, or if the gradients of each mini-batch are exchanged
    immediately, as in the cached losses of sentence-transformers before 6.2.
    """
    kinds = {kind.__name__ for kind in type(model).__mro__}
    exchanged = not hasattr(gradcache, "_ddp_replay_context") and "DistributedDataParallel" in kinds
    return exchanged or bool({"FSDPModule", "FullyShardedDataParallel"} & kinds)


def count_minibatches(features: Mapping[str, Any], size: int, tokens: int | None) -> int:
    """Count the mini-batches that `CachedLossMixin` makes of a column.

    Args:
        features: The features of the column.
        size: Inputs per mini-batch.
        tokens: Tokens per mini-batch, instead of ``size``.

    Returns:
        The number of mini-batches.
    """
    return len(_minibatch_ranges(dict(features), size, tokens))


def _unwrapped(model: Any) -> Any:
    """Return a model without the wrappers of compilation and distributed training."""
    for wrapper in ("module", "_orig_mod"):
        if not isinstance(model, BaseModel):
            model = getattr(model, wrapper, model)
    return model


def steps_of(stream: Any) -> Any:
    """Return the last step of a streaming dataset, which leads to the others; None for other datasets."""
    return getattr(stream, "_ex_iterable", None)


def trains_a_transformer(model: Any) -> bool:
    """Return whether any trainable parameters of a model belong to a transformer."""
    if not isinstance(model, nn.Module):
        return False
    transformers = (module for module in model.modules() if isinstance(module, PreTrainedModel))
    return any(parameter.requires_grad for module in transformers for parameter in module.parameters())


def device_of(model: Any) -> torch.device:
    """Return the device of a model, even behind the wrapper of a distributed engine."""
    parameter = next(model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device
