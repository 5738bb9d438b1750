"""Declarations of functions of similarity and relevance, from which objectives and documentation are derived.

A body maps clean tensors and settings to values. `list_function` and `batch_function` turn it into a public function
that checks and cleans its arguments, and record the properties that an objective needs.
"""

from __future__ import annotations

import functools
import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Concatenate, ParamSpec, Protocol

import torch
from torch import Tensor

from st_rankloss.functional.checks import (
    check_finite,
    check_floating,
    check_relevance,
    check_same_shape,
    check_weights,
)
from st_rankloss.functional.conditions import Condition
from st_rankloss.functional.docstrings import function_docstring, objective_docstring
from st_rankloss.functional.gains import gains_of_clean
from st_rankloss.functional.lists import clean_relevance, in_spreads, weigh
from st_rankloss.functional.masks import is_everywhere
from st_rankloss.functional.ranks import upcast
from st_rankloss.functional.settings import Setting, arguments_of, check_settings, settings_of

P = ParamSpec("P")
Body = Callable[Concatenate[Tensor, Tensor, Tensor, Tensor | None, P], Tensor]
"""Maps clean similarity, relevance, judged masks and weights (or None), ``(Q, D)`` each, and settings to values."""

Settings = Mapping[str, Any]


class DeclaredFunction(Protocol[P]):
    """A function of similarity and relevance with settings, and its declaration."""

    __name__: str
    declaration: Declaration

    def __call__(self, similarity: Tensor, relevance: Tensor, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        """Compute the value; ``weights=`` takes those of the documents."""
        ...

    def settings(self, init: Callable[[Any], None]) -> Callable[Concatenate[Any, P], None]:
        """Decorate the empty ``__init__`` of an objective to give it the settings of this function."""
        ...


@dataclass(frozen=True)
class Declaration(ABC):
    """The properties of a function.

    Attributes:
        body: The mathematics.
        labels: How relevance is read, one of `st_rankloss.functional.docstrings.LABELS`.
        learns: Which queries have a defined loss; for a metric, those whose value depends on the order.
        metric: Whether higher is better, so that the loss is 1 minus the value.
        most: The largest relevance that the body accepts.
        check: Raises for incompatible settings; takes them by name.
        separable: Whether queries are independent.
        square: Whether every sample must be a query and a document.
    """

    body: Callable[..., Tensor]
    labels: str
    learns: Condition
    metric: bool = False
    most: float = math.inf
    check: Callable[..., None] | None = None

    separable: ClassVar[bool] = True
    square: ClassVar[bool] = False

    @functools.cached_property
    def arguments(self) -> list[inspect.Parameter]:
        """The settings as parameters."""
        return arguments_of(self.body)[4:]

    @functools.cached_property
    def rules(self) -> dict[str, Setting]:
        """The rules of each setting, by name."""
        return settings_of(self.body)

    @property
    def spreads(self) -> float | None:
        """The value of ``temperature="auto"`` in standard deviations of a query's similarities."""
        return self.rules["temperature"].auto if "temperature" in self.rules else None

    def docstring(self, own: str | None = None) -> str:
        """Return the docstring of the function, or of its objective if given the objective's ``own``."""
        described = {x.name: self.rules[x.name].text if x.name in self.rules else "" for x in self.arguments}
        if own is not None:
            return objective_docstring(own, self.body.__doc__, described)
        return function_docstring(self.body.__doc__, self.labels, described, weighs=not self.square)

    def check_settings(self, settings: Settings) -> None:
        """Raise TypeError or ValueError unless the settings are valid."""
        check_settings(self.rules, settings)
        if self.check is not None:
            self.check(**settings)

    def learnable(self, relevance: Tensor, settings: Settings) -> Tensor:
        """Return which queries have a defined loss: ``(Q, D)``, NaN where unjudged, to ``(Q,)`` bool."""
        relevance, judged = clean_relevance(relevance)
        return self.learns(_gained(relevance, settings), judged, **settings)

    @abstractmethod
    def value(self, similarity: Tensor, relevance: Tensor, settings: Settings, weights: Tensor | None = None) -> Tensor:
        """Compute the value of the function."""

    @abstractmethod
    def loss(self, similarity: Tensor, relevance: Tensor, settings: Settings, weights: Tensor | None = None) -> Tensor:
        """Compute the loss of each query ``(Q,)``: 0, with zero gradient, where it is undefined."""


@dataclass(frozen=True)
class ListDeclaration(Declaration):
    """A function of each query's list, independent of the others.

    Attributes:
        defined: Which lists have a value; those with a defined loss are a subset.
    """

    defined: Condition | None = None

    def value(self, similarity: Tensor, relevance: Tensor, settings: Settings, weights: Tensor | None = None) -> Tensor:
        """Compute the value of each list ``(...)``, NaN where it is undefined."""
        value, defined, _ = self._compute(similarity, relevance, settings, weights)
        return torch.where(defined, value, torch.nan)

    def loss(self, similarity: Tensor, relevance: Tensor, settings: Settings, weights: Tensor | None = None) -> Tensor:
        """Compute the loss of each query."""
        value, _, learns = self._compute(similarity, relevance, settings, weights)
        return torch.where(learns, 1 - value if self.metric else value, 0)

    def _compute(
        self, similarity: Tensor, relevance: Tensor, settings: Settings, weights: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute values, which of them are defined, and which lists have a defined loss: ``(...)`` each.

        Unjudged documents and undefined lists pass back zero gradient, never NaN. If every order of a list has the same
        value, a metric is 1 with zero gradient, so that smoothing does not move its similarities.
        """
        check_lists(similarity, relevance, weights)
        if not similarity.dim():
            raise ValueError("similarity must have a last dimension of documents, got a scalar.")
        shape, documents = similarity.shape[:-1], similarity.shape[-1]
        if not documents or not shape.numel():
            none = torch.zeros(shape, dtype=torch.bool, device=similarity.device)
            return upcast(similarity).sum(-1), none, none
        with torch.autocast(similarity.device.type, enabled=False):
            similarity = upcast(similarity).reshape(-1, documents)
            given = relevance.dtype
            relevance = relevance.detach().reshape(-1, documents).to(similarity.dtype)
            if given != similarity.dtype or self.most < math.inf:
                check_relevance(relevance, self.most)  # a finite float64 may overflow in float32
            if weights is not None:
                relevance, weights = weigh(relevance, weights.reshape(-1, documents))
            relevance, judged = clean_relevance(relevance)
            if settings.get("temperature") == "auto":
                similarity, settings = (
                    in_spreads(similarity, judged, weights),
                    {**settings, "temperature": self.spreads},
                )
            read = _gained(relevance, settings)
            learns = self.learns(read, judged, **settings)
            defined = learns if self.defined is None else self.defined(read, judged, **settings)
            moving = learns if self.metric else defined
            similarity = _only(similarity, judged, moving)
            value = self.body(similarity, relevance, judged, weights, **settings).to(similarity.dtype)
            if not value.requires_grad:  # a list without comparisons stays connected to the graph
                value = value + 0 * similarity[:, 0]
            if self.metric:
                value = torch.where(moving, value, 1)
        return value.reshape(shape), defined.reshape(shape), learns.reshape(shape)


@dataclass(frozen=True)
class BatchDeclaration(Declaration):
    """A function of a whole batch, ``(Q, D)`` to one value or one value per query."""

    separable = False

    def value(self, similarity: Tensor, relevance: Tensor, settings: Settings, weights: Tensor | None = None) -> Tensor:
        """Compute the value of the batch, or one per query."""
        with torch.autocast(similarity.device.type, enabled=False):
            return self.body(*self._clean(similarity, relevance, weights), **settings)

    def loss(self, similarity: Tensor, relevance: Tensor, settings: Settings, weights: Tensor | None = None) -> Tensor:
        """Compute the loss of each query."""
        value = self.value(similarity, relevance, settings, weights)
        if weights is not None:
            relevance, _ = weigh(upcast(relevance), weights)
        return torch.where(self.learnable(relevance, settings), value, 0)

    def _clean(
        self, similarity: Tensor, relevance: Tensor, weights: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Return similarity and relevance, 0 where unjudged (but for the diagonal of samples), judged mask, weights."""
        check_lists(similarity, relevance, weights)
        if self.square and weights is not None:
            raise ValueError(
                f"{self.body.__name__} compares whole samples, so documents have no weights of their own: weight the "
                "queries, or leave samples out."
            )
        if similarity.dim() != 2 or (self.square and similarity.shape[0] != similarity.shape[1]):
            shape = "(B, B), every sample a query and a document" if self.square else "(Q, D)"
            raise ValueError(f"similarity must be of shape {shape}, got {tuple(similarity.shape)}.")
        if not similarity.numel():
            raise ValueError(
                f"a batch needs at least one query and document, got similarity {tuple(similarity.shape)}."
            )
        relevance = upcast(relevance.detach())
        if weights is not None:
            relevance, weights = weigh(relevance, weights)
        relevance, judged = clean_relevance(relevance)
        known = judged
        if self.square:
            known = judged | torch.eye(len(judged), dtype=torch.bool, device=judged.device)
            check_finite(similarity.detach().diagonal(), "similarity", "That of a sample with itself counts too.")
            if judged.device.type == "cpu" and not known.all():
                raise ValueError(
                    "relevance of different samples must be judged for a loss of the whole batch, got nan."
                )
        return torch.where(known, upcast(similarity), 0), relevance, judged, weights


@dataclass(frozen=True)
class SquareDeclaration(BatchDeclaration):
    """A function of a batch in which every sample is both a query and a document."""

    square = True


def list_function(
    labels: str,
    *,
    learns: Condition,
    defined: Condition | None = None,
    metric: bool = False,
    most: float = math.inf,
    check: Callable[..., None] | None = None,
) -> Callable[[Body[P]], DeclaredFunction[P]]:
    """Declare a function of each query's list, ``(..., D)`` to ``(...)``; arguments are those of `ListDeclaration`.

    The body takes similarity, relevance, judged and weights, then its settings; otherwise a TypeError is raised.

    Example:
        >>> from st_rankloss.functional.conditions import any_relevant
        >>> from st_rankloss.functional.lists import masked_mean
        >>> @list_function("binary", learns=any_relevant, metric=True)
        ... def relevant_mean(similarity, relevance, judged, weights):
        ...     '''Compute the mean similarity of relevant documents.'''
        ...     return masked_mean(similarity, relevance > 0, weights)
        >>> relevant_mean(torch.tensor([[0.5, 0.1], [0.3, 0.3]]), torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
        tensor([0.5000,    nan])
    """

    def declare(body: Body[P]) -> DeclaredFunction[P]:
        function: DeclaredFunction[P] = _public(ListDeclaration(body, labels, learns, metric, most, check, defined))
        return function

    return declare


def batch_function(labels: str, *, learns: Condition, square: bool = False) -> Callable[[Body[P]], DeclaredFunction[P]]:
    """Declare a function of a whole batch, ``(Q, D)`` to ``(Q,)`` or a scalar; arguments are those of `Declaration`."""

    def declare(body: Body[P]) -> DeclaredFunction[P]:
        kind = SquareDeclaration if square else BatchDeclaration
        function: DeclaredFunction[P] = _public(kind(body, labels, learns))
        return function

    return declare


def check_lists(similarity: Tensor, relevance: Tensor, weights: Tensor | None = None) -> None:
    """Raise TypeError or ValueError unless the tensors are valid; checks values only on a CPU."""
    check_floating(similarity, "similarity")
    check_floating(relevance, "relevance")
    check_same_shape(relevance, "relevance", similarity)
    check_relevance(relevance)
    if weights is not None:
        check_floating(weights, "weights")
        check_same_shape(weights, "weights", similarity)
        check_weights(weights)
    check_finite(
        similarity.detach(),
        "similarity",
        where=lambda: ~relevance.isnan() if weights is None else ~relevance.isnan() & (weights > 0),
    )


def _only(similarity: Tensor, judged: Tensor, moving: Tensor) -> Tensor:
    """Return similarity, 0 where unjudged and in lists that do not move, with the fewest passes over memory."""
    if judged.device.type != "cpu" or not moving.all():
        return torch.where(judged & moving[:, None], similarity, 0)
    return similarity if is_everywhere(judged) else torch.where(judged, similarity, 0)


def _gained(relevance: Tensor, settings: Settings) -> Tensor:
    return gains_of_clean(relevance, settings.get("gain", "linear"))


def _public(declaration: Declaration) -> Any:
    """Build the public function."""
    body = declaration.body
    first = [argument.name for argument in arguments_of(body)[:4]]
    if first[3:] != ["weights"]:  # a setting in its place would get the weights in silence
        raise TypeError(
            f"{body.__name__}() must take similarity, relevance, judged and weights, before its settings, got {first}."
        )
    tensors = [inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Tensor) for n in _TENSORS]
    arguments = [*tensors, *declaration.arguments]
    if not declaration.square:
        arguments.append(
            inspect.Parameter("weights", inspect.Parameter.KEYWORD_ONLY, default=None, annotation="Tensor | None")
        )
    signature = inspect.Signature(arguments, return_annotation=Tensor)

    def function(*args: Any, **kwargs: Any) -> Tensor:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{body.__name__}() {error}.") from None
        bound.apply_defaults()
        settings = dict(bound.arguments)
        similarity, relevance, weights = (settings.pop(name, None) for name in (*_TENSORS, "weights"))
        declaration.check_settings(settings)
        return declaration.value(similarity, relevance, settings, weights)

    def settings(init: Any) -> Any:
        init.function = function
        return init

    function.__name__, function.__qualname__, function.__module__ = body.__name__, body.__qualname__, body.__module__
    function.__doc__ = declaration.docstring()
    function.__signature__, function.__wrapped__ = signature, body  # type: ignore[attr-defined]
    function.declaration, function.settings = declaration, settings  # type: ignore[attr-defined]
    return function


_TENSORS = ("similarity", "relevance")
