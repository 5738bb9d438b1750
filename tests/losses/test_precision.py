"""Half precision: losses are computed in float32 whatever autocast or the embeddings say."""

from __future__ import annotations

import math

import pytest
import torch
from sentence_transformers.util import cos_sim, dot_score

from st_rankloss import ANDCGLoss, ApproxNDCG, RankingLoss, SoftmaxCrossEntropy
from st_rankloss.relevance import Classes, Numeric, Vectors
from tests.models import Passing, columns_of, random_columns, tiny_bert

OBJECTIVES = [ApproxNDCG(), SoftmaxCrossEntropy(), ApproxNDCG() + SoftmaxCrossEntropy()]
every_objective = pytest.mark.parametrize("objective", OBJECTIVES, ids=["ndcg", "cross_entropy", "mixture"])
CLASSES = torch.arange(24) // 3


def value_and_gradient(loss, embeddings, labels):
    value = loss(columns_of(embeddings), labels)
    value = value.total() if isinstance(value, dict) else value
    gradient = torch.autograd.grad(value, embeddings)
    assert all(g.abs().max() > 0 for g in gradient)
    return value, gradient


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("similarity_fct", [cos_sim, dot_score, lambda q, d: cos_sim(q, d)], ids=["cos", "dot", "own"])
@every_objective
def test_half_embeddings_are_computed_in_float32(objective, similarity_fct, dtype):
    halves = [e.detach().to(dtype).requires_grad_() for e in random_columns([24, 24])]
    floats = [e.detach().float().requires_grad_() for e in halves]
    loss = RankingLoss(Passing(), objective=objective, relevance=Classes(), similarity_fct=similarity_fct)
    half, half_gradient = value_and_gradient(loss, halves, CLASSES)
    full, full_gradient = value_and_gradient(loss, floats, CLASSES)
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(full.item(), rel=1e-5)
    for found, expected in zip(half_gradient, full_gradient, strict=True):
        assert found.dtype == dtype
        assert (found.float() - expected).abs().max() <= torch.finfo(dtype).eps * expected.abs().max()


@pytest.mark.parametrize("relevance", [Classes(), Vectors(), Numeric()], ids=repr)
@pytest.mark.parametrize("similarity_fct", [cos_sim, dot_score, lambda q, d: q @ d.T], ids=["cos", "dot", "own"])
@every_objective
def test_autocast_changes_nothing_once_embeddings_are_there(objective, similarity_fct, relevance):
    embeddings = random_columns([24, 24], dtype=torch.float32)
    labels = torch.randn(24, 4) if isinstance(relevance, Vectors) else CLASSES
    loss = RankingLoss(Passing(), objective=objective, relevance=relevance, similarity_fct=similarity_fct)
    full, full_gradient = value_and_gradient(loss, embeddings, labels)
    with torch.autocast("cpu", torch.bfloat16):
        cast, cast_gradient = value_and_gradient(loss, embeddings, labels)
    assert cast.dtype == torch.float32
    assert cast.item() == full.item()
    for found, expected in zip(cast_gradient, full_gradient, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_a_model_under_bf16_autocast_gives_nearly_the_loss_and_gradient_of_float32(tmp_path):
    words = [f"w{i}" for i in range(30)]
    model = tiny_bert(tmp_path, words, dropout=0.0)
    texts = [f"w{i % 30} w{7 * i % 30} w{i // 3}" for i in range(24)]
    loss = ANDCGLoss(model, relevance=Classes(), temperature=0.2)

    def run():
        model.zero_grad()
        value = loss([dict(model.preprocess(texts))], CLASSES)
        value.backward()
        return value, torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    full, full_gradient = run()
    with torch.autocast("cpu", torch.bfloat16):
        cast, cast_gradient = run()
    assert full_gradient.norm() > 1e-3
    assert cast.item() == pytest.approx(full.item(), abs=0.02)
    assert torch.cosine_similarity(cast_gradient, full_gradient, dim=0) > 0.98


def test_large_half_embeddings_do_not_overflow_in_the_norm():
    large = [(1e4 * e.detach()).to(torch.float16).requires_grad_() for e in random_columns([24, 24])]
    floats = [e.detach().float() for e in large]
    loss = ANDCGLoss(Passing(), relevance=Classes())
    value = loss(columns_of(large), CLASSES)
    assert value.item() == pytest.approx(loss(columns_of(floats), CLASSES).item(), rel=1e-5)


@pytest.mark.parametrize("similarity_fct", [cos_sim, dot_score], ids=lambda f: f.__name__)
def test_embeddings_of_zero_give_finite_values_and_gradients(similarity_fct):
    embeddings = [torch.zeros(6, 4, requires_grad=True), torch.randn(6, 4, requires_grad=True)]
    value = ANDCGLoss(Passing(), similarity_fct=similarity_fct)(columns_of(embeddings))
    gradient = torch.autograd.grad(value, embeddings)
    assert math.isfinite(value.item())
    assert all(g.isfinite().all() for g in gradient)
    assert gradient[0].abs().max() > 0


def test_the_check_of_embeddings_can_be_switched_off_and_the_objective_still_refuses_nan():
    embeddings = [e.detach() for e in random_columns([4, 4])]
    embeddings[0][0, 0] = math.nan
    with pytest.raises(ValueError, match="embeddings must be finite, got nan"):
        ANDCGLoss(Passing(), check_embeddings=True)(columns_of(embeddings))
    with pytest.raises(ValueError, match="similarity must be finite, got nan"):
        ANDCGLoss(Passing(), check_embeddings=False)(columns_of(embeddings))
