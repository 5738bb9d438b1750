"""Log signals that explain a stalled loss."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import TrainerCallback

from st_rankloss._models import trains_a_transformer
from st_rankloss.functional.diagnostics import effective_rank, random_ndcg, vanishing_share
from st_rankloss.functional.ranks import upcast
from st_rankloss.losses.base import Batch, GradedLoss
from st_rankloss.objectives import Mixture, Objective
from st_rankloss.objectives.wrappers import OneList

logger = logging.getLogger(__name__)

_QUERIES = 64
"""Number of queries per batch to inspect, from the first."""

_SHARE = 0.5
"""Below a half, most queries of a batch have no gradient of their own. Rows of (query, document, grade) with repeated
queries had 0.28 to 0.32; lists and the samplers of `st_rankloss.samplers` are near 1."""

_TRANSFORMERS_RATE = 1e-3
"""Learning rate above which transformers, but not static embeddings, degraded on STS: 0.325 instead of 0.850."""

_WARNINGS = {
    "queries_with_relevance": (
        lambda value: value < _SHARE,
        "only {:.1%} of the queries have a relevant document in their batch; the others have no gradient. If rows "
        "repeat a query with one graded document each, group them into one row per query with lists of documents and "
        "grades; otherwise choose a sampler of st_rankloss.samplers, or a larger batch",
    ),
    "temperature_over_spread": (
        lambda value: value > 5,
        "the temperature is {:.1f} times the spread of a query's similarities, so all ranks are about the same: "
        "lower it to between a tenth and a half of the spread",
    ),
    "vanishing_gradient": (
        lambda value: value > 0.9,
        "{:.0%} of the documents ranked below less relevant ones have almost no gradient: raise the temperature, "
        "or add an objective with a long-range gradient, such as 0.2 * SoftmaxCrossEntropy()",
    ),
    "ndcg_of_random_order": (
        lambda value: value > 0.95,
        "a random order already has an NDCG of {:.3f}, because nearly all documents are "
        "about equally relevant: sharpen the relevance (a narrower bandwidth, a threshold, a power) or use "
        "gain='exponential'",
    ),
    "effective_rank": (
        lambda value: value < 1.5,
        "the embeddings have collapsed to {:.2f} effective dimensions: lower the learning rate, or mix in "
        "0.2 * SoftmaxCrossEntropy()",
    ),
}


class RankingDiagnostics(TrainerCallback):
    """Logs signals that explain a stalled loss, and warns once, in plain words, about settings that cannot learn.

    ==========================  ====================================================  ==================================
    logged                      meaning                                               warns
    ==========================  ====================================================  ==================================
    ``queries_with_relevance``  share of queries with a relevant document since the   below 0.5
                                last log
    ``temperature_over_spread`` the objective's temperature over the standard         above 5; 0.1 to 0.5 is usual
                                deviation of a query's similarities
    ``vanishing_gradient``      share of the documents below less relevant ones that  above 0.9
                                have next to no gradient
    ``ndcg_of_random_order``    expected NDCG of a random order                       above 0.95
    ``effective_rank``          RankMe of the queries' embeddings, at most 64         below 1.5
    ==========================  ====================================================  ==================================

    All but the first are measured on the first 64 queries of the last batch before a log, or on all queries for an
    objective that reads the whole batch. A loss that was not called since the last log, as with several datasets, logs
    nothing. Nothing waits for the device until the trainer logs. Time: at each log, that of the objective for 64
    queries; memory: the embeddings of one batch. Training results are bit-for-bit the same. Also warns about a learning
    rate above 1e-3 for a transformer.

    Args:
        loss: The loss to observe.
        name: Prefix of the logged names, to distinguish several losses.

    Raises:
        TypeError: If ``loss`` is not one of our losses.

    Example:
        ::

            trainer = SentenceTransformerTrainer(..., loss=loss, callbacks=[RankingDiagnostics(loss)])
    """

    def __init__(self, loss: GradedLoss, name: str = "") -> None:
        if not isinstance(loss, GradedLoss):
            raise TypeError(f"loss must be one of st_rankloss, such as RankingLoss, got {type(loss).__name__}.")
        loss.observed.register_forward_pre_hook(self._see)
        self.loss = loss
        self.name = name
        self._batch: Batch | None = None
        self._forget()
        self._warned: set[str] = set()

    def _forget(self) -> None:
        """Reset the counts of queries, and of queries with a defined loss, since the last log."""
        self._queries, self._learnable = 0, torch.zeros((), dtype=torch.int64)

    def _see(self, _: Any, batches: tuple[Batch]) -> None:
        (self._batch,) = batches
        self._queries += self._batch.total
        device = self._batch.learnable.device
        self._learnable = self._learnable.to(device, non_blocking=True) + self._batch.learnable

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Start counting, and warn about a learning rate that suits only static models."""
        self._forget()
        if args.learning_rate > _TRANSFORMERS_RATE and trains_a_transformer(model):
            logger.warning(
                "%slearning_rate = %.3g is far too high for a transformer (usually 1e-5 to 1e-4), which may forget "
                "its pretraining. Rates of 1e-2 and above are for static embeddings.",
                self.name,
                args.learning_rate,
            )

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **kwargs: Any) -> None:
        """Measure the last batch, add the numbers to the logs and the trainer's history, and warn."""
        if "loss" not in logs or self._batch is None:  # with several datasets, another may have been drawn
            return
        found = {"queries_with_relevance": self._learnable.item() / self._queries}
        found |= {key: value.item() for key, value in self._look_at(self._batch).items()}
        self._batch = None
        self._forget()
        for key, value in found.items():
            logs[self.name + key] = value
            if state.log_history:
                state.log_history[-1][self.name + key] = value
            cannot_learn, words = _WARNINGS[key]
            if cannot_learn(value) and key not in self._warned:
                self._warned.add(key)
                logger.warning("%s%s = %.3g: %s.", self.name, key, value, words.format(value))

    @torch.no_grad()
    def _look_at(self, batch: Batch) -> dict[str, Tensor]:
        device = batch.learnable.device
        # Measuring must not change the random numbers that objectives draw in training.
        with (
            torch.autocast(device.type, enabled=False),
            torch.random.fork_rng([device] if device.type == "cuda" else []),
        ):
            rows = slice(0, min(_QUERIES, batch.queries) if self.loss.objective.separable else batch.queries)
            similarity = batch.similarity_of(rows)
            relevance = batch.relevance_of(rows).to(similarity.dtype)
            found = measure(similarity, relevance, self.loss.objective)
            if batch.vectors is not None:
                found["effective_rank"] = effective_rank(F.normalize(upcast(batch.vectors[rows]), dim=-1))
            return found


def measure(similarity: Tensor, relevance: Tensor, objective: Objective) -> dict[str, Tensor]:
    """Measure how much gradient an objective gets from similarities and relevance.

    Args:
        similarity: Shape ``(Q, D)``, floating.
        relevance: At least 0, NaN where unjudged, shape ``(Q, D)``.
        objective: The objective to optimise.

    Returns:
        Scalars by name, see `RankingDiagnostics`; only those that apply to the objective and the data.
    """
    if isinstance(objective, OneList):
        similarity, relevance = objective.one_list(similarity), objective.one_list(relevance)
        objective = objective.objective
    with torch.enable_grad():
        given = similarity.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(objective(given, relevance).sum(), given)
    gain = getattr(_first(objective, "gain"), "gain", "linear")
    found = {
        "vanishing_gradient": vanishing_share(similarity, relevance, gradient).nan_to_num(nan=0.0),
        "ndcg_of_random_order": random_ndcg(relevance, gain=gain).nanmean(),
    }
    tempered = _first(objective, "temperature")
    if tempered is not None and tempered.temperature == "auto":
        found["temperature_over_spread"] = similarity.new_tensor(tempered.spreads)
    elif tempered is not None:
        judged = ~relevance.isnan()
        count = judged.sum(-1).clamp_min(1)
        mean = torch.where(judged, similarity, 0).sum(-1) / count
        spread = (torch.where(judged, similarity - mean[:, None], 0).square().sum(-1) / count).sqrt().mean()
        found["temperature_over_spread"] = tempered.temperature / spread
    return found


def _first(objective: Objective, name: str) -> Any:
    """Return the first term or wrapped objective that has a setting, or None."""
    if hasattr(objective, name):
        return objective
    within = [term for _, term in objective.terms] if isinstance(objective, Mixture) else []
    if isinstance(inner := getattr(objective, "objective", None), Objective):
        within = [inner]
    return next((found for part in within if (found := _first(part, name)) is not None), None)
