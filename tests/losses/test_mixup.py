"""Mixed documents: each is graded by the mixture that made it."""

from __future__ import annotations

import math

import pytest
import torch

from st_rankloss import ANDCGLoss, CachedRankingLoss, RankingLoss, SoftmaxCrossEntropy
from st_rankloss.losses import EmbeddingMixup
from st_rankloss.objectives import CoSENT, Focal, InfoNCE, MVInfoNCE, OverPairs, SoftSpearman
from tests.models import SHAPES, Passing, columns_of, random_columns


@pytest.mark.parametrize(("documents", "share", "mixed"), [(1, 1.0, 1), (2, 0.5, 1), (7, 0.5, 4), (64, 2.0, 128)])
def test_a_mixture_has_one_weight_for_embedding_and_relevance(documents, share, mixed):
    embeddings = torch.eye(documents, dtype=torch.float64)
    grades = torch.rand(5, documents)
    found, relevance_of = EmbeddingMixup(share).mix(embeddings, lambda rows: grades[rows])
    assert found.shape == (documents + mixed, documents)
    weights = found[documents:]  # of each document in each mixture
    assert torch.equal(found[:documents], embeddings)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(mixed, dtype=torch.float64))
    assert ((weights > 0).sum(1) <= 2).all()
    torch.testing.assert_close(relevance_of(slice(0, 5))[:, documents:], grades @ weights.T.float())
    assert torch.equal(relevance_of(slice(2, 4)), relevance_of(slice(0, 5))[2:4])


def test_a_mixture_of_an_unjudged_document_is_unjudged():
    grades = torch.tensor([[1.0, math.nan, 0.0]])
    found, relevance_of = EmbeddingMixup(share=20.0).mix(torch.eye(3), lambda rows: grades[rows])
    touched = found[:, 1] > 0
    assert touched[3:].any()
    assert not touched[3:].all()
    assert torch.equal(relevance_of(slice(0, 1))[0].isnan(), touched)


def test_alpha_draws_weights_near_a_parent_or_in_the_middle():
    spread = {}
    for alpha in (0.1, 1.0, 20.0):
        found, _ = EmbeddingMixup(share=400.0, alpha=alpha).mix(torch.eye(10), lambda rows: torch.ones(1, 10))
        spread[alpha] = found[10:].max(1).values.mean().item()
    # The mean of max(w, 1 - w): 0.75 for uniform weights.
    assert spread[0.1] > 0.9
    assert spread[1.0] == pytest.approx(0.75 * 0.9 + 0.1, abs=0.02)  # a tenth of the pairs are a document with itself
    assert spread[20.0] < 0.65


@pytest.mark.parametrize("shape", SHAPES, ids=repr)
@pytest.mark.parametrize("objective", [None, SoftmaxCrossEntropy()], ids=["ndcg", "softmax"])
def test_the_loss_ranks_the_batch_and_its_mixtures(shape, objective):
    embeddings = random_columns(shape.sizes)
    torch.manual_seed(5)
    loss = RankingLoss(
        Passing(), objective=objective, relevance=shape.relevance, mixup=EmbeddingMixup(0.7), block_size=5
    )
    found = loss(columns_of(embeddings), shape.labels)

    torch.manual_seed(5)
    documents = torch.cat(embeddings[1:] or embeddings)
    grades = torch.tensor(shape.expected)
    mixed, relevance_of = EmbeddingMixup(0.7).mix(
        torch.nn.functional.normalize(documents, dim=-1), lambda rows: grades[rows]
    )
    expected = RankingLoss(
        Passing(), objective=objective, relevance=lambda queries, _: relevance_of(slice(0, len(queries)))
    )
    # As a table of given relevances over two columns: queries, and documents with their mixtures.
    whole = expected._compute(
        [embeddings[0], mixed],
        expected._pair([len(embeddings[0])] * 2, torch.arange(len(embeddings[0])))._replace(
            query_labels=torch.arange(len(embeddings[0])), document_labels=torch.arange(len(mixed))
        ),
    )
    assert found.item() == pytest.approx(whole.item(), rel=1e-6)
    gradients = [torch.autograd.grad(x, embeddings, retain_graph=True) for x in (found, whole)]
    for mine, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-5, atol=1e-8)


def test_nothing_is_mixed_in_evaluation():
    embeddings = random_columns([6, 6])
    with torch.no_grad():
        mixed = ANDCGLoss(Passing(), mixup=EmbeddingMixup())(columns_of(embeddings))
        assert mixed == ANDCGLoss(Passing())(columns_of(embeddings))


@pytest.mark.parametrize("name", ["share", "alpha"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_numbers_out_of_range(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a finite number above 0, got"):
        EmbeddingMixup(**{name: value})


def test_the_model_card_tells_of_it():
    assert "mixup" not in ANDCGLoss(Passing()).get_config_dict()
    card = ANDCGLoss(Passing(), mixup=EmbeddingMixup(0.5)).get_config_dict()
    assert card["mixup"] == "EmbeddingMixup(share=0.5, alpha=1.0, labels=False)"


@pytest.mark.parametrize("make", [RankingLoss, CachedRankingLoss])
@pytest.mark.parametrize(
    "objective",
    [
        OverPairs(SoftSpearman()),
        SoftSpearman() + OverPairs(CoSENT()),
        Focal(OverPairs(InfoNCE())),
        0.1 * MVInfoNCE() + InfoNCE(),
    ],
    ids=repr,
)
def test_objectives_that_cannot_use_mixtures_refuse_them_at_construction(make, objective):
    with pytest.raises(ValueError, match="OverPairs .* leave mixup out|MVInfoNCE needs .* without mixup"):
        make(Passing(), objective=objective, mixup=EmbeddingMixup())
    make(Passing(), objective=objective)


def test_an_objective_of_three_columns_may_use_mixtures():
    class OfThree(InfoNCE):
        def check_columns(self, sizes, *, lists=False, mixed=False):
            if len(sizes) < 3:
                raise ValueError("needs three columns")

    RankingLoss(Passing(), objective=OfThree(), mixup=EmbeddingMixup())
