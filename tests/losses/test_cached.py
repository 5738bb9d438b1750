"""Cached losses: the uncached loss's values and gradients, with the memory of a mini-batch."""

from __future__ import annotations

import copy

import pytest
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss
from torch import nn

from st_rankloss import ANDCGLoss, ApproxNDCG, RankingCollator, RankingLoss, RankingTrainer, SoftmaxCrossEntropy
from st_rankloss.losses import CachedANDCGLoss, CachedRankingLoss, EmbeddingMixup
from st_rankloss.relevance import Classes, Lists
from tests.distributed import trainings as trained_in_processes
from tests.models import SHAPES, Passing, cached_tolerance, columns_of, random_columns, tiny_bert, word_model

MIXTURE = ApproxNDCG() + 0.2 * SoftmaxCrossEntropy()
WORDS = trained_in_processes.WORDS


class Recording(nn.Module):
    """An encoder that notes how many rows it is given at a time, and with what gradient mode."""

    def __init__(self, model):
        super().__init__()
        self.model, self.rows = model, []
        self.preprocess = model.preprocess

    def forward(self, features):
        self.rows.append((len(features["input_ids"]), torch.is_grad_enabled()))
        return self.model(features)

    def __getitem__(self, place):
        return self.model[place]


def gradients_of(loss, parameters):
    (loss.total() if hasattr(loss, "total") else loss).backward()
    found = [p.grad.clone() for p in parameters if p.grad is not None]
    for p in parameters:
        p.grad = None
    return found


@pytest.mark.parametrize("mini_batch_size", [1, 5, 12, 100])
@pytest.mark.parametrize("shape", SHAPES, ids=repr)
def test_every_relevance_has_the_uncached_value_and_gradient(shape, mini_batch_size):
    embeddings = random_columns(shape.sizes)
    plain = ANDCGLoss(Passing(), relevance=shape.relevance)(columns_of(embeddings), shape.labels)
    cached = CachedANDCGLoss(Passing(), relevance=shape.relevance, mini_batch_size=mini_batch_size)(
        columns_of(embeddings), shape.labels
    )
    assert cached.item() == pytest.approx(plain.item(), rel=1e-12)
    expected = gradients_of(plain, embeddings)
    for found, wanted in zip(gradients_of(cached, embeddings), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=cached_tolerance(), atol=1e-14)


def flat_gradient(loss, model):
    return torch.cat([gradient.flatten() for gradient in gradients_of(loss, list(model.parameters()))])


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    torch.manual_seed(0)
    return tiny_bert(tmp_path_factory.mktemp("bert"), WORDS).eval()


def batch_of(bert, columns):
    """Features and labels as the trainer makes them of a dataset's first rows."""
    rows = Dataset.from_dict(columns).select(range(24)).to_list()
    batch = RankingCollator(preprocess_fn=bert.preprocess)(rows)
    names = [key.removesuffix("_input_ids") for key in batch if key.endswith("_input_ids")]
    features = [{k.removeprefix(f"{n}_"): v for k, v in batch.items() if k.startswith(f"{n}_")} for n in names]
    return features, batch.get("label")


@pytest.mark.parametrize("sizes", [{"mini_batch_size": 5}, {"mini_batch_num_tokens": 20}], ids=str)
@pytest.mark.parametrize("case", [name for name in trained_in_processes.cases() if name != "apart"])
def test_an_encoder_gets_the_uncached_gradient_in_float32(bert, case, sizes):
    columns, relevance, options = trained_in_processes.cases()[case]
    features, labels = batch_of(bert, columns)
    plain = ANDCGLoss(bert, relevance=relevance, **options)(features, labels)
    cached = CachedANDCGLoss(bert, relevance=relevance, **options, **sizes)(features, labels)
    assert cached.item() == pytest.approx(plain.item(), rel=1e-6)
    expected, found = (
        torch.cat([g.flatten() for g in gradients_of(x, list(bert.parameters()))]) for x in (plain, cached)
    )
    assert (found - expected).norm() <= 1e-6 * expected.norm()


def test_a_mini_batch_is_all_that_is_embedded_at_once(bert):
    columns, relevance, _ = trained_in_processes.cases()["lists"]
    features, labels = batch_of(bert, columns)
    model = Recording(bert)
    CachedANDCGLoss(model, relevance=relevance, mini_batch_size=7)(features, labels).backward()
    documents = int(labels["list_sizes"].sum())
    first = [min(7, n - at) for n in (24, documents) for at in range(0, n, 7)]
    assert model.rows == [(n, False) for n in first] + [(n, True) for n in first]
    model.rows.clear()
    CachedANDCGLoss(model, relevance=relevance, mini_batch_num_tokens=12)(features, labels)
    assert max(n for n, _ in model.rows) <= 4 < len(model.rows)  # texts of at least three words


def test_a_mixture_is_the_sum_of_its_terms():
    embeddings = random_columns([8, 8])
    plain = RankingLoss(Passing(), objective=MIXTURE)(columns_of(embeddings))
    cached = CachedRankingLoss(Passing(), objective=MIXTURE, mini_batch_size=3)(columns_of(embeddings))
    assert cached.item() == pytest.approx(plain.total().item(), rel=1e-12)
    expected = gradients_of(plain, embeddings)
    for found, wanted in zip(gradients_of(2 * cached, embeddings), expected, strict=True):
        torch.testing.assert_close(found, 2 * wanted, rtol=cached_tolerance(), atol=1e-14)


def test_evaluation_needs_no_gradient():
    embeddings = random_columns([8, 8])
    with torch.no_grad():
        cached = CachedANDCGLoss(Passing(), mini_batch_size=3)(columns_of(embeddings))
        plain = ANDCGLoss(Passing())(columns_of(embeddings))
    assert not cached.requires_grad
    assert cached.item() == pytest.approx(plain.item(), rel=1e-12)


@pytest.mark.parametrize("objective", [None, MIXTURE], ids=["ndcg", "mixture"])
def test_inside_matryoshka_loss(bert, objective):
    features, labels = batch_of(bert, trained_in_processes.cases()["lists"][0])
    model = copy.deepcopy(bert).double()
    found = []
    for loss in (
        RankingLoss(model, objective=objective),
        CachedRankingLoss(model, objective=objective, mini_batch_size=5),
    ):
        whole = MatryoshkaLoss(model, loss, [32, 16, 8], [1.0, 0.5, 2.0])(features, labels)
        whole = whole.total() if hasattr(whole, "total") else whole
        found.append((whole.item(), flat_gradient(whole, model)))
    (plain, expected), (cached, gradient) = found
    assert cached == pytest.approx(plain, rel=1e-10)
    assert (gradient - expected).norm() <= 10 * cached_tolerance() * expected.norm()


@pytest.mark.parametrize("mixup", [None, EmbeddingMixup()], ids=["plain", "mixup"])
def test_through_the_trainer_with_dropout(tmp_path, mixup):
    model = tiny_bert(tmp_path / "bert", WORDS)
    columns, relevance, _ = trained_in_processes.cases()["lists"]
    args = SentenceTransformerTrainingArguments(
        str(tmp_path / "run"),
        per_device_train_batch_size=20,
        max_steps=12,
        learning_rate=5e-3,
        eval_strategy="steps",
        eval_steps=12,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    dataset = Dataset.from_dict(columns)
    loss = CachedANDCGLoss(model, relevance=relevance, mini_batch_size=6, mixup=mixup)
    trainer = RankingTrainer(model=model, args=args, train_dataset=dataset, eval_dataset=dataset, loss=loss)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    history = trainer.state.log_history
    assert [entry["eval_loss"] for entry in history if "eval_loss" in entry][-1] < before - 0.05
    assert history[-1]["train_loss"] > 0


def test_progress_bar_on_request(capfd):
    embeddings = random_columns([8, 8])
    CachedANDCGLoss(Passing(), mini_batch_size=3)(columns_of(embeddings)).backward()
    assert "Embed mini-batches" not in capfd.readouterr().err
    CachedANDCGLoss(Passing(), mini_batch_size=3, show_progress_bar=True)(columns_of(embeddings)).backward()
    assert "Embed mini-batches" in capfd.readouterr().err


def test_bad_labels_end_before_the_model_runs():
    model = Passing()
    with pytest.raises(ValueError, match="each row needs a grade for each document, got 1 grades for 2"):
        CachedANDCGLoss(model, relevance=Lists())(
            columns_of(random_columns([3, 5])), {"label": torch.ones(3, 1), "list_sizes": torch.tensor([2, 2, 1])}
        )
    assert model.calls == 0


@pytest.mark.parametrize("make", [CachedANDCGLoss, CachedRankingLoss])
def test_a_static_embedding_cannot_be_sliced(make):
    static = word_model(WORDS)
    routed = SentenceTransformer(modules=[Router({"query": [static[0]], "document": [static[0]]})])
    for model in (static, routed):
        with pytest.raises(ValueError, match=f"{make.__name__} needs a model .* use {make.__name__[6:]},"):
            make(model)


@pytest.mark.parametrize("name", ["mini_batch_size", "mini_batch_num_tokens"])
@pytest.mark.parametrize("make", [CachedANDCGLoss, CachedRankingLoss])
def test_sizes_must_be_positive(make, name):
    with pytest.raises(ValueError, match=f"{name} must be an integer of at least 1.*, got 0"):
        make(Passing(), **{name: 0})


def test_settings_reach_the_loss_and_the_model_card():
    loss = CachedANDCGLoss(
        Passing(), relevance=Classes(), temperature=0.1, gain="exponential", k=5, mini_batch_size=8, symmetric=True
    )
    assert loss.objective == ApproxNDCG(temperature=0.1, gain="exponential", k=5)
    card = loss.get_config_dict()
    assert (card["mini_batch_size"], card["mini_batch_num_tokens"], card["symmetric"]) == (8, None, True)
    assert card["relevance"] == "Classes()"
    assert "gu2021representation" in loss.citation
