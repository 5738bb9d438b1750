"""Batches of neighbours with sparse and multi-vector models, through their own trainers."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
import sentence_transformers
import torch
from datasets import Dataset
from scipy.sparse import csr_array
from sentence_transformers import (
    MultiVectorEncoderTrainer,
    MultiVectorEncoderTrainingArguments,
    SparseEncoderTrainer,
    SparseEncoderTrainingArguments,
)
from sentence_transformers.multi_vector_encoder.losses import MultiVectorMultipleNegativesRankingLoss
from sentence_transformers.sparse_encoder.losses import SparseMultipleNegativesRankingLoss, SpladeLoss
from torch import nn

from st_rankloss import samplers
from st_rankloss.samplers.vectors import one_vector_each
from tests.models import tiny_multi_vector, tiny_splade

WORDS = [f"w{i}" for i in range(300)]  # more than the dimensions that sparse vectors are projected to
DRAW = random.Random(4)
GROUPS = [DRAW.randrange(6) for _ in range(120)]
TEXTS = [" ".join([*WORDS[9 * group : 9 * group + 8], DRAW.choice(WORDS[100:])]) for group in GROUPS]


MAKE = {"sparse": tiny_splade, "multi-vector": tiny_multi_vector}
every_kind = pytest.mark.parametrize("kind", MAKE)


def company(batches):
    """The mean number of texts of its group that a text has in its batch."""
    return sum(n * n for batch in batches for n in Counter(GROUPS[row] for row in batch).values()) / len(TEXTS)


@every_kind
def test_near_texts_share_a_batch(kind, tmp_path):
    torch.manual_seed(0)
    model = MAKE[kind](tmp_path, WORDS).train()
    sampler = samplers.neighbours(model, "text", clusters_per_batch=1)(Dataset.from_dict({"text": TEXTS}), 20)
    batches = list(sampler)
    assert sorted(row for batch in batches for row in batch) == list(range(len(TEXTS)))
    shuffled = DRAW.sample(range(len(TEXTS)), len(TEXTS))
    by_chance = company([shuffled[start : start + 20] for start in range(0, len(TEXTS), 20)])
    assert company(batches) > 1.5 * by_chance
    assert model.training


@every_kind
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [["w1", "w2"]] * 9,
            r"each of 'text' must be a text, got \['w1', 'w2'\] \(list\) for row 0; give one input each",
        ),
        (["w1", None] * 9, r"each of 'text' must be a text, got None \(NoneType\) for row 1"),
        ([3] * 9, r"each of 'text' must be a text, got 3 \(int\) for row 0; convert it to a string"),
    ],
    ids=["lists", "missing", "numbers"],
)
def test_a_column_of_anything_but_inputs_is_refused(kind, rows, message, tmp_path):
    sampler = samplers.neighbours(MAKE[kind](tmp_path, WORDS), "text")(Dataset.from_dict({"text": rows}), 4)
    with pytest.raises(ValueError, match=message):
        list(sampler)


def sparse_loss(model):
    return SpladeLoss(model, SparseMultipleNegativesRankingLoss(model), document_regularizer_weight=1e-4)


TRAINING = {
    "sparse": (SparseEncoderTrainer, SparseEncoderTrainingArguments, sparse_loss),
    "multi-vector": (
        MultiVectorEncoderTrainer,
        MultiVectorEncoderTrainingArguments,
        MultiVectorMultipleNegativesRankingLoss,
    ),
}


@every_kind
def test_the_kind_s_own_trainer_trains_on_batches_of_neighbours(kind, tmp_path):
    torch.manual_seed(0)
    model = MAKE[kind](tmp_path / "model", WORDS)
    trainer_class, arguments_class, loss_class = TRAINING[kind]
    args = arguments_class(
        str(tmp_path / "run"),
        per_device_train_batch_size=20,
        num_train_epochs=2,
        learning_rate=1e-3,
        batch_sampler=samplers.neighbours(model, "query", clusters_per_batch=1),
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    pairs = Dataset.from_dict({"query": TEXTS, "document": [" ".join(reversed(text.split())) for text in TEXTS]})
    before = one_vector_each(model, TEXTS[:5], 8, seed=0)
    trainer = trainer_class(model=model, args=args, train_dataset=pairs, loss=loss_class(model))
    trainer.train()
    assert trainer.state.global_step == 12
    assert not np.allclose(before, one_vector_each(model, TEXTS[:5], 8, seed=0), atol=1e-4)


class Encodes(sentence_transformers.SparseEncoder):
    """A sparse encoder whose inputs are their embeddings."""

    def __init__(self, rows):
        nn.Module.__init__(self)
        self.rows = rows

    def encode(self, inputs, *, convert_to_sparse_tensor, **options):
        assert convert_to_sparse_tensor
        return self.rows


def test_the_projection_of_sparse_vectors_keeps_cosines_without_making_them_dense(monkeypatch):
    generator = torch.Generator().manual_seed(2)
    dense = torch.rand(60, 5_000, generator=generator) * (torch.rand(60, 5_000, generator=generator) < 0.01)
    dense[30:] = dense[:30] + 0.5 * dense[30:]
    dense[7] = 0
    monkeypatch.setattr(csr_array, "toarray", None)
    vectors = one_vector_each(Encodes(dense.to_sparse()), list(range(60)), 8, seed=3)
    assert vectors.shape == (60, 256)
    assert vectors.dtype == np.float32
    unit = torch.nn.functional.normalize(dense, dim=1).numpy()
    np.testing.assert_allclose(vectors @ vectors.T, unit @ unit.T, atol=0.3)
    assert np.abs(vectors @ vectors.T - unit @ unit.T).mean() < 1 / 16
    np.testing.assert_array_equal(vectors, one_vector_each(Encodes(dense.to_sparse()), list(range(60)), 8, seed=3))
    assert not vectors[7].any()


def test_few_sparse_dimensions_stay_as_they_are():
    dense = torch.tensor([[3.0, 0.0, 4.0], [0.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    vectors = one_vector_each(Encodes(dense.to_sparse()), [0, 1, 2], 8, seed=0)
    np.testing.assert_allclose(vectors, [[0.6, 0, 0.8], [0, 0, 0], [0, 1, 0]], atol=1e-7)


def test_token_vectors_are_averaged(tmp_path):
    model = tiny_multi_vector(tmp_path, WORDS)
    vectors = one_vector_each(model, TEXTS[:9], 4, seed=0)
    for text, vector in zip(TEXTS[:9], vectors, strict=True):
        mean = model.encode(text).mean(dim=0)
        np.testing.assert_allclose(vector, (mean / mean.norm()).numpy(), atol=1e-5)


def test_an_input_without_tokens_is_a_zero_vector(tmp_path):
    model = tiny_multi_vector(tmp_path, WORDS)
    model[1].skiplist_words = ["w0"]
    model[1].resolve_with_tokenizer(model.tokenizer)
    empty, other = one_vector_each(model, ["w0 w0", "w1"], 4, seed=0)
    assert not empty.any()
    assert np.linalg.norm(other) == pytest.approx(1)


def test_a_cross_encoder_is_refused_at_construction():
    other = object.__new__(sentence_transformers.CrossEncoder)
    with pytest.raises(TypeError, match=r"^samplers.neighbours needs a .*, got a CrossEncoder; for a CrossEncoder use"):
        samplers.neighbours(other)
