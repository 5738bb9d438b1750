"""Relevance from judgements, looked up by query and document id."""

from __future__ import annotations

import warnings
from array import array
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from torch import Tensor

from st_rankloss.functional.checks import check_relevance
from st_rankloss.judgements import each_query, read_id
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
    return _as_codes(b"".join(map(_digest, map(read_id, ids))))


def _digest(name: str) -> bytes:
    return blake2b(name.encode(), digest_size=8).digest()


def _as_codes(digests: bytes | bytearray) -> Tensor:
    """Return the upper 63 bits of each digest."""
    return torch.from_numpy((np.frombuffer(digests, dtype=">u8") >> 1).astype(np.int64))


class Qrels(Relevance):
    """The judged grade of a document for a query, regardless of the row that the document comes from.

    A relevant document from another query's row keeps its grade, so it is not a false negative. Ids are kept as
    numbers: 24 bytes per query and 12 per judgement. Time O(D log D + Q · D + Q · J log D), where J is the number of
    judgements per query, the largest one on a GPU; memory O(Q · (D + J)).

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
        queries, documents, sizes, grades = bytearray(), bytearray(), array("q"), array("f")
        self._examples: dict[str, str] = {}
        for query, judged, own in each_query(qrels, largest=torch.finfo(torch.float32).max):
            self._examples = self._examples or {"query": query, "document": next(iter(judged), "")}
            queries += _digest(query)
            documents += b"".join(map(_digest, judged))
            sizes.append(len(judged))
            grades.extend(own)
        known, order = _as_codes(queries).sort()
        size = torch.tensor(sizes)
        grades.append(0.0)
        self._most = int(size.max())
        # Judgements as one flat list, query by query, with a final dummy entry that matches no document.
        self._tables = {
            "queries": known,
            "start": (size.cumsum(0) - size)[order],
            "size": size[order],
            "documents": torch.cat([_as_codes(documents), torch.tensor([-1])]),
            "grades": torch.from_numpy(np.array(grades)),
        }
        self._judged = {"query": known, "document": self._tables["documents"]}  # on the CPU, where batches are checked

    def __call__(self, query_labels: Tensor, document_labels: Tensor) -> Tensor:
        """Look up grades: ids ``(Q,)`` and ``(D,)`` from `encode_ids` to ``(Q, D)``."""
        device = query_labels.device
        self._tables = {name: table.to(device, non_blocking=True) for name, table in self._tables.items()}
        start, size = (self._tables[name] for name in ("start", "size"))
        place, known = _find(query_labels, self._tables["queries"])
        count = torch.where(known, size[place], 0)
        return (self._place if device.type == "cpu" else self._select)(start[place], count, document_labels)

    def _place(self, start: Tensor, count: Tensor, document_labels: Tensor) -> Tensor:
        """Write each judgement where its document is in the batch: the fewest steps, of numbers read from the device.

        Args:
            start: The first judgement of each query, ``(Q,)``.
            count: The number of its judgements, ``(Q,)``.
            document_labels: As in `__call__`.

        Returns:
            As `__call__`.
        """
        documents, grades = self._tables["documents"], self._tables["grades"]
        query, judgement = _count_up(start, count)
        batch_ids, order = document_labels.sort()
        judged = documents[judgement]
        first, end = (torch.searchsorted(batch_ids, judged, right=right) for right in (False, True))
        found, copy = _count_up(first, end - first)
        table = grades.new_full((len(count), len(order)), self.unjudged)
        table[query[found], order[copy]] = grades[judgement[found]]
        return table

    def _select(self, start: Tensor, count: Tensor, document_labels: Tensor) -> Tensor:
        """Do the same as `_place` without waiting for the device."""
        documents, grades = self._tables["documents"], self._tables["grades"]
        judgement = torch.arange(self._most, device=start.device)
        judgement = torch.where(judgement < count[:, None], start[:, None] + judgement, len(grades) - 1)
        # Scatter each judged document to its position among the batch's sorted ids, and documents not in the batch to a
        # column that is cut off; duplicates in the batch read the same position.
        batch_ids = document_labels.sort().values
        target = torch.searchsorted(batch_ids, documents[judgement])
        here = batch_ids[target.clamp_max(len(batch_ids) - 1)] == documents[judgement]
        table = grades.new_full((len(count), len(batch_ids) + 1), self.unjudged)
        table.scatter_(1, torch.where(here, target, len(batch_ids)), grades[judgement])
        return table[:, torch.searchsorted(batch_ids, document_labels)]

    def pair(self, batch: Batch, sizes: Sequence[int]) -> tuple[Labels, Labels]:
        """Return the ids of queries and documents; warn once if all are strangers, such as ids of another form."""
        query_ids, document_ids = require(batch, "query_ids", self), require(batch, "document_ids", self)
        check_rows(query_ids, sizes[0], "query ids")
        if query_ids.device.type == "cpu" and "query" in self._judged:
            self._warn_of_strangers(query_ids, document_ids, batch.get("id_examples", {}))
        if len(sizes) == 1:  # the samples judge one another
            return query_ids, query_ids
        check_list_sizes(batch, sizes)
        check_rows(document_ids, sum(sizes[1:]), "document ids")
        return query_ids, document_ids

    def _warn_of_strangers(self, query_ids: Tensor, document_ids: Tensor, examples: Mapping[str, Any]) -> None:
        """Warn if no query of a batch is judged, or no document of the first batch of judged queries."""
        if _find(query_ids, self._judged["query"])[1].any():
            documents = self._judged.pop("document", None)  # all are searched once, which takes time
            if documents is None or torch.isin(document_ids, documents).any():
                return
            what = "document"
        else:
            self._judged.pop("query")
            what = "query"
        such = f", such as {examples[what]!r}," if what in examples else ""
        warnings.warn(
            f"None of the {what} ids of this batch{such} are in {self!r}, which has {what} ids such as "
            f"{self._examples[what]!r}: its queries have no relevant documents, and the loss is 0. Judgements and data "
            "must have the same ids.",
            stacklevel=2,
        )

    def __repr__(self) -> str:
        return f"Qrels(<{len(self._tables['queries'])} queries>, unjudged={self.unjudged:g})"


def _find(ids: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Return the place of each id among known ones, sorted, and whether it is there."""
    place = torch.searchsorted(known, ids).clamp_max(len(known) - 1)
    return place, known[place] == ids


def _count_up(start: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Return the numbers from ``start`` on, ``count`` of them, for each entry, one after another, and their entries."""
    entry = torch.arange(len(count)).repeat_interleave(count)
    return entry, torch.arange(len(entry)) + (start - count.cumsum(0) + count)[entry]
