"""Objectives: configured, named, differentiable ranking metrics, as the losses take them.

=====================  ===========================  =======================  ==============  ====================
objective              optimises                    labels it reads          cost per query  source
=====================  ===========================  =======================  ==============  ====================
`ApproxNDCG`           NDCG                         binary, graded           soft rank       Qin, Liu, Li 2010
`SoftmaxCrossEntropy`  likelihood of relevant ones  binary, graded           D               ListNet, RankT5
=====================  ===========================  =======================  ==============  ====================

They mix by ``+`` and by a number: ``ApproxNDCG() + 0.2 * SoftmaxCrossEntropy()``. Any function of
(similarity, relevance) that returns a loss for each query serves as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from st_rankloss.functional.checks import check_at_least, check_choice, check_temperature
from st_rankloss.functional.cross_entropy import softmax_cross_entropy
from st_rankloss.functional.gains import Gain, check_gain, gains_of
from st_rankloss.functional.ndcg import approx_ndcg
from st_rankloss.kernels import METHODS


class Objective:
    """A loss for each query, from its similarities to the documents and their relevance.

    Subclasses implement `__call__`: similarity ``(Q, D)`` and relevance ``(Q, D)`` (at least 0, NaN where
    unjudged) to a loss ``(Q,)``, lower is better, which is 0 with zero gradient for a query that is not
    `defined`. Queries must not depend on each other: losses hand them over block by block.
    """

    def __call__(self, similarity: Tensor, relevance: Tensor) -> Tensor:
        """Compute the loss of each query."""
        raise TypeError(f"{type(self).__name__} must define __call__(similarity, relevance).")

    def defined(self, relevance: Tensor) -> Tensor:
        """Tell which queries have something to learn from: here, any relevant document; ``(Q,)`` bool."""
        return (relevance > 0).any(-1)

    def parts(self, similarity: Tensor, relevance: Tensor) -> dict[str, Tensor]:
        """Compute the terms that add up to the loss, by name, ``(Q,)`` each."""
        return {type(self).__name__: self(similarity, relevance)}

    def config(self) -> dict[str, Any]:
        """Return the settings, as they go into a model card."""
        return {}

    def __add__(self, other: object) -> Mixture:
        if not isinstance(other, Objective):
            return NotImplemented
        return Mixture(((1, self), (1, other)))

    def __mul__(self, weight: object) -> Mixture:
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            return NotImplemented
        return Mixture(((weight, self),))

    __rmul__ = __mul__


@dataclass(frozen=True)
class ApproxNDCG(Objective):
    """1 - `approx_ndcg`: the A-NDCG objective.

    Args:
        temperature: Width of the soft comparison, above 0, in units of similarity; on cosines 0.01 to 0.1.
        gain: ``"linear"`` (the metric of MTEB and pytrec_eval), ``"exponential"`` (2^y - 1) or a callable.
        k: Cutoff; None means no cutoff, which trains better: ranks in a batch are not ranks in a corpus.
        cutoff_temperature: Width of the soft cutoff, above 0, in ranks.
        method: How soft ranks are computed, see `soft_rank`.

    Raises:
        ValueError: If a temperature is not above 0, ``k`` is below 1, or a name is unknown.

    Example:
        >>> import torch
        >>> similarity = torch.tensor([[0.9, 0.2, 0.7]])
        >>> ApproxNDCG(temperature=0.1)(similarity, torch.tensor([[1.0, 0.0, 0.5]]))
        tensor([0.0504])

    Source: Qin, Liu, Li (2010), "A general approximation framework for direct optimization of information
    retrieval measures"; over every sample of a batch, Gu (2021), arXiv 2103.15093.
    """

    temperature: float = 0.05
    gain: Gain = "linear"
    k: int | None = None
    cutoff_temperature: float = 1.0
    method: str = "auto"

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        check_temperature(self.cutoff_temperature, "cutoff_temperature")
        check_gain(self.gain)
        check_at_least(self.k, 1, "k")
        check_choice(self.method, ["auto", *METHODS], "method")

    def __call__(self, similarity: Tensor, relevance: Tensor) -> Tensor:
        """Compute 1 - NDCG of each query, 0 where it has no gain."""
        value = approx_ndcg(similarity, relevance, no_relevant="zero", **_settings(self))
        return torch.where(self.defined(relevance), 1 - value, 0)

    def defined(self, relevance: Tensor) -> Tensor:
        """Tell which queries have gain."""
        return _has_gain(relevance, self.gain)

    def config(self) -> dict[str, Any]:
        """Return the settings."""
        return _settings(self)


@dataclass(frozen=True)
class SoftmaxCrossEntropy(Objective):
    """Cross-entropy between the softmax of similarities and the normalised gains, `softmax_cross_entropy`.

    With one relevant document a query it is sentence-transformers' MultipleNegativesRankingLoss.

    Args:
        temperature: Divides the similarities, above 0: 1 / scale in sentence-transformers' terms.
        gain: ``"linear"``, ``"exponential"`` (2^y - 1) or a callable.

    Raises:
        ValueError: If ``temperature`` is not above 0 or ``gain`` is unknown.

    Example:
        >>> import torch
        >>> similarity = torch.tensor([[0.9, 0.2, 0.7]])
        >>> SoftmaxCrossEntropy(temperature=0.1)(similarity, torch.tensor([[1.0, 0.0, 0.5]]))
        tensor([0.7944])

    Source: Cao et al. (2007), ListNet; Zhuang et al. (2023), RankT5.
    """

    temperature: float = 0.05
    gain: Gain = "linear"

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        check_gain(self.gain)

    def __call__(self, similarity: Tensor, relevance: Tensor) -> Tensor:
        """Compute the cross-entropy of each query, 0 where it has no gain."""
        return softmax_cross_entropy(similarity, relevance, no_relevant="zero", **_settings(self))

    def defined(self, relevance: Tensor) -> Tensor:
        """Tell which queries have gain."""
        return _has_gain(relevance, self.gain)

    def config(self) -> dict[str, Any]:
        """Return the settings."""
        return _settings(self)


@dataclass(frozen=True)
class CustomObjective(Objective):
    """An objective made of any function of (similarity, relevance).

    Args:
        function: Maps similarity ``(Q, D)`` and relevance ``(Q, D)`` to a loss for each query ``(Q,)``.

    Raises:
        TypeError: If ``function`` is not callable.
    """

    function: Callable[[Tensor, Tensor], Tensor]

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise TypeError(f"objective must be a function of (similarity, relevance), got {self.function!r}.")

    def __call__(self, similarity: Tensor, relevance: Tensor) -> Tensor:
        """Compute the loss of each query."""
        loss = self.function(similarity, relevance)
        if loss.shape != similarity.shape[:1]:
            raise ValueError(
                f"objective must return one loss for each query, shape {tuple(similarity.shape[:1])}, "
                f"got shape {tuple(loss.shape)}."
            )
        return loss

    def parts(self, similarity: Tensor, relevance: Tensor) -> dict[str, Tensor]:
        """Compute the loss under the function's name."""
        return {self._name: self(similarity, relevance)}

    def config(self) -> dict[str, Any]:
        """Return the function's name."""
        return {"function": self._name}

    @property
    def _name(self) -> str:
        return getattr(self.function, "__name__", type(self.function).__name__)


@dataclass(frozen=True)
class Mixture(Objective):
    """A weighted sum of objectives, as ``+`` and ``*`` make it.

    Args:
        terms: Pairs of a weight, above 0, and an objective.

    Raises:
        ValueError: If a weight is not above 0.

    Example:
        >>> ApproxNDCG() + 0.2 * SoftmaxCrossEntropy()  # doctest: +ELLIPSIS
        1 * ApproxNDCG(temperature=0.05, ...) + 0.2 * SoftmaxCrossEntropy(temperature=0.05, gain='linear')
    """

    terms: tuple[tuple[float, Objective], ...]

    def __post_init__(self) -> None:
        flat = tuple((weight * w, o) for weight, objective in self.terms for w, o in _terms(objective))
        object.__setattr__(self, "terms", flat)
        for weight, objective in flat:
            if not (math.isfinite(weight) and weight > 0):
                raise ValueError(f"the weight of {objective!r} must be a finite number above 0, got {weight!r}.")

    def __call__(self, similarity: Tensor, relevance: Tensor) -> Tensor:
        """Compute the weighted sum of each query's losses."""
        parts = iter(self.parts(similarity, relevance).values())
        return sum(parts, start=next(parts))

    def defined(self, relevance: Tensor) -> Tensor:
        """Tell which queries any term can learn from."""
        defined = self.terms[0][1].defined(relevance)
        for _, objective in self.terms[1:]:
            defined = defined | objective.defined(relevance)
        return defined

    def parts(self, similarity: Tensor, relevance: Tensor) -> dict[str, Tensor]:
        """Compute the weighted terms by name; a name that returns is numbered."""
        parts: dict[str, Tensor] = {}
        for weight, objective in self.terms:
            ((name, value),) = objective.parts(similarity, relevance).items()
            again = sum(other.split("#")[0] == name for other in parts)
            parts[f"{name}#{again + 1}" if again else name] = weight * value
        return parts

    def config(self) -> dict[str, Any]:
        """Return each term's weight and settings."""
        return {"terms": [{"weight": w, type(o).__name__: o.config()} for w, o in self.terms]}

    def __repr__(self) -> str:
        return " + ".join(f"{weight:g} * {objective!r}" for weight, objective in self.terms)


def as_objective(objective: Objective | Callable[[Tensor, Tensor], Tensor]) -> Objective:
    """Return an objective as it is, and a function as a `CustomObjective`."""
    return objective if isinstance(objective, Objective) else CustomObjective(objective)


def _terms(objective: Objective) -> tuple[tuple[float, Objective], ...]:
    return objective.terms if isinstance(objective, Mixture) else ((1, objective),)


def _has_gain(relevance: Tensor, gain: Gain) -> Tensor:
    gains = gains_of(relevance, gain) if callable(gain) else relevance  # named gains are above 0 where grades are
    return (gains > 0).any(-1)


def _settings(objective: Any) -> dict[str, Any]:
    return {field.name: getattr(objective, field.name) for field in fields(objective)}
