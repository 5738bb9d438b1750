"""The recipe for a dataset, by its columns and labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from datasets import Dataset, IterableDataset

from st_rankloss import samplers
from st_rankloss._models import trains_a_transformer
from st_rankloss.data.columns import numbered_negatives
from st_rankloss.data.guessing import as_part, first_labels, label_column, task_of_labels
from st_rankloss.data.part import Part
from st_rankloss.recipes.by_task import (
    classification,
    hierarchy,
    image_text,
    multi_label,
    regression,
    retrieval,
    self_supervised,
    sts,
)
from st_rankloss.recipes.recipe import Recipe
from st_rankloss.recipes.temperature import kind_to_train
from st_rankloss.relevance import Classes, Hierarchy, MultiLabel, Pairs


def for_dataset(data: Part | Dataset | IterableDataset, model: Any = None, **settings: Any) -> Recipe:
    """Choose the recipe for data, and say why.

    Args:
        data: A part of a task's data, or rows in the columns of one; see `st_rankloss.data.Part`. Pairs without labels
            may also be called as in sentence-transformers: (anchor, positive[, negative]) or (sentence1, sentence2).
        model: The model to train, for a remark on batches if it is a transformer. None if not known yet.
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
    kind_to_train(model)
    guessed_sets = part.task == "multi_label" and not isinstance(data, Part)
    recipe = _CHOICES[part.task](part, **settings)
    why = recipe.why
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
    paths = [path for path in _labels(part) if isinstance(path, list) and path]
    lengths = {*map(len, paths)}
    levels = max(lengths, default=2)
    recipe = hierarchy(levels, **settings)
    if levels == 1:
        recipe = replace(recipe, batch_sampler=samplers.hierarchy(per_level=(4,)))
    why = f"Labels are paths of {levels} level{'s' if levels > 1 else ''}: the more levels two rows share, the more "
    why += "relevant they are."
    uneven = len(lengths) > 1 or any(None in path or -1 in path for path in paths)
    if uneven or isinstance(part.dataset, IterableDataset):
        recipe = replace(recipe, relevance=Hierarchy())  # a batch may have only short paths, or deeper ones to come
    if uneven:
        why += " Some paths end early, and share only the levels that they have."
    if len({path[0] for path in paths}) == 1:
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
    """Return the labels that there are, of a stream those of its first rows."""
    all_rows = () if isinstance(part.dataset, IterableDataset) else (None,)
    column = label_column(part.dataset)
    return first_labels(part.dataset, column, *all_rows) if column else []


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
