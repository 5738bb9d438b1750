"""Batches of neighbours among embeddings on disk: those in memory, encoded once, whatever becomes of the model."""

from __future__ import annotations

import pickle

import faiss
import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from st_rankloss import ANDCGLoss, RankingTrainer, samplers
from st_rankloss.evaluation import Shards
from st_rankloss.samplers.neighbours import _assign
from tests.models import tiny_splade, word_model

WORDS = [f"w{i}" for i in range(40)]
TEXTS = [f"w{i % 6} w{(i * i) % 40}" for i in range(123)]
ROWS = Dataset.from_dict({"text": TEXTS})


def batches_of(model, folder, rows=ROWS, epoch=0, **options):
    sampler = samplers.neighbours(model, "text", clusters_per_batch=2, embeddings=folder, **options)(rows, 20)
    sampler.set_epoch(epoch)
    return list(sampler)


@pytest.mark.parametrize("shard_size", [1, 50, 1000])
def test_clusters_are_those_of_embeddings_in_memory(shard_size, tmp_path):
    model = word_model(WORDS).train()
    for epoch in (0, 3):
        stored = batches_of(model, Shards(tmp_path, shard_size=shard_size), epoch=epoch)
        assert stored == batches_of(model, None, epoch=epoch)
        assert sorted(row for batch in stored for row in batch) == list(range(123))
    assert model.training


def test_all_epochs_and_a_resumed_training_read_what_the_first_wrote(tmp_path, monkeypatch):
    model, calls = word_model(WORDS), []
    encode = model.encode_document
    monkeypatch.setattr(model, "encode_document", lambda texts, **options: calls.append(1) or encode(texts, **options))
    sampler = samplers.neighbours(model, "text", embeddings=tmp_path)(ROWS, 20)
    first = [list(sampler) for _ in range(2)]
    with torch.no_grad():
        model[0].embedding.weight.uniform_()
    assert list(sampler) == first[0] == first[1]
    assert samplers.neighbours(model, "text", embeddings=tmp_path)(ROWS, 20).__iter__().__next__() == first[0][0]
    assert len(calls) == 1
    sampler.set_epoch(1)
    assert list(sampler) != first[0]


def test_a_folder_of_another_model_is_logged(tmp_path, caplog):
    model = word_model(WORDS)
    first = batches_of(model, tmp_path)
    assert not caplog.messages
    other = word_model(WORDS, dim=8)
    other.model_card_data.base_model = "some/other"
    assert batches_of(other, tmp_path) == first
    assert caplog.messages == [f"{tmp_path} holds embeddings of SentenceTransformer, not of some/other."]


def test_training_changes_the_model_but_not_the_clusters(tmp_path):
    model = word_model(WORDS)
    pairs = Dataset.from_dict({"query": TEXTS, "document": [text[::-1] for text in TEXTS]})
    args = RankingTrainer(model=model, train_dataset=pairs, loss=ANDCGLoss(model)).args
    args.output_dir, args.num_train_epochs, args.per_device_train_batch_size = str(tmp_path / "run"), 2, 20
    args.batch_sampler = samplers.neighbours(model, embeddings=tmp_path / "shards")
    trainer = RankingTrainer(model=model, args=args, train_dataset=pairs, loss=ANDCGLoss(model))
    before = model[0].embedding.weight.detach().clone()
    trainer.train()
    assert trainer.state.global_step == 14
    assert not torch.equal(before, model[0].embedding.weight)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (TEXTS[:-1], "same corpus"),
        (["w9", *TEXTS[1:]], "same corpus"),
        ([*TEXTS[:7], None, *TEXTS[8:]], "column 'text' must hold texts, got None in row 7"),
    ],
)
def test_a_folder_of_other_texts_is_refused(texts, message, tmp_path):
    model = word_model(WORDS)
    batches_of(model, tmp_path)
    with pytest.raises(ValueError, match=message):
        batches_of(model, tmp_path, Dataset.from_dict({"text": texts}))


def test_a_sparse_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match="Shards keep vectors, which a SparseEncoder does not make"):
        batches_of(tiny_splade(tmp_path / "model", WORDS), tmp_path / "shards")


def test_saved_arguments_leave_processes_out(tmp_path):
    made = samplers.neighbours(word_model(WORDS), embeddings=Shards(tmp_path, pool=(pool for pool in "a")))
    assert pickle.loads(pickle.dumps(made)).embeddings == Shards(tmp_path)


@given(cuts=st.lists(st.integers(0, 600), max_size=8), seed=st.integers(0, 2**31 - 1), clusters=st.integers(1, 4))
def test_blocks_of_any_size_give_the_same_clusters(cuts, seed, clusters):
    generator = np.random.default_rng(seed)
    groups = generator.integers(0, 4, 600)
    vectors = (np.eye(4)[groups] + 0.05 * generator.standard_normal((600, 4))).astype(np.float32)
    whole, cut = (
        _assign(faiss, lambda blocks=blocks: iter(blocks), 600, clusters, seed)
        for blocks in ([vectors], np.split(vectors, sorted(cuts)))
    )
    assert (whole == cut).all()
    assert whole.shape == (600,)
    assert whole.min() >= 0
    assert whole.max() < clusters
