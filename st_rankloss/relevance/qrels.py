"""Relevance from judgements, looked up by query and document id."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from st_rankloss.functional.checks import check_relevance
from st_rankloss.judgements import read_id, read_qrels
from st_rankloss.relevance.base import Batch, Labels, Relevance, check_list_sizes, check_rows, require


def encode_ids(ids: Iterable[str | int] | Tensor) -> Tensor:
    """Encode ids as integers that are stable across processes and runs.

    Args:
        ids: Strings or integers (including a tensor of them), which equal their decimal strings.

    Returns:
        63-bit hashes, shape ``(N,)``, int64, at least 0.

    Raises:
        ValueError: If an id is not a string or an integer, such as None or 7.0.

    Example:
        >>> bool((encode_ids(["d1", "d2"]) == encode_ids(["d1", "d3"])).tolist() == [True, False])
        True
    """
    ids = ids.tolist() if isinstance(ids, Tensor) else ids
    codes = [int.from_bytes(hashlib.blake2b(i.encode(), digest_size=8).digest()) >> 1 for i in map(read_id, ids)]
    return torch.tensor(codes, dtype=torch.int64)


class Qrels(Relevance):
    """The judged grade of a document for a query, regardless of the row that the document comes from.

    A relevant document from another query's row keeps its grade, so it is not a false negative. Time
    O(D log D + Q · J log D), where J is the largest number of judgements per query; memory O(Q · (D + J)).

    Labels: query and document ids through `RankingCollator`, from columns named after the input columns plus ``_id``
    (or ``_ids`` for lists).

    Args:
        qrels: Grades of at least 0, by query id and document id; ids are strings or integers.
        unjudged: Relevance of unjudged documents: 0, or ``UNJUDGED`` (NaN) to leave them out.

    Raises:
        ValueError: If ``qrels`` is empty, or an id or a grade is invalid; the error names the query, the document and
            the value.

    Example:
        >>> qrels = Qrels({"q1": {"d1": 3, "d2": 1}, "q2": {"d2": 2}})
        >>> qrels(encode_ids(["q1", "q2"]), encode_ids(["d1", "d2", "d9"]))
        tensor([[3.0000, 1.0000, 0.0000],
                [0.0000, 2.0000, 0.0000]])
    """

    def __init__(self, qrels: Mapping[str, Mapping[str, float]], *, unjudged: float = 0.0) -> None:
        self.unjudged = unjudged
        check_relevance(torch.tensor(unjudged))
        known = read_qrels(qrels, largest=torch.finfo(torch.float32).max)
        queries, order = encode_ids(known).sort()
        judged = list(known.values())
        judged = [judged[i] for i in order.tolist()]
        sizes = torch.tensor([len(grades) for grades in judged])
        grades = torch.tensor([grade for row in judged for grade in row.values()], dtype=torch.float32)
        self._most = int(sizes.max())
        # Judgements as one flat list, grouped by query, with a final dummy entry that matches no document.
        self._tables = {
            "queries": queries,
            "start": sizes.cumsum(0) - sizes,
            "size": sizes,
            "documents": torch.cat([encode_ids(d for row in judged for d in row), torch.tensor([-1])]),
            "grades": torch.cat([grades, torch.zeros(1)]),
        }

    def __call__(self, query_labels: Tensor, document_labels: Tensor) -> Tensor:
        """Look up grades: ids ``(Q,)`` and ``(D,)`` from `encode_ids` to ``(Q, D)``."""
        device = query_labels.device
        self._tables = {name: table.to(device, non_blocking=True) for name, table in self._tables.items()}
        known, start, size, documents, grades = self._tables.values()

        place = torch.searchsorted(known, query_labels).clamp_max(len(known) - 1)
        judgement = torch.arange(self._most, device=device)
        counts = torch.where(known[place] == query_labels, size[place], 0)
        judgement = torch.where(judgement < counts[:, None], start[place][:, None] + judgement, len(grades) - 1)

        # Scatter each judged document to its position among the batch's sorted ids, and documents not in the batch to a
        # column that is cut off; duplicates in the batch read the same position.
        batch_ids = document_labels.sort().values
        target = torch.searchsorted(batch_ids, documents[judgement])
        here = batch_ids[target.clamp_max(len(batch_ids) - 1)] == documents[judgement]
        table = grades.new_full((len(query_labels), len(batch_ids) + 1), self.unjudged)
        table.scatter_(1, torch.where(here, target, len(batch_ids)), grades[judgement])
        return table[:, torch.searchsorted(batch_ids, document_labels)]

    def pair(self, batch: Batch, sizes: Sequence[int]) -> tuple[Labels, Labels]:
        """Return the ids of queries and documents."""
        query_ids, document_ids = require(batch, "query_ids", self), require(batch, "document_ids", self)
        check_rows(query_ids, sizes[0], "query ids")
        if len(sizes) == 1:  # the samples judge one another
            return query_ids, query_ids
        check_list_sizes(batch, sizes)
        check_rows(document_ids, sum(sizes[1:]), "document ids")
        return query_ids, document_ids

    def __repr__(self) -> str:
        return f"Qrels(<{len(self._tables['queries'])} queries>, unjudged={self.unjudged:g})"
