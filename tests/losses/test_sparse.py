"""Losses over sparse embeddings: the dot product, the losses of sentence-transformers, caching, the trainer."""

from __future__ import annotations

import functools

import pytest
import torch
from datasets import Dataset
from sentence_transformers import SparseEncoderTrainer, SparseEncoderTrainingArguments
from sentence_transformers.base.losses import column_merging_disabled
from sentence_transformers.sparse_encoder.losses import CachedSpladeLoss, SparseMultipleNegativesRankingLoss, SpladeLoss
from sentence_transformers.util import cos_sim, dot_score

from st_rankloss import (
    ANDCGLoss,
    ApproxNDCG,
    CachedANDCGLoss,
    CachedRankingLoss,
    RankingLoss,
    SoftmaxCrossEntropy,
)
from st_rankloss.relevance import Pairs
from tests.losses.test_multi_vector import TOPICS, TRAINED, WORDS, batches, gradient
from tests.losses.test_objectives import total
from tests.losses.test_ranking import dots, plain_cross_entropy, plain_loss
from tests.models import tiny_splade

ROWS = 6


@pytest.fixture(scope="module")
def splade(tmp_path_factory):
    torch.manual_seed(0)
    return tiny_splade(tmp_path_factory.mktemp("splade"), WORDS, dropout=0.0)


def features_of(model, columns=3):
    return batches(model, columns)["pairs"][0]


def embeddings_of(model, features):
    return [model(dict(column))["sentence_embedding"] for column in features]


def test_the_similarity_is_the_dot_product_unless_another_is_passed(splade):
    assert RankingLoss(splade).similarity_fct is dot_score
    assert RankingLoss(torch.compile(splade)).similarity_fct is dot_score
    assert CachedANDCGLoss(splade, similarity_fct=cos_sim).similarity_fct is cos_sim


@pytest.mark.parametrize("symmetric", [False, True])
def test_the_loss_is_that_of_the_whole_matrix_of_dot_products(splade, symmetric):
    found = RankingLoss(splade, objective=SoftmaxCrossEntropy(2.0), relevance=Pairs(), symmetric=symmetric)
    value = found(features_of(splade))
    queries, *documents = embeddings_of(splade, features_of(splade))
    rows = [[float(q == d) for d in range(2 * ROWS)] for q in range(ROWS)]
    of_query = functools.partial(plain_cross_entropy, temperature=2.0)
    wanted = plain_loss([queries, torch.cat(documents)], rows, dots, of_query)
    if symmetric:
        back = plain_loss([torch.cat(documents), queries], [*zip(*rows, strict=True)], dots, of_query)
        wanted = (wanted + back) / 2
    assert value.item() == pytest.approx(wanted.item(), rel=1e-5)
    expected = gradient(wanted, splade)
    assert expected.norm() > 1e-3
    assert (gradient(value, splade) - expected).norm() <= 1e-5 * expected.norm()


@pytest.mark.parametrize("make", [RankingLoss, functools.partial(CachedRankingLoss, mini_batch_size=4)])
@pytest.mark.parametrize("columns", [2, 3, 4])
def test_softmax_is_multiple_negatives_ranking(splade, columns, make):
    ours = make(splade, objective=SoftmaxCrossEntropy(0.5), relevance=Pairs())(features_of(splade, columns))
    found = gradient(ours, splade)
    embeddings = embeddings_of(splade, features_of(splade, columns))
    theirs = SparseMultipleNegativesRankingLoss(splade, scale=2.0).compute_loss_from_embeddings(embeddings, None)
    wanted = gradient(theirs, splade)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    assert (found - wanted).norm() <= 1e-5 * wanted.norm()


@pytest.mark.parametrize("name", ["lists", "qrels", "pairs", "classes"])
@pytest.mark.parametrize(
    "sizes",
    [{"mini_batch_size": 1}, {"mini_batch_size": 3}, {"mini_batch_size": 50}, {"mini_batch_num_tokens": 7}],
    ids=str,
)
def test_cached_is_plain(splade, name, sizes):
    features, labels, relevance = batches(splade)[name]
    objective = ApproxNDCG() + 0.2 * SoftmaxCrossEntropy()
    plain = total(RankingLoss(splade, objective=objective, relevance=relevance)(features, labels))
    wanted = gradient(plain, splade)
    cached = CachedRankingLoss(splade, objective, relevance, **sizes)(batches(splade)[name][0], labels)
    assert cached.item() == pytest.approx(plain.item(), rel=1e-6)
    assert wanted.norm() > 1e-3
    assert (gradient(cached, splade) - wanted).norm() <= 2e-6 * wanted.norm()


def test_columns_in_one_pass_are_those_in_passes_of_their_own(splade):
    loss = ANDCGLoss(splade, relevance=Pairs())
    together = loss(features_of(splade))
    wanted = gradient(together, splade)
    with column_merging_disabled():
        apart = loss(features_of(splade))
    assert apart.item() == pytest.approx(together.item(), rel=1e-5)
    assert (gradient(apart, splade) - wanted).norm() <= 1e-5 * wanted.norm()
    assert wanted.norm() > 1e-4


def test_bf16_autocast_gives_nearly_the_loss_and_gradient_of_float32(splade):
    loss = ANDCGLoss(splade, relevance=Pairs(), temperature=1.0)
    full = loss(features_of(splade))
    wanted = gradient(full, splade)
    with torch.autocast("cpu", torch.bfloat16):
        cast = loss(features_of(splade))
    found = gradient(cast, splade)
    assert cast.dtype == torch.float32
    assert cast.item() == pytest.approx(full.item(), abs=0.02)
    assert torch.cosine_similarity(found, wanted, dim=0) > 0.97


@pytest.mark.parametrize(
    ("name", "wrap", "make"),
    [
        ("pairs", SpladeLoss, ANDCGLoss),
        ("negatives", SpladeLoss, functools.partial(CachedANDCGLoss, mini_batch_size=5)),
        ("grades", functools.partial(CachedSpladeLoss, mini_batch_size=5), ANDCGLoss),
    ],
)
def test_the_trainer_lowers_the_loss_and_regularises(name, wrap, make, tmp_path):
    more, relevance = TRAINED[name]
    columns = {
        "query": [f"w{topic} w{14 + row % 5}" for row, topic in enumerate(TOPICS)],
        "document": [f"w{6 + topic} w{19 + row % 5}" for row, topic in enumerate(TOPICS)],
    }
    torch.manual_seed(0)
    model = tiny_splade(tmp_path / "model", WORDS)
    args = SparseEncoderTrainingArguments(
        str(tmp_path / "run"),
        per_device_train_batch_size=12,
        max_steps=12,
        learning_rate=1e-2,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    loss = wrap(
        model, make(model, relevance=relevance), document_regularizer_weight=1e-2, query_regularizer_weight=1e-2
    )
    data = Dataset.from_dict(columns | more)
    trainer = SparseEncoderTrainer(model=model, args=args, train_dataset=data, loss=loss)
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert sum(entry["base_loss"] for entry in logs[-3:]) < sum(entry["base_loss"] for entry in logs[:3]) - 0.1
    assert logs[-1]["document_regularizer_loss"] > logs[0]["document_regularizer_loss"] == 0  # its weight rises from 0
