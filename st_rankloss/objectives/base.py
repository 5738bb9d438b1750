"""What an objective is, and how objectives mix."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor

from st_rankloss.functional.lists import any_relevant, by_gain, clean_relevance, masked_mean
from st_rankloss.functional.ranks import upcast
from st_rankloss.functional.settings import check_settings


class Objective:
    """A loss for each query, from its similarities to the documents and their relevance.

    Subclasses implement `__call__`: similarity ``(Q, D)`` and relevance ``(Q, D)`` (at least 0, NaN where
    unjudged) to a loss ``(Q,)``, lower is better, which is 0 with zero gradient for a query that is not
    `defined`: one from which there is nothing to learn, as where every order of its documents is worth the same.
    Queries do not depend on each other, and losses hand them over block by block, unless `separable` is False: then
    they come all at once, as the whole batch of all processes.
    """

    separable: ClassVar[bool] = True

    def __call__(self, similarity: Tensor, relevance: Tensor) -> Tensor:
        """Compute the loss of each query."""
        raise TypeError(f"{type(self).__name__} must define __call__(similarity, relevance).")

    def defined(self, relevance: Tensor) -> Tensor:
        """Return which queries have something to learn from: here, any relevant document; ``(Q,)`` bool."""
        return (relevance > 0).any(-1)

    def parts(self, similarity: Tensor, relevance: Tensor) -> dict[str, Tensor]:
        """Compute the terms that add up to the loss, by name, ``(Q,)`` each."""
        return {type(self).__name__: self(similarity, relevance)}

    def config(self) -> dict[str, Any]:
        """Return the settings, as JSON can hold them."""
        return {}

    def check_columns(self, sizes: Sequence[int], *, lists: bool = False, mixed: bool = False) -> None:
        """Raise ValueError if the objective cannot read a batch of such columns; losses ask before the model runs.

        Args:
            sizes: Rows of each input column.
            lists: Whether a column holds lists of documents, of other lengths.
            mixed: Whether mixed documents are added.
        """

    def __add__(self, other: object) -> Mixture:
        if not isinstance(other, Objective):
            return NotImplemented
        return Mixture(((1, self), (1, other)))

    def __mul__(self, weight: object) -> Mixture:
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            return NotImplemented
        return Mixture(((weight, self),))

    __rmul__ = __mul__


class Configured(Objective):
    """An objective that is a function of `st_rankloss.functional` with its settings, which are the fields.

    Subclasses are frozen dataclasses that name their ``function``.
    """

    function: ClassVar[staticmethod[..., Tensor]]
    """Maps similarity and relevance ``(Q, D)`` to ``(Q,)``, and takes the settings by name."""
    fixed: ClassVar[dict[str, Any]] = {}
    """Settings of the function that are no choice of this objective."""
    higher_is_better: ClassVar[bool] = False
    """Whether the function is a metric, of which the loss is 1 minus the value."""
    spreads: ClassVar[float | None] = None
    """What ``temperature="auto"`` stands for, in standard deviations of a query's similarities; None refuses it."""
    needs: ClassVar[staticmethod[[Tensor, Tensor], Tensor]] = staticmethod(any_relevant)
    """Which lists have something to learn from, by relevance (0 where unjudged) and which documents are judged; by
    gains, where there is a setting ``gain``. A metric needs documents of which not every order is worth the same."""

    def __post_init__(self) -> None:
        """Check the settings, each by its rule and all by the function, which gets a list of one document."""
        settings = self._settings()
        if isinstance(given := settings.get("temperature"), str) and self.spreads is not None and given != "auto":
            raise TypeError(f"temperature must be a number or 'auto', got {given!r}.")
        if settings.get("temperature") == "auto":
            if self.spreads is None:
                raise ValueError(f"temperature must be a number for {type(self).__name__}, got 'auto'.")
            settings["temperature"] = self.spreads
        check_settings(**settings)
        self._try(settings | self.fixed)

    def _try(self, settings: dict[str, Any]) -> None:
        one = torch.zeros(1, 1)
        with torch.random.fork_rng(devices=[]):  # some functions draw at random
            type(self).function(one, one, no_relevant="zero", **settings)

    def __call__(self, similarity: Tensor, relevance: Tensor) -> Tensor:
        """Compute the loss of each query, 0 where it is not defined."""
        settings = self._settings() | self.fixed
        if settings.get("temperature") == "auto":
            similarity, settings["temperature"] = in_spreads(similarity, relevance), self.spreads
        value = type(self).function(similarity, relevance, no_relevant="zero", **settings)
        # Defined as the function sees the grades, which it rounds to the dtype of the similarities.
        return torch.where(self.defined(relevance.to(value.dtype)), 1 - value, 0) if self.higher_is_better else value

    def defined(self, relevance: Tensor) -> Tensor:
        """Return which queries have something to learn from."""
        return self._needs()(*clean_relevance(relevance))

    def _needs(self) -> Callable[[Tensor, Tensor], Tensor]:
        """Return the condition of lists, with this objective's settings in it."""
        needs = type(self).needs
        return by_gain(needs, gain) if (gain := getattr(self, "gain", None)) is not None else needs

    def config(self) -> dict[str, Any]:
        """Return the settings; a function by its name."""
        return {n: getattr(x, "__name__", repr(x)) if callable(x) else x for n, x in self._settings().items()}

    def _settings(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]


def in_spreads(similarity: Tensor, relevance: Tensor) -> Tensor:
    """Divide each query's similarities by their standard deviation over its judged documents, a constant.

    Args:
        similarity: Shape ``(Q, D)``.
        relevance: NaN where unjudged, shape ``(Q, D)``.

    Returns:
        Shape ``(Q, D)``. A spread below a hundredth of the query's largest similarity counts as that, so that a query
        whose similarities are all equal, but for rounding, is not blown up.

    Example:
        >>> in_spreads(torch.tensor([[3.0, 1.0]]), torch.tensor([[1.0, 0.0]]))
        tensor([[3.0000, 1.0000]])
        >>> in_spreads(torch.tensor([[0.3, 0.1]]), torch.tensor([[1.0, 0.0]]))
        tensor([[3.0000, 1.0000]])
    """
    with torch.no_grad():
        judged = ~relevance.isnan()
        values = upcast(similarity)
        gap = torch.where(judged, values - masked_mean(values, judged)[:, None], 0)
        spread = masked_mean(gap.square(), judged).sqrt()[:, None]
        least = 1e-2 * torch.where(judged, values.abs(), 0).amax(-1, keepdim=True) if values.shape[-1] else spread
        spread = torch.maximum(spread, least)
        spread = torch.where(spread > 0, spread, 1)
    return upcast(similarity) / spread


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

    All terms are averaged over the queries that any of them can learn from; of a query that only others can learn from,
    a term is 0.

    Args:
        terms: Pairs of a weight, above 0, and an objective, at least one.

    Raises:
        TypeError: If a weight is no number, or what it weighs no objective.
        ValueError: If a weight is not above 0, or there is no term.

    Example:
        >>> from st_rankloss.objectives import ApproxNDCG, SoftmaxCrossEntropy
        >>> ApproxNDCG() + 0.2 * SoftmaxCrossEntropy()  # doctest: +ELLIPSIS
        1 * ApproxNDCG(temperature=0.05, ...) + 0.2 * SoftmaxCrossEntropy(temperature=0.05, ...)
    """

    terms: tuple[tuple[float, Objective], ...]

    def __post_init__(self) -> None:
        if not self.terms:
            raise ValueError("terms must be at least one pair of a weight and an objective, got none.")
        for weight, objective in self.terms:
            if not isinstance(objective, Objective):
                raise TypeError(f"a mixture's terms must be objectives, got {objective!r}.")
            if isinstance(weight, bool) or not isinstance(weight, int | float):
                raise TypeError(f"the weight of {objective!r} must be a number, got {weight!r}.")
        flat = tuple((weight * w, o) for weight, objective in self.terms for w, o in _terms(objective))
        object.__setattr__(self, "terms", flat)
        for weight, objective in flat:
            if not (math.isfinite(weight) and weight > 0):
                raise ValueError(f"the weight of {objective!r} must be a finite number above 0, got {weight!r}.")

    @property
    def separable(self) -> bool:  # type: ignore[override]
        """Whether all terms are."""
        return all(objective.separable for _, objective in self.terms)

    def check_columns(self, sizes: Sequence[int], *, lists: bool = False, mixed: bool = False) -> None:
        """Raise ValueError if a term cannot read a batch of such columns."""
        for _, objective in self.terms:
            objective.check_columns(sizes, lists=lists, mixed=mixed)

    def __call__(self, similarity: Tensor, relevance: Tensor) -> Tensor:
        """Compute the weighted sum of each query's losses."""
        parts = iter(self.parts(similarity, relevance).values())
        return sum(parts, start=next(parts))

    def defined(self, relevance: Tensor) -> Tensor:
        """Return which queries any term can learn from."""
        defined = self.terms[0][1].defined(relevance)
        for _, objective in self.terms[1:]:
            defined = defined | objective.defined(relevance)
        return defined

    def parts(self, similarity: Tensor, relevance: Tensor) -> dict[str, Tensor]:
        """Compute the weighted terms by name, as the trainer logs them; a name that returns is numbered.

        The keys that a trainer logs itself, ``loss`` or ``epoch``, are words in lower case. A term of such a name, as a
        function may have, is named after its objective too: ``CustomObjective(loss)``.
        """
        parts: dict[str, Tensor] = {}
        for weight, objective in self.terms:
            for name, value in objective.parts(similarity, relevance).items():
                if name.isidentifier() and not name[0].isupper():
                    name = f"{type(objective).__name__}({name})"
                free, number = name, 2
                while free in parts:
                    free, number = f"{name}#{number}", number + 1
                parts[free] = weight * value
        return parts

    def config(self) -> dict[str, Any]:
        """Return each term's weight and settings."""
        return {"terms": [{"weight": w, type(o).__name__: o.config()} for w, o in self.terms]}

    def __repr__(self) -> str:
        return " + ".join(f"{weight:g} * {objective!r}" for weight, objective in self.terms)


def as_objective(objective: Objective | Callable[[Tensor, Tensor], Tensor]) -> Objective:
    """Return an objective as it is, and a function as a `CustomObjective`."""
    if isinstance(objective, type):
        raise TypeError(f"objective must be an objective or a function, got the class {objective.__name__}: call it.")
    return objective if isinstance(objective, Objective) else CustomObjective(objective)


def _terms(objective: Objective) -> tuple[tuple[float, Objective], ...]:
    return objective.terms if isinstance(objective, Mixture) else ((1, objective),)
