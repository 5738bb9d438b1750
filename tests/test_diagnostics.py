"""RankingDiagnostics: the share of queries with relevance in the trainer's logs."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformerTrainer
from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss

from st_rankloss import ANDCGLoss, RankingDiagnostics
from st_rankloss.relevance import Pairs
from tests.models import Passing, columns_of, random_columns, word_model
from tests.test_trainer import DOCUMENTS, QUERIES, ROWS, WORDS, arguments

SCORES = [float(row % 3 == 0) for row in range(ROWS)]


class Counting(ANDCGLoss):
    """Keeps the share of each training batch's queries with relevance, counted from the labels."""

    def __init__(self, model):
        super().__init__(model, Pairs())
        self.shares = []

    def forward(self, sentence_features, labels=None):
        if self.model.training:
            self.shares.append((labels > 0).float().mean().item())
        return super().forward(sentence_features, labels)


def history(folder, make_loss=lambda model, loss: loss, scores=SCORES, **options):
    """What a training with diagnostics logs, and the true shares."""
    model = word_model(WORDS)
    loss = Counting(model)
    dataset = Dataset.from_dict({"query": QUERIES, "document": DOCUMENTS, "score": scores})
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments(folder, **{"per_device_train_batch_size": 8, "max_steps": 6} | options),
        train_dataset=dataset,
        eval_dataset=Dataset.from_dict({"query": QUERIES, "document": DOCUMENTS, "score": [1.0] * ROWS}),
        loss=make_loss(model, loss),
        callbacks=[RankingDiagnostics(loss)],
    )
    trainer.train()
    shares = [e["queries_with_relevance"] for e in trainer.state.log_history if "queries_with_relevance" in e]
    return shares, loss.shares, trainer


def means_of(values, size):
    return [sum(values[i : i + size]) / size for i in range(0, len(values), size)]


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_mean_share_since_the_last_log_is_in_the_history(steps, tmp_path):
    found, shares, _ = history(tmp_path, logging_steps=steps)
    assert len(set(shares)) > 1
    assert found == pytest.approx(means_of(shares, steps))


def test_it_is_logged_beside_the_training_loss_and_nowhere_else(tmp_path):
    _, _, trainer = history(tmp_path, eval_strategy="steps", eval_steps=2)
    for entry in trainer.state.log_history:
        assert ("queries_with_relevance" in entry) == ("loss" in entry)


def test_evaluation_does_not_mix_in(tmp_path):
    found, shares, _ = history(tmp_path, logging_steps=2, eval_strategy="steps", eval_steps=1)
    assert found == pytest.approx(means_of(shares, 2))


def test_every_batch_of_an_accumulated_step_counts(tmp_path):
    found, shares, _ = history(tmp_path, gradient_accumulation_steps=3, max_steps=2, logging_steps=1)
    assert len(shares) == 6
    assert found == pytest.approx(means_of(shares, 3))


def test_it_sees_a_loss_inside_another(tmp_path):
    found, shares, _ = history(
        tmp_path, make_loss=lambda model, loss: MatryoshkaLoss(model, loss, [16, 4]), max_steps=2, logging_steps=1
    )
    assert found == pytest.approx(shares[::2])


@pytest.mark.filterwarnings("ignore:No query of this batch")
def test_a_share_of_zero_is_logged(tmp_path):
    found, _, _ = history(tmp_path, scores=[0.0] * ROWS, max_steps=2)
    assert found == [0.0, 0.0]


def test_without_diagnostics_the_share_is_there_to_read():
    loss = ANDCGLoss(Passing(), Pairs())
    assert loss.relevant_share is None
    loss(columns_of(random_columns([4, 4])), torch.tensor([1.0, 0.0, 0.0, 0.0]))
    assert loss.relevant_share.item() == 0.25
    assert not loss.relevant_share.requires_grad
