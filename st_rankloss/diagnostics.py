"""What tells a user why a ranking loss stalls, in the trainer's logs."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import TrainerCallback

from st_rankloss.functional.diagnostics import effective_rank, random_ndcg, vanishing_share
from st_rankloss.functional.ranks import upcast
from st_rankloss.losses import RankingLoss
from st_rankloss.objectives import Mixture, Objective
from st_rankloss.objectives.wrappers import OneList

logger = logging.getLogger(__name__)

_QUERIES = 64
"""Of a batch's queries, the first so many are looked at."""

_WARNINGS = {
    "queries_with_relevance": (
        lambda value: value < 0.1,
        "only {:.1%} of the queries have a relevant document in their batch, the others train nothing: take a sampler "
        "of st_rankloss.samplers, or a larger batch",
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
    """Logs what tells why a ranking loss stalls, and warns once, in plain words, of what cannot learn.

    ==========================  ====================================================  ==================================
    logged                      meaning                                               warns
    ==========================  ====================================================  ==================================
    ``queries_with_relevance``  share of queries with a relevant document, the mean   below 0.1
                                since the last log
    ``temperature_over_spread`` the objective's temperature over the standard         above 5; 0.1 to 0.5 is usual
                                deviation of a query's similarities
    ``vanishing_gradient``      share of the documents below less relevant ones that  above 0.9
                                have next to no gradient
    ``ndcg_of_random_order``    expected NDCG of a random order                       above 0.95
    ``effective_rank``          RankMe of the queries' embeddings, at most 64         below 1.5
    ==========================  ====================================================  ==================================

    All but the first are measured on the first 64 queries of the last batch before a log, or on all for an objective
    that reads the whole batch. Values stay on the device
    until the trainer logs. Time: at each log that of the objective for 64 queries; training is not changed by a bit.

    Args:
        loss: The loss that is trained.
        name: What logged names begin with, to tell several losses apart.

    Raises:
        TypeError: If ``loss`` is no `RankingLoss`.

    Example:
        ::

            trainer = SentenceTransformerTrainer(..., loss=loss, callbacks=[RankingDiagnostics(loss)])
    """

    def __init__(self, loss: RankingLoss, name: str = "") -> None:
        if not isinstance(loss, RankingLoss):
            raise TypeError(f"loss must be a RankingLoss, got {type(loss).__name__}.")
        self.loss = loss
        self.name = name
        self._shares: list[Tensor] = []
        self._found: dict[str, Tensor] = {}
        self._warned: set[str] = set()

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look at the embeddings of steps that will be logged."""
        step = state.global_step + 1
        by_step = args.logging_strategy == "steps"
        logged = not by_step or step % max(1, state.logging_steps) == 0 or (step == 1 and args.logging_first_step)
        self.loss.observer = self._observe if logged else None

    def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep the share of a batch whose gradient is accumulated."""
        if self.loss.relevant_share is not None:
            self._shares.append(self.loss.relevant_share)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep the batch's share, on the device, and look away, as in evaluation."""
        self.on_substep_end(args, state, control)
        self.loss.observer = None

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **kwargs: Any) -> None:
        """Add the numbers to the logs and to the trainer's history, and warn."""
        if "loss" not in logs or not self._shares:
            return
        found = {"queries_with_relevance": torch.stack(self._shares).mean(), **self._found}
        self._shares.clear()
        self._found = {}
        for key, value in ((key, tensor.item()) for key, tensor in found.items()):
            logs[self.name + key] = value
            if state.log_history:
                state.log_history[-1][self.name + key] = value
            cannot_learn, words = _WARNINGS[key]
            if cannot_learn(value) and key not in self._warned:
                self._warned.add(key)
                logger.warning("%s%s = %.3g: %s.", self.name, key, value, words.format(value))

    @torch.no_grad()
    def _observe(self, queries: Tensor, documents: Tensor, relevance_of: Any) -> None:
        devices = [queries.device] if queries.device.type == "cuda" else []
        # Objectives that draw at random must not draw other numbers in training for having been looked at.
        with torch.autocast(queries.device.type, enabled=False), torch.random.fork_rng(devices):
            rows = slice(0, min(_QUERIES, len(queries)) if self.loss.objective.separable else len(queries))
            queries, documents = upcast(queries[rows]), upcast(documents)
            relevance = relevance_of(rows).to(queries.dtype)
            similarity = upcast(self.loss.similarity_fct(queries, documents))
            self._found = measure(similarity, relevance, self.loss.objective)
            self._found["effective_rank"] = effective_rank(F.normalize(queries, dim=-1))


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
