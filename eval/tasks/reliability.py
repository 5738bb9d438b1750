"""Reliability, whether one threshold of similarity serves all queries: AUC and OPIS."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sklearn.metrics import roc_auc_score
from torch import Tensor

from eval.tasks.data import Collection, Data, Samples, ScoredPairs
from eval.tasks.values import evenly

MOST_QUERIES = 200
MOST_DOCUMENTS = 2_000
THRESHOLDS = 20


def reliability(model: SentenceTransformer, data: Data, split: str) -> dict[str, float]:
    """Compute ``auc`` and, for queries, ``opis``.

    They read the similarities of up to 200 queries with up to 2,000 documents, including the judged ones.
    """
    similarity, relevance, relevant = _similarities(model, data, split)
    known = relevance.isfinite()
    found = {}
    if relevant[known].any() and not relevant[known].all():
        found["auc"] = round(float(roc_auc_score(relevant[known], similarity[known])), 6)
    if len(similarity) > 1:
        found["opis"] = round(opis(similarity, relevant, known), 6)
    return found


def _similarities(model: SentenceTransformer, data: Data, split: str) -> tuple[Tensor, Tensor, Tensor]:
    part = data.parts[split]
    if isinstance(part, ScoredPairs):
        first, second = (_embed(model, column) for column in (part.first, part.second))
        scores = torch.tensor(part.scores)[None]
        least = data.record.relevant_from
        return (first * second).sum(1)[None], scores, scores >= (max(part.scores) if least is None else least)
    if isinstance(part, Collection):
        return _of_collection(model, part, data)
    return _of_samples(model, part, data)


def _of_collection(model: SentenceTransformer, part: Collection, data: Data) -> tuple[Tensor, Tensor, Tensor]:
    queries = [list(part.queries)[i] for i in evenly(len(part.queries), MOST_QUERIES)]
    judged = dict.fromkeys(document for query in queries for document in part.present(query))
    others = [] if data.record.rerank else [document for document in part.corpus if document not in judged]
    room = max(0, MOST_DOCUMENTS - len(judged))
    documents = [*judged, *(others[i] for i in evenly(len(others), room))]
    place = {document: i for i, document in enumerate(documents)}
    relevance = torch.full((len(queries), len(documents)), torch.nan if data.record.rerank else 0.0)
    for row, query in zip(relevance, queries, strict=True):
        for document, grade in part.present(query).items():
            row[place[document]] = grade
    found = _embed(model, [part.queries[q] for q in queries]) @ _embed(model, [part.corpus[d] for d in documents]).T
    return found, relevance, relevance >= data.record.level


def _of_samples(model: SentenceTransformer, part: Samples, data: Data) -> tuple[Tensor, Tensor, Tensor]:
    rows, columns = evenly(len(part), MOST_QUERIES), evenly(len(part), MOST_DOCUMENTS)
    relevance = data.record.relevance(part.labels[rows], part.labels[columns]).float()
    if not data.record.has_captions:
        relevance = relevance.masked_fill(rows[:, None] == columns, torch.nan)
    queries = part.captions if data.record.has_captions else part.inputs
    similarity = _embed(model, [queries[i] for i in rows]) @ _embed(model, [part.inputs[i] for i in columns]).T
    return similarity, relevance, relevance >= max(0.5 * float(relevance.nan_to_num().max()), 1e-6)


def _embed(model: SentenceTransformer, inputs: Any) -> Tensor:
    found = model.encode(list(inputs), batch_size=256, convert_to_tensor=True, show_progress_bar=False)
    return torch.nn.functional.normalize(found.float().cpu(), dim=1)


def opis(similarity: Tensor, relevant: Tensor, known: Tensor) -> float:
    """Compute the operating-point inconsistency: the variance over queries of one threshold's utility.

    The 20 thresholds accept between 0.1 % and 10 % of all irrelevant documents. A query's utility is the harmonic mean
    of its true-positive and true-negative rates; its variance over queries is averaged over the thresholds. 0 means
    that one threshold serves all queries alike. Only queries with a relevant and an irrelevant document count.

    Source: Zhang et al. (2024), "Threshold-Consistent Margin Loss for Open-World Deep Metric Learning", for the
    idea; queries instead of classes and the range of thresholds are ours.
    """
    irrelevant = known & ~relevant
    if not irrelevant.any():
        return 0.0
    values = similarity[irrelevant].numpy()
    thresholds = np.quantile(values, np.linspace(0.9, 0.999, THRESHOLDS))
    chosen = relevant.any(1) & irrelevant.any(1)
    rows, good, bad = similarity[chosen], relevant[chosen], irrelevant[chosen]
    found = []
    for threshold in thresholds.tolist():
        accepted = rows >= threshold
        sensitivity = (accepted & good).sum(1) / good.sum(1)
        specificity = (~accepted & bad).sum(1) / bad.sum(1)
        utility = 2 * sensitivity * specificity / (sensitivity + specificity).clamp_min(1e-9)
        found.append(float(utility.var(unbiased=False)))
    return float(np.mean(found))
