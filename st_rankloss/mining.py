"""Graded hard negatives: the judged documents of each query, plus its nearest unjudged ones.

Options are named as in ``mine_hard_negatives`` of sentence-transformers, with the same results where both apply, except
that ``range_min`` skips the nearest documents before scores and margins choose, not after. That function mines for
(anchor, positive) pairs: it has no grades, needs a positive per query, and gives each of several positives its own row,
without the others. Hence our own search.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from numbers import Real
from os import PathLike
from typing import Any

import numpy as np
from datasets import Dataset, IterableDataset
from numpy.typing import NDArray
from sentence_transformers import MultiVectorEncoder, SentenceTransformer, SparseEncoder

from st_rankloss._models import EMBEDDERS, check_encoder
from st_rankloss.evaluation.embedding import Embedder, count, take
from st_rankloss.evaluation.search import Embeddings, exact_search, faiss_search
from st_rankloss.evaluation.settings import check_count
from st_rankloss.evaluation.shards import Shards, as_shards, storage_order
from st_rankloss.functional.checks import check_at_least, check_choice
from st_rankloss.judgements import check_inputs, collect_qrels, read_id, read_inputs, read_qrels
from st_rankloss.judges.base import Judge
from st_rankloss.teachers import Model, Teacher, as_teacher

logger = logging.getLogger(__name__)

_OVERSAMPLING = 10  # candidates per wanted document, if some will be filtered out

Qrels = Mapping[str, Mapping[str, float]]


def mine_graded_negatives(
    queries: Mapping[str, Any],
    corpus: Mapping[str, Any],
    qrels: Qrels,
    model: SentenceTransformer | SparseEncoder | MultiVectorEncoder,
    *,
    num_negatives: int = 3,
    unjudged: float | Teacher | Model | Judge = 0.0,
    range_min: int = 0,
    range_max: int | None = None,
    min_score: float | None = None,
    max_score: float | None = None,
    absolute_margin: float | None = None,
    relative_margin: float | None = None,
    sampling_strategy: str = "top",
    seed: int = 0,
    index: Any = None,
    corpus_embeddings: Shards | str | PathLike[str] | None = None,
    batch_size: int = 32,
    show_progress_bar: bool = False,
    query_prompt: str | None = None,
    query_prompt_name: str | None = None,
    corpus_prompt: str | None = None,
    corpus_prompt_name: str | None = None,
) -> Dataset:
    """Collect the judged documents of each query, with their grades, and its nearest unjudged ones.

    All judged documents are kept, regardless of similarity. Candidates are the query's nearest unjudged documents by
    ``model``, from rank ``range_min`` (counted from 0) up to, but not including, ``range_max``, if scores and margins
    allow. Up to ``num_negatives`` of them follow the judged documents, nearest first. A query may find fewer; the
    number of such queries is logged.

    Documents with equal text (not images) count as one: a copy of a judged document is never mined, and of other copies
    only the first in the corpus is. A document with the text of the query is mined like any other; ``max_score`` or
    ``range_min=1`` leaves it out. Ties go to the first document in the corpus; a faiss index computes in float32, so
    rounding may decide. The same arguments give the same dataset.

    Time: one encoding pass, and the exact search, see `exact_search`: Q·D·dim for vectors. Memory: all embeddings,
    float32; of a MultiVectorEncoder, those of all tokens; with ``corpus_embeddings``, a chunk of documents and those of
    the queries; and for each query up to twice as many results as it has candidates and judgements. With ``index``, all
    queries are searched as deep as the one with the most judgements.

    Args:
        queries: Query id to query: a text, or any input that the model encodes. Each becomes a row. Ids are strings or
            integers; an integer equals its decimal string.
        corpus: Document id to document.
        qrels: Query id to document id to grade, at least 0 and finite. Queries without judgements and an empty mapping
            are allowed: all documents are then unjudged.
        model: The model that embeds and, by its ``similarity_fn_name``, compares the texts.
        num_negatives: Unjudged documents to add per query, at least 1.
        unjudged: Grade of the added documents: 0 or another number of at least 0, ``relevance.UNJUDGED`` (NaN),
            a teacher that grades them (set the ``top_grade`` of `Teacher` to that of the judgements), or a judge, see
            `judges`, which may leave some unjudged.
        range_min: Nearest unjudged documents to skip, at least 0: they may be relevant.
        range_max: Rank at which to stop, at least ``range_min + num_negatives``; None means this minimum, or ten times
            ``num_negatives`` after ``range_min`` if scores, margins or random sampling choose among candidates.
        min_score: Lowest similarity of an added document; None means no limit.
        max_score: Highest similarity of an added document; None means no limit.
        absolute_margin: Minimum gap of an added document below the least similar relevant one (with a grade above 0);
            None means no limit. Margins do not apply to queries without a relevant document.
        relative_margin: The same, as a share of the absolute similarity of that relevant document.
        sampling_strategy: ``"top"`` takes the nearest candidates, ``"random"`` draws from all of them.
        seed: Seed of the random draw, at least 0.
        index: None for exact search in float64; an empty faiss index or a factory string, such as "Flat" or
            "HNSW32", for large corpora and a SentenceTransformer.
        corpus_embeddings: `Shards`, or the path of a folder: embeddings of the corpus on disk, which are written if
            they are missing, and which a `GradedInformationRetrievalEvaluator` of the same corpus shares. None keeps
            them in memory. For texts and a SentenceTransformer.
        batch_size: Inputs encoded at a time, at least 1.
        show_progress_bar: Whether to show progress over the batches.
        query_prompt: Prompt for the queries.
        query_prompt_name: Name of the model's prompt for the queries.
        corpus_prompt: Prompt for the documents.
        corpus_prompt_name: Name of the model's prompt for the documents.

    Returns:
        One row per query, in order: ``query``, ``documents``, ``labels`` for `RankingCollator` (with
        ``relevance.Lists()``), and ``query_id`` and ``document_ids`` (for ``relevance.Qrels(qrels)``).

    Raises:
        TypeError: If ``unjudged`` is neither a number nor a teacher or judge, or ``model`` is another kind of
            sentence-transformers model, such as a CrossEncoder.
        ValueError: If an argument breaks a rule above, an id or a similarity is unknown, the model cannot encode an
            input, an embedding is not finite, or a query ends up without documents.

    Example:
        >>> import torch
        >>> from sentence_transformers.sentence_transformer.modules import StaticEmbedding
        >>> from tokenizers import Tokenizer, models, pre_tokenizers
        >>> tokenizer = Tokenizer(models.WordLevel({"?": 0, "red": 1, "green": 2, "blue": 3}, unk_token="?"))
        >>> tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        >>> model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=torch.eye(4))])
        >>> corpus = {"a": "red", "b": "red green", "c": "blue", "d": "red red blue"}
        >>> mined = mine_graded_negatives({"q": "red"}, corpus, {"q": {"a": 3, "c": 1}}, model, num_negatives=1)
        >>> mined[0]["documents"], mined[0]["labels"]
        (['red', 'blue', 'red red blue'], [3.0000, 1.0000, 0.0000])

    Source: rank ranges and margins as in mine_hard_negatives of sentence-transformers; relative margins are
    "TopK-PercPos" of Moreira et al. (2024), NV-Retriever, arXiv 2407.15831.
    """
    window = _Window(
        num_negatives,
        range_min,
        range_max,
        min_score,
        max_score,
        absolute_margin,
        relative_margin,
        sampling_strategy,
        seed,
    )
    grade = _grader(unjudged)
    shards = as_shards(corpus_embeddings)
    check_count("batch_size", batch_size)
    check_encoder(
        model, EMBEDDERS, "mine_graded_negatives", "a CrossEncoder can grade what another model mines, as unjudged=..."
    )
    text_only = list(model.modalities) == ["text"]
    queries = read_inputs(queries, "queries", text_only=text_only)
    corpus = read_inputs(corpus, "corpus", text_only=text_only)
    qrels = read_qrels(qrels, queries=queries, corpus=corpus, may_be_empty=True)
    embedder = Embedder(
        model,
        batch_size,
        show_progress_bar,
        query_prompt=query_prompt,
        query_prompt_name=query_prompt_name,
        corpus_prompt=corpus_prompt,
        corpus_prompt_name=corpus_prompt_name,
    )
    ids, place = _distinct(corpus)
    if index is not None:
        embedder.check_index(index, len(ids))

    query_embeddings = embedder.embed_queries(queries)
    documents = _embed(corpus, ids, embedder, shards)
    judged = [{place[d] for d in qrels.get(q, {})} for q in queries]
    relevant = [{place[d] for d, value in qrels.get(q, {}).items() if value > 0} for q in queries]
    search = exact_search if index is None else partial(faiss_search, index=index)
    numbers = _mine(query_embeddings, documents, judged, relevant, window, embedder, search)
    mined = [[ids[number] for number in row] for row in numbers]
    _check_found(queries, qrels, mined, window, len(ids))

    owners = [query for query, row in zip(queries.values(), mined, strict=True) for _ in row]
    values = iter(grade(owners, [corpus[document_id] for row in mined for document_id in row]))
    rows = [(q, query, qrels.get(q, {}), row) for (q, query), row in zip(queries.items(), mined, strict=True)]
    return Dataset.from_dict(
        {
            "query": [query for _, query, _, _ in rows],
            "documents": [[corpus[d] for d in (*grades, *row)] for _, _, grades, row in rows],
            "labels": [[*grades.values(), *(next(values) for _ in row)] for _, _, grades, row in rows],
            "query_id": [q for q, _, _, _ in rows],
            "document_ids": [[*grades, *row] for _, _, grades, row in rows],
        }
    )


def read_judgements(
    dataset: Dataset,
    query_column: str,
    document_column: str,
    label_column: str | None = None,
    *,
    query_id_column: str | None = None,
    document_id_column: str | None = None,
) -> tuple[dict[str, str], dict[str, str], dict[str, dict[str, float]]]:
    """Extract queries, corpus and judgements from a dataset of pairs or lists, for mining and evaluation.

    Applied to the result of `mine_graded_negatives`, the judgements include the grades of a teacher.

    Args:
        dataset: Rows of a query and a document, or of a query and a list of documents.
        query_column: Column of queries, texts.
        document_column: Column of documents, or of lists of documents.
        label_column: Column of grades, or of lists of grades; NaN or None leaves a document unjudged. Without the
            column, each document has grade 1.
        query_id_column: Column of ids; None numbers distinct texts "q0", "q1", ... in order of appearance.
        document_id_column: Column of ids, or of lists of ids; None numbers distinct texts "d0", "d1", ...

    Returns:
        Queries and corpus, id to text, and the judgements, query id to document id to grade.

    Raises:
        ValueError: If a column is missing, a row's list of documents is empty or of another length than its grades or
            ids, an input is not a text, an id or a grade is invalid, an id refers to two texts, or a document has two
            grades for one query. The error names the row.

    Example:
        >>> pairs = Dataset.from_dict({"question": ["red?", "red?"], "answer": ["rose", "sky"], "label": [2, 0]})
        >>> read_judgements(pairs, "question", "answer", "label")
        ({'q0': 'red?'}, {'d0': 'rose', 'd1': 'sky'}, {'q0': {'d0': 2.0000, 'd1': 0.0000}})
    """
    if not isinstance(dataset, Dataset | IterableDataset):
        raise ValueError(f"dataset must be a Dataset, got {type(dataset).__name__}: use Dataset.from_list.")
    columns = (query_column, document_column, label_column, query_id_column, document_id_column)
    missing = [name for name in columns if name is not None and name not in dataset.column_names]
    if missing:
        raise ValueError(f"dataset must have the given columns, got {dataset.column_names}, not {missing}.")
    queries = _Texts(query_column, "q" if query_id_column is None else None)
    corpus = _Texts(document_column, "d" if document_id_column is None else None)
    judged: list[tuple[int, str, str, Any]] = []
    for row, entry in enumerate(dataset.with_format(None)):
        documents = _as_list(entry[document_column])
        if not documents:
            raise ValueError(f"each list in {document_column!r} must hold a document, got an empty list in row {row}.")
        grades = [1.0] * len(documents) if label_column is None else _as_list(entry[label_column])
        if label_column is not None and entry[label_column] is None:
            grades = [None] * len(documents)
        ids = [None] * len(documents) if document_id_column is None else _as_list(entry[document_id_column])
        if not len(grades) == len(ids) == len(documents):
            raise ValueError(
                f"each row needs a grade and an id for each document, got {len(grades)} grades and {len(ids)} ids for "
                f"{len(documents)} documents in row {row}."
            )
        query_id = queries.add(entry[query_column], None if query_id_column is None else entry[query_id_column], row)
        document_ids = [corpus.add(document, own_id, row) for document, own_id in zip(documents, ids, strict=True)]
        judged += [(row, query_id, *rest) for rest in zip(document_ids, grades, strict=True)]
    return queries.texts, corpus.texts, collect_qrels(judged)


class _Texts:
    """Texts by id, collected row by row."""

    def __init__(self, column: str, prefix: str | None) -> None:
        self.column, self.prefix = column, prefix
        self.texts: dict[str, str] = {}
        self.numbered: dict[str, str] = {}

    def add(self, text: str, own_id: Any, row: int) -> str:
        """Return the text's own id, or a number with a prefix for each distinct text."""
        check_inputs([(row, text)], self.column, "row", text_only=self.prefix is not None)
        if self.prefix is not None:
            own_id = self.numbered.setdefault(text, f"{self.prefix}{len(self.numbered)}")
        name = read_id(own_id, f"row {row}: an id of {self.column!r}")
        if self.texts.setdefault(name, text) != text:
            raise ValueError(
                f"each input of {self.column!r} needs an id that refers to no other text, got {own_id!r} in row {row}."
            )
        return name


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@dataclass(frozen=True)
class _Window:
    """The rule that selects from a query's ranked unjudged documents."""

    num_negatives: int
    range_min: int
    range_max: int | None
    min_score: float | None
    max_score: float | None
    absolute_margin: float | None
    relative_margin: float | None
    sampling_strategy: str
    seed: int

    def __post_init__(self) -> None:
        for name, least in (("num_negatives", 1), ("range_min", 0), ("seed", 0)):
            check_count(name, getattr(self, name), at_least=least)
        check_at_least(self.range_max, self.range_min + self.num_negatives, "range_max")
        check_choice(self.sampling_strategy, ("top", "random"), "sampling_strategy")
        for name in ("min_score", "max_score", "absolute_margin", "relative_margin"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, Real) and math.isfinite(value)):
                raise ValueError(f"{name} must be a finite number or None, got {value!r}.")
        for name in ("absolute_margin", "relative_margin"):
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)!r}.")

    @property
    def has_margin(self) -> bool:
        return self.absolute_margin is not None or self.relative_margin is not None

    @property
    def is_limited(self) -> bool:
        return self.has_margin or self.min_score is not None or self.max_score is not None

    @property
    def stop(self) -> int:
        """The rank among unjudged documents at which candidates end."""
        if self.range_max is not None:
            return self.range_max
        spare = _OVERSAMPLING if self.is_limited or self.sampling_strategy == "random" else 1
        return self.range_min + spare * self.num_negatives

    def choose(self, ranked: Iterable[tuple[int, float]], relevant: float | None, row: int) -> list[int]:
        """Choose among unjudged documents, best first; ``relevant`` is the lowest similarity of a relevant document."""
        highest = math.inf if self.max_score is None else self.max_score
        if relevant is not None:
            margin = max(self.absolute_margin or 0.0, (self.relative_margin or 0.0) * abs(relevant))
            highest = min(highest, relevant - margin)
        lowest = -math.inf if self.min_score is None else self.min_score
        candidates = [n for n, score in islice(ranked, self.range_min, self.stop) if lowest <= score <= highest]
        if self.sampling_strategy == "random" and len(candidates) > self.num_negatives:
            draw = np.random.default_rng([self.seed, row])
            places = draw.choice(len(candidates), self.num_negatives, replace=False)
            return [candidates[place] for place in sorted(places)]
        return candidates[: self.num_negatives]


def _mine(
    queries: Embeddings,
    documents: _Documents,
    judged: Sequence[set[int]],
    relevant: Sequence[set[int]],
    window: _Window,
    embedder: Embedder,
    search: Callable[..., Any],
) -> list[list[int]]:
    """Choose the numbers of each query's unjudged documents."""
    mined: list[list[int]] = [[] for _ in judged]
    depths = [window.stop + len(known) for known in judged]  # all judged documents may rank first
    for rows in _of_similar_depth(depths, window.stop) if search is exact_search else [range(len(depths))]:
        depth = min(max(depths[row] for row in rows), len(documents.numbers))
        chunks = documents.chunks(embedder.chunk)
        scores, numbers = search(take(queries, rows), chunks, depth, embedder.similarity, numbers=documents.numbers)
        for place, row in enumerate(rows):
            lowest = None
            if relevant[row] and window.has_margin:
                own = documents.take(sorted(relevant[row]))
                lowest = float(exact_search(take(queries, [row]), [own], count(own), embedder.similarity)[0][0, -1])
            ranked = zip(numbers[place].tolist(), scores[place].tolist(), strict=True)
            unjudged = ((number, score) for number, score in ranked if number >= 0 and number not in judged[row])
            mined[row] = window.choose(unjudged, lowest, row)
    return mined


def _of_similar_depth(depths: Sequence[int], least: int) -> Iterable[list[int]]:
    """Group rows, so that none is searched more than twice as deep as it needs."""
    groups: dict[int, list[int]] = {}
    for row, depth in enumerate(depths):
        groups.setdefault((depth // least).bit_length(), []).append(row)
    return groups.values()


@dataclass(frozen=True)
class _Documents:
    """Embeddings of documents of distinct texts, in memory or on disk."""

    embeddings: Any
    rows: NDArray[np.int64]
    """The rows of the distinct texts among the embeddings, ascending."""
    numbers: NDArray[np.int64]
    """The number of each."""

    def chunks(self, size: int) -> Iterator[Any]:
        """Yield the embeddings of the documents, in the order of ``numbers``."""
        for start in range(0, count(self.embeddings), size):
            first, last = np.searchsorted(self.rows, [start, start + size])
            if last > first:
                yield take(self.embeddings[start : start + size], (self.rows[first:last] - start).tolist())

    def take(self, numbers: Sequence[int]) -> Embeddings:
        """Return the embeddings of documents by number."""
        return take(self.embeddings, self.rows[self.places[numbers]].tolist())

    @cached_property
    def places(self) -> NDArray[np.int64]:
        """The place of each number in ``numbers``."""
        return np.argsort(self.numbers)


def _embed(corpus: Mapping[str, Any], ids: Sequence[str], embedder: Embedder, shards: Shards | None) -> _Documents:
    """Embed the documents ``ids``, of distinct texts; with shards, the whole corpus."""
    if shards is None:
        everything = np.arange(len(ids))
        return _Documents(embedder.embed_documents({i: corpus[i] for i in ids}), everything, everything)
    number = {document_id: number for number, document_id in enumerate(ids)}
    own = np.array([number.get(document_id, -1) for document_id in storage_order(corpus)])
    return _Documents(shards.embed(embedder, corpus), np.flatnonzero(own >= 0), own[own >= 0])


def _distinct(corpus: Mapping[str, Any]) -> tuple[list[str], dict[str, int]]:
    """Number documents by distinct text; return the first id of each text, and the number of each id."""
    ids: list[str] = []
    first: dict[Any, int] = {}
    place = {}
    for document_id, document in corpus.items():
        place[document_id] = first.setdefault(document if isinstance(document, str) else (document_id,), len(ids))
        if place[document_id] == len(ids):
            ids.append(document_id)
    return ids, place


def _grader(unjudged: Any) -> Callable[[Sequence[Any], Sequence[Any]], list[float]]:
    """Return a function that grades unjudged pairs."""
    if not isinstance(unjudged, Real):
        try:
            return as_teacher(unjudged).grade
        except TypeError as error:
            raise TypeError(f"unjudged must be a number, a judge or a Teacher; as a Teacher, {error}") from error
    value = float(unjudged)
    if value < 0 or math.isinf(value):
        raise ValueError(f"unjudged must be at least 0 and finite, or NaN, got {unjudged!r}.")
    return lambda queries, documents: [value] * len(queries)


def _check_found(
    queries: Mapping[str, Any], qrels: Qrels, mined: Sequence[Sequence[str]], window: _Window, documents: int
) -> None:
    """Raise ValueError for a row without documents; log how many queries found fewer than wanted."""
    for row, (query_id, found) in enumerate(zip(queries, mined, strict=True)):
        if not found and not qrels.get(query_id):
            raise ValueError(
                f"each query must have a document, got none for {query_id!r} in row {row}, which has no judgements: "
                "widen the range or the score limits, or leave the query out."
            )
    short = sum(len(found) < window.num_negatives for found in mined)
    if short:
        text = "%d of %d queries found fewer than %d unjudged documents%s"
        limited = window.is_limited and window.stop < documents
        remedy = f" among the nearest {window.stop}: raise range_max to look further." if limited else "."
        logger.warning(text, short, len(mined), window.num_negatives, remedy)
