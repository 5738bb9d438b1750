"""Tasks of mteb that rank documents by grade: search, reranking, images and texts."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from datasets import Dataset, Features, Image, Value

from st_rankloss.data.captions import grade_captions
from st_rankloss.data.part import Part
from st_rankloss.encoding import read_list_grades
from st_rankloss.evaluation.metrics import mean_metrics, order_documents, score_rankings
from st_rankloss.judgements import Judgements, check_inputs, collect_qrels, read_qrels
from st_rankloss.mteb_tasks.given import Given, Prepared

logger = logging.getLogger(__name__)

MOST_GRADE = 1_000_000
"""Largest scaled grade: trec_eval keeps a counter for every grade up to it."""

_CUTOFFS = (1, 3, 5, 10, 20, 100, 1000)

_MTEB_NAMES = {"accuracy": "hit_rate"}

_GRADED = [(name, k) for name in ("ndcg", "mrr", "map", "recall", "precision", "accuracy") for k in _CUTOFFS]


def _mteb_name(metric: str) -> str:
    name, k = metric.split("@")
    return f"{_MTEB_NAMES.get(name, name)}_at_{k}"


RANKING_SCORES = (
    "ndcg_at_10",
    *(name for name in (_mteb_name(f"{m}@{k}") for m, k in _GRADED) if name != "ndcg_at_10"),
)


class GradesError(ValueError):
    """Grades that no small integers can stand for."""


def whole_grades(qrels: Judgements, name: str) -> dict[str, dict[str, int]]:
    """Scale grades to the integers that mteb needs, exactly: nDCG does not depend on the scale.

    Args:
        qrels: Query id to document id to grade, at least 0.
        name: Name of the data, for the error.

    Returns:
        The smallest integers of the same ratios, or the grades themselves if they are integers.

    Raises:
        GradesError: If they would exceed `MOST_GRADE`.

    Example:
        >>> whole_grades({"q": {"a": 0.9, "b": 1.0, "c": 0.25}}, "mine")
        {'q': {'a': 18, 'b': 20, 'c': 5}}
    """
    exact = {grade: Fraction(repr(float(grade))) for grades in qrels.values() for grade in grades.values()}
    scale = math.lcm(*(fraction.denominator for fraction in exact.values()))
    worst = max(exact, key=lambda grade: (exact[grade].denominator, grade), default=0.0)
    if scale * max(exact.values(), default=0) > MOST_GRADE:
        raise GradesError(
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
    except GradesError:  # mteb's own nDCG is of these, and is replaced
        whole = {q: {d: int(grade >= level) for d, grade in grades.items()} for q, grades in qrels.items()}
    judged = {q: [d for d in grades if d in corpus] for q, grades in qrels.items()} if judged_only else None
    return {
        "corpus": _by_id(corpus, document),
        "queries": _by_id(queries, query),
        "relevant_docs": whole,
        "top_ranked": judged,
    }


def _by_id(inputs: Mapping[str, Any], modality: str) -> Dataset:
    feature = Image() if modality == "image" else Value("string")
    features = Features({"id": Value("string"), modality: feature})
    return Dataset.from_dict({"id": list(inputs), modality: list(inputs.values())}, features=features)


class Ranked(Prepared):
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


def prepare_search(given: Given) -> dict[str, Any]:
    """Lay out queries that search a corpus, or that rank the documents judged for them."""
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


def prepare_images(given: Given) -> dict[str, Any]:
    """Lay out images that search texts, and texts that search images."""
    rows = given.part.dataset
    captions = list(rows["caption"])
    images = dict(enumerate(rows.cast_column("image", Image())["image"]))
    pictures = {f"i{row}": image for row, image in images.items()}
    texts = {f"c{row}": caption for row, caption in enumerate(captions)}
    check_inputs(texts.items(), "caption", "row", text_only=True)
    there, back = _grades_both_ways(given)
    ways = {"i2t": (pictures, texts, there), "t2i": (texts, pictures, back)}
    chosen = list(ways) if given.kind == "image_text" else [given.kind]
    kinds = {"i2t": ("image", "text"), "t2i": ("text", "image")}
    data = {}
    for way in chosen:
        query, document = kinds[way]
        data[way] = {given.split: search_rows(*ways[way], given.level, query=query, document=document)}
    languages = {way: ["eng-Latn"] for way in chosen}
    fields = {"category": chosen[0], "modalities": ["image", "text"], "eval_langs": languages}
    return _ranked(data, {way: ways[way][2] for way in chosen}, given.level) | {"fields": fields}


def _grades_both_ways(given: Given) -> tuple[Judgements, Judgements]:
    """Keep the grades above 0, of texts for images and of images for texts; each keeps its own, which comes first."""
    rows = range(len(given.part.dataset))
    there: dict[str, dict[str, float]] = {f"i{row}": {f"c{row}": 0.0} for row in rows}
    back: dict[str, dict[str, float]] = {f"c{row}": {f"i{row}": 0.0} for row in rows}
    for start, block in grade_captions(given.part.dataset, given.relevance):
        grades = torch.nan_to_num(block).double().numpy()
        for row, column in np.argwhere(grades):
            image, text = f"i{start + row}", f"c{column}"
            there[image][text] = back[text][image] = float(grades[row, column])
    return there, back


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
