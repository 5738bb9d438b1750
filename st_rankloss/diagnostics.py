"""Signals that explain a stalled loss, in the trainer's logs."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import TrainerCallback

from st_rankloss._host import trains_a_transformer
from st_rankloss.functional.diagnostics import effective_rank, random_ndcg, vanishing_share
from st_rankloss.functional.ranks import upcast
from st_rankloss.losses import RankingLoss
from st_rankloss.losses.ranking import Batch
from st_rankloss.objectives import Mixture, Objective
from st_rankloss.objectives.wrappers import OneList

logger = logging.getLogger(__name__)

_QUERIES = 64
"""How many of a batch's queries are looked at, the first ones."""

_SHARE = 0.5
"""Below a half, most of a batch is embedded without a gradient of its own. Rows of (query, document, grade) with
repeated queries had 0.28 to 0.32; lists and the samplers of `st_rankloss.samplers` are near 1."""

_TRANSFORMERS_RATE = 1e-3
"""Learning rate above which transformers, but not static embeddings, were harmed on STS: 0.325 for 0.850."""

_WARNINGS = {
    "queries_with_relevance": (
        lambda value: value < _SHARE,
        "only {:.1%} of the queries have a relevant document in their batch, the others have no gradient. If rows "
        "repeat a query with one graded document each, group them into one row per query with lists of documents and "
        "grades; else choose a sampler of st_rankloss.samplers, or a larger batch",
    ),
    "temperature_over_spread": (
        lambda value: value > 5,
        "the temperature is {:.1f} times the spread of a query's similarities, so that all ranks are about the same: "
        "lower it to a tenth to a half of the spread",
    ),
    "vanishing_gradient": (
        lambda value: value > 0.9,
        "{:.0%} of the documents that stand below less relevant ones have next to no gradient: raise the temperature, "
        "or add an objective that reaches far, such as 0.2 * SoftmaxCrossEntropy()",
    ),
    "ndcg_of_random_order": (
        lambda value: value > 0.95,
        "a random order already has an NDCG of {:.3f}, because nearly everything is about as relevant as everything "
        "else: sharpen the relevance (a narrower bandwidth, a threshold, a power) or take gain='exponential'",
    ),
    "effective_rank": (
        lambda value: value < 1.5,
        "the embeddings have collapsed to {:.2f} effective dimensions: lower the learning rate, or mix in "
        "0.2 * SoftmaxCrossEntropy()",
    ),
}


class RankingDiagnostics(TrainerCallback):
    """Logs the signals that explain a stalled loss, and warns once, in plain words, of what cannot learn.

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

    All but the first are measured on the first 64 queries of the last batch before a log, or on all for an objective
    that reads the whole batch. A loss that was not called since the last log, as with several datasets, logs nothing.
    Nothing waits for the device until the trainer logs. Time: at each log that of the objective for 64 queries; memory:
    the embeddings of one batch; training is not changed by a bit. Also warns of a learning rate above 1e-3 on a
    transformer.

    Args:
        loss: The loss that is trained.
        name: Prefix of the logged names, to tell several losses apart.

    Raises:
        TypeError: If ``loss`` is not a `RankingLoss`.

    Example:
        ::

            trainer = SentenceTransformerTrainer(..., loss=loss, callbacks=[RankingDiagnostics(loss)])
    """

    def __init__(self, loss: RankingLoss, name: str = "") -> None:
        if not isinstance(loss, RankingLoss):
            raise TypeError(f"loss must be a RankingLoss, got {type(loss).__name__}.")
        loss.observed.register_forward_pre_hook(self._see)
        self.loss = loss
        self.name = name
        self._batch: Batch | None = None
        self._forget()
        self._warned: set[str] = set()

    def _forget(self) -> None:
        """Start counting again: the queries since the last log, and those of them with something to learn from."""
        self._queries, self._learnable = 0, torch.zeros((), dtype=torch.int64)

    def _see(self, _: Any, batches: tuple[Batch]) -> None:
        (self._batch,) = batches
        self._queries += self._batch.total
        device = self._batch.learnable.device
        self._learnable = self._learnable.to(device, non_blocking=True) + self._batch.learnable

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Begin to count, and warn of a learning rate that is right for static models alone."""
        self._forget()
        if args.learning_rate > _TRANSFORMERS_RATE and trains_a_transformer(model):
            logger.warning(
                "%slearning_rate = %.3g is far above what a transformer stands, usually 1e-5 to 1e-4: it may forget "
                "what it knows. Rates of 1e-2 and more are for static embeddings.",
                self.name,
                args.learning_rate,
            )

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **kwargs: Any) -> None:
        """Measure the last batch, add the numbers to the logs and to the trainer's history, and warn."""
        if "loss" not in logs or self._batch is None:  # of several datasets, the others were drawn
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
        devices = [batch.queries.device] if batch.queries.device.type == "cuda" else []
        # Objectives that draw at random must not draw other numbers in training for having been looked at.
        with torch.autocast(batch.queries.device.type, enabled=False), torch.random.fork_rng(devices):
            rows = slice(0, min(_QUERIES, len(batch.queries)) if self.loss.objective.separable else len(batch.queries))
            queries, documents = upcast(batch.queries[rows]), upcast(batch.documents)
            relevance = batch.relevance_of(rows).to(queries.dtype)
            similarity = upcast(self.loss.similarity_fct(queries, documents))
            found = measure(similarity, relevance, self.loss.objective)
            return {**found, "effective_rank": effective_rank(F.normalize(queries, dim=-1))}


def measure(similarity: Tensor, relevance: Tensor, objective: Objective) -> dict[str, Tensor]:
    """Measure what an objective can learn from similarities and relevance.

    Args:
        similarity: Shape ``(Q, D)``, floating.
        relevance: At least 0, NaN where unjudged, shape ``(Q, D)``.
        objective: What is optimised.

    Returns:
        Scalars by name, see `RankingDiagnostics`; only those that the objective and the data allow for.
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
    """Return the first part of an objective, of a mixture's terms or within others, that has a setting; or None."""
    if hasattr(objective, name):
        return objective
    within = [term for _, term in objective.terms] if isinstance(objective, Mixture) else []
    if isinstance(inner := getattr(objective, "objective", None), Objective):
        within = [inner]
    return next((found for part in within if (found := _first(part, name)) is not None), None)
