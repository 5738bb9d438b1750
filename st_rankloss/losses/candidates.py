"""Choose the documents that a cross-encoder scores for each query of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from st_rankloss.losses.gathering import Shares
from st_rankloss.losses.raw_columns import RawColumns
from st_rankloss.objectives import Objective
from st_rankloss.objectives.wrappers import reads_pairs_only

AS_THE_HOST = 4
"""In-batch negatives per query of the losses of sentence-transformers."""

_NEVER = 1e-30
"""The weight of a document that may be drawn only after all others."""


class Candidates(NamedTuple):
    """The pairs to score, and their places in a matrix with a row per query; all on the CPU."""

    pairs: list[tuple[Any, Any]]
    """(query, document); if there is nothing to score, one whose score has no place, as the model must run."""
    place: Tensor
    """Where the score of each pair goes in the flat matrix, ``(pairs,)``."""
    columns: Tensor
    """The document in each place, by its number in the batch of all processes, ``(Q, L)``."""
    scored: Tensor
    """Whether a place has a score, ``(Q, L)``, bool."""


def count_negatives(batch: Mapping[str, Any], columns: RawColumns, objective: Objective | None = None) -> int | None:
    """Return the number of other documents that suits a batch; None is all of them.

    Args:
        batch: Its labels by name.
        columns: Its inputs.
        objective: What the loss optimises.

    Returns:
        0 if each query has several graded documents of its own, or the objective reads nothing but pairs, all for a
        single column, else 4 as the host.

    Example:
        >>> from st_rankloss.losses.raw_columns import read_columns
        >>> count_negatives({}, read_columns([["q"], ["d"]])), count_negatives({}, read_columns([["text"]]))
        (4, None)
    """
    if columns.alone:
        return None
    label = batch.get("label")
    graded = label is not None and label.dim() == 2 and batch.get("kind") in (None, "grades")
    several = columns.lists is not None or len(columns.sizes) > 2
    if objective is not None and reads_pairs_only(objective):
        return 0
    return 0 if several and (graded or "query_ids" in batch) else AS_THE_HOST


def choose_candidates(
    columns: RawColumns, rows: slice, numbers: Tensor, negatives: int | None, *, width: int | None = None
) -> Candidates:
    """Choose each query's own documents, and some of the others at random.

    Args:
        columns: The inputs, of all processes if others' documents may be drawn.
        rows: The queries to score.
        numbers: The number of each document in the batch of all processes, ``(D,)``.
        negatives: How many documents of other queries to draw for each, without replacement; None takes all. A copy of
            a query's own document is not one of them: the same pair would have two grades.
        width: The number of documents in the batch of all processes, if the matrix needs a column for each.

    Returns:
        The pairs, by query.

    Example:
        >>> from st_rankloss.losses.raw_columns import read_columns
        >>> columns = read_columns([["q1", "q2"], [["d1", "d2"], ["d3"]]])
        >>> choose_candidates(columns, slice(0, 2), torch.arange(3), 0)
        Candidates(pairs=[('q1', 'd1'), ('q1', 'd2'), ('q2', 'd3')], place=tensor([0, 1, 2]), columns=tensor([[0, 1],
                [2, 0]]), scored=tensor([[ True,  True],
                [ True, False]]))
    """
    own = columns.owners == torch.arange(len(columns.queries))[:, None]
    others = _draw(~own if columns.alone else ~_copies_of_own(columns), negatives)
    chosen = (others if columns.alone else own | others)[rows]
    query, document = chosen.nonzero(as_tuple=True)
    counts = chosen.sum(1)
    if width is None:
        width = max(1, int(counts.max()))
        slot = torch.arange(len(query)) - (counts.cumsum(0) - counts)[query]
        numbered = torch.zeros(len(chosen), width, dtype=torch.int64)
        numbered[query, slot] = numbers[document]
    else:
        slot = numbers[document]
        numbered = torch.arange(width).repeat(len(chosen), 1)
    scored = torch.zeros(len(chosen), width, dtype=torch.bool)
    scored[query, slot] = True
    queries = columns.queries[rows]
    pairs = [(queries[q], columns.documents[d]) for q, d in zip(query.tolist(), document.tolist(), strict=True)]
    return Candidates(pairs or [(queries[0], columns.documents[0])], query * width + slot, numbered, scored)


def _copies_of_own(columns: RawColumns) -> Tensor:
    """Return which documents are each query's own, or have the text of one: ``(Q, D)``."""
    known: dict[Any, int] = {}
    codes = [known.setdefault(d if isinstance(d, str) else id(d), len(known)) for d in columns.documents]
    has = torch.zeros(len(columns.queries), len(known), dtype=torch.bool)
    has[columns.owners, codes] = True
    return has[:, codes]


def _draw(others: Tensor, count: int | None) -> Tensor:
    """Keep ``count`` random entries of each row, or all; draws what the host's loss draws."""
    if count is None or count >= others.shape[1]:
        return others
    if count == 0:
        return torch.zeros_like(others)
    drawn = torch.multinomial(torch.where(others, 1.0, _NEVER), count)
    return others & torch.zeros_like(others).scatter_(1, drawn, True)


def numbers_of(shares: Shares) -> Tensor:
    """Return the numbers of this process's documents in the batch of all processes: ``(D,)``, on the CPU."""
    sizes, own = shares.sizes, shares.rows[shares.rank]
    start, found = 0, []
    for place in range(min(1, len(sizes) - 1), len(sizes)):
        found.append(start + shares.first(place) + torch.arange(own[place]))
        start += sizes[place]
    return torch.cat(found)
