"""Margins against their definition."""

from __future__ import annotations

import math

import pytest
import torch

from st_rankloss.functional import with_margin
from st_rankloss.objectives import Margin, SupCon

NAN = math.nan


def by_definition(cosine, *, margin, angle):
    """Of a relevant document."""
    turned = math.acos(cosine) + angle
    return (math.cos(turned) if turned <= math.pi else cosine - angle * math.sin(angle)) - margin


@pytest.mark.parametrize("margin", [0.0, 0.35])
@pytest.mark.parametrize("angle", [0.0, 0.5, 3.0])
def test_only_relevant_documents_are_lowered_and_by_the_margin(margin, angle):
    similarity = torch.linspace(-1, 1, 41, dtype=torch.float64)
    relevance = torch.ones(41, dtype=torch.float64)
    relevance[::3], relevance[1::7] = 0, NAN
    wanted = [
        by_definition(min(max(s, -1), 1), margin=margin, angle=angle) if y == 1 else s
        for s, y in zip(similarity.tolist(), relevance.tolist(), strict=True)
    ]
    found = with_margin(similarity, relevance, margin, angle)
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64), rtol=1e-9, atol=1e-7)


def test_the_gradient_is_that_of_the_definition_and_finite_at_the_poles():
    similarity = torch.linspace(-0.95, 0.95, 20, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: with_margin(s, torch.ones_like(s), 0.1, 0.5), similarity)
    poles = torch.tensor([-1.0, 1.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(with_margin(poles, torch.ones(2), angle=0.5).sum(), poles)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("unknown", [NAN, math.inf, 1.2])
def test_what_is_not_relevant_may_be_anything_and_passes_its_gradient_on(unknown):
    similarity = torch.tensor([unknown, 0.2, 0.3], requires_grad=True)
    relevance = torch.tensor([NAN, 1.0, 0.0])
    (gradient,) = torch.autograd.grad(with_margin(similarity, relevance, angle=0.5)[1:].sum(), similarity)
    assert gradient[0] == 0
    assert gradient[2] == 1
    (gradient,) = torch.autograd.grad(Margin(SupCon(), 0, 0.5)(similarity[None], relevance[None]).sum(), similarity)
    assert gradient[0] == 0
    assert gradient.isfinite().all()
