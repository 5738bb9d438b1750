"""A contender: a loss with its role, its default, the settings that are tuned, and what it is made from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from eval.tasks.data import Collection, Data
from eval.tasks.records import Record
from st_rankloss import RankingLoss
from st_rankloss.objectives import Objective, OverPairs
from st_rankloss.recipes import Recipe
from st_rankloss.relevance import Pairs, Qrels, Relevance, Views

Setting = dict[str, Any]


@dataclass(frozen=True)
class Problem:
    """What a loss needs from a task: its record and training part.

    Args:
        data: The record and its parts.
        augmented: Whether samples come in several views.
    """

    data: Data
    augmented: bool = False

    @property
    def record(self) -> Record:
        """The record."""
        return self.data.record

    @property
    def qrels(self) -> Mapping[str, Mapping[str, float]]:
        """Judgements of the training queries."""
        part = self.data.parts["train"]
        assert isinstance(part, Collection)
        return part.qrels

    @property
    def relevance(self) -> Relevance:
        """Graded relevance of the labels."""
        if self.record.kind == "retrieval":
            return Qrels(self.qrels)
        if self.record.kind == "pairs":
            return Pairs()
        if self.record.kind == "texts":
            return Views()
        return Views(self.record.relevance) if self.augmented else self.record.relevance

    @property
    def binary(self) -> Relevance | Callable[[Any, Any], Tensor]:
        """Relevance for objectives of binary labels."""
        if self.record.labels == "classes" and len(self.record.label_columns) > 1:
            return same_finest
        return self.relevance

    def finest(self, labels: Tensor) -> Tensor:
        """Return the finest class of each row."""
        return labels if labels.dim() == 1 else labels[:, -1]

    @property
    def classes(self) -> int:
        """Number of finest classes, labels or numbers."""
        labels = self.data.parts["train"].labels
        if self.record.labels == "classes":
            return int(self.finest(labels).max()) + 1
        return int(labels.reshape(len(labels), -1).shape[1])


def same_finest(query_labels: Tensor, document_labels: Tensor) -> Tensor:
    """Return 1 where two paths end in the same finest class, else 0."""
    return (query_labels[:, -1:] == document_labels[:, -1]).float()


Make = Callable[..., nn.Module]


@dataclass(frozen=True)
class Contender:
    """A loss in the comparison.

    Args:
        name: Name in tables.
        role: ``recipe``, ``usual`` or ``family``.
        make: Makes the loss from a model, a `Problem` and a setting.
        settings: Arguments that are tuned beside the learning rate: three choices, or one.
        default: Arguments that its users start from: empty for the defaults of its class.
        pairs: Whether it reads only the first document of a query.
    """

    name: str
    role: str
    make: Make
    settings: Sequence[Setting] = field(default_factory=lambda: ({},))
    pairs: bool = False
    default: Setting = field(default_factory=dict)


def family(
    name: str,
    kind: Callable[..., Objective],
    *settings: Setting,
    default: Setting | None = None,
    binary: bool = False,
    over_pairs: bool = False,
) -> Contender:
    """Make a contender of one of the library's objectives."""

    def make(model: SentenceTransformer, problem: Problem, **setting: Any) -> nn.Module:
        objective = OverPairs(kind(**setting)) if over_pairs else kind(**setting)
        relevance = problem.binary if binary else problem.relevance
        return RankingLoss(model, objective=objective, relevance=relevance, symmetric=problem.record.has_captions)

    return Contender(name, "family", make, settings or ({},), default=default or {})


def usual(name: str, make: Make, *settings: Setting, default: Setting | None = None, pairs: bool = False) -> Contender:
    """Make a contender of a loss that the task is usually trained with."""
    return Contender(name, "usual", make, settings or ({},), pairs, default or {})


def recipe(make: Callable[..., Recipe], *settings: Setting) -> Contender:
    """Make a contender of one of the library's recipes."""

    def make_loss(model: SentenceTransformer, problem: Problem, **setting: Any) -> nn.Module:
        return make(problem, **setting).loss(model)

    return Contender("recipe", "recipe", make_loss, settings)


class OnFinest(nn.Module):
    """A loss of single classes, applied to the finest class of each path."""

    def __init__(self, loss: nn.Module, problem: Problem) -> None:
        super().__init__()
        self.loss, self.finest = loss, problem.finest

    def forward(self, features: Iterable[dict[str, Any]], labels: Tensor) -> Tensor:
        """Compute the loss on the finest classes."""
        found: Tensor = self.loss(features, self.finest(labels))
        return found


class Head(nn.Module):
    """A linear layer, discarded after training: softmax for classes, sigmoids for sets, squared error for numbers."""

    def __init__(self, model: SentenceTransformer, problem: Problem, scale: float = 10.0) -> None:
        super().__init__()
        self.model, self.problem, self.scale = model, problem, scale
        self.head = nn.Linear(int(model.get_embedding_dimension() or 0), problem.classes)

    def forward(self, features: Iterable[dict[str, Any]], labels: Tensor) -> Tensor:
        """Compute the loss of the predictions."""
        (inputs,) = features
        embeddings = torch.nn.functional.normalize(self.model(dict(inputs))["sentence_embedding"], dim=1)
        logits = self.scale * self.head(embeddings)
        if self.problem.record.labels == "classes":
            return nn.functional.cross_entropy(logits, self.problem.finest(labels))
        if self.problem.record.labels == "sets":
            return nn.functional.binary_cross_entropy_with_logits(logits, labels.float())
        return nn.functional.mse_loss(logits, labels.float().reshape(len(labels), -1))
