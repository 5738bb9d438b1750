"""Tasks of mteb from your own data, for ``mteb.evaluate`` (needs the extra "mteb").

===================  ===================  ==================  ==================================================
task of the part     kind                 main score          what mteb does
===================  ===================  ==================  ==================================================
``retrieval``        ``retrieval`` ¹      ndcg_at_10          searches the corpus
``retrieval``        ``reranking``        ndcg_at_10          ranks each query's judged documents
``sts``              ``sts``              cosine_spearman     correlates cosine and score
``classification``   ``classification``   accuracy            learns from ``train``
``classification``   ``clustering``       v_measure           k-means
``hierarchy``        ``clustering``       v_measure           k-means on each level
``multi_label``      ``multi_label``      lrap                learns from ``train``
``regression``       ``regression``       kendalltau          learns from ``train``
``image_text``       ``image_text``       ndcg_at_10          searches both ways; the score is the mean
``image_text``       ``t2i``, ``i2t``     ndcg_at_10          searches images by texts, or texts by images
===================  ===================  ==================  ==================================================

¹ The first kind of a task is its default.

Example:
    ::

        parts = read("my-data")
        task = mteb_task(parts["test"], "Mine", train=parts["train"])
        mteb.evaluate(named(model, "me/model", "1"), tasks=[task])
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from datasets import Dataset, DatasetDict, Features, Image, IterableDataset, List, Value
from sentence_transformers import SentenceTransformer, SparseEncoder

from st_rankloss._extras import require
from st_rankloss._host import check_encoder
from st_rankloss.data.part import Part
from st_rankloss.encoding import encode_labels, read_list_grades
from st_rankloss.evaluation.metrics import mean_metrics, order_documents, score_rankings
from st_rankloss.functional.checks import check_choice
from st_rankloss.judgements import Judgements, check_inputs, collect_qrels, read_qrels
from st_rankloss.labels import (
    LABEL_KINDS,
    holds_class_ids,
    is_missing,
    read_classes,
    read_numbers,
    read_paths,
    read_sets,
    refusal,
)
from st_rankloss.relevance import Relevance
from st_rankloss.relevance.choice import choose_relevance

logger = logging.getLogger(__name__)

MOST_GRADE = 1_000_000
"""Largest scaled grade: trec_eval keeps a counter for every grade up to it."""

_CUTOFFS = (1, 3, 5, 10, 20, 100, 1000)
_MTEB_NAMES = {"accuracy": "hit_rate"}
_GRADED = [(name, k) for name in ("ndcg", "mrr", "map", "recall", "precision", "accuracy") for k in _CUTOFFS]


def mteb_task(
    part: Part,
    name: str,
    *,
    train: Part | None = None,
    kind: str | None = None,
    split: str = "test",
    main_score: str | None = None,
    relevance_level: float = 1,
    relevance: Relevance | None = None,
) -> Any:
    """Make a task of mteb from a part of your data.

    Rankings are scored by grade: nDCG has linear gain, for fractions too. All other metrics of rankings are binary: a
    document is relevant from ``relevance_level`` on. A query without a relevant document scores 0, as in mteb.

    mteb caches scores by the names of model and task: name your models with `named`. The task's revision is a hash of
    its data, so that mteb computes scores of changed data again.

    Args:
        part: What is scored, not streaming. Rows without a label are left out, and counted in the log.
        name: Name of the task, of its results file too.
        train: What classifiers and regressions learn from; other kinds ignore it.
        kind: One of the table above for the part's task; None chooses the first.
        split: Name of the part in the results.
        main_score: One of the kind's metrics; None chooses that of the table.
        relevance_level: Lowest grade that the binary metrics of rankings count as relevant, above 0.
        relevance: How labels grade images and texts of other rows; None guesses it from the labels. Without labels,
            only the own text of an image is relevant.

    Returns:
        The task, for ``mteb.evaluate(model, tasks=[...])``.

    Raises:
        ImportError: If mteb is not installed.
        ValueError: If an argument or the data break a rule above.

    Example:
        >>> rows = {"sentence1": ["red", "blue"], "sentence2": ["rose", "grass"], "label": [5.0, 1.0]}
        >>> mteb_task(Part("sts", Dataset.from_dict(rows)), "Mine").metadata.main_score
        'cosine_spearman'
    """
    kind = _check_kind(part, kind)
    base, kind_of_mteb, scores = _BASES[kind]
    main_score = scores[0] if main_score is None else main_score
    check_choice(main_score, scores, "main_score")
    if not name or "/" in name:
        raise ValueError(f"name must be a file name without '/', got {name!r}.")
    if not 0 < relevance_level < math.inf:
        raise ValueError(f"relevance_level must be a finite number above 0, got {relevance_level!r}.")
    for each in (part, train):
        if each is not None and isinstance(each.dataset, IterableDataset):
            raise ValueError(
                f"mteb needs all rows at hand, got a streaming part of {each.source!r}: read it without streaming=True."
            )

    attributes = _PREPARE[kind](_Given(part, train, kind, split, relevance_level, relevance))
    fields = attributes.pop("fields", {})
    of_images = fields.get("category") == "i2c" and kind in ("classification", "clustering")
    described = describe(
        name,
        f"Image{kind_of_mteb}" if of_images else kind_of_mteb,
        main_score,
        description=f"{part.source or 'Own data'}: {attributes.pop('remark', kind)}.",
        dataset={"path": part.source or "local", "revision": _revision(attributes)},
        eval_splits=[split],
        **fields,
    )
    mixin = _Ranked if "grades" in attributes else _Prepared
    mteb_base = getattr(require("mteb.abstasks", "mteb", purpose="mteb_task"), base)
    return type(f"{name}Task", (mixin, mteb_base), attributes | {"metadata": described})()


def _check_kind(part: Part, kind: str | None) -> str:
    if part.task not in _KINDS_OF:
        raise ValueError(
            f"mteb needs labels or judgements, got a part of the task {part.task!r}: read it with the task that its "
            "labels are for."
        )
    kinds = _KINDS_OF[part.task]
    check_choice(kinds[0] if kind is None else kind, kinds, f"kind for a part of the task {part.task!r}")
    return kinds[0] if kind is None else kind


def describe(name: str, kind: str, main_score: str, **fields: Any) -> Any:
    """Describe a local task to mteb.

    Args:
        name: Name of the task.
        kind: mteb's type of it, such as ``"Retrieval"``.
        main_score: Its main metric.
        **fields: Other fields of mteb's ``TaskMetadata``.

    Returns:
        The ``TaskMetadata``.
    """
    metadata = require("mteb.abstasks.task_metadata", "mteb", purpose="mteb_task").TaskMetadata
    local = {"description": f"The local data {name}.", "dataset": {"path": "local", "revision": "1"}}
    return metadata(name=name, type=kind, main_score=main_score, **({"eval_langs": ["eng-Latn"]} | local | fields))


def named(model: Any, name: str, revision: str) -> Any:
    """Wrap a model for mteb under a name and revision of its own: mteb's cache treats all unnamed models as one.

    Args:
        model: A SentenceTransformer; or a SparseEncoder, with which mteb can search, but not rerank or classify.
        name: Its name in results, such as ``"me/model"``.
        revision: What tells its versions apart, such as a date.

    Returns:
        The model for ``mteb.evaluate``.

    Raises:
        ImportError: If mteb is not installed.
        TypeError: If the model is of another kind.
    """
    remedy = "evaluate other kinds with GradedInformationRetrievalEvaluator or GradedRerankingEvaluator"
    check_encoder(model, (SentenceTransformer, SparseEncoder), "named", remedy)
    wrapper = require("mteb.models", "mteb", purpose="named").SentenceTransformerEncoderWrapper(model)
    modalities = ["text", "image"] if "image" in getattr(model, "modalities", ()) else ["text"]
    update = {"name": name, "revision": revision, "modalities": modalities}
    wrapper.mteb_model_meta = wrapper.mteb_model_meta.model_copy(update=update)
    return wrapper


def whole_grades(qrels: Judgements, name: str) -> dict[str, dict[str, int]]:
    """Scale grades to the integers that mteb needs, exactly: nDCG does not depend on the scale.

    Args:
        qrels: Query id to document id to grade, at least 0.
        name: Name of the data, for the error.

    Returns:
        The smallest integers of the same ratios, or the grades themselves if they are integers.

    Raises:
        ValueError: If they would exceed `MOST_GRADE`.

    Example:
        >>> whole_grades({"q": {"a": 0.9, "b": 1.0, "c": 0.25}}, "mine")
        {'q': {'a': 18, 'b': 20, 'c': 5}}
    """
    exact = {grade: Fraction(repr(grade)) for grades in qrels.values() for grade in grades.values()}
    scale = math.lcm(*(fraction.denominator for fraction in exact.values()))
    worst = max(exact, key=lambda grade: (exact[grade].denominator, grade), default=0.0)
    if scale * max(exact.values(), default=0) > MOST_GRADE:
        raise ValueError(
            f"{name}: grades must be whole numbers up to {MOST_GRADE}, or fractions of few digits, which are scaled to "
            f"such numbers; got {worst!r}: round the grades in the file."
        )
    return {query: {d: int(exact[g] * scale) for d, g in grades.items()} for query, grades in qrels.items()}


def search_rows(
    queries: Mapping[str, Any],
    corpus: Mapping[str, Any],
    qrels: Judgements,
    level: float,
    *,
    judged_only: bool = False,
    query: str = "text",
    document: str = "text",
) -> dict[str, Any]:
    """Lay a search out in mteb's columns.

    Args:
        queries: Query id to input.
        corpus: Document id to input.
        qrels: Grades by query id and document id.
        level: Lowest grade that is relevant, for grades that cannot be scaled to integers.
        judged_only: Whether a query ranks only the documents judged for it.
        query: Modality of the queries, ``"text"`` or ``"image"``.
        document: Modality of the documents.

    Returns:
        Corpus, queries, judgements and what to rank.
    """
    try:
        whole: Any = whole_grades(qrels, "")
    except ValueError:  # mteb's own nDCG is of these, and is replaced
        whole = {q: {d: int(grade >= level) for d, grade in grades.items()} for q, grades in qrels.items()}
    judged = {q: [d for d in grades if d in corpus] for q, grades in qrels.items()} if judged_only else None
    return {
        "corpus": _by_id(corpus, document),
        "queries": _by_id(queries, query),
        "relevant_docs": whole,
        "top_ranked": judged,
    }


class _Prepared:
    """What goes before mteb's class: the data are at hand."""

    given: Any
    dataset: Any
    data_loaded: bool

    def load_data(self, *args: Any, **kwargs: Any) -> None:
        self.dataset, self.data_loaded = self.given, True


class _Ranked(_Prepared):
    """Scores of rankings by the grades as given, instead of mteb's own, which round them and need integers."""

    grades: Mapping[str, Judgements]
    level: float
    metadata: Any
    keeps_abstention: bool

    def task_specific_scores(
        self, scores: Any, qrels: Any, results: Mapping[str, Mapping[str, float]], hf_split: str, hf_subset: str
    ) -> dict[str, float]:
        """Score by grade."""
        rankings = {query: order_documents(query, found) for query, found in results.items()}
        means = mean_metrics(score_rankings(rankings, self.grades[hf_subset], _GRADED, self.level))
        found = {_mteb_name(metric): value for metric, value in means.items()}
        return found | {"accuracy": found["recall_at_1"]}

    def _evaluate_subset(self, model: Any, data_split: Any, *, hf_subset: str, **kwargs: Any) -> Any:
        whole, self.metadata = self.metadata, self._of_subset(hf_subset)
        try:
            scores = super()._evaluate_subset(model, data_split, hf_subset=hf_subset, **kwargs)  # type: ignore[misc]
        finally:
            self.metadata = whole
        kept = self.keeps_abstention
        return {name: value for name, value in scores.items() if kept or not name.startswith("nauc_")}

    def _of_subset(self, subset: str) -> Any:
        """Describe a subset: one that is named after a direction goes that way."""
        return self.metadata if subset == "default" else self.metadata.model_copy(update={"category": subset})


class _Given:
    """The arguments of `mteb_task`."""

    def __init__(
        self, part: Part, train: Part | None, kind: str, split: str, level: float, relevance: Relevance | None
    ) -> None:
        self.part, self.train, self.kind, self.split = part, train, kind, split
        self.level, self.relevance = level, relevance

    @property
    def parts(self) -> dict[str, Part]:
        """The parts by split, of a kind that learns from one."""
        if self.train is None or self.train.task != self.part.task or self.split == "train":
            given = f"{self.train.task!r}" if self.train is not None and self.split != "train" else "none"
            raise ValueError(
                f"the kind {self.kind!r} learns from a training part of the task {self.part.task!r}, got {given}: pass "
                "train=parts['train'], and another split than 'train'."
            )
        return {"train": self.train, self.split: self.part}


def _search(given: _Given) -> dict[str, Any]:
    queries, corpus, qrels = _judgements(given.part)
    for name, inputs in (("queries", queries), ("corpus", corpus)):
        check_inputs(inputs.items(), name, "id", text_only=True)
    judged = {query: text for query, text in queries.items() if qrels.get(query)}
    if not judged:
        raise ValueError(f"mteb needs judged queries, got none for {len(queries)} queries: check the ids in qrels.")
    if len(judged) < len(queries):
        logger.warning(
            "%d of %d queries have no judgements; they are left out.", len(queries) - len(judged), len(queries)
        )
    grades = {query: qrels[query] for query in judged}
    rows = search_rows(judged, corpus, grades, given.level, judged_only=given.kind == "reranking")
    return _ranked({"default": {given.split: rows}}, {"default": grades}, given.level) | {"fields": {"category": "t2t"}}


def _images(given: _Given) -> dict[str, Any]:
    rows = given.part.dataset
    captions = list(rows["caption"])
    images = dict(enumerate(rows.cast_column("image", Image())["image"]))
    pictures = {f"i{row}": image for row, image in images.items()}
    texts = {f"c{row}": caption for row, caption in enumerate(captions)}
    check_inputs(texts.items(), "caption", "row", text_only=True)
    pairs = _pair_grades(given, captions)
    ways = {
        "i2t": (pictures, texts, _grades_by_id(pairs, "i", "c")),
        "t2i": (texts, pictures, _grades_by_id(pairs.T, "c", "i")),
    }
    chosen = list(ways) if given.kind == "image_text" else [given.kind]
    kinds = {"i2t": ("image", "text"), "t2i": ("text", "image")}
    data = {}
    for way in chosen:
        query, document = kinds[way]
        data[way] = {given.split: search_rows(*ways[way], given.level, query=query, document=document)}
    languages = {way: ["eng-Latn"] for way in chosen}
    fields = {"category": chosen[0], "modalities": ["image", "text"], "eval_langs": languages}
    return _ranked(data, {way: ways[way][2] for way in chosen}, given.level) | {"fields": fields}


def _pair_grades(given: _Given, captions: Sequence[str]) -> np.ndarray[Any, Any]:
    """Grade each text for each image: by the rows' labels, or by equality with the image's own text."""
    if "label" not in (given.part.dataset.column_names or ()):
        codes = np.unique(captions, return_inverse=True)[1]
        return np.asarray(codes[:, None] == codes, dtype=float)
    labels = list(given.part.dataset["label"])
    reads = LABEL_KINDS if given.relevance is None else given.relevance.reads
    described = encode_labels(labels, "label", reads=reads)
    relevance = choose_relevance(described, [len(labels)]) if given.relevance is None else given.relevance
    own, others = relevance.pair(described, [len(labels)] * 2)
    found: np.ndarray[Any, Any] = torch.nan_to_num(relevance(own, others)).double().numpy()
    return found


def _grades_by_id(grades: np.ndarray[Any, Any], query: str, document: str) -> Judgements:
    """Keep the grades above 0 by id; every query keeps its own document."""
    return {
        f"{query}{row}": {f"{document}{row}": float(values[row])}
        | {f"{document}{i}": float(values[i]) for i in np.flatnonzero(values)}
        for row, values in enumerate(grades)
    }


def _ranked(data: dict[str, Any], grades: dict[str, Judgements], level: float) -> dict[str, Any]:
    """Return the attributes of a task that ranks by grade."""
    values = {grade for qrels in grades.values() for judged in qrels.values() for grade in judged.values()}
    if not any(value >= level for value in values):
        logger.warning(
            "no document has a grade of %g or above (relevance_level), so that all binary metrics are 0; the highest "
            "grade is %g.",
            level,
            max(values, default=0),
        )
    plain = all(value.is_integer() and value <= MOST_GRADE for value in values) and 0 < level <= 1
    remark = f"nDCG by grade with linear gain; other metrics count grades of at least {level:g} as relevant"
    return {"given": data, "grades": grades, "level": level, "keeps_abstention": plain, "remark": remark}


def _pairs(given: _Given) -> dict[str, Any]:
    rows = _labelled(given.part)
    scores = _read_scalars(rows, "label")
    if len(set(scores)) < 2:
        raise ValueError(f"column 'label' must hold scores that differ, got {len(scores)} of {scores[:1]}.")
    sides = ("sentence1", "sentence2")
    data = Dataset.from_dict({side: list(rows[side]) for side in sides} | {"score": scores})
    return {"given": DatasetDict({given.split: data}), "min_score": min(scores), "max_score": max(scores)}


def _read_scalars(rows: Dataset, column: str) -> list[float]:
    numbers = read_numbers(list(rows[column]), column)
    if numbers.ndim > 1:
        raise refusal(column, 0, rows[column][0], "one number per row", "keep one of the numbers")
    scalars: list[float] = numbers.tolist()
    return scalars


def _classes(given: _Given) -> dict[str, Any]:
    return _learned(given, lambda rows: _numbered(read_classes(rows, "label")), Value("int64"))


def _sets(given: _Given) -> dict[str, Any]:
    class_ids = holds_class_ids(given.part.dataset.features["label"])

    def read(rows: Sequence[Any]) -> list[Any]:
        sets = [list(labels or ()) for labels in read_sets(rows, "label", class_ids=class_ids)]
        codes = {label: i for i, label in enumerate(sorted({label for row in sets for label in row}, key=_order_key))}
        return [sorted(codes[label] for label in row) for row in sets]

    return _learned(given, read, List(Value("int64")))


def _numbers(given: _Given) -> dict[str, Any]:
    def read(rows: Sequence[Any]) -> list[Any]:
        return _read_scalars(Dataset.from_dict({"label": list(rows)}), "label")

    return _learned(given, read, Value("float64"), label="value")


def _learned(
    given: _Given, read: Callable[[Sequence[Any]], list[Any]], feature: Any, label: str = "label"
) -> dict[str, Any]:
    """Lay out a task that learns from its training part; labels of both parts are read together."""
    parts = {split: _labelled(part) for split, part in given.parts.items()}
    labels = read([value for rows in parts.values() for value in rows["label"]])
    data, start = {}, 0
    for split, rows in parts.items():
        column = labels[start : start + len(rows)]
        data[split] = _with_labels(rows, label, column, feature)
        start += len(rows)
    return {"given": DatasetDict(data), "label_column_name": label} | _input_of(given.part)


def _clusters(given: _Given) -> dict[str, Any]:
    rows = _labelled(given.part)
    if given.part.task == "hierarchy":
        paths = read_paths(list(rows["label"]), "label")
        # A level is known by the whole path to it, and by a number: mteb takes a string "-1" for a class.
        prefixes = [[path[: depth + 1] for depth in range(len(path))] for path in paths]
        codes = {prefix: i for i, prefix in enumerate(dict.fromkeys(p for row in prefixes for p in row))}
        labels: list[Any] = [[codes[prefix] for prefix in row] for row in prefixes]
        feature: Any = List(Value("int64"))
    else:
        labels, feature = _numbered(read_classes(list(rows["label"]), "label")), Value("int64")
    data = DatasetDict({given.split: _with_labels(rows, "labels", labels, feature)})
    return {"given": data, "max_fraction_of_documents_to_embed": None} | _input_of(given.part)


def _with_labels(rows: Dataset, name: str, labels: list[Any], feature: Any) -> Dataset:
    column = "image" if "image" in rows.column_names else "text"
    kept = rows.select_columns([column])
    kept = kept.cast_column("image", Image()) if column == "image" else kept
    return kept.add_column(name, labels, feature=feature)


def _input_of(part: Part) -> dict[str, Any]:
    if "image" in (part.dataset.column_names or ()):
        return {"input_column_name": "image", "fields": {"category": "i2c", "modalities": ["image"]}}
    return {"input_column_name": "text"}


def _labelled(part: Part) -> Dataset:
    """Return the rows that have a label; log how many have none."""
    code = part.task in ("classification", "hierarchy")
    labels = list(part.dataset["label"])
    kept = [row for row, label in enumerate(labels) if not is_missing(label, code=code) and (label != [] or not code)]
    if len(kept) < len(labels):
        logger.warning("%d of %d rows have no label; they are left out.", len(labels) - len(kept), len(labels))
    if not kept:
        raise ValueError(
            f"mteb needs rows with a label, got none in {len(labels)} rows of {part.source or 'the part'}."
        )
    return part.dataset if len(kept) == len(labels) else part.dataset.select(kept)


def _numbered(classes: Sequence[Any]) -> list[int]:
    codes = {name: i for i, name in enumerate(sorted(set(classes), key=_order_key))}
    return [codes[name] for name in classes]


def _order_key(value: Any) -> Any:
    return (isinstance(value, str), value)


def _judgements(part: Part) -> tuple[dict[str, Any], dict[str, Any], Judgements]:
    """Return queries, corpus and judgements by id: the part's own, or those of its rows."""
    if part.qrels:
        return dict(part.queries), dict(part.corpus), read_qrels(part.qrels, queries=part.queries)
    queries: dict[str, Any] = {}
    corpus: dict[str, Any] = {}
    qrels = collect_qrels(_judged_rows(part.dataset, queries, corpus))
    return queries, corpus, qrels


def _judged_rows(rows: Dataset, queries: dict[str, Any], corpus: dict[str, Any]) -> Iterable[tuple[int, Any, Any, Any]]:
    """Yield row, query id, document id and grade; equal texts are the same document."""
    known: dict[tuple[str, str], str] = {}
    for row, entry in enumerate(rows):
        query = known.setdefault(("q", entry["query"]), f"q{len(known)}")
        queries[query] = entry["query"]
        grades = read_list_grades(entry["labels"], row, "labels", len(entry["documents"]))
        for text, grade in zip(entry["documents"], grades, strict=True):
            document = known.setdefault(("d", text), f"d{len(known)}")
            corpus[document] = text
            yield row, query, document, grade


def _by_id(inputs: Mapping[str, Any], modality: str) -> Dataset:
    feature = Image() if modality == "image" else Value("string")
    features = Features({"id": Value("string"), modality: feature})
    return Dataset.from_dict({"id": list(inputs), modality: list(inputs.values())}, features=features)


def _mteb_name(metric: str) -> str:
    name, k = metric.split("@")
    return f"{_MTEB_NAMES.get(name, name)}_at_{k}"


def _revision(value: Any) -> str:
    """Hash a task's data."""
    if isinstance(value, Mapping):
        content = repr([(key, _revision(item)) for key, item in value.items()])
    elif isinstance(value, Dataset):
        content = repr([batch.to_pydict() for batch in value.with_format("arrow").iter(1_000)])
    else:
        content = repr(value)
    return hashlib.sha256(content.encode(errors="surrogatepass")).hexdigest()[:16]


_RANKING_SCORES = (
    "ndcg_at_10",
    *(name for name in (_mteb_name(f"{m}@{k}") for m, k in _GRADED) if name != "ndcg_at_10"),
)
_CLASS_SCORES = ("accuracy", "f1", "f1_weighted", "precision", "precision_weighted", "recall", "recall_weighted")
_COSINES = tuple(f"{d}_{c}" for d in ("cosine", "manhattan", "euclidean") for c in ("spearman", "pearson"))

_KINDS_OF = {
    "retrieval": ("retrieval", "reranking"),
    "sts": ("sts",),
    "classification": ("classification", "clustering"),
    "hierarchy": ("clustering",),
    "multi_label": ("multi_label",),
    "regression": ("regression",),
    "image_text": ("image_text", "t2i", "i2t"),
}
_PREPARE: dict[str, Callable[[_Given], dict[str, Any]]] = {
    "retrieval": _search,
    "reranking": _search,
    "sts": _pairs,
    "classification": _classes,
    "clustering": _clusters,
    "multi_label": _sets,
    "regression": _numbers,
    "image_text": _images,
    "t2i": _images,
    "i2t": _images,
}
_BASES = {
    "retrieval": ("AbsTaskRetrieval", "Retrieval", _RANKING_SCORES),
    "reranking": ("AbsTaskRetrieval", "Reranking", _RANKING_SCORES),
    "sts": ("AbsTaskSTS", "STS", (*_COSINES, "spearman", "pearson")),
    "classification": ("AbsTaskClassification", "Classification", (*_CLASS_SCORES, "ap", "ap_weighted")),
    "clustering": ("AbsTaskClustering", "Clustering", ("v_measure", "ami")),
    "multi_label": (
        "AbsTaskMultilabelClassification",
        "MultilabelClassification",
        ("lrap", "accuracy", "f1", "hamming"),
    ),
    "regression": ("AbsTaskRegression", "Regression", ("kendalltau", "r2", "mse", "mae", "rmse")),
    **dict.fromkeys(("image_text", "t2i", "i2t"), ("AbsTaskRetrieval", "Any2AnyRetrieval", _RANKING_SCORES)),
}
