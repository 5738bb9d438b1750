"""``torch.compile`` of losses, and of a whole training step, changes neither losses nor gradients."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from torch import nn
from transformers import set_seed

from st_rankloss import ANDCGLoss, CachedANDCGLoss, CrossEncoderRankingLoss, RankingLoss, RankingTrainer
from st_rankloss.losses import CachedCrossEncoderRankingLoss, ProxyLoss
from st_rankloss.relevance import Classes, Lists, Numeric, Pairs
from tests.models import PairTable, Passing, columns_of, tiny_bert

WORDS = [f"w{n}" for n in range(12)]
ROWS = {"text": [f"{a} {b}" for a in WORDS for b in WORDS[:2]], "label": [n % 4 for n in range(24)]}


@pytest.fixture(autouse=True)
def nothing_compiled():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("relevance", "labels"),
    [(Classes(), torch.arange(130) // 8), (Numeric(), torch.arange(130.0)), (Pairs(), None)],
    ids=["classes", "numeric", "pairs"],
)
def test_a_compiled_loss_has_the_same_value_and_gradient(relevance, labels):
    columns = [torch.randn(130, 8).requires_grad_() for _ in range(2)]
    loss = ANDCGLoss(SentenceTransformer(modules=[nn.Identity()], device="cpu"), relevance=relevance)
    expected = loss.compute_loss_from_embeddings(columns, labels)
    compiled = torch.compile(loss.compute_loss_from_embeddings, backend="eager")(columns, labels)
    torch.testing.assert_close(compiled, expected, rtol=0, atol=0)
    gradients = (torch.autograd.grad(value, columns) for value in (compiled, expected))
    for both in zip(*gradients, strict=True):
        torch.testing.assert_close(*both, rtol=0, atol=0)


def compiled_and_plain(loss, parameters, *batch):
    expected = loss(*batch)
    compiled = torch.compile(loss, backend="eager")(*batch)
    torch.testing.assert_close(compiled, expected, rtol=0, atol=0)
    return [torch.autograd.grad(value, parameters)[0] for value in (compiled, expected)]


def test_a_compiled_loss_of_a_cross_encoder_has_the_same_value_and_gradient():
    model = PairTable()
    loss = CrossEncoderRankingLoss(model, relevance=Lists(), num_negatives=None)
    columns = [["0", "1"], [["10", "11", "12"], ["13", "14"]]]
    labels = [torch.tensor([2.0, 0.0, 1.0]), torch.tensor([0.0, 1.0])]
    torch.testing.assert_close(*compiled_and_plain(loss, model.table, columns, labels), rtol=0, atol=0)


def test_a_compiled_loss_against_centres_has_the_same_value_and_gradient():
    loss = ProxyLoss(Passing(), classes=4, dimensions=8)
    batch = columns_of([torch.randn(12, 8)]), torch.arange(12) % 4
    torch.testing.assert_close(*compiled_and_plain(loss, loss.centres, *batch), rtol=0, atol=0)


@pytest.mark.parametrize("loss", [CrossEncoderRankingLoss, CachedCrossEncoderRankingLoss, ProxyLoss, RankingLoss])
def test_the_parts_of_a_loss_that_read_values_are_not_compiled(loss):
    reading = [getattr(loss, name) for name in ("_prepare", "_paired", "_features", "_compute") if hasattr(loss, name)]
    assert len(reading) > 1
    assert all(getattr(method, "_torchdynamo_disable", False) for method in reading)


def losses_of_training(folder, make, backend):
    set_seed(0)
    model = tiny_bert(folder, WORDS, dropout=0.0)
    args = SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=12,
        max_steps=2,
        learning_rate=1e-3,
        logging_steps=1,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        torch_compile=backend is not None,
        torch_compile_backend=backend,
    )
    trainer = RankingTrainer(model=model, args=args, train_dataset=Dataset.from_dict(ROWS), loss=make(model))
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("loss", [ANDCGLoss, CachedANDCGLoss])
def test_a_compiled_training_step_has_the_same_loss(tmp_path, loss):
    plain, compiled = (
        losses_of_training(tmp_path, lambda model: loss(model, relevance=Classes()), backend)
        for backend in (None, "eager")
    )
    assert len(plain) == 2
    assert compiled == pytest.approx(plain, rel=1e-6)
