"""CWCL, which aligns a trained encoder with a frozen one."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from st_rankloss import RankingLoss
from st_rankloss.functional import ndcg
from st_rankloss.objectives import CWCL, SoftmaxCrossEntropy
from st_rankloss.relevance import Vectors
from tests.models import Passing, columns_of

FROZEN = F.normalize(torch.randn(24, 6, generator=torch.Generator().manual_seed(0)), dim=1)


def test_it_transfers_the_neighbourhoods_of_the_frozen_encoder():
    torch.manual_seed(1)
    table = torch.randn(24, 6, requires_grad=True)
    relevance = Vectors(threshold=-1)(FROZEN, FROZEN)
    optimizer = torch.optim.Adam([table], lr=0.1)

    def similarity():
        return F.normalize(table, dim=1) @ FROZEN.T

    def score():
        found = similarity().detach()
        return ndcg(found, relevance.square()).mean().item(), (
            found.argmax(1) == torch.arange(24)
        ).float().mean().item()

    before = score()
    for _ in range(80):
        optimizer.zero_grad()
        CWCL(0.2)(similarity(), relevance).mean().backward()
        optimizer.step()
    (order, own), (order_before, own_before) = score(), before
    assert order > order_before + 0.1
    assert own > 0.8 > 0.3 > own_before


def test_the_loss_is_the_weighted_direction_and_the_plain_one_of_the_columns():
    embeddings = [torch.randn(8, 5, requires_grad=True) for _ in range(2)]
    vectors = torch.randn(8, 4)
    loss = RankingLoss(Passing(), objective=CWCL(), relevance=Vectors(threshold=-1))
    value = loss(columns_of(embeddings), vectors)
    queries, documents = (F.normalize(e, dim=1) for e in embeddings)
    weights = Vectors(threshold=-1)(vectors, vectors)
    weighted = SoftmaxCrossEntropy()(queries @ documents.T, weights).mean()
    plain = F.cross_entropy(documents @ queries.T / 0.05, torch.arange(8))
    torch.testing.assert_close(value, (weighted + plain) / 2)


@pytest.mark.parametrize(
    ("sizes", "lists", "message"),
    [
        ([8], False, r"CWCL needs a column of queries, .* got columns of \[8\] rows"),
        ([8, 6], False, r"got columns of \[8, 6\] rows"),
        ([8, 8], True, "got lists of documents"),
    ],
)
def test_every_query_needs_a_document_of_its_own(sizes, lists, message):
    with pytest.raises(ValueError, match=message):
        CWCL().check_columns(sizes, lists=lists)
    CWCL().check_columns([8, 8, 8])


def test_the_second_direction_of_symmetric_losses_is_refused():
    for objective in (CWCL(), SoftmaxCrossEntropy() + CWCL()):
        with pytest.raises(ValueError, match="CWCL compares in both directions itself, got symmetric=True: leave it"):
            RankingLoss(Passing(), objective=objective, symmetric=True)
