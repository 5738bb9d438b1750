"""What an objective is, and how objectives mix."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from st_rankloss.functional.declaration import Declaration, DeclaredFunction


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
    """An objective that is a declared function of `st_rankloss.functional` with its settings, which are the fields.

    A subclass names its function by decorating an empty ``__init__``, and becomes a frozen dataclass. The function
    declares the settings, their rules and defaults, and when there is something to learn.

    Example:
        >>> from st_rankloss.functional import approx_mrr
        >>> class MeanReciprocalRank(Configured):
        ...     @approx_mrr.settings
        ...     def __init__(self): ...
        >>> MeanReciprocalRank(temperature=0.1)
        MeanReciprocalRank(temperature=0.1, method='auto')
    """

    function: ClassVar[DeclaredFunction[...]]
    spreads: ClassVar[float | None] = None
    """What ``temperature="auto"`` stands for, in standard deviations of a query's similarities; None refuses it."""
    __dataclass_fields__: ClassVar[dict[str, Any]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make a dataclass of the settings of the function."""
        super().__init_subclass__(**kwargs)
        function = getattr(vars(cls).get("__init__"), "function", None)
        if function is None:
            return
        declaration = function.declaration
        cls.function = staticmethod(function)  # type: ignore[assignment]
        cls.separable, cls.spreads = declaration.separable, declaration.spreads
        cls.__doc__ = declaration.docstring(cls.__doc__ or "")
        cls.__annotations__ = {setting.name: setting.annotation for setting in declaration.arguments}
        for setting in declaration.arguments:
            setattr(cls, setting.name, setting.default)
        del cls.__init__
        dataclass(frozen=True)(cls)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...  # the settings

    def __post_init__(self) -> None:
        """Check the settings."""
        self.declaration.check_settings(self._settings())

    @property
    def declaration(self) -> Declaration:
        """What the function declares."""
        return type(self).function.declaration

    def __call__(self, similarity: Tensor, relevance: Tensor) -> Tensor:
        """Compute the loss of each query, 0 where there is nothing to learn."""
        return self.declaration.loss(similarity, relevance, self._settings())

    def defined(self, relevance: Tensor) -> Tensor:
        """Return which queries have something to learn from."""
        return self.declaration.learnable(relevance, self._settings())

    def config(self) -> dict[str, Any]:
        """Return the settings; a function by its name."""
        return {n: getattr(x, "__name__", repr(x)) if callable(x) else x for n, x in self._settings().items()}

    def check_columns(self, sizes: Sequence[int], *, lists: bool = False, mixed: bool = False) -> None:
        """Raise ValueError if the function needs one column, with nothing mixed into it, and there is more."""
        if self.declaration.square and (len(sizes) != 1 or mixed):
            raise ValueError(
                f"{type(self).__name__} needs every sample to be a query and a document: one input column without "
                f"mixup, got {len(sizes)} columns{' and mixup' if mixed else ''}."
            )

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


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
