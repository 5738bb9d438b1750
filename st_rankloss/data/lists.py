"""Lists of documents of a limited length, which change from epoch to epoch."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, NamedTuple

import torch
from datasets import Dataset, IterableDataset

from st_rankloss._host import steps_of
from st_rankloss.collators import id_names, list_columns, weight_columns
from st_rankloss.functional.checks import check_at_least, check_choice
from st_rankloss.judgements import read_id
from st_rankloss.labels import LABEL_COLUMNS, plain, read_grades

logger = logging.getLogger(__name__)

Negatives = Mapping[Any, Sequence[Sequence[Any]]]
"""Mined documents by query id, or query text: (document id, text) or (document id, text, grade)."""


def lists(
    dataset: Dataset | IterableDataset,
    *,
    most: int | None = None,
    keep_best: int = 1,
    zeros: str = "keep",
    negatives: Negatives | Dataset | None = None,
    seed: int = 0,
) -> Any:
    """Limit the documents of each query, with other ones in every epoch, and add mined negatives.

    Rows are changed as they are read. The ``keep_best`` documents of the highest grade always stay, ties drawn at
    random; the others take turns: n of them in k places all appear within ⌈n / k⌉ epochs, in groups drawn at random.
    The sample depends only on ``seed``, the epoch and the query (its id if there is one, its text otherwise), so
    workers, processes and resumed trainings agree. `RankingTrainer` sets the epoch of its training data; elsewhere call
    `set_epoch`. Evaluation data stay in epoch 0.

    Args:
        dataset: One row per query: a query, a list of documents, and their grades if any; ids and weights of documents
            are chosen along with them. Streaming works.
        most: Documents per row, at least 1; None means no limit.
        keep_best: Documents that always stay, from 0 to ``most``, best grades first.
        zeros: ``"keep"``, or ``"drop"`` to leave out documents judged 0, and rows that would have none left.
        negatives: Documents to add, before the limit: query id, or query text if there are no ids, to a list of
            (document id, text) or (document id, text, grade), grade 0 by default; or the dataset from
            `mine_graded_negatives`. Documents that the row already has are not added.
        seed: Determines the samples.

    Returns:
        The dataset, of the same type and columns, with documents chosen as its rows are read.

    Raises:
        ValueError: If an option breaks a rule above, the dataset has no such columns, or no query has negatives; when
            read, if a row's grades, ids or weights do not match its documents.

    Example:
        >>> rows = {"query": ["a"], "documents": [["u", "v", "w", "x"]], "labels": [[0, 3, 1, 0]]}
        >>> capped = lists(Dataset.from_dict(rows), most=2)
        >>> set_epoch(capped, 1)
        >>> len(capped[0]["documents"]), "v" in capped[0]["documents"], max(capped[0]["labels"])
        (2, True, 3)
    """
    check_at_least(most, 1, "most")
    check_choice(zeros, ("keep", "drop"), "zeros")
    if not isinstance(keep_best, int) or not 0 <= keep_best <= (math.inf if most is None else most):
        raise ValueError(f"keep_best must be an integer from 0 to most={most}, got {keep_best!r}.")
    columns = _columns_of(dataset)
    if columns.labels is None and (negatives is not None or zeros == "drop"):
        raise ValueError(
            "negatives and zeros='drop' need grades, got no column called label or labels: add one, such as "
            "dataset.add_column('labels', [[1] * len(documents) for documents in dataset['documents']])."
        )
    by_query = None if negatives is None else _read_negatives(negatives, by_id=columns.query_id is not None)
    sampler = ListSampler(columns, most, keep_best, zeros == "drop", by_query, seed)
    if isinstance(dataset, IterableDataset):
        _check_features(dataset.features or {}, columns, by_query or {})
        stream = dataset.filter(sampler.has_any, with_indices=True) if zeros == "drop" else dataset
        return stream.map(sampler, batched=True, features=dataset.features)
    if by_query is not None:
        _report_matches(dataset, columns, by_query)
    if zeros == "drop":
        dataset = _without_empty(dataset, columns, sampler)
    shown = dataset.format
    before = shown["format_kwargs"].get("transform")
    return dataset.with_transform(
        sampler if before is None else _Then(before, sampler), columns=_hidden(dataset), output_all_columns=False
    )


def set_epoch(dataset: Any, epoch: int) -> None:
    """Choose the documents of an epoch, in this process and its data loader's workers.

    Args:
        dataset: What `lists` returned, or a dataset made from it; others are left alone.
        epoch: Number of the epoch, at least 0.

    Example:
        >>> rows = {"query": ["a"], "documents": [["u", "v", "w"]]}
        >>> capped = lists(Dataset.from_dict(rows), most=1, keep_best=0)
        >>> seen = set()
        >>> for epoch in range(3):
        ...     set_epoch(capped, epoch)
        ...     seen |= set(capped[0]["documents"])
        >>> sorted(seen)
        ['u', 'v', 'w']
    """
    for sampler in samplers_of(dataset):
        sampler.epoch.fill_(epoch)


def samplers_of(dataset: Any) -> list[ListSampler]:
    """Find what `lists` has added to a dataset.

    Args:
        dataset: A dataset, streaming or not.

    Returns:
        The samplers, none if `lists` was not used.
    """
    if isinstance(dataset, Dataset):
        return list(_within(dataset.format["format_kwargs"].get("transform")))
    return list(_within(steps_of(dataset)))


def _within(step: Any) -> Iterator[ListSampler]:
    """Walk through the steps of a stream, and through transforms that wrap others."""
    if isinstance(step, ListSampler):
        yield step
    elif isinstance(step, partial):  # sentence-transformers adds the name of the dataset so
        yield from _within(step.keywords.get("transform"))
    elif isinstance(step, _Then):
        yield from (*_within(step.first), *_within(step.second))
    elif step is not None:
        inner = [getattr(step, name, None) for name in ("ex_iterable", "function")]
        for each in (*inner, *getattr(step, "ex_iterables", ())):
            yield from _within(each)


class _Columns(NamedTuple):
    """The names of a dataset's columns."""

    query: str
    documents: str
    labels: str | None
    query_id: str | None
    document_ids: str | None
    weights: str | None

    def aligned(self) -> Iterator[str]:
        """Yield the columns with one value per document."""
        yield from (name for name in (self.documents, self.labels, self.document_ids, self.weights) if name is not None)


@dataclass(frozen=True, eq=False)
class _Then:
    """Two transforms, one after the other."""

    first: Any
    second: Any

    def __call__(self, rows: dict[str, list[Any]]) -> Any:
        return self.second(self.first(rows))

    def __deepcopy__(self, memo: Any) -> _Then:
        return self


class ListSampler:
    """Chooses the documents of rows; see `lists`.

    Args:
        columns: The columns of the rows.
        most: As in `lists`.
        keep_best: As in `lists`.
        drop_zeros: Whether documents judged 0 are left out.
        negatives: Mined documents, id, text and grade, by the id or the text of their query.
        seed: As in `lists`.
    """

    def __init__(
        self,
        columns: _Columns,
        most: int | None,
        keep_best: int,
        drop_zeros: bool,
        negatives: Mapping[str, list[tuple[str, Any, float]]] | None,
        seed: int,
    ) -> None:
        self.columns, self.most, self.keep_best, self.drop_zeros = columns, most, keep_best, drop_zeros
        self.negatives, self.seed = negatives or {}, seed
        # Workers of a data loader read it, so it lies in memory that they share.
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def __deepcopy__(self, memo: Any) -> ListSampler:
        return self  # datasets copies transforms: a copy of the epoch would stay at 0

    def __call__(self, rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Choose the documents of a batch of rows."""
        missing = [name for name in (self.columns.query, *self.columns.aligned()) if name not in rows]
        if missing:
            raise ValueError(f"rows must have the columns that data.lists was called with, got none called {missing}.")
        names = list(rows)
        chosen = [self.choose(dict(zip(names, values, strict=True))) for values in zip(*rows.values(), strict=True)]
        return {name: [row[name] for row in chosen] for name in names}

    def has_any(self, row: dict[str, Any], number: int) -> bool:
        """Return whether a row has documents other than judged zeros."""
        grades = read_grades(row[self.columns.labels or ""], number, self.columns.labels or "")
        return any(grade != 0 for grade in grades)

    def choose(self, row: dict[str, Any]) -> dict[str, Any]:
        """Choose the documents of a row."""
        key = self.key(row)
        aligned = {name: plain(row[name]) for name in self.columns.aligned()}
        documents = aligned[self.columns.documents]
        for name, values in list(aligned.items()):
            if not isinstance(values, list) and name == self.columns.weights:
                del aligned[name]  # one weight for all documents
            elif not isinstance(values, list) or len(values) != len(documents):
                raise ValueError(
                    f"column {name!r} must hold a list with one value for each of the {len(documents)} documents, got "
                    f"{values!r} for the query {key!r}."
                )
        grades = self._grades(aligned, len(documents), key)
        added = self._unknown(aligned, key)
        keep = [place for place, grade in enumerate(grades) if grade != 0 or not self.drop_zeros]
        for document_id, text, grade in added:
            keep.append(len(grades))
            grades.append(grade)
            for name, values in aligned.items():
                values.append(self._value(name, document_id, text, grade))
        places = [keep[place] for place in self._sample([grades[place] for place in keep], key)]
        return row | {name: [values[place] for place in places] for name, values in aligned.items()}

    def key(self, row: Mapping[str, Any]) -> str:
        """Return the id of a row's query, or its text."""
        if self.columns.query_id is not None:
            return read_id(plain(row[self.columns.query_id]), f"an id in {self.columns.query_id!r}")
        query = row[self.columns.query]
        if not isinstance(query, str):
            raise ValueError(
                f"column {self.columns.query!r} must hold texts, got {type(query).__name__}: for other inputs add a "
                f"column {self.columns.query + '_id'!r}, by which documents are sampled."
            )
        return query

    def _grades(self, aligned: Mapping[str, list[Any]], count: int, key: str) -> list[float]:
        if self.columns.labels is None:
            return [1.0] * count
        try:
            return read_grades(aligned[self.columns.labels], 0, self.columns.labels)
        except ValueError as error:
            raise ValueError(f"query {key!r}: {error}") from error

    def _unknown(self, aligned: Mapping[str, list[Any]], key: str) -> list[tuple[str, Any, float]]:
        """Return the mined documents that the row does not have."""
        mined = self.negatives.get(key, ())
        if not mined:
            return []
        place, column = (0, self.columns.document_ids) if self.columns.document_ids else (1, self.columns.documents)
        known = {str(value) for value in aligned[column]}
        return [each for each in mined if str(each[place]) not in known]

    def _value(self, name: str, document_id: str, text: Any, grade: float) -> Any:
        columns = self.columns
        return {columns.documents: text, columns.labels: grade, columns.document_ids: document_id}.get(name, 1.0)

    def _sample(self, grades: Sequence[float], key: str) -> list[int]:
        """Return the places of the documents of this epoch, in order."""
        count = len(grades)
        if self.most is None or count <= self.most:
            return list(range(count))
        free, others = self.most - self.keep_best, count - self.keep_best
        turns = math.ceil(others / free) if free else 1
        cycle, turn = divmod(int(self.epoch), turns)
        order = Random(f"{self.seed}/{cycle}/{key}").sample(range(count), count)
        order.sort(key=lambda place: -math.inf if math.isnan(grades[place]) else grades[place], reverse=True)
        best, rest = order[: self.keep_best], order[self.keep_best :]
        # The others need an order of their own: that of grades would group the good ones in the first turns.
        Random(f"{self.seed}/{cycle}/{key}/rest").shuffle(rest)
        start = min(turn * free, others - free)
        return sorted([*best, *rest[start : start + free]])


def _columns_of(dataset: Dataset | IterableDataset) -> _Columns:
    """Find the columns by their names and the values of the first row."""
    plain_rows = dataset.with_format(None) if isinstance(dataset, Dataset) else dataset
    row = next(iter(plain_rows), None)
    if row is None:
        raise ValueError("dataset must have rows, got none.")
    labels = next((name for name in LABEL_COLUMNS if name in row), None)
    weights = {column: name for name, column in weight_columns(row, LABEL_COLUMNS).items()}
    ids = {column: name for column in row for name in id_names(column) if name in row}
    inputs = [n for n in row if n not in (*LABEL_COLUMNS, *weights.values(), *ids.values(), "dataset_name")]
    documents = list_columns([{name: row[name] for name in inputs}])
    if len(documents) != 1 or len(inputs) != 2:
        raise ValueError(
            f"dataset must have a column of queries and one of lists of documents, got the input columns {inputs}, "
            f"{documents} of lists: group rows with data.group_into_lists first."
        )
    (query,) = (name for name in inputs if name not in documents)
    name = documents[0]
    return _Columns(query, name, labels, ids.get(query), ids.get(name), weights.get(name))


def _read_negatives(negatives: Negatives | Dataset, *, by_id: bool) -> dict[str, list[tuple[str, Any, float]]]:
    """Return mined documents with id, text and grade, by the id or the text of their query."""
    rows = _rows_of_mined(negatives, by_id) if isinstance(negatives, Dataset) else negatives.items()
    found: dict[str, list[tuple[str, Any, float]]] = {}
    for key, documents in rows:
        query = read_id(key, "a query of negatives")
        for document in documents:
            if isinstance(document, str) or len(document) not in (2, 3):
                raise ValueError(
                    "negatives must map a query to a list of (document id, text) or (document id, text, grade), got "
                    f"{document!r} for the query {query!r}."
                )
            name, text, *grade = document
            (number,) = read_grades(grade or [0.0], 0, f"negatives of {query}")
            each = (read_id(name, f"a document of {query!r}"), text, number)
            if each not in found.setdefault(query, []):
                found[query].append(each)
    return found


def _rows_of_mined(mined: Dataset, by_id: bool) -> Iterator[tuple[Any, Iterable[Any]]]:
    """Yield query and documents of what `mine_graded_negatives` returns."""
    key = "query_id" if by_id else "query"
    missing = [n for n in (key, "documents", "labels", "document_ids") if n not in mined.column_names]
    if missing:
        raise ValueError(
            f"negatives must have the columns of mine_graded_negatives, got {mined.column_names}, without {missing}."
        )
    for row in mined.with_format(None):
        yield row[key], zip(row["document_ids"], row["documents"], row["labels"], strict=True)


def _check_features(features: Mapping[str, Any], columns: _Columns, negatives: Mapping[str, Any]) -> None:
    """Raise ValueError if a stream's declared types would change negatives."""
    mined = [each for documents in negatives.values() for each in documents]
    for place, name, kept in ((0, columns.document_ids, str.isdecimal), (2, columns.labels, float.is_integer)):
        dtype = getattr(getattr(features.get(name or ""), "feature", None), "dtype", "")
        changed = next((each[place] for each in mined if dtype.startswith("int") and not kept(each[place])), None)
        if changed is not None:
            raise ValueError(
                f"column {name!r} must hold the values of negatives too, got {changed!r} where the dataset declares "
                f"{dtype}: cast it with dataset.cast_column({name!r}, List(Value(...)))."
            )


def _report_matches(dataset: Dataset, columns: _Columns, negatives: Mapping[str, Any]) -> None:
    """Log how many rows have negatives; raise ValueError if none has."""
    name = columns.query_id or columns.query
    keys = [str(plain(key)) for key in dataset.select_columns(name).with_format(None)[name]]
    matched = sum(key in negatives for key in keys)
    if not matched:
        raise ValueError(
            f"negatives must be for the queries of the dataset, by {name!r}, got none of them: their first key is "
            f"{next(iter(negatives), None)!r}, that of the dataset {keys[0]!r}."
        )
    if matched < len(keys) or len(negatives) > matched:
        logger.warning("%d of %d rows have negatives, by %r.", matched, len(keys), name)


def _without_empty(dataset: Dataset, columns: _Columns, sampler: ListSampler) -> Dataset:
    """Leave out rows whose documents are all judged 0."""
    grades = dataset.select_columns(columns.labels).with_format(None)
    rows = [number for number, row in enumerate(grades) if sampler.has_any(row, number)]
    if not rows:
        raise ValueError("zeros='drop' must leave documents, got grades of 0 alone: use zeros='keep'.")
    if len(rows) < len(dataset):
        logger.warning(
            "%d of %d rows are left out: all their documents are judged 0.", len(dataset) - len(rows), len(dataset)
        )
    return dataset.select(rows)


def _hidden(dataset: Dataset) -> list[str] | None:
    """Return the columns to show if some are hidden by ``set_format``; None shows all."""
    shown = dataset.format["columns"]
    return None if set(shown) == set(dataset.column_names) else shown
