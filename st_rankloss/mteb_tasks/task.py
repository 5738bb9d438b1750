"""One part of your data as a task of mteb."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from datasets import Dataset, IterableDataset

from st_rankloss._extras import require
from st_rankloss.data.contents import content_of
from st_rankloss.data.part import Part
from st_rankloss.evaluation.settings import check_level
from st_rankloss.functional.checks import check_choice
from st_rankloss.mteb_tasks.given import Given, Prepared
from st_rankloss.mteb_tasks.labelled import (
    prepare_classes,
    prepare_clusters,
    prepare_numbers,
    prepare_pairs,
    prepare_sets,
)
from st_rankloss.mteb_tasks.rankings import RANKING_SCORES, Ranked, prepare_images, prepare_search
from st_rankloss.relevance import Relevance


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
    document is relevant from ``relevance_level`` on. As in mteb, every query counts: one whose grades are all 0 scores
    0, and one whose grades are all below the level scores 0 in the binary metrics.

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
            the texts of an image, and equal texts, are relevant to it.

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
    for each in (part, train):
        if each is not None and not isinstance(each, Part):
            raise ValueError(f"mteb_task takes one part, got {type(each).__name__}: pass parts['test'], for example.")
    kind = _check_kind(part, kind)
    base, kind_of_mteb, scores = _BASES[kind]
    main_score = scores[0] if main_score is None else main_score
    check_choice(main_score, scores, "main_score")
    if not name or "/" in name:
        raise ValueError(f"name must be a file name without '/', got {name!r}.")
    check_level(relevance_level)
    for each in (part, train):
        if each is not None and isinstance(each.dataset, IterableDataset):
            raise ValueError(
                f"mteb needs all rows at hand, got a streaming part of {each.source!r}: read it without streaming=True."
            )

    attributes = _PREPARE[kind](Given(part, train, kind, split, relevance_level, relevance))
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
    mixin = Ranked if "grades" in attributes else Prepared
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


def _revision(value: Any) -> str:
    """Hash a task's data."""
    if isinstance(value, Mapping):
        content = repr([(key, _revision(item)) for key, item in value.items()])
    elif isinstance(value, Dataset):
        batches = (batch.to_pydict() for batch in value.with_format("arrow").iter(1_000))
        content = repr([{name: content_of(values) for name, values in batch.items()} for batch in batches])
    else:
        content = repr(value)
    return hashlib.sha256(content.encode(errors="surrogatepass")).hexdigest()[:16]


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

LEARNING = ("classification", "multi_label", "regression")
"""Tasks of parts whose first kind learns from a training part."""

_PREPARE: dict[str, Callable[[Given], dict[str, Any]]] = {
    "retrieval": prepare_search,
    "reranking": prepare_search,
    "sts": prepare_pairs,
    "classification": prepare_classes,
    "clustering": prepare_clusters,
    "multi_label": prepare_sets,
    "regression": prepare_numbers,
    "image_text": prepare_images,
    "t2i": prepare_images,
    "i2t": prepare_images,
}

_BASES = {
    "retrieval": ("AbsTaskRetrieval", "Retrieval", RANKING_SCORES),
    "reranking": ("AbsTaskRetrieval", "Reranking", RANKING_SCORES),
    "sts": ("AbsTaskSTS", "STS", (*_COSINES, "spearman", "pearson")),
    "classification": ("AbsTaskClassification", "Classification", (*_CLASS_SCORES, "ap", "ap_weighted")),
    "clustering": ("AbsTaskClustering", "Clustering", ("v_measure", "ami")),
    "multi_label": (
        "AbsTaskMultilabelClassification",
        "MultilabelClassification",
        ("lrap", "accuracy", "f1", "hamming"),
    ),
    "regression": ("AbsTaskRegression", "Regression", ("kendalltau", "r2", "mse", "mae", "rmse")),
    **dict.fromkeys(("image_text", "t2i", "i2t"), ("AbsTaskRetrieval", "Any2AnyRetrieval", RANKING_SCORES)),
}
