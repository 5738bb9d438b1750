"""Settings for each kind of task, chosen on dev splits: objective, relevance and batches in one call.

====================  ==========================  =================================================================
recipe                labels                      chosen for
====================  ==========================  =================================================================
`retrieval`           graded judgements           nDCG@10 of a search, MRR of its best document
`sts`                 score of two texts          Spearman correlation
`classification`      class                       MAP of the neighbours, accuracy of their vote
`hierarchy`           path, coarse to fine        MAP of the finest classes, nDCG of all levels
`multi_label`         set of labels               nDCG by Jaccard, LRAP of the neighbours' vote
`regression`          number                      nDCG by distance, correlation of a linear probe
`self_supervised`     none: views                 Spearman correlation, without labels
`image_text`          two inputs, any label       nDCG@10 in both directions
====================  ==========================  =================================================================

``eval/results`` shows how recipes compare on test, and where other losses are better. For models other than a
SentenceTransformer, only `retrieval` was tuned, on one dev split. Tune the learning rate, which depends on the encoder.
`for_dataset` chooses the recipe for a dataset.

Example:
    ::

        recipe = recipes.hierarchy(levels=2)
        args = SentenceTransformerTrainingArguments(..., batch_sampler=recipe.batch_sampler)
        RankingTrainer(model=model, args=args, train_dataset=dataset, loss=recipe.loss(model)).train()
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from datasets import Dataset, IterableDataset
from sentence_transformers import CrossEncoder, MultiVectorEncoder, SentenceTransformer, SparseEncoder

from st_rankloss import samplers
from st_rankloss._host import EMBEDDERS, check_encoder, kind_of, scores_pairs, trains_a_transformer
from st_rankloss.data.columns import numbered_negatives
from st_rankloss.data.guessing import as_part, first_labels, label_column, task_of_labels
from st_rankloss.data.part import Part
from st_rankloss.losses import (
    CachedCrossEncoderRankingLoss,
    CachedRankingLoss,
    CrossEncoderRankingLoss,
    RankingLoss,
)
from st_rankloss.losses.base import GradedLoss
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
    "for_dataset",
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
        why: Why `for_dataset` chose these settings; empty otherwise.
    """

    objective: Objective
    relevance: Relevance
    batch_sampler: Any = "batch_sampler"
    options: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""

    def loss(self, model: Any, **options: Any) -> GradedLoss:
        """Build the loss for a model: a `RankingLoss`, or a `CrossEncoderRankingLoss`, with their ``options``."""
        return self._build(CrossEncoderRankingLoss if scores_pairs(model) else RankingLoss, model, options)

    def cached_loss(self, model: Any, **options: Any) -> GradedLoss:
        """Build the loss for batches of any size: the cached form of `loss`, with its ``options``."""
        return self._build(CachedCrossEncoderRankingLoss if scores_pairs(model) else CachedRankingLoss, model, options)

    def __call__(self, given: Any, /, **settings: Any) -> NoReturn:
        """Raise TypeError, because trainers call what they take for a loss or a batch sampler."""
        raise TypeError(
            "a recipe is neither a loss nor a batch sampler: pass recipe.loss(model) as the loss, and "
            "recipe.batch_sampler as batch_sampler of the training arguments."
        )

    def _build(self, kind: Callable[..., GradedLoss], model: Any, options: Mapping[str, Any]) -> GradedLoss:
        if scores_pairs(model) and self.options:
            names = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
            raise ValueError(f"a CrossEncoder cannot be trained by this recipe, which sets {names}: choose another.")
        return kind(model, objective=self.objective, relevance=self.relevance, **{**self.options, **options})


RETRIEVAL_TEMPERATURES: Mapping[type, float | str] = {
    SentenceTransformer: 0.1,
    SparseEncoder: "auto",
    MultiVectorEncoder: 0.03,
    CrossEncoder: 0.3,
}
"""Temperatures of `retrieval` by kind of model, in units of its similarity: cosine, dot product, mean MaxSim, score."""

TRANSFORMER_TEMPERATURE = 0.03
"""The temperature of `retrieval` for a SentenceTransformer that is a transformer, whose cosines lie closer together."""


def retrieval(
    qrels: Mapping[str, Mapping[str, float]] | None = None,
    *,
    model: Any = None,
    temperature: float | str | None = None,
    weight: float = 0.2,
) -> Recipe:
    """Search and reranking: `ApproxNDCG` with exponential gain, plus `ListNet`.

    Args:
        qrels: Judgements by id, for rows with ``query_id`` and ``document_ids``; None for rows with lists of grades.
        model: The model to train, whose kind sets the default temperature; None means a SentenceTransformer of static
            embeddings.
        temperature: Temperature of the soft ranks, above 0, in units of similarity; `ListNet` uses twice this value.
            ``"auto"`` lets both follow the spread of each query's similarities. None means that of
            `RETRIEVAL_TEMPERATURES`, or `TRANSFORMER_TEMPERATURE`, for the model.
        weight: Weight of `ListNet`, above 0.

    Returns:
        The recipe.

    Raises:
        TypeError: If ``model`` is of an unknown kind.

    Example:
        >>> retrieval({"q1": {"d7": 3}}).batch_sampler is None
        False
    """
    temperature = retrieval_temperature(model) if temperature is None else temperature
    softmax = ListNet(_times(2, temperature), 0.5)
    objective = ApproxNDCG(temperature, gain="exponential") + _number(weight) * softmax
    if qrels is None:
        return Recipe(objective, Lists(), samplers.lists())
    return Recipe(objective, Qrels(qrels), samplers.qrels())


def retrieval_temperature(model: Any = None) -> float | str:
    """Return the default temperature of `retrieval` for a model; see there."""
    kind = _kind_of(model)
    if kind is SentenceTransformer and model is not None and trains_a_transformer(model):
        return TRANSFORMER_TEMPERATURE
    return RETRIEVAL_TEMPERATURES[kind]


def _times(factor: float, temperature: float | str) -> float | str:
    """Scale a temperature; what is not a number, as ``"auto"``, is left to the objective."""
    return factor * temperature if isinstance(temperature, int | float) else temperature


def _number(weight: float) -> float:
    """Return a weight, or raise a TypeError if it is not a number."""
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        raise TypeError(f"weight must be a number, got {weight!r}.")
    return weight


def _kind_of(model: Any) -> type:
    check_encoder(model, (*EMBEDDERS, CrossEncoder), "A recipe")
    return CrossEncoder if scores_pairs(model) else kind_of(model)


def sts(*, temperature: float | str = 0.1, weight: float = 0.3) -> Recipe:
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
    return Recipe(OverPairs(SoftKendall(temperature) + _number(weight) * CoSENT(3.0)), Pairs())


def classification(*, temperature: float | str = 0.1, weight: float = 1.0) -> Recipe:
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
    return Recipe(ApproxNDCG(temperature) + _number(weight) * InfoNCE(temperature), Classes(), samplers.classes())


def hierarchy(levels: int = 2, *, temperature: float | str = 0.05, weight: float = 0.5) -> Recipe:
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
    softmax = ListNet(_times(4, temperature), levels / 4)
    objective = ApproxNDCG(temperature, gain="exponential") + _number(weight) * softmax
    return Recipe(objective, Hierarchy((1.0,) * levels), samplers.hierarchy())


def multi_label(*, temperature: float | str = 0.05, weight: float = 0.1) -> Recipe:
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
    objective = HierarchicalAP(temperature) + _number(weight) * SoftmaxCrossEntropy(_times(4, temperature))
    return Recipe(objective, MultiLabel("jaccard"), samplers.multi_label())


def regression(*, temperature: float | str = 0.1, weight: float = 1.0) -> Recipe:
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
    half = _times(0.5, temperature)
    objective = SoftSpearman(temperature) + ApproxNDCG(half) + _number(weight) * PlackettLuce(half)
    return Recipe(objective, Numeric(), samplers.numeric())


def self_supervised(*, temperature: float | str = 0.1, weight: float = 0.3) -> Recipe:
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
    return Recipe(ApproxNDCG(temperature) + _number(weight) * DCL(_times(0.5, temperature)), Views())


def image_text(relevance: Relevance | None = None, *, temperature: float | str = 0.1, weight: float = 1.0) -> Recipe:
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
    objective = ApproxNDCG(temperature) + _number(weight) * SoftmaxCrossEntropy(temperature)
    return Recipe(objective, relevance or Pairs(), options={"symmetric": True})


def for_dataset(data: Part | Dataset | IterableDataset, model: Any = None, **settings: Any) -> Recipe:
    """Choose the recipe for data, and say why.

    Args:
        data: A part of a task's data, or rows in the columns of one; see `st_rankloss.data.Part`. Pairs without labels
            may also be called as in sentence-transformers: (anchor, positive[, negative]) or (sentence1, sentence2).
        model: The model to train: its kind sets the temperature of `retrieval`, and a transformer adds a remark on
            batches. None if not known yet.
        **settings: Other settings of the recipe than its defaults: ``temperature`` and ``weight``.

    Returns:
        The recipe, with the reasons in ``why``. The batches of streaming data cannot be chosen, so that its
        ``batch_sampler`` is the default.

    Raises:
        TypeError: If ``model`` is of an unknown kind.
        ValueError: If the columns fit no task, or the rows must be grouped first.

    Example:
        >>> recipe = for_dataset(Dataset.from_dict({"text": ["a", "b"], "label": [["pet", "cat"], ["pet", "dog"]]}))
        >>> recipe.relevance, recipe.why
        (Hierarchy(weights=(1.0, 1.0)), 'Labels are paths of 2 levels: the more levels two rows share, the more ...')
    """
    part = as_part(data, "retrieval" if isinstance(data, Dataset | IterableDataset) and _are_pairs(data) else None)
    kind = _kind_of(model)
    guessed_sets = part.task == "multi_label" and not isinstance(data, Part)
    recipe = _CHOICES[part.task](part, **settings, **({"model": model} if part.task == "retrieval" else {}))
    why = recipe.why
    if part.task != "retrieval" and kind in (SparseEncoder, CrossEncoder) and "temperature" not in settings:
        why += f" Its temperature suits cosines: set another for the scores of a {kind.__name__}."
    if guessed_sets and any(isinstance(label, list) and len(label) > 1 for label in _labels(part)):
        why += " If the lists are paths, coarse to fine, use recipes.hierarchy instead."
    if isinstance(part.dataset, IterableDataset) and recipe.batch_sampler != "batch_sampler":
        recipe = replace(recipe, batch_sampler="batch_sampler")
        why += " Streaming data comes in batches of any rows: load it without streaming to group rows by label."
    if model is not None and trains_a_transformer(model):
        why += " To train a transformer in batches that exceed memory, use cached_loss in place of loss."
    return replace(recipe, why=why)


_PAIRS = ({"anchor", "positive"}, {"query", "positive"}, {"sentence1", "sentence2"}, {"query", "document"})
"""Columns of pairs without labels, which may have negatives beside them."""


def _columns(data: Dataset | IterableDataset) -> list[str]:
    return data.column_names or list(next(iter(data), {}))


def _are_pairs(data: Dataset | IterableDataset) -> bool:
    """Return whether rows are pairs without labels, as sentence-transformers names their columns."""
    columns = [*_columns(data)]
    texts = all(isinstance(value, str) for value in next(iter(data), {}).values())
    return texts and {*columns} - {"negative", *numbered_negatives(columns)} in _PAIRS


def _for_retrieval(part: Part, **settings: Any) -> Recipe:
    columns = _columns(part.dataset)
    if "documents" not in columns and _are_pairs(part.dataset):
        why = "Each query has one relevant document and no grades. All others in the batch count as irrelevant."
        return replace(retrieval(**settings), relevance=Pairs(), why=why)
    if "documents" not in columns:
        raise ValueError(
            f"rows must hold a query and a list of its documents, got the columns {list(columns)}: group them with "
            "st_rankloss.data.group_into_lists."
        )
    if part.qrels and {"query_id", "document_ids"} <= set(columns):
        why = "Documents are judged by id: a document in the batch keeps its grade, whichever query it came with."
        return replace(retrieval(part.qrels, **settings), why=why)
    why = "Each query has a list of documents"
    why += ", all relevant: there are no grades." if label_column(part.dataset) is None else " with grades."
    return replace(retrieval(**settings), why=f"{why} Documents of other queries in the batch count as irrelevant.")


def _for_sts(part: Part, **settings: Any) -> Recipe:
    return replace(
        sts(**settings), why="Each pair of texts has a score: pairs are ranked against each other by similarity."
    )


def _for_classification(part: Part, **settings: Any) -> Recipe:
    return replace(
        classification(**settings), why="Each row has one class: rows of the same class are relevant to each other."
    )


def _for_hierarchy(part: Part, **settings: Any) -> Recipe:
    lengths = {len(path) for path in _labels(part) if isinstance(path, list) and path}
    levels = max(lengths, default=2)
    recipe = hierarchy(levels, **settings)
    if levels == 1:
        recipe = replace(recipe, batch_sampler=samplers.hierarchy(per_level=(4,)))
    why = f"Labels are paths of {levels} level{'s' if levels > 1 else ''}: the more levels two rows share, the more "
    why += "relevant they are."
    if len(lengths) > 1 or any(None in path or -1 in path for path in _labels(part) if isinstance(path, list)):
        recipe = replace(recipe, relevance=Hierarchy())  # a batch may have only short paths
        why += " Some paths end early, and share only the levels that they have."
    if len({path[0] for path in _labels(part) if isinstance(path, list) and path}) == 1:
        recipe = replace(recipe, batch_sampler="batch_sampler")  # the sampler deals several coarsest classes
        why += " All paths start alike, so batches hold random rows."
    return replace(recipe, why=why)


def _for_multi_label(part: Part, **settings: Any) -> Recipe:
    why = (
        "Each row has a set of labels: rows are relevant to each other by the share of labels that they have in common."
    )
    return replace(multi_label(**settings), why=why)


def _for_regression(part: Part, **settings: Any) -> Recipe:
    why = "Labels are numbers: the closer two numbers, the more relevant their rows are to each other."
    if any(isinstance(label, list) for label in _labels(part)):
        why += " There are several per row, so that batches hold random rows."
        return replace(regression(**settings), batch_sampler="batch_sampler", why=why)
    return replace(regression(**settings), why=why)


def _for_self_supervised(part: Part, **settings: Any) -> Recipe:
    why = "There are no labels: two altered views of a row are relevant to each other. Training needs a ViewsCollator."
    return replace(self_supervised(**settings), why=why)


def _for_image_text(part: Part, **settings: Any) -> Recipe:
    task = part.labels or task_of_labels(part.dataset)
    if task == "classification":
        why = "Rows have classes: images are relevant to all captions of their class."
        return replace(image_text(Classes(), **settings), why=why)
    if task == "hierarchy":
        why = "Rows have paths: images are relevant to captions by the share of levels in common."
        return replace(image_text(Hierarchy(), **settings), why=why)
    if task == "multi_label":
        why = "Rows have sets of labels: images are relevant to captions by the share of labels in common."
        return replace(image_text(MultiLabel("jaccard"), **settings), why=why)
    why = "Each image belongs to its caption, and is ranked against the others in the batch, in both directions."
    if task == "regression":
        why += " The numbers are left out: to rank by them, pass relevance=Numeric() to the loss."
    return replace(image_text(**settings), why=why)


def _labels(part: Part) -> list[Any]:
    column = label_column(part.dataset)
    return first_labels(part.dataset, column) if column else []


_CHOICES: Mapping[str, Callable[..., Recipe]] = {
    "retrieval": _for_retrieval,
    "sts": _for_sts,
    "classification": _for_classification,
    "hierarchy": _for_hierarchy,
    "multi_label": _for_multi_label,
    "regression": _for_regression,
    "self_supervised": _for_self_supervised,
    "image_text": _for_image_text,
}
