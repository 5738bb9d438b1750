"""Ranking losses for batches of any size, by gradient caching."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Unpack

import torch
from torch import Tensor

from st_rankloss._host import (
    CachedLossMixin,
    count_minibatches,
    count_rows,
    embed_minibatch,
    embeds_in_step,
    has_static_embedding_input,
    layers_are_replayed,
    with_tasks,
)
from st_rankloss._models import device_of, embeds_tokens
from st_rankloss.functional.checks import check_at_least
from st_rankloss.functional.gains import Gain
from st_rankloss.functional.settings import check_count
from st_rankloss.losses.base import Pairing, usual_temperature
from st_rankloss.losses.gathering import largest, several_processes
from st_rankloss.losses.parts import LossParts
from st_rankloss.losses.ranking import RankingLoss, RankingOptions
from st_rankloss.losses.tokens import concatenate, pack_tokens
from st_rankloss.objectives import ApproxNDCG, Objective
from st_rankloss.relevance import Relevance


class _Column(dict[str, Any]):
    """A column's features, and the number of extra mini-batches that other processes embed and this one must join."""

    def __init__(self, features: Mapping[str, Any], missing: int) -> None:
        super().__init__(features)
        self.missing = missing


class CachedRankingLoss(CachedLossMixin, RankingLoss):
    """`RankingLoss` in the memory of a mini-batch, whatever the batch size.

    The loss embeds the batch in mini-batches, computes its gradient from all embeddings, then embeds each mini-batch
    again to send its part of the gradient back. Values and gradients are those of `RankingLoss`; dropout draws
    different masks unless the mini-batch is the whole batch. Time: one extra forward pass; memory: that of a
    mini-batch, plus the embeddings, plus O(block · batch) for the loss.

    Args:
        model: The SentenceTransformer, SparseEncoder or MultiVectorEncoder to train; not one that starts with a
            StaticEmbedding, whose inputs are one flat list of tokens.
        objective: As in `RankingLoss`; a mixture returns the sum of its terms.
        relevance: As in `RankingLoss`.
        mini_batch_size: Inputs embedded at once, at least 1: as many as fit in memory.
        mini_batch_num_tokens: Tokens embedded at once, at least 1, instead of a number of inputs; faster if text
            lengths vary.
        show_progress_bar: Show the progress over the mini-batches.
        **options: Settings that all losses share, see `RankingLoss`: ``similarity_fct``, ``symmetric``, ``block_size``,
            ``no_relevant``, ``check_embeddings``, ``gather_across_devices``, ``mixup``, ``weighting``.

    Raises:
        TypeError: As `RankingLoss`.
        ValueError: If the model starts with a StaticEmbedding, or a size is below 1; and as `RankingLoss`.

    Example:
        ::

            loss = CachedRankingLoss(model, relevance=relevance.Classes(), mini_batch_size=64)
            args = SentenceTransformerTrainingArguments(..., per_device_train_batch_size=8192)

    Source: Gao et al. (2021), "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", arXiv
    2101.06983; implemented on the sentence-transformers engine.
    """

    def __init__(
        self,
        model: Any,
        objective: Objective | Callable[[Tensor, Tensor], Tensor] | None = None,
        relevance: Relevance | Callable[[Any, Any], Tensor] | None = None,
        *,
        mini_batch_size: int = 32,
        mini_batch_num_tokens: int | None = None,
        show_progress_bar: bool = False,
        **options: Unpack[RankingOptions],
    ) -> None:
        super().__init__(model, objective=objective, relevance=relevance, **options)
        check_count(mini_batch_size, "mini_batch_size")
        check_at_least(mini_batch_num_tokens, 1, "mini_batch_num_tokens")
        if has_static_embedding_input(model):
            name = type(self).__name__
            raise ValueError(
                f"{name} needs a model whose inputs can be cut into mini-batches, got one that starts with a "
                f"StaticEmbedding: use {name.removeprefix('Cached')}, which needs no more memory for such a model."
            )
        self.mini_batch_size = mini_batch_size
        self.mini_batch_num_tokens = mini_batch_num_tokens
        self.show_progress_bar = show_progress_bar

    def forward(
        self,
        sentence_features: Iterable[Mapping[str, Any]],
        labels: Tensor | Mapping[str, Any] | None = None,
    ) -> Tensor:
        """Compute the loss of a batch; see `RankingLoss.forward`.

        Args:
            sentence_features: The model's inputs, one mapping per column.
            labels: The label tensor, or the mapping from `RankingCollator`.

        Returns:
            The loss, a scalar.

        Raises:
            ValueError: If the loss is inside AdaptiveLayerLoss or Matryoshka2dLoss; and as `RankingLoss.forward`.
        """
        features = list(sentence_features)
        pairing = self._paired([count_rows(column) for column in features], labels)  # raises before the model runs
        if layers_are_replayed(self.model):
            name = type(self).__name__
            raise ValueError(
                f"{name} does not work in AdaptiveLayerLoss or Matryoshka2dLoss: it embeds the batch again in "
                f"backward, after they have restored the model's layers. Use {name.removeprefix('Cached')} there."
            )
        if embeds_tokens(self.model):
            features = [*with_tasks(features)]
        if embeds_in_step(self.model) and several_processes():
            features = self._keep_step(features)
        loss: Tensor = super().forward_cached(features, pairing)
        return loss

    def _keep_step(self, features: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Count the extra mini-batches that other processes make of each column, as they do from ragged lists."""
        own = [count_minibatches(column, self.mini_batch_size, self.mini_batch_num_tokens) for column in features]
        most = largest(own, device_of(self.model))
        return [_Column(column, more - count) for column, more, count in zip(features, most, own, strict=True)]

    def embed_minibatch(
        self,
        sentence_feature: Any,
        begin: int,
        end: int,
        with_grad: bool,
        copy_random_state: bool,
        random_state: Any = None,
    ) -> tuple[Tensor, Any]:
        """Embed a mini-batch; see sentence-transformers.

        Args:
            sentence_feature: The features of the column.
            begin: The first row.
            end: The row after the last.
            with_grad: Whether to embed with gradient.
            copy_random_state: Whether to return the random state.
            random_state: The state to embed with.

        Returns:
            One vector per row, or packed tokens; and the random state.
        """
        if not embeds_tokens(self.model):
            parent: Any = super()
            found: tuple[Tensor, Any] = parent.embed_minibatch(
                sentence_feature, begin, end, with_grad, copy_random_state, random_state
            )
            return found
        vectors, mask, state = embed_minibatch(
            self.model,
            sentence_feature,
            slice(begin, end),
            with_grad=with_grad,
            copy_random_state=copy_random_state,
            random_state=random_state,
        )
        return pack_tokens(vectors, mask), state

    def embed_minibatch_iter(self, sentence_feature: Any, with_grad: bool, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """Embed every mini-batch of a column; see sentence-transformers.

        Args:
            sentence_feature: The features of the column.
            with_grad: Whether to embed with gradient.
            *args: As the parent's.
            **kwargs: As the parent's.

        Yields:
            Any: Each mini-batch's embeddings, and its random state.
        """
        parent: Any = super()
        for _ in range(getattr(sentence_feature, "missing", 0)):
            embeddings, _ = self.embed_minibatch(sentence_feature, 0, 1, with_grad, copy_random_state=False)
            if with_grad:
                torch.autograd.backward(embeddings, torch.zeros_like(embeddings))
        yield from parent.embed_minibatch_iter(sentence_feature, with_grad, *args, **kwargs)

    def calculate_loss(
        self,
        reps: list[list[Tensor]],
        labels: Pairing | Tensor | Mapping[str, Any] | None = None,
        *,
        with_backward: bool = False,
    ) -> Tensor:
        """Compute the loss from the embeddings of each column's mini-batches.

        Args:
            reps: Embeddings by column and mini-batch, shapes ``(rows, dimensions)``.
            labels: As in `forward`, or the pairing that `forward` has made from them.
            with_backward: Backpropagate to the embeddings and return the loss detached.

        Returns:
            The loss, a scalar.
        """
        embeddings = [concatenate(column) for column in reps]
        pairing = labels if isinstance(labels, Pairing) else self._paired([len(e) for e in embeddings], labels)
        loss = self._compute(embeddings, pairing)
        total = loss.total() if isinstance(loss, LossParts) else loss
        if with_backward:
            total.backward()
            total = total.detach()
        return total

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings for the model card."""
        return {
            **super().get_config_dict(),
            "mini_batch_size": self.mini_batch_size,
            "mini_batch_num_tokens": self.mini_batch_num_tokens,
        }


class CachedANDCGLoss(CachedRankingLoss):
    """`ANDCGLoss` in the memory of a mini-batch, whatever the batch size; see `CachedRankingLoss`.

    Args:
        model: The SentenceTransformer, SparseEncoder or MultiVectorEncoder to train; not one that starts with a
            StaticEmbedding.
        relevance: As in `RankingLoss`.
        temperature: As in `ANDCGLoss`.
        gain: As in `ANDCGLoss`.
        k: As in `ANDCGLoss`.
        mini_batch_size: As in `CachedRankingLoss`.
        mini_batch_num_tokens: As in `CachedRankingLoss`.
        show_progress_bar: As in `CachedRankingLoss`.
        **options: Settings that all losses share, see `RankingLoss`.

    Raises:
        TypeError: As `RankingLoss`.
        ValueError: As `ANDCGLoss` and `CachedRankingLoss`.

    Example:
        ::

            loss = CachedANDCGLoss(model, relevance=relevance.Classes(), mini_batch_size=64)

    Source: Gu (2021), arXiv 2103.15093; Gao et al. (2021), arXiv 2101.06983.
    """

    def __init__(
        self,
        model: Any,
        *,
        relevance: Relevance | Callable[[Any, Any], Tensor] | None = None,
        temperature: float | str | None = None,
        gain: Gain = "linear",
        k: int | None = None,
        mini_batch_size: int = 32,
        mini_batch_num_tokens: int | None = None,
        show_progress_bar: bool = False,
        **options: Unpack[RankingOptions],
    ) -> None:
        chosen = usual_temperature(model) if temperature is None else temperature
        super().__init__(
            model,
            objective=ApproxNDCG(temperature=chosen, gain=gain, k=k),
            relevance=relevance,
            mini_batch_size=mini_batch_size,
            mini_batch_num_tokens=mini_batch_num_tokens,
            show_progress_bar=show_progress_bar,
            **options,
        )
