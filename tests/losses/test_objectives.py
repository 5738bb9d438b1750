"""Every objective in the loss: cached as uncached, with any relevance; pairs, angles, and mixed labels."""

from __future__ import annotations

import pytest
import torch
from sentence_transformers.sentence_transformer.losses import AnglELoss, CoSENTLoss
from sentence_transformers.util import pairwise_angle_sim

from st_rankloss import RankingLoss
from st_rankloss.losses import CachedRankingLoss, EmbeddingMixup, angle_sim
from st_rankloss.losses.parts import LossParts
from st_rankloss.objectives import CoSENT, OverPairs, RankNContrast, SoftSpearman
from st_rankloss.relevance import Classes, Numeric, Pairs, Vectors
from tests.models import Passing, columns_of, random_columns
from tests.objectives.test_contracts import TABLE, Case, name_of


def total(loss):
    return loss.total() if isinstance(loss, LossParts) else loss


def task(case: Case):
    """A relevance, labels and column sizes that give the objective what it reads."""
    if isinstance(case.objective, OverPairs):
        return Pairs(), torch.arange(12).remainder(5).float(), [12, 12]
    if case.labels == "continuous":
        return Numeric(), torch.linspace(0, 1, 12), [12]
    return Classes(), torch.arange(12) % 3, [12]


@pytest.mark.parametrize("case", [case for case in TABLE if not case.draws], ids=name_of)
def test_cached_is_uncached_for_every_objective(case):
    relevance, labels, sizes = task(case)
    results = []
    for make, options in ((RankingLoss, {"block_size": 5}), (CachedRankingLoss, {"mini_batch_size": 5})):
        embeddings = random_columns(sizes)
        loss = total(make(Passing(), case.objective, relevance, **options)(columns_of(embeddings), labels))
        loss.backward()
        results.append((loss.detach(), *[e.grad for e in embeddings]))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)
    assert results[0][1].abs().max() > 1e-6, "there is no gradient to compare"


@pytest.mark.parametrize(("ours", "theirs"), [({}, CoSENTLoss), ({"similarity_fct": angle_sim}, AnglELoss)])
def test_cosent_and_angle_are_those_of_sentence_transformers(ours, theirs):
    scores = torch.arange(12).remainder(5).double()
    results = []
    for make in (
        lambda model: RankingLoss(model, OverPairs(CoSENT(20.0)), Pairs(), **ours),
        lambda model: theirs(model, scale=20.0),
    ):
        embeddings = random_columns([12, 12])
        loss = make(Passing()).compute_loss_from_embeddings(embeddings, scores)
        loss.backward()
        results.append((loss.detach(), *[e.grad for e in embeddings]))
    for mine, other in zip(*results, strict=True):
        torch.testing.assert_close(mine.double(), other.double(), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("dimensions", [1, 2, 7, 8])
def test_angles_between_all_are_the_hosts_between_pairs(dimensions):
    torch.manual_seed(0)
    queries, documents = torch.randn(2, 5, dimensions), torch.randn(4, dimensions)
    queries = queries[0]
    wanted = torch.stack([pairwise_angle_sim(queries, d.expand(5, -1)) for d in documents], 1)
    torch.testing.assert_close(angle_sim(queries, documents), wanted)


def test_spearman_over_pairs_sees_the_pairs_and_nothing_else():
    embeddings = random_columns([12, 12])
    scores = torch.arange(12).float()
    loss = RankingLoss(Passing(), OverPairs(SoftSpearman(0.1)), Pairs())(columns_of(embeddings), scores)
    cosine = torch.nn.functional.cosine_similarity(*embeddings)
    alone = SoftSpearman(0.1)(cosine[None], scores[None].double())
    torch.testing.assert_close(loss, alone[0])
    ours = torch.autograd.grad(loss, embeddings)
    for mine, direct in zip(ours, torch.autograd.grad(alone, embeddings), strict=True):
        torch.testing.assert_close(mine, direct)


def test_a_square_objective_says_what_it_needs():
    from st_rankloss.objectives import MVInfoNCE

    loss = RankingLoss(Passing(), MVInfoNCE(), Pairs())
    with pytest.raises(ValueError, match="every sample a query and a document"):
        loss(columns_of(random_columns([4, 4, 4])))


# --- mixed labels ----------------------------------------------------------------------------------------------------


def test_a_mixture_has_the_relevance_of_its_mixed_label():
    numbers = torch.tensor([0.0, 0.5, 1.0])
    relevance = Numeric("triangle", bandwidth=1.0)

    def to(rows, labels):
        return relevance(numbers[rows], labels)

    torch.manual_seed(0)
    found, relevance_of = EmbeddingMixup(share=20.0, labels=True).mix(
        torch.eye(3), lambda r: to(r, numbers), to, numbers
    )
    mixed = found[3:] @ numbers
    expected = 1 - (numbers[:, None] - mixed).abs()
    torch.testing.assert_close(relevance_of(slice(0, 3))[:, 3:], expected)
    by_grades = found[3:] @ relevance(numbers, numbers)
    assert (expected.T - by_grades).max() > 0.4  # the middle of 0 and 1 is as relevant to 0.5 as can be


@pytest.mark.parametrize(
    ("relevance", "labels"), [(Numeric(), torch.linspace(0, 1, 12)), (Vectors(), torch.rand(12, 3))], ids=["n", "v"]
)
@pytest.mark.parametrize("symmetric", [False, True])
def test_labels_are_mixed_in_training(relevance, labels, symmetric):
    sizes = [12, 12] if symmetric else [12]
    embeddings = random_columns(sizes)
    mixup = EmbeddingMixup(labels=True)
    loss = RankingLoss(Passing(), RankNContrast(), relevance, symmetric=symmetric, mixup=mixup)
    plain = RankingLoss(Passing(), RankNContrast(), relevance, symmetric=symmetric)
    torch.manual_seed(0)
    value = loss(columns_of(embeddings), labels)
    value.backward()
    assert value != plain(columns_of(embeddings), labels)
    assert all(e.grad.isfinite().all() and e.grad.norm() > 1e-3 for e in embeddings)


def test_classes_have_no_mixture():
    loss = RankingLoss(Passing(), None, Classes(), mixup=EmbeddingMixup(labels=True))
    with pytest.raises(ValueError, match="labels=True mixes numbers and vectors, got labels of torch.int64"):
        loss(columns_of(random_columns([6])), torch.arange(6) % 2)
