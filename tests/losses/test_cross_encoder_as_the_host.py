"""The loss for cross-encoders against those of sentence-transformers, where both define the same objective.

Three differences are left out by the choice of lists: those of sentence-transformers average over pairs or documents of
the batch instead of queries (equal for lists of one length), they keep queries whose documents are equally relevant,
and their ListMLE and LambdaLoss sum what ours averages, or the other way round, which is a factor.
"""

from __future__ import annotations

import math

import pytest
import torch
from datasets import Dataset
from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments, losses
from torch import nn

from st_rankloss import CachedCrossEncoderRankingLoss, CrossEncoderRankingLoss, SoftmaxCrossEntropy
from st_rankloss.diagnostics import RankingDiagnostics
from st_rankloss.losses import LossParts
from st_rankloss.objectives import ApproxNDCG, ApproxRankMSE, LambdaLoss, ListNet, MarginMSE, PlackettLuce, RankNet
from st_rankloss.relevance import Classes
from tests import oracle
from tests.models import tiny_cross_encoder

WORDS = [f"w{i}" for i in range(40)]
QUERIES = [f"w{i} w{i + 1}" for i in range(4)]
LISTS = [[" ".join(WORDS[i + j : i + j + 2 + j % 3]) for j in range(5)] for i in range(0, 12, 3)]
GRADES = [torch.tensor(row).float() for row in ([2, 0, 4, 1, 3], [0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [1, 4, 0, 3, 2])]
RAGGED = [LISTS[0], LISTS[1][:2], LISTS[2][:4], LISTS[3][:3]]
RAGGED_GRADES = [torch.tensor(row) for row in ([2, 0, 4, 2, 0], [0, 1], [1, 1, 0, 1], [0, 0, 2])]
PAIRS = 10  # of five documents
BINARY = 1 / math.log(2)


def spread_cross_encoder(folder):
    """A cross-encoder whose scores differ by more than bfloat16 rounds."""
    torch.manual_seed(0)
    model = tiny_cross_encoder(folder, WORDS)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    return model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return spread_cross_encoder(tmp_path_factory.mktemp("model")).double()


def value_and_gradient(loss, model, *batch):
    model.zero_grad()
    value = loss(*batch)
    value = value.total() if isinstance(value, LossParts) else value
    value.backward()
    return value.item(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


CASES = {
    "RankNet": (RankNet(1.0), losses.RankNetLoss, {}, BINARY),
    "RankNet, natural logarithm": (RankNet(0.5), losses.RankNetLoss, {"reduction_log": "natural", "sigma": 2.0}, 1),
    "LambdaLoss, NDCG-Loss2++": (LambdaLoss(1.0, gain="exponential"), losses.LambdaLoss, {}, 1 / PAIRS),
    "LambdaLoss, LambdaRank": (
        LambdaLoss(1.0, gain="exponential", mu=0.0),
        losses.LambdaLoss,
        {"weighting_scheme": losses.LambdaRankScheme()},
        1 / PAIRS,
    ),
    "ADR-MSE": (ApproxRankMSE(1.0), losses.ADRMSELoss, {}, 1),
    "ADR-MSE, steeper": (ApproxRankMSE(0.2), losses.ADRMSELoss, {"alpha": 5.0}, 1),
    "ListMLE": (PlackettLuce(1.0), losses.ListMLELoss, {"respect_input_order": False}, 4),
}


@pytest.mark.parametrize("make", [CrossEncoderRankingLoss, CachedCrossEncoderRankingLoss])
@pytest.mark.parametrize("name", CASES)
def test_lists_of_one_length_train_as_there(model, name, make):
    objective, theirs, options, factor = CASES[name]
    expected, wanted = value_and_gradient(theirs(model, **options), model, [QUERIES, LISTS], GRADES)
    loss = make(model, objective=objective, mini_batch_size=3)
    found, gradient = value_and_gradient(loss, model, [QUERIES, LISTS], GRADES)
    assert factor * found == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(factor * gradient, wanted, rtol=1e-4, atol=1e-5 * wanted.abs().max().item())


def test_list_net_of_ragged_lists_differs_by_the_entropy_of_the_grades(model):
    theirs = losses.ListNetLoss(model)
    expected, wanted = value_and_gradient(theirs, model, [QUERIES, RAGGED], RAGGED_GRADES)
    loss = CrossEncoderRankingLoss(model, objective=ListNet(1.0, label_temperature=1.0))
    found, gradient = value_and_gradient(loss, model, [QUERIES, RAGGED], RAGGED_GRADES)
    shares = [grades.float().softmax(0) for grades in RAGGED_GRADES]
    entropy = sum(-(share * share.log()).sum().item() for share in shares) / len(shares)
    assert found + entropy == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-5 * wanted.abs().max().item())


def test_margins_of_two_documents_train_as_there(tmp_path):
    model = spread_cross_encoder(tmp_path)
    columns = [QUERIES, [row[0] for row in LISTS], [row[1] for row in LISTS]]
    scores = [torch.tensor([4.0, 1.0]), torch.tensor([2.5, 2.0]), torch.tensor([0.0, 3.0]), torch.tensor([1.0, 0.5])]
    expected, wanted = value_and_gradient(losses.MarginMSELoss(model), model, columns, scores)
    loss = CrossEncoderRankingLoss(model, objective=MarginMSE())
    found, gradient = value_and_gradient(loss, model, columns, scores)
    assert found == pytest.approx(expected, rel=1e-4)
    torch.testing.assert_close(gradient, wanted, rtol=1e-3, atol=1e-5 * wanted.abs().max().item())


@pytest.mark.parametrize("negatives", [None, 1, 4])
@pytest.mark.parametrize("columns", [2, 3])
@pytest.mark.parametrize(
    ("make", "theirs"),
    [
        (CrossEncoderRankingLoss, losses.MultipleNegativesRankingLoss),
        (CachedCrossEncoderRankingLoss, losses.CachedMultipleNegativesRankingLoss),
    ],
)
def test_multiple_negatives_draws_and_trains_as_there(model, make, theirs, columns, negatives):
    batch = [QUERIES, *([row[place] for row in LISTS] for place in range(columns - 1))]
    torch.manual_seed(5)
    expected, wanted = value_and_gradient(theirs(model, num_negatives=negatives), model, batch, None)
    torch.manual_seed(5)
    objective = SoftmaxCrossEntropy(temperature=0.1)
    loss = make(model, objective=objective, num_negatives=negatives, activation_fn=nn.Sigmoid())
    found, gradient = value_and_gradient(loss, model, batch)
    assert found == pytest.approx(expected, rel=1e-6)
    torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-5 * wanted.abs().max().item())


def test_caching_replays_dropout(tmp_path):
    torch.manual_seed(0)
    model = tiny_cross_encoder(tmp_path, WORDS, dropout=0.3).train()
    found = []
    for make in (CrossEncoderRankingLoss, CachedCrossEncoderRankingLoss):
        torch.manual_seed(4)
        loss = make(model, objective=RankNet(1.0), mini_batch_size=4)
        found.append(value_and_gradient(loss, model, [QUERIES, RAGGED], RAGGED_GRADES))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-4, atol=1e-6)
    model.eval()
    assert value_and_gradient(loss, model, [QUERIES, RAGGED], RAGGED_GRADES)[0] != pytest.approx(found[0][0])


@pytest.mark.parametrize("make", [CrossEncoderRankingLoss, CachedCrossEncoderRankingLoss])
def test_bfloat16_is_compared_in_float32(tmp_path, make):
    model = spread_cross_encoder(tmp_path)
    loss = make(model, objective=RankNet(1.0))
    exact, gradient = value_and_gradient(loss, model, [QUERIES, RAGGED], RAGGED_GRADES)
    with torch.autocast("cpu", torch.bfloat16):
        model.zero_grad()
        value = loss([QUERIES, RAGGED], RAGGED_GRADES)
    value.backward()
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(exact, rel=1e-2)
    half = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    assert torch.cosine_similarity(half, gradient, dim=0) > 0.99


def test_the_prompt_reaches_the_model(model):
    loss = CrossEncoderRankingLoss(model, objective=RankNet(1.0))
    plain = loss([QUERIES, RAGGED], RAGGED_GRADES).item()
    assert loss([QUERIES, RAGGED], RAGGED_GRADES, prompt="w30 w31 ").item() != plain
    assert loss([QUERIES, RAGGED], RAGGED_GRADES, prompt=None, task=None).item() == plain


def mean_ndcg(model, queries, documents, grades):
    pairs = [(query, text) for query, texts in zip(queries, documents, strict=True) for text in texts]
    scores = iter(model.predict(pairs, batch_size=256, show_progress_bar=False).tolist())
    return sum(oracle.ndcg([next(scores) for _ in row], row) for row in grades) / len(grades)


@pytest.mark.parametrize("make", [CrossEncoderRankingLoss, CachedCrossEncoderRankingLoss])
def test_training_in_the_hosts_list_format_raises_ndcg(tmp_path, make):
    torch.manual_seed(0)
    draw = torch.Generator().manual_seed(3)
    model = tiny_cross_encoder(tmp_path / "model", WORDS, dropout=0.0)
    queries = [f"w{i % 8}" for i in range(32)]
    # A document is as relevant as it has words of the last ten.
    words = [torch.randint(10, 40, (3 + i % 3, 4), generator=draw).tolist() for i in range(32)]
    documents = [[" ".join(f"w{word}" for word in text) for text in row] for row in words]
    grades = [[sum(word >= 30 for word in text) for text in row] for row in words]
    grades = [[1, *row[1:]] if not any(row) else row for row in grades]
    before = mean_ndcg(model, queries, documents, grades)
    loss = make(model, mini_batch_size=16)
    args = CrossEncoderTrainingArguments(
        str(tmp_path / "run"),
        per_device_train_batch_size=8,
        num_train_epochs=4,
        learning_rate=3e-3,
        logging_steps=8,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    dataset = Dataset.from_dict({"query": queries, "documents": documents, "labels": grades})
    trainer = CrossEncoderTrainer(
        model=model, args=args, train_dataset=dataset, loss=loss, callbacks=[RankingDiagnostics(loss)]
    )
    trainer.train()
    assert mean_ndcg(model, queries, documents, grades) > max(0.97, before + 0.05)
    logged = [entry for entry in trainer.state.log_history if "queries_with_relevance" in entry]
    assert logged
    assert logged[0]["temperature_over_spread"] == pytest.approx(0.5)
    assert "effective_rank" not in logged[0]


def test_classes_of_one_column_train_through_the_hosts_trainer(tmp_path):
    torch.manual_seed(0)
    model = tiny_cross_encoder(tmp_path / "model", WORDS)
    objective = ApproxNDCG(temperature="auto") + 0.2 * SoftmaxCrossEntropy(temperature=1.0)
    loss = CrossEncoderRankingLoss(model, objective=objective, relevance=Classes())
    args = CrossEncoderTrainingArguments(
        str(tmp_path / "run"),
        per_device_train_batch_size=6,
        max_steps=2,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    dataset = Dataset.from_dict({"text": WORDS[:12], "label": [i % 3 for i in range(12)]})
    trainer = CrossEncoderTrainer(model=model, args=args, train_dataset=dataset, loss=loss)
    trainer.train()
    assert {"ApproxNDCG", "SoftmaxCrossEntropy"} <= trainer.state.log_history[0].keys()
