"""What is trained and compared: a task's usual loss, and the recipe for the data."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import losses as host
from torch import Tensor, nn

from st_rankloss import objectives, recipes, samplers
from st_rankloss.augmentations import Augmentation
from st_rankloss.data import Part
from st_rankloss.experiment.views import views_of
from st_rankloss.functional.checks import check_choice
from st_rankloss.labels import read_classes, read_numbers
from st_rankloss.losses import RankingLoss
from st_rankloss.objectives import OverPairs, SoftmaxCrossEntropy, SupCon
from st_rankloss.relevance import MultiLabel, Views
from st_rankloss.views import ViewsCollator

Setting = dict[str, float]


@dataclass(frozen=True)
class Candidate:
    """A loss with everything that training with it needs.

    Args:
        name: ``usual`` or ``recipe``.
        title: Name in tables.
        make: Makes the loss from a model and a setting.
        defaults: The numbers that tuning may change, with their defaults.
        batch_sampler: For ``batch_sampler=`` of the training arguments.
        rows: Prepares the training rows.
        views: The views in which rows are trained; none trains them as they are.
        why: Why this loss, in plain words.
    """

    name: str
    title: str
    make: Callable[..., nn.Module]
    defaults: Mapping[str, float] = field(default_factory=dict)
    batch_sampler: Any = "batch_sampler"
    rows: Callable[[Any], Any] = field(default=lambda rows: rows)
    views: Sequence[Augmentation] = ()
    why: str = ""

    def collator(self, model: SentenceTransformer) -> ViewsCollator | None:
        """Make the collator, if it is not the trainer's."""
        return ViewsCollator(model.preprocess, views=self.views) if self.views else None


def candidates(part: Part, model: Any = None, recipe: str = "auto") -> tuple[Candidate, Candidate]:
    """Choose a task's usual loss, at its usual settings, and the recipe for the data.

    Args:
        part: The training part.
        model: The model to train, for the recipe.
        recipe: ``"auto"``, or the name of an objective that takes the place of the recipe's.

    Returns:
        The usual loss and the recipe.

    Raises:
        ValueError: If there is no such objective.

    Example:
        >>> from datasets import Dataset
        >>> rows = Dataset.from_dict({"sentence1": ["a"], "sentence2": ["b"], "label": [0.5]})
        >>> [candidate.title for candidate in candidates(Part("sts", rows))]
        ['CoSENTLoss', 'recipe: sts']
    """
    return _USUAL[part.task](part), _recipe(part, model) if recipe == "auto" else _objective(part, model, recipe)


def _objective(part: Part, model: Any, name: str) -> Candidate:
    named = [each for each in objectives.__all__ if hasattr(getattr(objectives, each), "function")]
    check_choice(name, ("auto", *named), "recipe")
    chosen, kind = recipes.for_dataset(part, model), getattr(objectives, name)
    temperature = getattr(kind(), "temperature", None)

    def make(model: Any, **setting: float) -> nn.Module:
        objective = kind(**setting)
        return replace(chosen, objective=OverPairs(objective) if part.task == "sts" else objective).loss(model)

    return Candidate(
        "recipe",
        f"recipe: {name}",
        make,
        {"temperature": temperature} if isinstance(temperature, float) else {},
        chosen.batch_sampler,
        views=views_of(part),
        why=f"you chose it; labels and batches are those of the recipe. {chosen.why}",
    )


def _recipe(part: Part, model: Any) -> Candidate:
    chosen = recipes.for_dataset(part, model)
    temperature = recipes.default_temperature(part.task, model)
    defaults = {"weight": inspect.signature(getattr(recipes, part.task)).parameters["weight"].default}
    return Candidate(
        "recipe",
        f"recipe: {part.task}",
        lambda model, **setting: recipes.for_dataset(part, model, **setting).loss(model),
        defaults if isinstance(temperature, str) else {"temperature": temperature, **defaults},
        chosen.batch_sampler,
        views=views_of(part),
        why=chosen.why,
    )


def _mnrl(part: Part) -> Candidate:
    return Candidate(
        "usual",
        "MultipleNegativesRankingLoss",
        lambda model, scale: host.MultipleNegativesRankingLoss(model, scale=scale),
        {"scale": 20.0},
        samplers.lists(),
        rows=lambda rows: rows.filter(_has_relevant, input_columns="labels"),
        why="the host's default for search: it learns from each query's best document",
    )


def _has_relevant(grades: Sequence[float | None]) -> bool:
    return any((grade or 0) > 0 for grade in grades)


def _cosent(part: Part) -> Candidate:
    make = lambda model, scale: host.CoSENTLoss(model, scale=scale)  # noqa: E731
    return Candidate("usual", "CoSENTLoss", make, {"scale": 20.0}, why="the host's recommendation for scored pairs")


def _triplets(part: Part) -> Candidate:
    distance = host.BatchHardTripletLossDistanceFunction.cosine_distance
    return Candidate(
        "usual",
        "BatchHardSoftMarginTripletLoss",
        lambda model: host.BatchHardSoftMarginTripletLoss(model, distance),
        batch_sampler=samplers.classes(),
        rows=number_classes,
        why="a usual loss of the host for classes",
    )


def number_classes(rows: Any) -> Any:
    """Number the classes, or the finest classes of paths, of labelled rows, and leave out the other rows.

    Args:
        rows: A dataset with a column ``label``.

    Returns:
        The labelled rows, with integers as labels.

    Example:
        >>> from datasets import Dataset
        >>> number_classes(Dataset.from_dict({"text": ["a", "b", "c"], "label": ["y", None, "x"]}))["label"][:]
        [1, 0]
    """
    labels = rows["label"][:]
    if any(isinstance(label, list) for label in labels):
        labels = ["\x1f".join(map(str, label)) if label else None for label in labels]
    classes = read_classes(labels, "label")
    numbers = {name: i for i, name in enumerate(sorted({c for c in classes if c is not None}, key=str))}
    kept = [i for i, name in enumerate(classes) if name is not None]
    coded = [numbers[name] for name in classes if name is not None]
    return rows.select(kept).remove_columns("label").add_column("label", coded)


def _sets(part: Part) -> Candidate:
    return Candidate(
        "usual",
        "SupCon",
        lambda model, temperature: RankingLoss(model, objective=SupCon(temperature), relevance=MultiLabel("jaccard")),
        {"temperature": 0.1},
        samplers.multi_label(),
        why="the usual contrastive loss: texts that share a label attract each other",
    )


class LinearRegression(nn.Module):
    """The squared error of a linear layer on the normalised embeddings; the layer is discarded after training."""

    def __init__(self, model: SentenceTransformer, outputs: int) -> None:
        super().__init__()
        self.model = model
        self.head = nn.Linear(int(model.get_embedding_dimension() or 0), outputs)

    def forward(self, sentence_features: Iterable[dict[str, Any]], labels: Tensor) -> Tensor:
        """Compute the mean squared error."""
        (features,) = sentence_features
        embeddings = nn.functional.normalize(self.model(features)["sentence_embedding"], dim=1)
        return nn.functional.mse_loss(self.head(embeddings), labels.reshape(len(labels), -1).to(embeddings.dtype))


def _numbers(part: Part) -> Candidate:
    first = next(label for label in part.dataset["label"][:] if label is not None)
    outputs = len(first) if isinstance(first, list) else 1
    return Candidate(
        "usual",
        "linear regression",
        lambda model: LinearRegression(model, outputs),
        batch_sampler="batch_sampler" if isinstance(first, list) else samplers.numeric(),
        rows=standardise,
        why="the usual squared error of a linear layer",
    )


def standardise(rows: Any) -> Any:
    """Subtract the mean of the labels, divide by their standard deviation, and leave out rows that lack a number.

    Several numbers per row are standardised one by one; numbers that are all equal become 0.

    Args:
        rows: A dataset with a column ``label`` of numbers, or of lists of numbers of the same length.

    Returns:
        The labelled rows, with labels that do not depend on the unit.

    Example:
        >>> from datasets import Dataset
        >>> standardise(Dataset.from_dict({"text": ["a", "b", "c"], "label": [2010, None, 2030]}))["label"][:]
        [-1.0, 1.0]
    """
    numbers = read_numbers(rows["label"][:], "label")
    kept = np.flatnonzero(~np.isnan(numbers.reshape(len(numbers), -1)).any(1))
    known = numbers[kept]
    constant = known.min(0) == known.max(0)
    scaled = np.where(constant, 0.0, (known - known.mean(0)) / np.where(constant, 1.0, known.std(0)))
    return rows.select(kept).remove_columns("label").add_column("label", scaled.astype(np.float32).tolist())


def _clip(part: Part) -> Candidate:
    directions = {"directions": ("query_to_doc", "doc_to_query"), "partition_mode": "per_direction"}
    columns = part.input_columns
    return Candidate(
        "usual",
        "MultipleNegativesRankingLoss, symmetric",
        lambda model, scale: host.MultipleNegativesRankingLoss(model, scale=scale, **directions),
        {"scale": 20.0},
        rows=lambda rows: rows.select_columns(columns),
        why="the loss of CLIP",
    )


def _simcse(part: Part) -> Candidate:
    return Candidate(
        "usual",
        "softmax over copies (SimCSE)",
        lambda model, temperature: RankingLoss(model, objective=SoftmaxCrossEntropy(temperature), relevance=Views()),
        {"temperature": 0.05},
        views=views_of(part),
        why="the usual loss without labels",
    )


_USUAL: dict[str, Callable[[Part], Candidate]] = {
    "retrieval": _mnrl,
    "sts": _cosent,
    "classification": _triplets,
    "hierarchy": _triplets,
    "multi_label": _sets,
    "regression": _numbers,
    "image_text": _clip,
    "self_supervised": _simcse,
}
