"""The only file that touches the internals of sentence-transformers and datasets."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed.nn  # used by sentence-transformers for gathering, but not imported by every version of torch
from sentence_transformers import CrossEncoderTrainer, SentenceTransformer, SparseEncoder
from sentence_transformers.base.data_collator import BaseDataCollator
from sentence_transformers.base.losses import CachedLossMixin, gradcache, has_static_embedding_input
from sentence_transformers.base.losses.gradcache import (
    RandContext,
    _backward_hook,
    _create_minibatch,
    _get_batch_size,
    _minibatch_ranges,
)
from sentence_transformers.base.losses.merged_forward import embed_columns, embed_columns_padded
from sentence_transformers.base.modality import format_modality, infer_modality, is_message_dict
from sentence_transformers.base.modality_types import MULTIMODAL_DICT_KEYS as MODALITIES
from sentence_transformers.base.model import BaseModel
from sentence_transformers.base.model_card import get_losses
from sentence_transformers.base.trainer import BaseTrainer
from sentence_transformers.cross_encoder import losses as cross_encoder_losses
from sentence_transformers.multi_vector_encoder.data_collator import MultiVectorEncoderDataCollator
from sentence_transformers.multi_vector_encoder.losses import (
    CachedMultiVectorMultipleNegativesRankingLoss,
    MultiVectorMultipleNegativesRankingLoss,
)
from sentence_transformers.multi_vector_encoder.scoring import colbert_scores, mean_colbert_scores
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
from sentence_transformers.sentence_transformer.losses.matryoshka import CachedLossDecorator, ForwardDecorator
from sentence_transformers.sparse_encoder.losses import SparseMultipleNegativesRankingLoss, SpladeLoss
from sentence_transformers.util import all_gather, all_gather_with_grad, cos_sim, dot_score, similarity_fct_name
from torch import Tensor, nn

from st_rankloss._models import device_of, embeds_tokens, kind_of, unwrapped

__all__ = [
    "CachedLossMixin",
    "CheckpointingTrainer",
    "LOSSES_OF_LISTS",
    "LOSSES_OF_PAIRS",
    "MODALITIES",
    "RandContext",
    "StreamingCrossEncoderTrainer",
    "TasksOfModel",
    "all_gather",
    "all_gather_with_grad",
    "backward_hook",
    "builds_evaluation",
    "colbert_scores",
    "cos_sim",
    "count_minibatches",
    "count_rows",
    "dot_score",
    "embed",
    "embed_minibatch",
    "embeds_in_step",
    "format_modality",
    "expects_one_vector",
    "get_losses",
    "has_static_embedding_input",
    "infer_modality",
    "inner_loss",
    "is_message_dict",
    "is_of_host",
    "layers_are_replayed",
    "mean_colbert_scores",
    "preprocess_column",
    "preprocess_pairs",
    "regularizes_documents",
    "saved_kind",
    "scores_of",
    "similarity_fct_name",
    "similarity_of",
    "steps_of",
    "with_tasks",
]


backward_hook = _backward_hook

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


def saved_kind(name: str, **options: Any) -> str:
    """Return the name of the class of a saved model; a folder or id that does not declare it counts as the usual one.

    Args:
        name: A folder, or an id on the hub.
        **options: Arguments of `SentenceTransformer`, of which those of downloads are read.

    Returns:
        The name, such as "CrossEncoder".
    """
    where = {key: options.get(key) for key in ("token", "cache_folder", "revision")}
    local = bool(options.get("local_files_only", False))
    kind = SentenceTransformer._get_model_type(SentenceTransformer, name, **where, local_files_only=local)
    return str(kind)


def inner_loss(loss: nn.Module) -> nn.Module:
    """Return the loss inside wrappers such as MatryoshkaLoss and SpladeLoss, or an unwrapped loss unchanged."""
    while isinstance(inner := getattr(loss, "loss", None), nn.Module) and hasattr(inner, "model"):
        loss = inner
    return loss


def regularizes_documents(loss: Any) -> bool:
    """Return whether a loss is a SpladeLoss that regularizes all columns but the first."""
    return isinstance(loss, SpladeLoss) and not loss.use_document_regularizer_only


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


def similarity_of(model: Any) -> Callable[..., Tensor]:
    """Return the similarity that the losses of sentence-transformers use for a kind of model.

    For token embeddings this is MaxSim per query token, which orders documents as MaxSim does, in the units of a
    cosine.
    """
    similarity: Callable[..., Tensor] = cos_sim
    if embeds_tokens(model):
        similarity = mean_colbert_scores
    elif kind_of(model) is SparseEncoder:
        similarity = dot_score
    return similarity


def embed(model: Any, columns: Sequence[Mapping[str, Any]]) -> list[tuple[Tensor, Tensor | None]]:
    """Embed the columns of a batch, those of documents in one pass if they can share one.

    The model gets the original features, not a copy, and writes to them: AdaptiveLayerLoss calls a loss once per layer
    with the same features, and reads the embeddings of the layers from them.

    Args:
        model: The model.
        columns: The features of each column, those of queries first.

    Returns:
        One vector per row and None; or embeddings ``(rows, tokens, dimensions)`` and which tokens count, ``(rows,
        tokens)``.
    """
    if not embeds_tokens(model):
        return [(vectors, None) for vectors in embed_columns(model, [*columns])]
    query, *documents = with_tasks(columns)
    embedded: list[tuple[Tensor, Tensor | None]] = [_embed_tokens(model, query)]
    if documents:
        embedded += zip(*embed_columns_padded(model, documents), strict=True)
    return embedded


def with_tasks(columns: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Name the task of columns that do not: queries first, then documents, as the losses for token embeddings do."""
    return [{"task": "document" if place else "query", **column} for place, column in enumerate(columns)]


def embed_minibatch(
    model: Any,
    features: Mapping[str, Any],
    rows: slice,
    *,
    with_grad: bool,
    copy_random_state: bool,
    random_state: RandContext | None,
) -> tuple[Tensor, Tensor, RandContext | None]:
    """Embed the tokens of some rows of a column, as `CachedLossMixin` embeds single vectors.

    Args:
        model: The MultiVectorEncoder.
        features: The features of the column.
        rows: The rows.
        with_grad: Whether to embed with gradient.
        copy_random_state: Whether to return the random state.
        random_state: The state to embed with, from the pass without gradient.

    Returns:
        Embeddings, which tokens count, and the random state.
    """
    part = _create_minibatch(dict(features), rows.start, rows.stop)
    with random_state or nullcontext(), torch.set_grad_enabled(with_grad):
        state = RandContext(*(x for x in part.values() if isinstance(x, Tensor))) if copy_random_state else None
        return *_embed_tokens(model, part), state


def _embed_tokens(model: Any, features: dict[str, Any]) -> tuple[Tensor, Tensor]:
    output = model(features, task=features["task"])
    return output["token_embeddings"], output["attention_mask"].bool()


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


def preprocess_pairs(
    model: Any, pairs: list[tuple[Any, Any]], prompt: str | None = None, task: str | None = None
) -> dict[str, Any]:
    """Preprocess (query, document) pairs for a cross-encoder, on its device."""
    features, device = model.preprocess(pairs, prompt=prompt, task=task), device_of(model)
    return {n: x.to(device, non_blocking=True) if isinstance(x, Tensor) else x for n, x in features.items()}


def scores_of(model: Any, features: dict[str, Any]) -> Tensor:
    """Score the pairs that `preprocess_pairs` has prepared: ``(pairs,)``."""
    scores: Tensor = model(features)["scores"]
    return scores.flatten()


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
        model = getattr(function, "__self__", None)
        own = MultiVectorEncoderDataCollator if embeds_tokens(model) else BaseDataCollator
        task: str | None = own._get_task_for_column(self, column_name, column_position, router_mapping)
        return task


class StreamingCrossEncoderTrainer(CrossEncoderTrainer):
    """A CrossEncoderTrainer for streaming datasets, too.

    The host refuses them, because accelerate's dispatcher cannot concatenate columns of strings: a subclass must switch
    the dispatcher off. The constructor that it skips does nothing else.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super(CrossEncoderTrainer, self).__init__(*args, **kwargs)


class CheckpointingTrainer(BaseTrainer):
    """Calls a method when it saves and loads checkpoints, for what is trained beside the model."""

    def checkpoint_folder(self) -> str:
        """Return the folder of the checkpoints, which each trial of a search over hyper-parameters has its own of."""
        folder: str = self._get_output_dir(getattr(self, "_trial", None))
        return folder

    def save_beside(self, folder: str) -> None:
        """Save to a folder of a checkpoint."""

    def load_beside(self, folder: str) -> None:
        """Load from a folder of a checkpoint."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        super()._save(output_dir, state_dict)
        self.save_beside(self.args.output_dir if output_dir is None else output_dir)

    def _load_from_checkpoint(self, checkpoint_path: str) -> None:
        super()._load_from_checkpoint(checkpoint_path)
        self.load_beside(checkpoint_path)


def layers_are_replayed(model: Any) -> bool:
    """Return whether AdaptiveLayerLoss or Matryoshka2dLoss is calling, so that the model returns one layer per call."""
    model = unwrapped(model)
    return isinstance(model, BaseModel) and isinstance(model[0].forward, TransformerDecorator)


def expects_one_vector(loss: nn.Module) -> bool:
    """Return whether a wrapper that truncates embeddings or drops layers is calling: it reads one vector per input."""
    wrapped = (getattr(unwrapped(loss.model), "forward", None), getattr(loss, "calculate_loss", None))
    truncated = any(isinstance(function, ForwardDecorator | CachedLossDecorator) for function in wrapped)
    return truncated or layers_are_replayed(loss.model)


def embeds_in_step(model: Any, *, cached: bool = True) -> bool:
    """Return whether all processes must run the model on the same number of mini-batches to avoid a deadlock.

    This applies if parameters are sharded over several processes. It also applies to training with
    DistributedDataParallel, which sends the buffers of the model with each mini-batch, or exchanges its gradients
    immediately; the cached losses of sentence-transformers avoid both since 6.2.

    Args:
        model: The model, with its wrappers.
        cached: Whether the loss caches gradients.

    Returns:
        Whether they must.
    """
    kinds = {kind.__name__ for kind in type(model).__mro__}
    replayed = cached and hasattr(gradcache, "_ddp_replay_context")
    exchanged = "DistributedDataParallel" in kinds and not replayed and torch.is_grad_enabled()
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


def steps_of(stream: Any) -> Any:
    """Return the last step of a streaming dataset, which leads to the others; None for other datasets."""
    return getattr(stream, "_ex_iterable", None)
