"""Records as tasks of mteb, so that ``mteb.evaluate`` scores them like any other.

`PairsTask` and `CollectionTask` are mteb's STS and retrieval. `SamplesTask` and `CaptionsTask` are what mteb lacks:
samples rank each other by graded relevance, and probes predict labels. Each task keeps the metrics that it computes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset, DatasetDict, Features, Image, Value
from mteb._create_dataloaders import create_dataloader
from mteb.abstasks import AbsTaskRetrieval, AbsTaskSTS
from mteb.abstasks.abstask import AbsTask
from torch import Tensor

from eval.tasks.data import Collection, Data, ScoredPairs
from eval.tasks.values import (
    Values,
    evenly,
    mean_items,
    probe_values,
    ranking_values,
    spearman_items,
)
from st_rankloss.evaluation.metrics import order_documents, trec_ndcg
from st_rankloss.experiment.scores import correlation_items
from st_rankloss.functional import ndcg
from st_rankloss.mteb_tasks import describe, search_rows

MOST_QUERIES = 2_000
"""Samples of a part that are queries, evenly spaced; all of them are documents."""

MOST_KNOWN = 5_000
"""Training samples that probes learn from, evenly spaced."""


def make_task(data: Data, split: str) -> AbsTask:
    """Make the main task of a record, on its ``dev`` or ``test`` part.

    An evaluation fills the task's ``kept``, scores by metric, and ``items``, the values whose mean is the main score.
    """
    part, main = data.parts[split], data.record.main
    if isinstance(part, ScoredPairs):
        return _new(PairsTask, data, split, "STS", "cosine_spearman")
    if isinstance(part, Collection):
        return _new(CollectionTask, data, split, "Retrieval", main, category="t2t")
    if data.record.has_captions:
        modalities = {"category": "t2i", "modalities": ["text", "image"]}
        return _new(CaptionsTask, data, split, "Any2AnyRetrieval", main, **modalities)
    if data.record.modality == "image":
        return _new(SamplesTask, data, split, "Any2AnyRetrieval", main, category="i2i", modalities=["image"])
    return _new(SamplesTask, data, split, "Retrieval", main, category="t2t")


def _new(base: type[AbsTask], data: Data, split: str, kind: str, main: str, **fields: Any) -> AbsTask:
    described = describe(data.record.name, kind, main, eval_splits=[split], **fields)
    task = type(f"{data.record.name}Task", (base,), {"metadata": described})()
    task.data, task.split, task.items, task.kept = data, split, None, {}
    return task


class LocalTask(AbsTask):
    """A task on a part of a record."""

    data: Data
    split: str
    items: np.ndarray | None
    kept: dict[str, float]

    def keep(self, values: Values, **others: float) -> dict[str, float]:
        """Keep and return the mean of each metric, other scores, and the main score with its items."""
        self.items = mean_items(values, self.data.record.metrics)
        means = {metric: float(np.nanmean(column)) for metric, column in values.items()}
        self.kept = means | others | {self.data.record.main: float(self.items.mean())}
        return dict(self.kept)  # mteb adds to it


class PairsTask(LocalTask, AbsTaskSTS):
    """Two texts and a score: the Spearman correlation of cosine and score."""

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
        self.keep(values, **{name: float(found[name]) for name in ("cosine_spearman", "cosine_pearson")})
        return found


class CollectionTask(LocalTask, AbsTaskRetrieval):
    """Queries that search a corpus, or rank the documents judged for them, with graded judgements."""

    def load_data(self, *args: Any, **kwargs: Any) -> None:
        """Lay corpus, queries and judgements out in mteb's columns."""
        part = self.data.parts[self.split]
        corpus = part.corpus
        if self.data.record.rerank:
            corpus = {document: corpus[document] for query in part.queries for document in part.present(query)}
        rows = search_rows(
            part.queries, corpus, part.qrels, self.data.record.level, judged_only=self.data.record.rerank
        )
        self.dataset, self.data_loaded = {"default": {self.split: rows}}, True

    def task_specific_scores(
        self, scores: Mapping[str, Any], qrels: Any, results: Any, hf_split: str, hf_subset: str
    ) -> dict[str, float]:
        """Compute nDCG by grade, MRR and recall from the record's level on, and keep each query's main score."""
        part, level = self.data.parts[self.split], self.data.record.level
        queries = list(part.queries)
        rankings = {query: order_documents(query, results.get(query, {})) for query in queries}
        values = {
            f"ndcg_at_{k}": np.array([trec_ndcg(rankings[query], part.qrels[query], k) for query in queries])
            for k in (10, 100)
        }
        found = [_binary_values(results.get(query, {}), part.qrels[query], level) for query in queries]
        return self.keep(values | {m: np.array([row[m] for row in found]) for m in ("mrr_at_10", "recall_at_100")})


def _binary_values(found: Mapping[str, float], grades: Mapping[str, float], level: float) -> dict[str, float]:
    ranking = sorted(found, key=lambda document: (-found[document], document))
    hits = [grades.get(document, 0) >= level for document in ranking[:100]]
    relevant = sum(grade >= level for grade in grades.values())
    first = next((1 / (i + 1) for i, hit in enumerate(hits[:10]) if hit), 0.0)
    return {"mrr_at_10": first, "recall_at_100": sum(hits) / relevant if relevant else np.nan}


class _Embedding(LocalTask):
    """A task on embeddings of the record's parts, by mteb's encoder."""

    def load_data(self, *args: Any, **kwargs: Any) -> None:
        """Name the split; the data are the record's parts."""
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


class SamplesTask(_Embedding):
    """Each sample ranks all others of its part by graded relevance; probes learn from the training part."""

    def _evaluate_subset(self, model: Any, data_split: Any, *, encode_kwargs: Any, **kwargs: Any) -> Any:
        record, part = self.data.record, self.data.parts[self.split]
        new = self._embed(model, part.inputs, record.modality, encode_kwargs)
        chosen = evenly(len(part), MOST_QUERIES)
        values = ranking_values(record, new, part.labels, chosen)
        train = self.data.parts["train"]
        some = evenly(len(train), MOST_KNOWN)
        known = self._embed(model, [train.inputs[i] for i in some], record.modality, encode_kwargs)
        return self.keep(values | probe_values(record, known, train.labels[some], new[chosen], part.labels[chosen]))


class CaptionsTask(_Embedding):
    """Images find captions, and captions images, by graded relevance."""

    def _evaluate_subset(self, model: Any, data_split: Any, *, encode_kwargs: Any, **kwargs: Any) -> Any:
        record, part = self.data.record, self.data.parts[self.split]
        images = self._embed(model, part.inputs, "image", encode_kwargs)
        captions = self._embed(model, part.captions, "text", encode_kwargs)
        relevance = record.relevance(part.labels, part.labels)
        by_image, by_caption = (ndcg(x, relevance, k=10).numpy() for x in (images @ captions.T, captions @ images.T))
        return self.keep(
            {"ndcg_at_10": (by_image + by_caption) / 2, "i2t_ndcg_at_10": by_image, "t2i_ndcg_at_10": by_caption}
        )
