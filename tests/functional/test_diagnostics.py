"""The numbers behind the diagnostics, against their definitions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from st_rankloss.functional.diagnostics import effective_rank, random_ndcg, vanishing_share
from tests import oracle

NAN = math.nan


@pytest.mark.parametrize("gain", ["linear", "exponential"])
@pytest.mark.parametrize("k", [None, 1, 3, 9])
@pytest.mark.parametrize(
    "grades", [[1.0], [2.0, 0.0], [3.0, 1.0, 0.0, 0.0, 2.0], [1.0] * 4, [2.0, NAN, 0.5, 0.0, NAN, 1.0]]
)
def test_a_random_order_has_the_mean_ndcg_of_all_orders(grades, gain, k):
    judged = [grade for grade in grades if not math.isnan(grade)]
    orders = list(itertools.permutations(range(len(judged))))
    expected = sum(oracle.ndcg([float(x) for x in order], judged, gain=gain, k=k) for order in orders) / len(orders)
    found = random_ndcg(torch.tensor([grades], dtype=torch.float64), gain=gain, k=k)
    assert found.item() == pytest.approx(expected, rel=1e-9)


def test_without_gain_there_is_no_ndcg():
    assert random_ndcg(torch.tensor([[0.0, 0.0], [NAN, NAN]])).isnan().all()


@pytest.mark.parametrize(("rows", "dimensions"), [(1, 4), (5, 5), (40, 8), (8, 40)])
def test_effective_rank_is_the_exponent_of_the_entropy(rows, dimensions):
    embeddings = torch.randn(rows, dimensions, dtype=torch.float64)
    singular = np.linalg.svd(embeddings.numpy(), compute_uv=False)
    share = singular / singular.sum()
    assert effective_rank(embeddings).item() == pytest.approx(math.exp(-(share * np.log(share)).sum()), rel=1e-9)


def test_effective_rank_of_known_sets():
    assert effective_rank(torch.eye(7, 20)).item() == pytest.approx(7)
    assert effective_rank(torch.ones(9, 5)).item() == pytest.approx(1, abs=1e-4)
    assert effective_rank(torch.zeros(3, 3)).item() == 1
    assert effective_rank(torch.randn(8, 4).half()).item() > 2


def plain_share(similarity, relevance, gradient, ratio):
    misplaced = vanished = 0
    for s, y, g in zip(similarity, relevance, gradient, strict=True):
        largest = max(map(abs, g))
        for j in range(len(s)):
            if any(s[i] > s[j] and y[i] < y[j] for i in range(len(s))):
                misplaced += 1
                vanished += abs(g[j]) <= ratio * largest
    return vanished / misplaced if misplaced else NAN


@pytest.mark.parametrize("seed", range(20))
def test_vanishing_share_by_loops(seed):
    generator = torch.Generator().manual_seed(seed)
    similarity = torch.randn(4, 9, generator=generator)
    relevance = torch.randint(0, 3, (4, 9), generator=generator).float()
    relevance[torch.rand(4, 9, generator=generator) < 0.2] = NAN
    gradient = torch.randn(4, 9, generator=generator) * (torch.rand(4, 9, generator=generator) < 0.5)
    found = vanishing_share(similarity, relevance, gradient, ratio=0.3)
    expected = plain_share(similarity.tolist(), relevance.tolist(), gradient.tolist(), 0.3)
    assert found.item() == pytest.approx(expected, nan_ok=True)


def test_in_a_perfect_order_nothing_is_misplaced():
    similarity, relevance = torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([[2.0, 2.0, 0.0]])
    assert vanishing_share(similarity, relevance, torch.zeros(1, 3)).isnan()
