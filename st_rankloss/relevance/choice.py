"""The default relevance for a batch's columns and labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from st_rankloss.relevance.base import TRAINER, Batch, Relevance
from st_rankloss.relevance.labels import Classes, Hierarchy, MultiLabel, Numeric
from st_rankloss.relevance.lists import Lists, Pairs
from st_rankloss.relevance.views import Views


def choose_relevance(batch: Batch, sizes: Sequence[int]) -> Relevance:
    """Choose the relevance by the number of input columns and the labels' type and shape.

    ===============  ==========================  ============================================
    input columns    labels                      relevance
    ===============  ==========================  ============================================
    1                integers (B,)               Classes()
    1                floats (B,)                 Numeric()
    1                booleans (B, labels)        MultiLabel()
    1                paths, label sets ¹         Hierarchy(), MultiLabel()
    1                other (B, n)                error: MultiLabel, Hierarchy, Numeric, Vectors
    2 or more        none                        Pairs()
    2                floats (B,)                 Pairs(): scored pairs
    1 + K, K ≥ 2     numbers (B, K)              Lists()
    1 + lists        grades (B, L) or none       Lists()
    2 or more        other                       error: Classes, Hierarchy, Pairs, ...
    any              with ids                    error: Qrels(qrels), Lists
    1, of views      none or as for 1 column     Views() or Views(relevance)
    ===============  ==========================  ============================================

    ¹ as declared by `RankingCollator`.

    Args:
        batch: The batch's labels by name.
        sizes: Number of rows of each input column.

    Returns:
        The relevance.

    Raises:
        ValueError: If labels are missing or ambiguous; the error names the choices.

    Example:
        >>> choose_relevance({}, [32, 32])
        Pairs(off_diagonal=0.0)
    """
    label, kind, columns = batch.get("label"), batch.get("kind"), len(sizes)
    if "query_ids" in batch:
        raise ValueError(_without_judgements(batch))
    if "sample" in batch:  # views of samples, from ViewsCollator
        return Views(None if label is None else _of_samples(label, kind))
    if columns == 1:
        return _of_samples(label, kind)
    if kind in _OF_KIND:
        raise ValueError(_ambiguous(columns, label, kind))
    if "list_sizes" in batch or (label is not None and label.dim() == 2 and 2 <= label.shape[1] == columns - 1):
        return Lists()
    if label is None or (columns == 2 and label.dim() == 1 and label.is_floating_point()):
        return Pairs()
    raise ValueError(_ambiguous(columns, label, kind))


_OF_KIND: dict[str, Relevance] = {"class": Classes(), "path": Hierarchy(), "multi_label": MultiLabel()}
"""The relevance for each kind of label when every row is a sample with its own label."""


def _of_samples(label: Tensor | None, kind: str | None) -> Relevance:
    if label is None:
        raise ValueError(
            "relevance=None needs labels for a single input column: the dataset needs a column called label, "
            "labels, score or scores."
        )
    if kind in _OF_KIND:
        return _OF_KIND[kind]
    if label.dim() == 1:
        return Numeric() if label.is_floating_point() or kind == "numbers" else Classes()
    if label.dim() == 2 and label.dtype == torch.bool:
        return MultiLabel()
    raise ValueError(
        f"relevance=None is ambiguous for labels of {_describe(label)}: pass relevance=MultiLabel() if they are "
        "multi-hot, Hierarchy() if they are levels, Numeric() if they are numbers, Vectors() if they are vectors."
    )


def _without_judgements(batch: Batch) -> str:
    if "list_sizes" in batch and "label" in batch:
        return (
            "relevance=None is ambiguous for ids and lists of grades: pass relevance=Lists() to read the grades of "
            "each row's own documents, or Qrels(qrels) to look up every document of the batch by id."
        )
    return "relevance=None cannot find the judgements for ids: pass relevance=Qrels(qrels)."


def _ambiguous(columns: int, label: Tensor | None, kind: str | None) -> str:
    described = "no labels" if label is None else f"labels of {_describe(label)}" + (f" ({kind})" if kind else "")
    several = label is not None and label.dim() == 2 and kind is None
    lists = f"if a column holds lists of documents, train with {TRAINER}; otherwise " if several else ""
    return (
        f"relevance=None is ambiguous for {columns} input columns and {described}: {lists}pass "
        "relevance=Classes() if labels are classes of the rows, Hierarchy() or MultiLabel() if they are "
        "levels or label sets, Numeric() if they are numbers, Vectors() if they are vectors, Pairs() if they score "
        "each row's first document."
    )


def _describe(label: Tensor) -> str:
    return f"{str(label.dtype).removeprefix('torch.')} of shape {tuple(label.shape)}"
