"""The objective interface, and mixtures of objectives."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from st_rankloss.functional.checks import accepts, check_not_trained
from st_rankloss.functional.declaration import Declaration, DeclaredFunction


class Objective:
    """One loss per query, from its similarities to the documents and their relevance.

    Subclasses implement `__call__`: similarity ``(Q, D)`` and relevance ``(Q, D)`` (at least 0, NaN where
    unjudged) to a loss ``(Q,)``. Lower is better. The loss is 0 with zero gradient for a query that is not `defined`,
    for example because every order of its documents scores the same. Queries are independent and arrive in blocks,
    unless `separable` is False: then the whole batch of all processes arrives at once.

    If documents have weights ``(Q, D)``, at least 0, they arrive as a third argument, ``weights``, and relevance is NaN
    where they are 0. Subclasses without that argument refuse weighted batches.
    """

    separable: ClassVar[bool] = True
    one_loss: ClassVar[bool] = False
    """Whether all queries have the same loss, that of the whole batch."""
    weighs_queries: ClassVar[bool] = True
    """Whether the weights of queries change the loss."""

    @property
    def labels(self) -> frozenset[str]:
        """How the terms read relevance, see `st_rankloss.functional.docstrings.LABELS`; empty if unknown."""
        return frozenset()

    def __call__(self, similarity: Tensor, relevance: Tensor, weights: Tensor | None = None) -> Tensor:
        """Compute the loss of each query."""
        raise TypeError(f"{type(self).__name__} must define __call__(similarity, relevance, weights=None).")

    @property
    def weighs(self) -> bool:
        """Whether documents may have weights."""
        return _weights_of(self.__call__) is not None

    def defined(self, relevance: Tensor) -> Tensor:
        """Return which queries have a defined loss: here, those with any relevant document; ``(Q,)`` bool."""
        return (relevance > 0).any(-1)

    def parts(self, similarity: Tensor, relevance: Tensor, weights: Tensor | None = None) -> dict[str, Tensor]:
        """Compute the terms that add up to the loss, by name, ``(Q,)`` each."""
        return {type(self).__name__: self(similarity, relevance, **given(weights))}

    def config(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return {}

    def check_columns(self, sizes: Sequence[int], *, lists: bool = False, mixed: bool = False) -> None:
        """Raise ValueError if the objective cannot use a batch of these columns; losses check before the model runs.

        Args:
            sizes: Rows of each input column.
            lists: Whether a column holds document lists, whose lengths may differ.
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
    """An objective that is a declared function of `st_rankloss.functional`, with the function's settings as fields.

    A subclass names its function by decorating an empty ``__init__``, and becomes a frozen dataclass. The function
    declares the settings, their rules and defaults, and which queries have a defined loss.

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
    """The value of ``temperature="auto"`` in standard deviations of a query's similarities; None disallows it."""
    __dataclass_fields__: ClassVar[dict[str, Any]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Turn the function's settings into dataclass fields."""
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
        """The function's declaration."""
        return type(self).function.declaration

    @property
    def labels(self) -> frozenset[str]:
        """How the function reads relevance."""
        return frozenset({self.declaration.labels})

    def __call__(self, similarity: Tensor, relevance: Tensor, weights: Tensor | None = None) -> Tensor:
        """Compute the loss of each query, 0 where it is undefined."""
        return self.declaration.loss(similarity, relevance, self._settings(), weights)

    @property
    def weighs(self) -> bool:
        """Whether documents may have weights."""
        return not self.declaration.square

    def defined(self, relevance: Tensor) -> Tensor:
        """Return which queries have a defined loss."""
        return self.declaration.learnable(relevance, self._settings())

    def config(self) -> dict[str, Any]:
        """Return the settings, with functions by name."""
        return {n: getattr(x, "__name__", repr(x)) if callable(x) else x for n, x in self._settings().items()}

    def check_columns(self, sizes: Sequence[int], *, lists: bool = False, mixed: bool = False) -> None:
        """Raise ValueError if the function needs one column without mixup, and the batch has more."""
        if self.declaration.square and (len(sizes) != 1 or mixed):
            raise ValueError(
                f"{type(self).__name__} needs every sample to be a query and a document: one input column without "
                f"mixup, got {len(sizes)} columns{' and mixup' if mixed else ''}."
            )

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True)
class CustomObjective(Objective):
    """An objective from any function of (similarity, relevance).

    Args:
        function: Maps similarity ``(Q, D)`` and relevance ``(Q, D)`` to one loss per query, ``(Q,)``. With an argument
            ``weights``, it gets those of the documents, ``(Q, D)``; None, or the argument's default, without any.

    Raises:
        TypeError: If ``function`` is not callable with these arguments, or does not return a tensor.
        ValueError: If it is a module with parameters to train.
    """

    function: Callable[[Tensor, Tensor], Tensor]

    def __post_init__(self) -> None:
        if not callable(self.function) or not accepts(self.function, None, None, **self._weights(None)):
            raise TypeError(
                "objective must be a function of (similarity, relevance), or of (similarity, relevance, weights), got "
                f"{self.function!r}."
            )
        check_not_trained(self.function, "objective")

    @property
    def weighs(self) -> bool:
        """Whether documents may have weights."""
        return _weights_of(self.function) is not None

    def __call__(self, similarity: Tensor, relevance: Tensor, weights: Tensor | None = None) -> Tensor:
        """Compute the loss of each query."""
        loss = self.function(similarity, relevance, **self._weights(weights))
        if not isinstance(loss, Tensor):
            raise TypeError(f"objective must return a tensor with one loss for each query, got {loss!r:.80}.")
        if loss.shape != similarity.shape[:1]:
            raise ValueError(
                f"objective must return one loss for each query, shape {tuple(similarity.shape[:1])}, "
                f"got shape {tuple(loss.shape)}."
            )
        return loss

    def parts(self, similarity: Tensor, relevance: Tensor, weights: Tensor | None = None) -> dict[str, Tensor]:
        """Compute the loss under the function's name."""
        return {self._name: self(similarity, relevance, weights)}

    def config(self) -> dict[str, Any]:
        """Return the function's name."""
        return {"function": self._name}

    def _weights(self, weights: Tensor | None) -> dict[str, Tensor | None]:
        """Return the argument ``weights``, None for a function that requires it."""
        parameter = _weights_of(self.function)
        required = parameter is not None and parameter.default is parameter.empty
        return {"weights": weights} if required or weights is not None else {}

    @property
    def _name(self) -> str:
        return getattr(self.function, "__name__", type(self.function).__name__)


@dataclass(frozen=True)
class Mixture(Objective):
    """A weighted sum of objectives, built with ``+`` and ``*``.

    All terms are averaged over the queries for which any of them is defined; a term is 0 where only others are.

    Args:
        terms: Pairs of a weight, above 0, and an objective, at least one.

    Raises:
        TypeError: If a weight is not a number, or a term not an objective.
        ValueError: If a weight is not above 0, or there are no terms.

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
        """Whether all terms are separable."""
        return all(objective.separable for _, objective in self.terms)

    @property
    def one_loss(self) -> bool:  # type: ignore[override]
        """Whether all queries have the same loss."""
        return all(objective.one_loss for _, objective in self.terms)

    @property
    def weighs_queries(self) -> bool:  # type: ignore[override]
        """Whether the weights of queries change all terms; lists of the whole batch read those of their documents."""
        return all(o.weighs_queries and (self.weighs or not o.one_loss) for _, o in self.terms)

    @property
    def labels(self) -> frozenset[str]:
        """How the terms read relevance."""
        return frozenset().union(*(objective.labels for _, objective in self.terms))

    def check_columns(self, sizes: Sequence[int], *, lists: bool = False, mixed: bool = False) -> None:
        """Raise ValueError if a term cannot use a batch of these columns."""
        for _, objective in self.terms:
            objective.check_columns(sizes, lists=lists, mixed=mixed)

    @property
    def weighs(self) -> bool:
        """Whether documents may have weights in all terms."""
        return all(objective.weighs for _, objective in self.terms)

    def __call__(self, similarity: Tensor, relevance: Tensor, weights: Tensor | None = None) -> Tensor:
        """Compute the weighted sum of each query's losses."""
        parts = iter(self.parts(similarity, relevance, weights).values())
        return sum(parts, start=next(parts))

    def defined(self, relevance: Tensor) -> Tensor:
        """Return for which queries any term is defined."""
        defined = self.terms[0][1].defined(relevance)
        for _, objective in self.terms[1:]:
            defined = defined | objective.defined(relevance)
        return defined

    def parts(self, similarity: Tensor, relevance: Tensor, weights: Tensor | None = None) -> dict[str, Tensor]:
        """Compute the weighted terms by name, as the trainer logs them; repeated names are numbered.

        The trainer's own keys, such as ``loss`` or ``epoch``, are lower-case words. A term with such a name, as a
        function may have, gets its objective's name too: ``CustomObjective(loss)``.
        """
        parts: dict[str, Tensor] = {}
        for weight, objective in self.terms:
            for name, value in objective.parts(similarity, relevance, **given(weights)).items():
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
    """Return an objective unchanged, and a function as a `CustomObjective`."""
    if isinstance(objective, type):
        raise TypeError(f"objective must be an objective or a function, got the class {objective.__name__}: call it.")
    return objective if isinstance(objective, Objective) else CustomObjective(objective)


def nested(objective: Objective) -> Iterator[Objective]:
    """Yield an objective, and those that it mixes or wraps, at any depth."""
    yield objective
    inside = (
        [each for _, each in objective.terms] if isinstance(objective, Mixture) else [vars(objective).get("objective")]
    )
    for each in inside:
        if isinstance(each, Objective):
            yield from nested(each)


def _weights_of(function: Callable[..., Any]) -> inspect.Parameter | None:
    """Return the parameter ``weights`` of a function, if it has one."""
    try:
        return inspect.signature(function).parameters.get("weights")
    except (TypeError, ValueError):  # a function of a compiled module may have no signature
        return None


def given(weights: Tensor | None) -> dict[str, Tensor]:
    """Return weights as an argument, and nothing without them, for functions that take none."""
    return {} if weights is None else {"weights": weights}


def _terms(objective: Objective) -> tuple[tuple[float, Objective], ...]:
    return objective.terms if isinstance(objective, Mixture) else ((1, objective),)
