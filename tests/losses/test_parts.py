"""LossParts: what a mixture returns, and the gradient of its terms."""

from __future__ import annotations

import math
from operator import iadd

import numpy as np
import pytest
import torch
from sentence_transformers.util import cos_sim, euclidean_sim

from st_rankloss import ANDCGLoss, ApproxNDCG, RankingLoss, SoftmaxCrossEntropy
from st_rankloss.losses import LossParts
from st_rankloss.objectives import DCL, Focal, InfoNCE, Perturbed
from st_rankloss.relevance import Pairs
from tests.models import Passing, columns_of, random_columns


def values(parts):
    return {name: part.item() for name, part in parts.items()}


def test_parts_are_scaled_from_either_side():
    parts = LossParts(a=torch.tensor(1.0), b=torch.tensor(4.0))
    assert values(0.5 * parts) == values(parts * 0.5) == {"a": 0.5, "b": 2.0}
    assert isinstance(parts * 0.5, LossParts)


def test_parts_add_by_name_and_keep_the_names_of_both():
    left = LossParts(a=torch.tensor(1.0), b=torch.tensor(4.0))
    right = LossParts(b=torch.tensor(10.0), c=torch.tensor(20.0))
    assert values(left + right) == {"a": 1.0, "b": 14.0, "c": 20.0}
    assert values(left) == {"a": 1.0, "b": 4.0}


def test_parts_add_to_a_number_as_sums_begin():
    parts = LossParts(a=torch.tensor(1.0))
    assert values(sum([parts, parts])) == {"a": 2.0}
    assert values(0.0 + parts) == {"a": 1.0}
    assert (parts + 3.0).total().item() == 4.0


def test_the_total_is_the_sum_of_the_terms():
    assert LossParts(a=torch.tensor(1.0), b=torch.tensor(4.0), c=torch.tensor(-2.0)).total().item() == 3.0


def test_backward_sends_the_gradient_of_the_total():
    x = torch.tensor(2.0, requires_grad=True)
    LossParts(a=3 * x, b=x**2).backward()
    assert x.grad.item() == 3 + 2 * 2


def mixture_of(objective, **options):
    embeddings = random_columns([6, 6])
    return embeddings, RankingLoss(Passing(), objective=objective, relevance=Pairs(), **options)(columns_of(embeddings))


def test_a_mixture_comes_in_parts_and_one_objective_as_a_scalar():
    _, mixed = mixture_of(ApproxNDCG() + 0.2 * SoftmaxCrossEntropy())
    _, single = mixture_of(ApproxNDCG())
    assert list(mixed) == ["ApproxNDCG", "SoftmaxCrossEntropy"]
    assert all(part.shape == () for part in mixed.values())
    assert not isinstance(single, dict)
    assert single.shape == ()


def test_terms_of_one_kind_are_numbered_and_all_counted():
    _, parts = mixture_of(ApproxNDCG(0.1) + ApproxNDCG(0.02) + ApproxNDCG(0.5))
    assert list(parts) == ["ApproxNDCG", "ApproxNDCG#2", "ApproxNDCG#3"]
    singles = [mixture_of(ApproxNDCG(temperature))[1].item() for temperature in (0.1, 0.02, 0.5)]
    assert [part.item() for part in parts.values()] == pytest.approx(singles)


def test_the_gradient_of_the_sum_is_the_weighted_sum_of_the_terms_gradients():
    embeddings, parts = mixture_of(2 * ApproxNDCG() + 0.2 * SoftmaxCrossEntropy())
    gradient = torch.cat(torch.autograd.grad(parts.total(), embeddings))
    expected = 0
    for weight, objective in ((2, ApproxNDCG()), (0.2, SoftmaxCrossEntropy())):
        embeddings, single = mixture_of(objective)
        expected = expected + weight * torch.cat(torch.autograd.grad(single, embeddings))
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(gradient, expected)


def test_stacked_and_summed_as_the_trainer_does_the_gradient_is_that_of_the_total():
    embeddings, parts = mixture_of(ApproxNDCG() + SoftmaxCrossEntropy())
    by_trainer = torch.autograd.grad(torch.stack(list(parts.values())).sum(), embeddings, retain_graph=True)
    by_total = torch.autograd.grad(parts.total(), embeddings)
    assert by_total[0].abs().max() > 1e-3
    torch.testing.assert_close(by_trainer, by_total)


@pytest.mark.parametrize("similarity_fct", [cos_sim, euclidean_sim], ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    ("weigh", "weights"),
    [
        (lambda p: p["ApproxNDCG"], (1, 0)),
        (lambda p: p["SoftmaxCrossEntropy"], (0, 1)),
        (lambda p: p["ApproxNDCG"] + 2 * p["SoftmaxCrossEntropy"] ** 2, (1, "squared")),
    ],
    ids=["first", "second", "other_weights"],
)
def test_each_part_has_its_own_gradient(weigh, weights, similarity_fct):
    embeddings, parts = mixture_of(ApproxNDCG() + SoftmaxCrossEntropy(), similarity_fct=similarity_fct, block_size=4)
    found = torch.cat(torch.autograd.grad(weigh(parts), embeddings))
    expected = 0
    for weight, objective in zip(weights, (ApproxNDCG(), SoftmaxCrossEntropy()), strict=True):
        embeddings, single = mixture_of(objective, similarity_fct=similarity_fct)
        single = 2 * single**2 if weight == "squared" else weight * single
        expected = expected + torch.cat(torch.autograd.grad(single, embeddings))
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(found, expected)


def test_parts_that_share_a_draw_have_the_gradients_of_their_sum():
    torch.manual_seed(0)
    embeddings, parts = mixture_of(Perturbed(ApproxNDCG(), samples=2) + Focal(Perturbed(InfoNCE() + DCL())))
    total = torch.cat(torch.autograd.grad(parts.total(), embeddings, retain_graph=True))
    each = [torch.cat(torch.autograd.grad(part, embeddings, retain_graph=True)) for part in parts.values()]
    assert len(each) == 3
    assert all(gradient.abs().max() > 1e-6 for gradient in each)
    torch.testing.assert_close(sum(each), total)


def scalar_and_parts():
    """A loss of two terms, as a number and in parts, of one parameter."""
    x = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    return x, 3 * x + x**2, LossParts(a=3 * x, b=x**2)


@pytest.mark.parametrize(
    "use",
    {
        "half": lambda loss, x: loss / 2,
        "by_a_tensor": lambda loss, x: loss / torch.tensor(4.0) * torch.tensor(3.0),
        "from_the_left": lambda loss, x: torch.tensor(2.0) * loss,
        "by_numpy": lambda loss, x: np.float64(0.5) * loss,
        "negative": lambda loss, x: -loss,
        "plus_a_tensor": lambda loss, x: loss + x**3,
        "tensor_plus": lambda loss, x: x**3 + loss,
        "plus_two_tensors": lambda loss, x: loss + x**3 + 2 * x,
        "minus_a_tensor": lambda loss, x: loss - x**3,
        "tensor_minus": lambda loss, x: x**3 - loss,
        "minus_a_number": lambda loss, x: 1.5 - (loss - 2.0),
        "twice": lambda loss, x: loss + loss - 3 * loss,
        "sum": lambda loss, x: sum([loss, loss]),
        "in_place": lambda loss, x: iadd(iadd(0.0, 2.0 * loss), loss),
        "into_a_tensor": lambda loss, x: iadd(x**2, loss),
    }.items(),
    ids=lambda named: named[0],
)
def test_parts_calculate_as_their_sum_does(use):
    x, scalar, parts = scalar_and_parts()
    expected, found = use[1](scalar, x), use[1](parts, x)
    assert isinstance(found, LossParts)
    assert float(found) == found.item() == pytest.approx(expected.item())
    (wanted,) = torch.autograd.grad(expected, x, retain_graph=True)
    assert torch.autograd.grad(torch.stack(list(found.values())).sum(), x)[0].item() == pytest.approx(wanted.item())


def test_parts_let_go_of_their_gradients_and_send_them_back_scaled():
    x, _, parts = scalar_and_parts()
    assert not any(part.requires_grad for part in parts.detach().values())
    assert parts.detach().item() == parts.item() == 10.0
    parts.backward(torch.tensor(2.0, dtype=torch.float64))
    assert x.grad.item() == 2 * (3 + 2 * 2)


def test_a_mixture_of_one_term_has_the_value_and_gradient_of_the_scaled_loss():
    embeddings, parts = mixture_of(3 * ApproxNDCG())
    ndcg = ANDCGLoss(Passing(), relevance=Pairs())(columns_of(embeddings))
    assert parts.total().item() == pytest.approx(3 * ndcg.item())
    found = torch.autograd.grad(parts.total(), embeddings)
    expected = torch.autograd.grad(3 * ndcg, embeddings)
    assert expected[0].abs().max() > 1e-3
    torch.testing.assert_close(found, expected)


def test_parts_of_a_batch_without_relevance_are_zero():
    embeddings = random_columns([3, 3])
    loss = RankingLoss(Passing(), objective=ApproxNDCG() + SoftmaxCrossEntropy(), relevance=Pairs())
    with pytest.warns(UserWarning, match="No query of this batch"):
        parts = loss(columns_of(embeddings), torch.zeros(3))
    assert values(parts) == {"ApproxNDCG": 0.0, "SoftmaxCrossEntropy": 0.0}
    assert not math.isnan(parts.total().item())
