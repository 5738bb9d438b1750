"""The best known settings for each kind of task: objective, relevance and batches in one call.

====================  ==========================  =================================================================
recipe                labels                      improves
====================  ==========================  =================================================================
`retrieval`           graded judgements           nDCG@10 of a search, MRR of its best document
`sts`                 score of two texts          Spearman correlation
`classification`      class                       MAP of the neighbours, accuracy of their vote
`hierarchy`           path, coarse to fine        MAP of the finest classes, nDCG of all levels
`multi_label`         set of labels               nDCG by Jaccard, LRAP of the neighbours' vote
`regression`          number                      nDCG by distance, correlation of a linear probe
`self_supervised`     none: views                 search without task-specific training
`image_text`          two inputs, any label       nDCG@10 in both directions
====================  ==========================  =================================================================

Defaults were the best on the dev splits of ``eval/results`` (for `hierarchy`, on the finest classes too), which also
show where other losses are better. The learning rate depends on the encoder, not the recipe: tune it.

Example:
    ::

        recipe = recipes.hierarchy(levels=2)
        args = SentenceTransformerTrainingArguments(..., batch_sampler=recipe.batch_sampler)
        RankingTrainer(model=model, args=args, train_dataset=dataset, loss=recipe.loss(model)).train()
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from st_rankloss import samplers
from st_rankloss.losses import CachedRankingLoss, RankingLoss
from st_rankloss.objectives import (
    DCL,
    ApproxNDCG,
    CoSENT,
    HierarchicalAP,
    InfoNCE,
    ListNet,
    Objective,
    OverPairs,
    PlackettLuce,
    SoftKendall,
    SoftmaxCrossEntropy,
    SoftSpearman,
)
from st_rankloss.relevance import Classes, Hierarchy, Lists, MultiLabel, Numeric, Pairs, Qrels, Relevance, Views

__all__ = [
    "Recipe",
    "classification",
    "hierarchy",
    "image_text",
    "multi_label",
    "regression",
    "retrieval",
    "self_supervised",
    "sts",
]


@dataclass(frozen=True)
class Recipe:
    """The training settings of a task.

    Args:
        objective: The objective to optimise.
        relevance: The relevance that reads the labels.
        batch_sampler: For ``batch_sampler=`` of the training arguments; groups rows into batches, at random by default.
        options: Other arguments for the loss.
    """

    objective: Objective
    relevance: Relevance
    batch_sampler: Any = "batch_sampler"
    options: Mapping[str, Any] = field(default_factory=dict)

    def loss(self, model: Any, **options: Any) -> RankingLoss:
        """Build the loss for a model; ``options`` are those of `RankingLoss`."""
        return RankingLoss(model, objective=self.objective, relevance=self.relevance, **{**self.options, **options})

    def cached_loss(self, model: Any, **options: Any) -> CachedRankingLoss:
        """Build the loss for batches of any size; ``options`` are those of `CachedRankingLoss`."""
        return CachedRankingLoss(
            model, objective=self.objective, relevance=self.relevance, **{**self.options, **options}
        )


def retrieval(
    qrels: Mapping[str, Mapping[str, float]] | None = None, *, temperature: float = 0.1, weight: float = 1.0
) -> Recipe:
    """Search: `ApproxNDCG` with exponential gain, plus `ListNet`.

    Args:
        qrels: Judgements by id, for rows with ``query_id`` and ``document_ids``; None for rows with lists of grades.
        temperature: Temperature of the soft ranks, above 0, in units of similarity; `ListNet` uses twice this value.
        weight: Weight of `ListNet`, above 0.

    Returns:
        The recipe.

    Example:
        >>> retrieval({"q1": {"d7": 3}}).batch_sampler is None
        False
    """
    objective = ApproxNDCG(temperature, gain="exponential") + weight * ListNet(2 * temperature, 0.5)
    if qrels is None:
        return Recipe(objective, Lists(), samplers.lists())
    return Recipe(objective, Qrels(qrels), samplers.qrels())


def sts(*, temperature: float = 0.1, weight: float = 0.3) -> Recipe:
    """Scored pairs: `SoftKendall` and `CoSENT` over the batch's pairs.

    Args:
        temperature: Temperature of the soft comparisons, above 0, in units of similarity.
        weight: Weight of `CoSENT`, above 0.

    Returns:
        The recipe.

    Example:
        >>> sts(weight=0.5).relevance
        Pairs(off_diagonal=0.0)
    """
    return Recipe(OverPairs(SoftKendall(temperature) + weight * CoSENT(3.0)), Pairs())


def classification(*, temperature: float = 0.1, weight: float = 1.0) -> Recipe:
    """Classes: `ApproxNDCG` and `InfoNCE`.

    Args:
        temperature: Temperature of both, above 0, in units of similarity.
        weight: Weight of `InfoNCE`, above 0.

    Returns:
        The recipe.

    Example:
        >>> classification().relevance
        Classes()
    """
    return Recipe(ApproxNDCG(temperature) + weight * InfoNCE(temperature), Classes(), samplers.classes())


@dataclass(frozen=True)
class _Finest:
    """The gain of the finest of a number of levels: 1 for the same finest class, else 0."""

    levels: int

    def __call__(self, relevance: Tensor) -> Tensor:
        return (relevance - (self.levels - 1)).clamp_min(0)


def hierarchy(levels: int = 2, *, temperature: float = 0.05, weight: float = 0.5) -> Recipe:
    """Hierarchical classes: `ApproxNDCG` on all levels, and a softmax on the finest.

    Args:
        levels: Number of levels of the paths, at least 1; the loss raises ValueError for any other number.
        temperature: Temperature of the soft ranks, above 0, in units of similarity; the softmax uses twice this value.
        weight: Weight of the softmax, above 0.

    Returns:
        The recipe.

    Raises:
        ValueError: If ``levels`` is below 1.

    Example:
        >>> hierarchy(levels=3).relevance
        Hierarchy(weights=(1.0, 1.0, 1.0))
    """
    if levels < 1:
        raise ValueError(f"levels must be at least 1, got {levels!r}.")
    objective = ApproxNDCG(temperature) + weight * SoftmaxCrossEntropy(2 * temperature, gain=_Finest(levels))
    return Recipe(objective, Hierarchy((1.0,) * levels), samplers.hierarchy())


def multi_label(*, temperature: float = 0.05, weight: float = 0.1) -> Recipe:
    """Sets of labels: `HierarchicalAP` and a softmax, both by Jaccard.

    Args:
        temperature: Temperature of the soft ranks, above 0, in units of similarity; the softmax uses four times
            this value.
        weight: Weight of `SoftmaxCrossEntropy`, above 0.

    Returns:
        The recipe.

    Example:
        >>> multi_label().relevance
        MultiLabel('jaccard')
    """
    objective = HierarchicalAP(temperature) + weight * SoftmaxCrossEntropy(4 * temperature)
    return Recipe(objective, MultiLabel("jaccard"), samplers.multi_label())


def regression(*, temperature: float = 0.1, weight: float = 0.3) -> Recipe:
    """Numbers: `SoftSpearman`, `ApproxNDCG` and `PlackettLuce`.

    Args:
        temperature: Temperature of `SoftSpearman` and `PlackettLuce`, above 0, in units of similarity; `ApproxNDCG`
            uses half.
        weight: Weight of `PlackettLuce`, above 0.

    Returns:
        The recipe.

    Example:
        >>> regression().relevance
        Numeric(kernel='gaussian', bandwidth=None)
    """
    objective = SoftSpearman(temperature) + ApproxNDCG(temperature / 2) + weight * PlackettLuce(temperature)
    return Recipe(objective, Numeric(), samplers.numeric())


def self_supervised(*, temperature: float = 0.1, weight: float = 0.3) -> Recipe:
    """Texts or images without labels: `ApproxNDCG` and `DCL` over views from a `ViewsCollator`.

    Args:
        temperature: Temperature of the soft ranks, above 0, in units of similarity; `DCL` uses half.
        weight: Weight of `DCL`, above 0.

    Returns:
        The recipe.

    Example:
        >>> type(self_supervised().relevance).__name__
        'Views'
    """
    return Recipe(ApproxNDCG(temperature) + weight * DCL(temperature / 2), Views())


def image_text(relevance: Relevance | None = None, *, temperature: float = 0.1, weight: float = 1.0) -> Recipe:
    """Cross-modal search, such as images and captions: `ApproxNDCG` and a softmax in both directions.

    Args:
        relevance: How to read the labels; None treats each row's own pair as the only relevant one.
        temperature: Temperature of both, above 0, in units of similarity.
        weight: Weight of `SoftmaxCrossEntropy`, above 0.

    Returns:
        The recipe.

    Example:
        >>> image_text(Classes()).options
        {'symmetric': True}
    """
    objective = ApproxNDCG(temperature) + weight * SoftmaxCrossEntropy(temperature)
    return Recipe(objective, relevance or Pairs(), options={"symmetric": True})
