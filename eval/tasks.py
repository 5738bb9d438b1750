"""The records as tasks of mteb, so that ``mteb.evaluate`` scores them like any other.

`PairsTask` and `CollectionTask` are mteb's own STS and retrieval. `SamplesTask` is what mteb lacks: every sample ranks
all others by graded relevance; beside it, probes from the training part's embeddings. `standard_tasks` are mteb's
classification, regression and clustering on the same records, and `named_tasks` its own by name, from the hub.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import mteb
import numpy as np
import torch
from datasets import Dataset, DatasetDict, Features, Image, Value
from mteb._create_dataloaders import create_dataloader
from mteb.abstasks import (
    AbsTaskClassification,
    AbsTaskClustering,
    AbsTaskMultilabelClassification,
    AbsTaskRegression,
    AbsTaskRetrieval,
    AbsTaskSTS,
)
from mteb.abstasks.abstask import AbsTask
from mteb.abstasks.task_metadata import TaskMetadata
from scipy.stats import pearsonr, rankdata
from sklearn.linear_model import RidgeCV
from sklearn.metrics import average_precision_score, label_ranking_average_precision_score
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from torch import Tensor

from eval.data import Collection, Data, Record, Samples, ScoredPairs, check_name
from st_rankloss.functional import ndcg
from st_rankloss.judgements import Judgements

MOST_QUERIES = 500
"""Samples of a part that are queries, evenly spaced; all of them are documents."""

MOST_KNOWN = 5_000
"""Training samples that probes learn from, evenly spaced."""

NEIGHBOURS = {"accuracy": 10, "lrap": 20}
"""Nearest training samples that vote."""

Values = dict[str, np.ndarray]
"""A metric's values, one for each query or pair, whose mean is the score."""


def metadata(name: str, kind: str, main: str, **fields: Any) -> TaskMetadata:
    """Describe a local task to mteb."""
    given = {"dataset": {"path": "local", "revision": "1"}, "eval_langs": ["eng-Latn"]} | fields
    return TaskMetadata(name=name, description=f"The local record {name}.", type=kind, main_score=main, **given)


def make_task(data: Data, split: str) -> AbsTask:
    """Make the main task of a record.

    Args:
        data: The record and its parts.
        split: What is evaluated, ``dev`` or ``test``.

    Returns:
        A task whose ``items`` hold, after an evaluation, the values whose mean is the main score.
    """
    part = data.parts[split]
    if isinstance(part, ScoredPairs):
        return _new(PairsTask, data, split, "STS", "cosine_spearman")
    if isinstance(part, Collection):
        return _new(CollectionTask, data, split, "Retrieval", data.record.main, category="t2t")
    if data.record.has_captions:
        modalities = {"category": "t2i", "modalities": ["text", "image"]}
        return _new(CaptionsTask, data, split, "Any2AnyRetrieval", data.record.main, **modalities)
    if data.record.modality == "image":
        return _new(
            SamplesTask, data, split, "Any2AnyRetrieval", data.record.main, category="i2i", modalities=["image"]
        )
    return _new(SamplesTask, data, split, "Retrieval", data.record.main, category="t2t")


def _new(base: type[AbsTask], data: Data, split: str, kind: str, main: str, **fields: Any) -> AbsTask:
    described = metadata(data.record.name, kind, main, eval_splits=[split], **fields)
    task = type(f"{data.record.name}Task", (base,), {"metadata": described})()
    task.data, task.split, task.items = data, split, None
    return task


class PairsTask(AbsTaskSTS):
    """Two texts and a score: the Spearman correlation of cosine and score."""

    data: Data
    split: str
    items: np.ndarray | None

    def load_data(self, *args: Any, **kwargs: Any) -> None:
        """Lay the pairs out in mteb's columns."""
        part = self.data.parts[self.split]
        columns = {"sentence1": part.first, "sentence2": part.second, "score": part.scores}
        self.min_score, self.max_score = min(part.scores), max(part.scores)
        self.dataset, self.data_loaded = DatasetDict({self.split: Dataset.from_dict(columns)}), True

    def _calculate_scores(self, scores: Any, normalized_scores: list[float]) -> Any:
        found = super()._calculate_scores(scores, normalized_scores)
        both = scores["cosine_scores"], normalized_scores
        values = {"spearman": spearman_items(*both), "pearson": correlation_items(*both)}
        self.items = mean_items(values, self.data.record.metrics)
        return found


class CollectionTask(AbsTaskRetrieval):
    """Queries that search a corpus, or rank the documents judged for them, with graded judgements."""

    data: Data
    split: str
    items: np.ndarray | None

    def load_data(self, *args: Any, **kwargs: Any) -> None:
        """Lay corpus, queries and judgements out in mteb's columns."""
        part = self.data.parts[self.split]
        judged = {query: list(part.present(query)) for query in part.queries}
        corpus = part.corpus
        if self.data.record.rerank:
            corpus = {document: corpus[document] for row in judged.values() for document in row}
        rows = {
            "corpus": Dataset.from_list([{"id": key, "title": "", "text": text} for key, text in corpus.items()]),
            "queries": Dataset.from_list([{"id": key, "text": text} for key, text in part.queries.items()]),
            "relevant_docs": whole_grades(part.qrels, self.data.record.name),
            "top_ranked": judged if self.data.record.rerank else None,
        }
        self.dataset, self.data_loaded = {"default": {self.split: rows}}, True

    def task_specific_scores(
        self, scores: Mapping[str, Any], qrels: Any, results: Any, hf_split: str, hf_subset: str
    ) -> dict[str, float]:
        """Count MRR, recall and MAP from the record's grade on, and keep each query's main score."""
        part = self.data.parts[self.split]
        queries = list(part.queries)
        values = {"ndcg_at_10": np.array([scores[query]["ndcg_cut_10"] for query in queries])}
        level = self.data.record.level
        found = [_binary_values(results.get(query, {}), part.qrels[query], level) for query in queries]
        for metric in ("mrr_at_10", "recall_at_100"):
            values[metric] = np.array([row[metric] for row in found])
        self.items = mean_items(values, self.data.record.metrics)
        means = {metric: float(np.nanmean(column)) for metric, column in values.items()}
        return means | {self.data.record.main: float(self.items.mean())}


MOST_GRADE = 1_000_000
"""What grades may be scaled up to: trec_eval keeps one counter for each grade up to the largest."""


def whole_grades(qrels: Judgements, name: str) -> dict[str, dict[str, int]]:
    """Scale grades to the integers that mteb needs, exactly: nDCG does not depend on the scale.

    Args:
        qrels: Grades by query id and document id.
        name: Of the record, for the error.

    Returns:
        The grades times the same number, 1 if they are whole.

    Raises:
        ValueError: If they have too many digits.

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


def _binary_values(found: Mapping[str, float], grades: Mapping[str, float], level: float) -> dict[str, float]:
    ranking = sorted(found, key=lambda document: (-found[document], document))
    hits = [grades.get(document, 0) >= level for document in ranking[:100]]
    relevant = sum(grade >= level for grade in grades.values())
    first = next((1 / (i + 1) for i, hit in enumerate(hits[:10]) if hit), 0.0)
    return {"mrr_at_10": first, "recall_at_100": sum(hits) / relevant if relevant else np.nan}


class _Embedding(AbsTask):
    """A task on embeddings of the record's parts, by mteb's encoder."""

    data: Data
    split: str
    items: np.ndarray | None

    def load_data(self, *args: Any, **kwargs: Any) -> None:
        """Name the split; the parts themselves are the record's."""
        self.dataset, self.data_loaded = DatasetDict({self.split: Dataset.from_dict({})}), True

    def _calculate_descriptive_statistics_from_split(self, *args: Any, **kwargs: Any) -> Any:
        return {"num_samples": len(self.data.parts[self.split])}

    def _embed(self, model: Any, inputs: Sequence[Any], modality: str, encode_kwargs: Any) -> Tensor:
        features = Features({modality: Image() if modality == "image" else Value("string")})
        rows = Dataset.from_dict({modality: list(inputs)}, features=features)
        described = self.metadata.model_copy(update={"modalities": [modality]})
        loader = create_dataloader(rows, task_metadata=described, input_column=modality, **encode_kwargs)
        found = model.encode(loader, task_metadata=described, hf_split=self.split, hf_subset="default", **encode_kwargs)
        return torch.nn.functional.normalize(torch.as_tensor(np.asarray(found)).float(), dim=1)

    def _finish(self, values: Values) -> dict[str, float]:
        self.items = mean_items(values, self.data.record.metrics)
        means = {metric: float(np.nanmean(column)) for metric, column in values.items()}
        return means | {self.data.record.main: float(np.nanmean(self.items))}


class SamplesTask(_Embedding):
    """Every sample of a part ranks all others by graded relevance; probes learn from the training part."""

    def _evaluate_subset(self, model: Any, data_split: Any, *, encode_kwargs: Any, **kwargs: Any) -> Any:
        record, part = self.data.record, self.data.parts[self.split]
        new = self._embed(model, part.inputs, record.modality, encode_kwargs)
        chosen = evenly(len(part), MOST_QUERIES)
        values = ranking_values(record, new, part.labels, chosen)
        train = self.data.parts["train"]
        some = evenly(len(train), MOST_KNOWN)
        known = self._embed(model, [train.inputs[i] for i in some], record.modality, encode_kwargs)
        return self._finish(values | probe_values(record, known, train.labels[some], new[chosen], part.labels[chosen]))


class CaptionsTask(_Embedding):
    """Images find captions, and captions images, by graded relevance."""

    def _evaluate_subset(self, model: Any, data_split: Any, *, encode_kwargs: Any, **kwargs: Any) -> Any:
        record, part = self.data.record, self.data.parts[self.split]
        images = self._embed(model, part.inputs, "image", encode_kwargs)
        captions = self._embed(model, part.captions, "text", encode_kwargs)
        relevance = record.relevance(part.labels, part.labels)
        by_image, by_caption = (ndcg(x, relevance, k=10).numpy() for x in (images @ captions.T, captions @ images.T))
        return self._finish(
            {"ndcg_at_10": (by_image + by_caption) / 2, "i2t_ndcg_at_10": by_image, "t2i_ndcg_at_10": by_caption}
        )


def evenly(count: int, most: int) -> Tensor:
    """Choose at most so many of a number of places, evenly spaced.

    Example:
        >>> evenly(10, 3).tolist()
        [0, 4, 9]
    """
    return torch.linspace(0, count - 1, min(count, most)).long() if count else torch.empty(0, dtype=torch.long)


def ranking_values(record: Record, embeddings: Tensor, labels: Tensor, chosen: Tensor) -> Values:
    """Let the chosen samples rank all others: nDCG by graded relevance and, of classes, average precision."""
    found: dict[str, list[Tensor]] = {}
    for rows in chosen.split(256):
        similarity = (embeddings[rows] @ embeddings.T).scatter_(1, rows[:, None], -torch.inf)
        relevance = record.relevance(labels[rows], labels).float().scatter_(1, rows[:, None], torch.nan)
        similarity = similarity.masked_fill(relevance.isnan(), -2)
        for k in (10, 100):
            found.setdefault(f"ndcg_at_{k}", []).append(ndcg(similarity, relevance, k=k))
        if record.labels == "classes":
            finest = labels if labels.dim() == 1 else labels[:, -1]
            found.setdefault("map", []).append(average_precisions(similarity, finest[rows, None] == finest, rows))
    return {metric: torch.cat(values).double().numpy() for metric, values in found.items()}


def average_precisions(similarity: Tensor, relevant: Tensor, own: Tensor) -> Tensor:
    """Average precision of each row, without the row's own sample; NaN where nothing else is relevant."""
    keep = torch.ones_like(relevant).scatter_(1, own[:, None], False)
    rows = [(s[k].numpy(), r[k].numpy()) for s, r, k in zip(similarity, relevant, keep, strict=True)]
    return torch.tensor([average_precision_score(r, s) if r.any() else torch.nan for s, r in rows])


def probe_values(record: Record, known: Tensor, known_labels: Tensor, new: Tensor, labels: Tensor) -> Values:
    """Predict labels from the embeddings of the training part: by neighbours, or by a ridge regression of numbers."""
    if record.labels == "numbers":
        targets, truth = (x.reshape(len(x), -1).numpy() for x in (known_labels, labels))
        probe = RidgeCV(alphas=np.logspace(-2, 4, 7)).fit(known.numpy(), targets)
        predicted = probe.predict(new.numpy()).reshape(truth.shape)
        each = [spearman_items(p, t) for p, t in zip(predicted.T, truth.T, strict=True)]
        return {"probe_spearman": np.mean(each, axis=0)}
    if record.labels == "sets":
        nearest = NearestNeighbors(n_neighbors=min(NEIGHBOURS["lrap"], len(known)), metric="cosine").fit(known.numpy())
        distance, places = nearest.kneighbors(new.numpy())
        votes = (known_labels.numpy()[places] * np.clip(1 - distance, 0, None)[..., None]).sum(1)
        truth = labels.numpy() > 0
        return {
            "lrap": np.array(
                [label_ranking_average_precision_score(t[None], v[None]) for t, v in zip(truth, votes, strict=True)]
            )
        }
    finest = [x.numpy() if x.dim() == 1 else x[:, -1].numpy() for x in (known_labels, labels)]
    voters = KNeighborsClassifier(min(NEIGHBOURS["accuracy"], len(known)), metric="cosine").fit(
        known.numpy(), finest[0]
    )
    return {"accuracy": (voters.predict(new.numpy()) == finest[1]).astype(float)}


def mean_items(values: Values, metrics: Sequence[str]) -> np.ndarray:
    """Average the metrics that losses are ranked by, item by item; an undefined item counts as the metric's mean."""
    for metric in metrics:
        check_name(metric, values, "metric")
    columns = [np.where(np.isnan(values[m]), np.nanmean(values[m]), values[m]) for m in metrics]
    means: np.ndarray = np.mean(columns, axis=0)
    return means


Numbers = Sequence[float] | np.ndarray


def spearman_items(predicted: Numbers, truth: Numbers) -> np.ndarray:
    """Write a Spearman correlation as a mean over its samples: `correlation_items` of the ranks.

    Example:
        >>> float(spearman_items([1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0]).mean().round(3))
        0.8000
    """
    return correlation_items(rankdata(predicted), rankdata(truth))


def correlation_items(predicted: Numbers, truth: Numbers) -> np.ndarray:
    """Write a Pearson correlation as a mean over its samples; 0 where one side is constant.

    Each sample's value is the correlation plus its influence, z·w - r·(z² + w²) / 2, for z and w its standardised
    values: the mean is the correlation, and resampling the values gives its error to first order.
    """
    z, w = ((x - x.mean()) / (x.std() or 1.0) for x in map(np.asarray, (predicted, truth)))
    correlation = float(pearsonr(predicted, truth).statistic) if z.any() and w.any() else 0.0
    items: np.ndarray = correlation + z * w - correlation * (z**2 + w**2) / 2
    return items


def standard_tasks(data: Data, split: str) -> list[AbsTask]:
    """Make mteb's own tasks on a record of samples: classification, regression, clustering."""
    record = data.record
    if record.kind != "samples" or record.has_captions:
        return []
    if record.labels == "numbers":
        return [_standard(AbsTaskRegression, data, split, "Regression", "kendalltau", label_column_name="value")]
    if record.labels == "sets":
        return [_standard(AbsTaskMultilabelClassification, data, split, "MultilabelClassification", "lrap")]
    kind = "Image" if record.modality == "image" else ""
    embedded = {"max_fraction_of_documents_to_embed": None, "label_column_name": "label"}
    return [
        _standard(AbsTaskClassification, data, split, f"{kind}Classification", "accuracy"),
        _standard(AbsTaskClustering, data, split, f"{kind}Clustering", "v_measure", **embedded),
    ]


def _standard(base: type[AbsTask], data: Data, split: str, kind: str, main: str, **attributes: Any) -> AbsTask:
    column = data.record.modality
    fields = {"category": "i2c", "modalities": ["image"]} if column == "image" else {}
    described = metadata(f"{data.record.name}.{kind}", kind, main, eval_splits=[split], **fields)
    attributes["input_column_name"] = column

    def load(self: Any, *args: Any, **kwargs: Any) -> None:
        self.dataset = DatasetDict({name: _columns(data, name) for name in ("train", split)})
        self.data_loaded = True

    return type(f"{data.record.name}{kind}", (base,), {"metadata": described, "load_data": load, **attributes})()


def _columns(data: Data, split: str) -> Dataset:
    part = data.parts[split]
    assert isinstance(part, Samples)
    if data.record.labels == "numbers":
        labels = {"value": part.labels.reshape(len(part), -1)[:, 0].tolist()}
    elif data.record.labels == "sets":
        labels = {"label": [row.nonzero()[:, 0].tolist() for row in part.labels]}
    else:
        labels = {"label": (part.labels if part.labels.dim() == 1 else part.labels[:, -1]).tolist()}
    rows = Dataset.from_dict({data.record.modality: part.inputs} | labels)
    return rows.cast_column("image", Image()) if data.record.modality == "image" else rows


def named_tasks(names: Sequence[str]) -> list[AbsTask]:
    """Return mteb's own tasks, or those of whole benchmarks, by name; their data come from the hub.

    Raises:
        ValueError: If mteb knows neither a task nor a benchmark of a name, with the closest ones.
    """
    if not names:
        return []
    tasks = {task.metadata.name for task in mteb.get_tasks(exclude_superseded=False)}
    benchmarks = [benchmark.name for benchmark in mteb.get_benchmarks()]
    found: list[AbsTask] = []
    for name in names:
        check_name(name, [*sorted(tasks), *benchmarks], "task or benchmark of mteb")
        found += [mteb.get_task(name)] if name in tasks else list(mteb.get_benchmark(name).tasks)
    return found
