"""The losses inside MatryoshkaLoss: the sum of the losses of the shortened embeddings."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss

from st_rankloss import ANDCGLoss, ApproxNDCG, RankingCollator, RankingLoss, SoftmaxCrossEntropy
from st_rankloss.relevance import Classes, Hierarchy, Numeric, Vectors
from tests.models import Passing, columns_of, word_model

WORDS = [f"w{i}" for i in range(30)]
DIMS, WEIGHTS = (16, 8, 3), (1.0, 0.5, 2.0)


def texts(rows, shift):
    return [f"w{(3 * row + shift) % 30} w{(7 * row + shift) % 30}" for row in range(rows)]


def pair_rows(rows=10):
    return [{"query": q, "document": d} for q, d in zip(texts(rows, 0), texts(rows, 5), strict=True)]


def list_rows():
    lengths = [1, 3, 2, 4, 1]
    return [
        {"query": text, "documents": texts(length, row), "labels": [float(i % 3) for i in range(length)]}
        for row, (text, length) in enumerate(zip(texts(5, 1), lengths, strict=True))
    ]


def labelled_rows(label, rows=12):
    return [{"text": text, "label": label(row)} for row, text in enumerate(texts(rows, 2))]


CASES = {
    "pairs": (pair_rows(), lambda model: ANDCGLoss(model)),
    "classes": (labelled_rows(lambda row: row % 3), lambda model: ANDCGLoss(model, relevance=Classes())),
    "levels": (labelled_rows(lambda row: [row % 2, row % 4]), lambda model: ANDCGLoss(model, relevance=Hierarchy())),
    "lists": (list_rows(), lambda model: ANDCGLoss(model)),
    "mixture": (pair_rows(), lambda model: RankingLoss(model, objective=ApproxNDCG() + 0.2 * SoftmaxCrossEntropy())),
    "mixture_of_lists": (
        list_rows(),
        lambda model: RankingLoss(model, objective=ApproxNDCG() + 0.2 * SoftmaxCrossEntropy()),
    ),
    "symmetric": (pair_rows(), lambda model: ANDCGLoss(model, symmetric=True, block_size=3)),
    "labels_as_wide_as_embeddings": (
        labelled_rows(lambda row: [float((row * i) % 5 - 2) for i in range(16)]),
        lambda model: ANDCGLoss(model, relevance=Vectors()),
    ),
    "numbers_as_wide_as_embeddings": (
        labelled_rows(lambda row: [float((row * i) % 5) for i in range(16)]),
        lambda model: ANDCGLoss(model, relevance=Numeric()),
    ),
}


def collect(batch):
    """What the trainer hands to a loss."""
    prefixes = [key.removesuffix("input_ids") for key in batch if key.endswith("_input_ids")]
    return [{k.removeprefix(p): v for k, v in batch.items() if k.startswith(p)} for p in prefixes], batch.get("label")


def total_of(loss):
    return loss.total() if isinstance(loss, dict) else loss


@pytest.mark.parametrize("name", CASES)
def test_it_is_the_weighted_sum_of_the_losses_of_shortened_embeddings(name):
    rows, make = CASES[name]
    model = word_model(WORDS)
    (weight,) = model.parameters()
    features, labels = collect(RankingCollator(model.preprocess)(rows))

    value = MatryoshkaLoss(model, make(model), DIMS, WEIGHTS)(features, labels)
    (found,) = torch.autograd.grad(total_of(value), weight)

    by_hand = 0
    for dim, factor in zip(DIMS, WEIGHTS, strict=True):
        shortened = [F.normalize(model(dict(f))["sentence_embedding"][:, :dim], dim=-1) for f in features]
        by_hand = by_hand + factor * total_of(make(Passing())(columns_of(shortened), labels))
    (expected,) = torch.autograd.grad(by_hand, weight)

    assert expected.abs().max() > 1e-4
    assert total_of(value).item() == pytest.approx(by_hand.item(), rel=1e-5)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_the_parts_of_a_mixture_keep_their_names():
    model = word_model(WORDS)
    features, labels = collect(RankingCollator(model.preprocess)(pair_rows()))
    parts = MatryoshkaLoss(model, CASES["mixture"][1](model), DIMS)(features, labels)
    assert list(parts) == ["ApproxNDCG", "SoftmaxCrossEntropy"]


def test_one_random_dimension_a_step_works_too():
    model = word_model(WORDS)
    features, labels = collect(RankingCollator(model.preprocess)(list_rows()))
    loss = MatryoshkaLoss(model, ANDCGLoss(model), DIMS, n_dims_per_step=1)
    loss(features, labels).backward()
    (weight,) = model.parameters()
    assert weight.grad.abs().max() > 0


def test_the_settings_of_the_wrapped_loss_are_named():
    model = word_model(WORDS)
    assert MatryoshkaLoss(model, ANDCGLoss(model), DIMS).get_config_dict()["loss"] == "ANDCGLoss"
