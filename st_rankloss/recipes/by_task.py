"""The recipe of each kind of task."""

from __future__ import annotations

from collections.abc import Mapping

from st_rankloss import samplers
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
from st_rankloss.recipes.recipe import Recipe
from st_rankloss.recipes.temperature import Temperature, at_temperature
from st_rankloss.relevance import Classes, Hierarchy, Lists, MultiLabel, Numeric, Pairs, Qrels, Relevance, Views


def retrieval(
    qrels: Mapping[str, Mapping[str, float]] | None = None,
    *,
    temperature: Temperature | None = None,
    weight: float = 0.2,
) -> Recipe:
    """Search and reranking: `ApproxNDCG` with exponential gain, plus `ListNet`.

    Args:
        qrels: Judgements by id, for rows with ``query_id`` and ``document_ids``; None for rows with lists of grades.
        temperature: Temperature of the soft ranks, above 0, in units of similarity; `ListNet` uses twice this value.
            ``"auto"`` lets both follow the spread of each query's similarities. None means that of
            `default_temperature` for the model that the loss is built for.
        weight: Weight of `ListNet`, above 0.

    Returns:
        The recipe.

    Example:
        >>> retrieval({"q1": {"d7": 3}}).batch_sampler is None
        False
    """
    objective = at_temperature("retrieval", temperature, _retrieval, weight=weight)
    if qrels is None:
        return Recipe(objective, Lists(), samplers.lists())
    return Recipe(objective, Qrels(qrels), samplers.qrels())


def _retrieval(temperature: Temperature, weight: float) -> Objective:
    return ApproxNDCG(temperature, gain="exponential") + _number(weight) * ListNet(_times(2, temperature), 0.5)


def _times(factor: float, temperature: Temperature) -> Temperature:
    """Scale a temperature; what is not a number, as ``"auto"``, is left to the objective."""
    return factor * temperature if isinstance(temperature, int | float) else temperature


def _number(weight: float) -> float:
    """Return a weight, or raise a TypeError if it is not a number."""
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        raise TypeError(f"weight must be a number, got {weight!r}.")
    return weight


def sts(*, temperature: Temperature | None = None, weight: float = 0.3) -> Recipe:
    """Scored pairs: `SoftKendall` and `CoSENT` over the batch's pairs.

    Args:
        temperature: Temperature of the soft comparisons, above 0, in units of similarity, or ``"auto"``, see
            `retrieval`.
        weight: Weight of `CoSENT`, above 0.

    Returns:
        The recipe.

    Example:
        >>> sts(weight=0.5).relevance
        Pairs(off_diagonal=0.0)
    """
    objective = at_temperature("sts", temperature, _sts, weight=weight)
    return Recipe(objective, Pairs())


def _sts(temperature: Temperature, weight: float) -> Objective:
    return OverPairs(SoftKendall(temperature) + _number(weight) * CoSENT(3.0))


def classification(*, temperature: Temperature | None = None, weight: float = 1.0) -> Recipe:
    """Classes: `ApproxNDCG` and `InfoNCE`.

    Args:
        temperature: Temperature of both, above 0, in units of similarity, or ``"auto"``, see `retrieval`.
        weight: Weight of `InfoNCE`, above 0.

    Returns:
        The recipe.

    Example:
        >>> classification().relevance
        Classes()
    """
    objective = at_temperature("classification", temperature, _classification, weight=weight)
    return Recipe(objective, Classes(), samplers.classes())


def _classification(temperature: Temperature, weight: float) -> Objective:
    return ApproxNDCG(temperature) + _number(weight) * InfoNCE(temperature)


def hierarchy(levels: int = 2, *, temperature: Temperature | None = None, weight: float = 0.5) -> Recipe:
    """Hierarchical classes: `ApproxNDCG` with exponential gain, plus `ListNet`, both on all levels.

    Args:
        levels: Number of levels of the paths, at least 1; the loss raises ValueError for any other number.
        temperature: Temperature of the soft ranks, above 0, in units of similarity, or ``"auto"``, see `retrieval`;
            `ListNet` uses four times this value, and for its labels a quarter of the levels.
        weight: Weight of `ListNet`, above 0.

    Returns:
        The recipe.

    Raises:
        TypeError: If ``levels`` is not a whole number.
        ValueError: If ``levels`` is below 1.

    Example:
        >>> hierarchy(levels=3).relevance
        Hierarchy(weights=(1.0, 1.0, 1.0))
    """
    if not isinstance(levels, int):
        raise TypeError(f"levels must be a whole number, got {levels!r}.")
    if levels < 1:
        raise ValueError(f"levels must be at least 1, got {levels!r}.")
    objective = at_temperature("hierarchy", temperature, _hierarchy, weight=weight, levels=levels)
    return Recipe(objective, Hierarchy((1.0,) * levels), samplers.hierarchy())


def _hierarchy(temperature: Temperature, weight: float, levels: int) -> Objective:
    softmax = ListNet(_times(4, temperature), levels / 4)
    return ApproxNDCG(temperature, gain="exponential") + _number(weight) * softmax


def multi_label(*, temperature: Temperature | None = None, weight: float = 0.1) -> Recipe:
    """Sets of labels: `HierarchicalAP` and a softmax, both by Jaccard.

    Args:
        temperature: Temperature of the soft ranks, above 0, in units of similarity, or ``"auto"``, see `retrieval`;
            the softmax uses four times this value.
        weight: Weight of `SoftmaxCrossEntropy`, above 0.

    Returns:
        The recipe.

    Example:
        >>> multi_label().relevance
        MultiLabel('jaccard')
    """
    objective = at_temperature("multi_label", temperature, _multi_label, weight=weight)
    return Recipe(objective, MultiLabel("jaccard"), samplers.multi_label())


def _multi_label(temperature: Temperature, weight: float) -> Objective:
    return HierarchicalAP(temperature) + _number(weight) * SoftmaxCrossEntropy(_times(4, temperature))


def regression(*, temperature: Temperature | None = None, weight: float = 1.0) -> Recipe:
    """Numbers: `SoftSpearman`, `ApproxNDCG` and `PlackettLuce`.

    Args:
        temperature: Temperature of `SoftSpearman`, above 0, in units of similarity, or ``"auto"``, see `retrieval`;
            `ApproxNDCG` and `PlackettLuce` use half.
        weight: Weight of `PlackettLuce`, above 0.

    Returns:
        The recipe.

    Example:
        >>> regression().relevance
        Numeric(kernel='gaussian', bandwidth=None)
    """
    objective = at_temperature("regression", temperature, _regression, weight=weight)
    return Recipe(objective, Numeric(), samplers.numeric())


def _regression(temperature: Temperature, weight: float) -> Objective:
    half = _times(0.5, temperature)
    return SoftSpearman(temperature) + ApproxNDCG(half) + _number(weight) * PlackettLuce(half)


def self_supervised(*, temperature: Temperature | None = None, weight: float = 0.3) -> Recipe:
    """Texts or images without labels: `ApproxNDCG` and `DCL` over views from a `ViewsCollator`.

    Args:
        temperature: Temperature of the soft ranks, above 0, in units of similarity, or ``"auto"``, see `retrieval`;
            `DCL` uses half.
        weight: Weight of `DCL`, above 0.

    Returns:
        The recipe.

    Example:
        >>> type(self_supervised().relevance).__name__
        'Views'
    """
    objective = at_temperature("self_supervised", temperature, _self_supervised, weight=weight)
    return Recipe(objective, Views())


def _self_supervised(temperature: Temperature, weight: float) -> Objective:
    return ApproxNDCG(temperature) + _number(weight) * DCL(_times(0.5, temperature))


def image_text(
    relevance: Relevance | None = None, *, temperature: Temperature | None = None, weight: float = 1.0
) -> Recipe:
    """Cross-modal search, such as images and captions: `ApproxNDCG` and a softmax in both directions.

    Args:
        relevance: How to read the labels; None treats each row's own pair as the only relevant one.
        temperature: Temperature of both, above 0, in units of similarity, or ``"auto"``, see `retrieval`.
        weight: Weight of `SoftmaxCrossEntropy`, above 0.

    Returns:
        The recipe.

    Example:
        >>> image_text(Classes()).options
        {'symmetric': True}
    """
    objective = at_temperature("image_text", temperature, _image_text, weight=weight)
    return Recipe(objective, relevance or Pairs(), options={"symmetric": True})


def _image_text(temperature: Temperature, weight: float) -> Objective:
    return ApproxNDCG(temperature) + _number(weight) * SoftmaxCrossEntropy(temperature)
