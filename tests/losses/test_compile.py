"""``torch.compile`` of losses, and of a whole training step, changes neither losses nor gradients."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from torch import nn
from transformers import set_seed

from st_rankloss import ANDCGLoss, CachedANDCGLoss, RankingTrainer
from st_rankloss.relevance import Classes, Numeric, Pairs
from tests.models import tiny_bert

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
