"""Which relevance a batch's columns and labels mean, where the user has not said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from st_rankloss.relevance.base import Batch, CustomRelevance, Relevance
from st_rankloss.relevance.labels import Classes, MultiLabel, Numeric
from st_rankloss.relevance.lists import Lists, Pairs
from st_rankloss.relevance.views import Views


def as_relevance(relevance: Relevance | Callable[[Any, Any], Tensor]) -> Relevance:
    """Return a relevance as it is, and a function as a `CustomRelevance`."""
    return relevance if isinstance(relevance, Relevance) else CustomRelevance(relevance)


def choose_relevance(batch: Batch, sizes: Sequence[int]) -> Relevance:
    """Choose the relevance by the number of input columns and the labels' type and shape.

    ===============  ==========================  ============================================
    input columns    labels                      relevance
    ===============  ==========================  ============================================
    1                integers (B,)               Classes()
    1                floats (B,)                 Numeric()
    1                booleans (B, labels)        MultiLabel()
    1                other (B, n)                error: MultiLabel, Hierarchy, Numeric, Vectors
    2 or more        none                        Pairs()
    2                floats (B,)                 Pairs(): scored pairs
    1 + K, K ≥ 2     numbers (B, K)              Lists()
    1 + lists        grades (B, L) or none       Lists()
    2 or more        other                       error: Classes, Hierarchy, Pairs, ...
    any              with ids                    error: Qrels(qrels)
    1, of views      none or as for 1 column     Views() or Views(relevance)
    ===============  ==========================  ============================================

    Args:
        batch: The batch's labels by name.
        sizes: Number of rows of each input column.

    Returns:
        The relevance.

    Raises:
        ValueError: If there is no label, or the labels could mean several things; it names the choices.

    Example:
        >>> choose_relevance({}, [32, 32])
        Pairs(off_diagonal=0.0)
    """
    label, columns = batch.get("label"), len(sizes)
    if "query_ids" in batch:
        raise ValueError("relevance=None cannot know the judgements behind ids: give relevance=Qrels(qrels).")
    if "sample" in batch:  # views of samples, by ViewsCollator
        return Views(None if label is None else _of_samples(label))
    if columns == 1:
        return _of_samples(label)
    if "list_sizes" in batch or (label is not None and label.dim() == 2 and 2 <= label.shape[1] == columns - 1):
        return Lists()
    if label is None or (columns == 2 and label.dim() == 1 and label.is_floating_point()):
        return Pairs()
    raise ValueError(
        f"relevance=None is ambiguous for {columns} input columns and labels of {_describe(label)}: give "
        "relevance=Classes() if labels are classes of the rows, Hierarchy() or MultiLabel() if they are "
        "levels or label sets, Numeric() if they are numbers, Vectors() if they are vectors, Pairs() if they score "
        "each row's first document."
    )


def _of_samples(label: Tensor | None) -> Relevance:
    if label is None:
        raise ValueError(
            "relevance=None needs labels for a single input column: the dataset needs a column called label, "
            "labels, score or scores."
        )
    if label.dim() == 1:
        return Numeric() if label.is_floating_point() else Classes()
    if label.dim() == 2 and label.dtype == torch.bool:
        return MultiLabel()
    raise ValueError(
        f"relevance=None is ambiguous for labels of {_describe(label)}: give relevance=MultiLabel() if they are "
        "multi-hot, Hierarchy() if they are levels, Numeric() if they are numbers, Vectors() if they are vectors."
    )


def _describe(label: Tensor) -> str:
    return f"{str(label.dtype).removeprefix('torch.')} of shape {tuple(label.shape)}"
