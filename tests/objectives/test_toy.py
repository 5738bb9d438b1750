"""Every objective with its defaults learns a toy: 200 points in 20 clusters of 5 groups, by a map and by a table."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from st_rankloss import objectives as o
from st_rankloss.functional import ndcg, smooth_ap
from st_rankloss.objectives import ListNet, Objective, Wasserstein

POINTS, CLUSTERS, GROUPS, BATCH = 200, 20, 5, 64

ELSEWHERE = {
    "CWCL": "needs documents of a frozen encoder: test_cross_modal.py",
    "MVDHEL": "needs views: test_contracts.py",
    "MVInfoNCE": "needs views: test_contracts.py",
}
TIES = {"RankNContrast": "made for regression: of its many irrelevant documents, tied, each competes with the others"}
BLIND = {"Wasserstein": "compares distributions, so it cannot tell rows apart"}

DECLARED = {
    name: kind
    for name in o.__all__
    if hasattr(kind := getattr(o, name), "function") and name not in ELSEWHERE and name not in BLIND
}


def reads(name: str) -> str:
    return DECLARED[name].function.declaration.labels


GRADED = [name for name in DECLARED if reads(name) == "graded"]
BINARY = [name for name in DECLARED if reads(name) == "binary"]


def points() -> tuple[Tensor, Tensor, Tensor]:
    """Features, grades (1 in one cluster, a half in one group) and classes, NaN on the diagonal."""
    generator = torch.Generator().manual_seed(0)
    cluster = torch.arange(POINTS) % CLUSTERS
    group = cluster % GROUPS
    centres = torch.randn(GROUPS, 16, generator=generator)[group]
    signal = centres + torch.randn(CLUSTERS, 16, generator=generator)[cluster]
    noise = 1.5 * torch.randn(POINTS, 16, generator=generator)
    features = torch.cat([signal, noise], 1) @ torch.randn(32, 32, generator=generator)
    same, near = ((x[:, None] == x).float() for x in (cluster, group))
    return features, ((same + near) / 2).fill_diagonal_(torch.nan), same.fill_diagonal_(torch.nan)


FEATURES, GRADES, CLASSES = points()


def mean_average_precision(similarity: Tensor, relevance: Tensor) -> Tensor:
    return smooth_ap(similarity.double(), relevance.double(), temperature=1e-6, method="dense")


def train(objective: Objective, *, graded: bool, table: bool, steps: int, learning_rate: float) -> tuple[float, float]:
    """Train a linear map of the features, or a free embedding of each point; return the metric before and after."""
    torch.manual_seed(0)
    relevance, metric = (GRADES, ndcg) if graded else (CLASSES, mean_average_precision)
    weights = (torch.randn(POINTS, 16) if table else torch.randn(32, 16) / 8).requires_grad_()
    optimizer = torch.optim.Adam([weights], lr=learning_rate)

    def similarity(rows: Tensor) -> Tensor:
        embeddings = F.normalize(weights[rows] if table else FEATURES[rows] @ weights, dim=1)
        return embeddings @ embeddings.T

    def score() -> float:
        with torch.no_grad():
            return metric(similarity(torch.arange(POINTS)), relevance).mean().item()

    before = score()
    for _ in range(steps):
        rows = torch.randperm(POINTS)[:BATCH]
        grades = relevance[rows][:, rows]
        loss = objective(similarity(rows), grades)
        optimizer.zero_grad()
        loss[objective.defined(grades)].mean().backward()
        optimizer.step()
    return before, score()


def by_map(objective: Objective, *, graded: bool) -> tuple[float, float]:
    return train(objective, graded=graded, table=False, steps=20, learning_rate=0.06)


def by_table(objective: Objective, *, graded: bool) -> tuple[float, float]:
    return train(objective, graded=graded, table=True, steps=25, learning_rate=0.3)


def test_every_objective_is_in_the_toy_or_named_as_an_exception():
    declared = {name for name in o.__all__ if hasattr(getattr(o, name), "function")}
    assert {*GRADED, *BINARY, *ELSEWHERE, *BLIND} == declared
    assert len(GRADED) > 15
    assert len(BINARY) > 15


@pytest.mark.parametrize("name", GRADED)
def test_a_graded_objective_orders_by_grade_with_a_linear_map(name):
    before, after = by_map(DECLARED[name](), graded=True)
    assert before < 0.8
    assert after >= (before + 0.05 if name in TIES else 0.9)


@pytest.mark.parametrize("name", GRADED)
def test_a_graded_objective_orders_a_free_table(name):
    before, after = by_table(DECLARED[name](), graded=True)
    assert after > before + 0.1


@pytest.mark.parametrize("name", BINARY)
def test_a_binary_objective_raises_map_with_a_linear_map(name):
    before, after = by_map(DECLARED[name](), graded=False)
    assert after > before + 0.1


@pytest.mark.parametrize("name", BINARY)
def test_a_binary_objective_raises_map_of_a_free_table(name):
    before, after = by_table(DECLARED[name](), graded=False)
    assert after > before + 0.1


def test_a_distance_of_distributions_teaches_a_free_table_nothing_unless_it_is_mixed():
    before, after = by_table(Wasserstein(), graded=True)
    assert after < before + 0.05
    before, after = by_table(Wasserstein() + ListNet(), graded=True)
    assert after > before + 0.1


def test_the_mix_of_a_distance_of_distributions_orders_by_grade_with_a_linear_map():
    assert by_map(Wasserstein() + ListNet(), graded=True)[1] >= 0.9


def test_a_label_temperature_as_large_as_the_grades_collapses_embeddings():
    """Why that of `ListNet` follows the largest grade."""
    assert by_map(ListNet(label_temperature=1.0), graded=True)[1] < 0.8
    assert by_map(ListNet(), graded=True)[1] >= 0.9
