"""What benchmarks time: A-NDCG with several relevances, its direct formula, and a softmax cross-entropy."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from eval.bench.timing import NO_MODEL, Loss, make_batch
from st_rankloss import ANDCGLoss
from st_rankloss.relevance import Classes, Numeric, Pairs, Relevance


def numbers_of(classes: Tensor) -> Tensor:
    """Draw a normal number per row, which makes most documents somewhat relevant."""
    return torch.randn(len(classes), generator=torch.Generator().manual_seed(1)).to(classes.device)


RELEVANCES: dict[str, tuple[Relevance, Callable[[Tensor], Tensor | None]]] = {
    "classes": (Classes(), lambda classes: classes),
    "numeric": (Numeric(), numbers_of),
    "pairs": (Pairs(), lambda classes: None),
}
"""A relevance, and its labels made of the batch's classes: few, most or one of the documents are relevant."""


def make_labelled(batch: int, device: str, relevance: str) -> tuple[list[Tensor], Tensor | None]:
    """Make two columns of embeddings, and the labels of a relevance of `RELEVANCES`."""
    columns, classes = make_batch(batch, device)
    return columns, RELEVANCES[relevance][1](classes)


def andcg(relevance: str) -> Loss:
    """Return st_rankloss's A-NDCG with a relevance of `RELEVANCES`."""
    return partial(_andcg, RELEVANCES[relevance][0])


def _andcg(relevance: Relevance, embeddings: list[Tensor], labels: Tensor | None, temperature: float) -> Tensor:
    loss = ANDCGLoss(NO_MODEL, relevance=relevance, temperature=temperature)
    return loss.compute_loss_from_embeddings(embeddings, labels)  # type: ignore[return-value]


def direct(embeddings: list[Tensor], labels: Tensor | None, temperature: float) -> Tensor:
    """Compute A-NDCG of classes as the formula reads."""
    assert labels is not None
    queries, documents = (F.normalize(column, dim=-1) for column in embeddings)
    similarity = queries @ documents.T
    relevance = (labels[:, None] == labels).float()
    ahead = torch.sigmoid((similarity[:, None, :] - similarity[:, :, None]) / temperature)
    ranks = ahead.sum(-1) + 0.5
    dcg = (relevance / torch.log2(1 + ranks)).sum(-1)
    places = torch.arange(2, len(labels) + 2, device=labels.device)
    ideal = (relevance.sort(dim=-1, descending=True).values / torch.log2(places)).sum(-1)
    return (1 - dcg / ideal).mean()


def given_similarity(columns: list[Tensor]) -> list[Tensor]:
    """Return the cosines of two columns, which `softmax` takes in their place."""
    with torch.no_grad():
        queries, documents = (F.normalize(column, dim=-1) for column in columns)
        return [(queries @ documents.T).requires_grad_()]


def softmax(similarity: list[Tensor], labels: Tensor | None, temperature: float) -> Tensor:
    """Compute the cross-entropy of given similarities, without the matrix products that every loss needs."""
    (given,) = similarity
    return F.cross_entropy(given / temperature, torch.arange(len(given), device=given.device))
