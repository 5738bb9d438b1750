"""The policy gradient: its mean is that of the expected NDCG over all orders."""

from __future__ import annotations

import math

import pytest
import torch

from st_rankloss.functional import policy_gradient
from tests import oracle, oracle_family

SIMILARITY, RELEVANCE = [0.5, 0.2, 0.4, 0.3], [0.0, 2.0, 1.0, 0.0]


@pytest.mark.parametrize("settings", [{}, {"gain": "exponential"}, {"k": 2}], ids=str)
def test_value_and_gradient_are_unbiased(settings):
    torch.manual_seed(0)
    similarity = torch.tensor(SIMILARITY, dtype=torch.float64, requires_grad=True)
    many = policy_gradient(
        similarity.expand(4000, 4), torch.tensor(RELEVANCE).double().expand(4000, 4), temperature=0.2, **settings
    )
    (gradient,) = torch.autograd.grad(many.mean(), similarity)

    def expected(s):
        return 1 - oracle_family.expected_ndcg(s, RELEVANCE, temperature=0.2, **settings)

    slope = oracle.slope(expected, SIMILARITY, 1e-3)
    assert many.mean().item() == pytest.approx(expected(SIMILARITY), abs=0.01)
    assert (gradient - torch.tensor(slope, dtype=torch.float64)).abs().max() < 0.05 * max(map(abs, slope))
    assert max(map(abs, slope)) > 0.1


def test_unjudged_documents_are_never_drawn():
    torch.manual_seed(0)
    similarity = torch.tensor([[0.9, 0.5, 0.4]], requires_grad=True)
    loss = policy_gradient(similarity, torch.tensor([[math.nan, 1.0, 0.0]]), temperature=0.001)
    (gradient,) = torch.autograd.grad(loss.sum(), similarity)
    assert loss.item() == 0  # the first judged one is always on top
    assert gradient[0, 0] == 0


def test_draws_follow_the_seed():
    def draw(seed):
        torch.manual_seed(seed)
        return policy_gradient(torch.rand(3, 20), torch.rand(3, 20))

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
