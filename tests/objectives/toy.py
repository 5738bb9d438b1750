"""A toy to train on: 200 points in 10 classes of 3 kinds, through one linear map."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

POINTS, QUERIES = 200, 32
NAN = float("nan")


class Toy(NamedTuple):
    """Features of the points, and how relevant each is to each, NaN on the diagonal."""

    features: Tensor
    relevance: Tensor


def toy(kind: str) -> Toy:
    """Points whose features hold their class, kind and number, under noise."""
    generator = torch.Generator().manual_seed(0)
    member = torch.arange(POINTS) % 10
    number = torch.rand(POINTS, generator=generator)
    signal = torch.cat([F.one_hot(member), F.one_hot(member % 3), number[:, None]], 1).float()
    noise = torch.randn(POINTS, 24, generator=generator)
    mixing = torch.randn(signal.shape[1] + 24, 32, generator=generator)
    same_class = member[:, None] == member
    same_kind = (member % 3)[:, None] == member % 3
    relevance = {
        "binary": same_class.float(),
        "grades": same_class.float() + same_kind.float(),
        "continuous": torch.exp(-8 * (number[:, None] - number).abs()),
        "views": ((torch.arange(POINTS) // 4)[:, None] == torch.arange(POINTS) // 4).float(),
    }[kind]
    if kind == "views":  # four noisy views of each of 50 points
        signal = signal[::4].repeat_interleave(4, 0)
    return Toy(torch.cat([2 * signal, noise], 1) @ mixing, relevance.fill_diagonal_(NAN))


def train(objective, kind: str, metric, *, steps: int = 30, learning_rate: float = 0.03) -> tuple[float, float]:
    """Train a linear map by the objective; return the metric over all points before and after."""
    torch.manual_seed(0)
    features, relevance = toy(kind)
    weights = (torch.randn(features.shape[1], 8) / 8).requires_grad_()
    optimizer = torch.optim.Adam([weights], lr=learning_rate)

    def similarity() -> Tensor:
        embeddings = F.normalize(features @ weights, dim=1)
        return embeddings @ embeddings.T

    def score() -> float:
        with torch.no_grad():
            return float(metric(similarity().double(), relevance.double()).nanmean())

    before = score()
    for _ in range(steps):
        rows = torch.randperm(POINTS)[:QUERIES] if objective.separable else slice(None)
        loss = objective(similarity()[rows], relevance[rows])
        optimizer.zero_grad()
        loss[objective.defined(relevance[rows])].mean().backward()
        optimizer.step()
    return before, score()
