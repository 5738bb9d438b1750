"""Metrics as one value per query, sample or pair, whose mean is the score: what intervals are computed from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.stats import rankdata
from sklearn.linear_model import RidgeCV
from sklearn.metrics import average_precision_score, label_ranking_average_precision_score
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from torch import Tensor

from eval.names import check_name
from eval.tasks.records import Record
from st_rankloss.experiment.scores import correlation_items
from st_rankloss.functional import ndcg

NEIGHBOURS = {"accuracy": 10, "lrap": 20}
"""Nearest training samples that vote."""

Values = dict[str, np.ndarray]
"""Values by metric."""

Numbers = Sequence[float] | np.ndarray


def evenly(count: int, most: int) -> Tensor:
    """Choose at most ``most`` of ``count`` places, evenly spaced.

    Args:
        count: Number of places.
        most: Number of places to choose, at least 1.

    Returns:
        The places in ascending order, int64.

    Example:
        >>> evenly(10, 3).tolist()
        [0, 4, 9]
    """
    if not count:
        return torch.empty(0, dtype=torch.long)
    return torch.linspace(0, count - 1, min(count, most)).long().clamp(max=count - 1)  # float32 may round the last up


def ranking_values(record: Record, embeddings: Tensor, labels: Tensor, chosen: Tensor) -> Values:
    """Rank all others for each chosen sample: nDCG by graded relevance and, for classes, average precision."""
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
    """Compute each row's average precision without its own sample; NaN where nothing else is relevant."""
    keep = torch.ones_like(relevant).scatter_(1, own[:, None], False)
    rows = [(s[k].numpy(), r[k].numpy()) for s, r, k in zip(similarity, relevant, keep, strict=True)]
    return torch.tensor([average_precision_score(r, s) if r.any() else torch.nan for s, r in rows])


def probe_values(record: Record, known: Tensor, known_labels: Tensor, new: Tensor, labels: Tensor) -> Values:
    """Predict labels from embeddings of the training part: by neighbours, or numbers by a ridge regression."""
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
    """Average the given metrics item by item; an undefined item counts as its metric's mean."""
    for metric in metrics:
        check_name(metric, values, "metric")
    columns = [np.where(np.isnan(values[m]), np.nanmean(values[m]), values[m]) for m in metrics]
    means: np.ndarray = np.mean(columns, axis=0)
    return means


def spearman_items(predicted: Numbers, truth: Numbers) -> np.ndarray:
    """Write a Spearman correlation as a mean over its samples: `correlation_items` of the ranks.

    Example:
        >>> float(spearman_items([1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0]).mean().round(3))
        0.8000
    """
    return correlation_items(rankdata(predicted), rankdata(truth))
