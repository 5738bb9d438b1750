"""The loss for cross-encoders in the memory of a mini-batch, by gradient caching."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Unpack

import torch
from torch import Tensor

from st_rankloss._host import RandContext, backward_hook, scores_of
from st_rankloss.losses.cross_encoder import CrossEncoderOptions, CrossEncoderRankingLoss, Job
from st_rankloss.losses.parts import LossParts
from st_rankloss.losses.raw_columns import RawLabels


class CachedCrossEncoderRankingLoss(CrossEncoderRankingLoss):
    """`CrossEncoderRankingLoss` in the memory of a mini-batch, whatever the number of pairs.

    The loss scores all pairs in mini-batches, computes the gradient of each score, then scores each mini-batch again,
    with the same dropout, to send its gradient back. Time: one extra forward pass.

    Args:
        model: The CrossEncoder to train, with one output.
        mini_batch_size: Pairs scored at once, at least 1: as many as fit in memory.
        **options: As in `CrossEncoderRankingLoss`: ``objective``, ``relevance``, ``num_negatives``, ``activation_fn``,
            ``no_relevant``, ``gather_across_devices``, ``weighting``; a mixture returns the sum of its terms.

    Raises:
        TypeError: As `CrossEncoderRankingLoss`.
        ValueError: As `CrossEncoderRankingLoss`.

    Example:
        ::

            loss = CachedCrossEncoderRankingLoss(model, mini_batch_size=32)
            args = CrossEncoderTrainingArguments(..., per_device_train_batch_size=128)

    Source: Gao et al. (2021), "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", arXiv
    2101.06983; implemented on the sentence-transformers engine.
    """

    uses_gradient_cache = True

    def __init__(self, model: Any, *, mini_batch_size: int = 32, **options: Unpack[CrossEncoderOptions]) -> None:
        super().__init__(model, mini_batch_size=mini_batch_size, **options)

    def forward(
        self,
        inputs: Sequence[Sequence[Any]],
        labels: RawLabels = None,
        prompt: str | None = None,
        task: str | None = None,
    ) -> Tensor:
        """Compute the loss of a batch.

        Args:
            inputs: As in `CrossEncoderRankingLoss.forward`.
            labels: As in `CrossEncoderRankingLoss.forward`.
            prompt: Passed to the model's preprocessing.
            task: Passed to the model's preprocessing.

        Returns:
            The loss, a scalar.
        """
        job = self._prepare(inputs, labels, prompt, task)
        training = torch.is_grad_enabled()
        found = self.embed_minibatch_iter(job, with_grad=False, copy_random_state=training, ranges=job.order)
        scores, states = zip(*((scores.requires_grad_(training), state) for scores, state in found), strict=True)
        loss = self._compute([*scores], job)
        total = loss.total() if isinstance(loss, LossParts) else loss
        if not training:
            return total
        gradients = torch.autograd.grad(total, scores, allow_unused=True, materialize_grads=True)
        total = total.detach().requires_grad_()
        total.register_hook(
            partial(
                backward_hook,
                sentence_features=[job],
                loss_obj=self,
                cache=[gradients],
                random_states=[states],
                ranges=[job.order],
            )
        )
        return total

    def embed_minibatch_iter(
        self,
        sentence_feature: Job,
        with_grad: bool,
        copy_random_state: bool,
        random_states: Sequence[RandContext] | None = None,
        ranges: Sequence[list[int]] | None = None,
    ) -> Iterator[tuple[Tensor, RandContext | None]]:
        """Score every mini-batch of a batch's pairs; sentence-transformers calls it again in backward.

        Args:
            sentence_feature: The batch.
            with_grad: Whether to score with gradient.
            copy_random_state: Whether to keep the random state of each mini-batch.
            random_states: The states to replay; None draws new numbers.
            ranges: The mini-batches; None means all of the batch.

        Yields:
            tuple[Tensor, RandContext | None]: Each mini-batch's scores, and its random state if kept.
        """
        for place, numbers in enumerate(sentence_feature.order if ranges is None else ranges):
            features = self._features(sentence_feature, numbers)  # outside the replay: it draws no random numbers
            state = RandContext(*features.values()) if copy_random_state else None
            with torch.set_grad_enabled(with_grad):
                if random_states is None:
                    scores = scores_of(self.model, features)
                else:
                    with random_states[place]:
                        scores = scores_of(self.model, features)
            yield scores, state
