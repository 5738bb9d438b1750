"""Embeddings on disk: searched as in memory, resumed after a kill, refused when they are of something else."""

from __future__ import annotations

import json
import os
import tempfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router

from st_rankloss.evaluation import GradedInformationRetrievalEvaluator, Shards
from st_rankloss.evaluation.embedding import Embedder
from st_rankloss.evaluation.search import exact_search, faiss_search
from st_rankloss.evaluation.shards import storage_order
from st_rankloss.mining import mine_graded_negatives
from tests.models import tiny_bert, tiny_splade, word_model

WORDS = [f"w{i}" for i in range(30)]
CORPUS = {f"d{i:02}": f"w{i % 30} w{(i * i) % 30}" for i in range(45)}  # some texts occur twice
QUERIES = {f"q{i}": f"w{i} w{i + 3}" for i in range(8)}
QRELS = {f"q{i}": {f"d{i:02}": 2, f"d{i + 9:02}": 1, f"d{i + 20:02}": 0} for i in range(8)}
MODEL = word_model(WORDS)


def embed(folder, corpus=CORPUS, model=MODEL, shards=None, **options):
    return (shards or Shards(folder, shard_size=10)).embed(Embedder(model, **options), corpus)


def in_memory(corpus=CORPUS):
    return torch.tensor(MODEL.encode([corpus[document_id] for document_id in storage_order(corpus)]))


def counted(monkeypatch, fail_at=None):
    """Note the number of texts of each call of the encoder, which may fail."""
    calls = []
    encode = MODEL.encode_document

    def counting(texts, **options):
        if len(calls) == fail_at:
            raise KeyboardInterrupt
        calls.append(len(texts))
        return encode(texts, **options)

    monkeypatch.setattr(MODEL, "encode_document", counting)
    return calls


@given(
    size=st.integers(1, 45),
    shard_size=st.integers(1, 50),
    chunk=st.integers(1, 50),
    k=st.integers(1, 60),
    index=st.sampled_from([None, "Flat"]),
    similarity=st.sampled_from(["cosine", "euclidean"]),
)
def test_search_of_shards_equals_search_in_memory(size, shard_size, chunk, k, index, similarity):
    corpus = dict(list(CORPUS.items())[:size])
    queries = torch.tensor(MODEL.encode(list(QUERIES.values())))
    search = exact_search if index is None else lambda *args: faiss_search(*args, index)
    with tempfile.TemporaryDirectory() as folder:
        stored = embed(folder, corpus, shards=Shards(folder, shard_size=shard_size))
        found = search(queries, stored.chunks(chunk), k, similarity)
    expected = search(queries, in_memory(corpus).split(chunk), k, similarity)
    assert found[1].tolist() == expected[1].tolist()
    assert np.array_equal(found[0], expected[0], equal_nan=True)


@given(shard_size=st.integers(1, 50), start=st.integers(-50, 50), stop=st.integers(-50, 60), rows=st.data())
def test_rows_read_as_those_of_a_tensor(shard_size, start, stop, rows):
    some = rows.draw(st.lists(st.integers(0, 44)))
    with tempfile.TemporaryDirectory() as folder:
        stored = embed(folder, shards=Shards(folder, shard_size=shard_size))
        assert stored[start:stop].equal(in_memory()[start:stop])
        assert stored[some].equal(in_memory()[some])


def test_rows_count_from_the_end_and_unknown_ones_are_refused(tmp_path):
    stored = embed(tmp_path)
    assert stored[[-1, 0]].equal(in_memory()[[-1, 0]])
    with pytest.raises(IndexError):
        stored[[0, 45]]
    assert embed(tmp_path / "half", shards=Shards(tmp_path / "half", dtype="float16"))[[]].dtype == torch.float16


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_evaluator_and_mining_share_them_and_encode_once(dtype, tmp_path, monkeypatch):
    calls = counted(monkeypatch)
    shards = Shards(tmp_path / "shards", dtype=dtype, shard_size=10)
    evaluator = GradedInformationRetrievalEvaluator(QUERIES, CORPUS, QRELS, corpus_embeddings=shards)
    evaluator(MODEL)
    assert calls == [10, 10, 10, 10, 5]
    shuffled = dict(sorted(CORPUS.items(), key=lambda item: item[1]))  # mining's ties follow the order of the corpus
    options = {"num_negatives": 4, "absolute_margin": 0.01}
    mined = mine_graded_negatives(QUERIES, shuffled, QRELS, MODEL, corpus_embeddings=shards, **options)
    assert len(calls) == 5
    if dtype == "float32":
        usual = GradedInformationRetrievalEvaluator(QUERIES, CORPUS, QRELS)
        usual(MODEL)
        assert evaluator.rankings == usual.rankings
        assert mined.to_list() == mine_graded_negatives(QUERIES, shuffled, QRELS, MODEL, **options).to_list()


@pytest.mark.parametrize("fail_at", range(5))
def test_what_is_resumed_equals_what_was_not_interrupted(fail_at, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        counted(patch, fail_at)
        with pytest.raises(KeyboardInterrupt):
            embed(tmp_path)
    (tmp_path / "00003.npyabc.part").write_bytes(b"half a shard")
    calls = counted(monkeypatch)
    stored = embed(tmp_path)
    assert len(calls) == 5 - fail_at
    assert stored[:].equal(in_memory())


def test_a_file_that_could_not_be_written_leaves_nothing(tmp_path, monkeypatch):
    def half(file, *_, **__):
        file.write(b"half")
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", half)
        with pytest.raises(OSError, match="disk full"):
            embed(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["manifest.json"]
    assert embed(tmp_path)[:].equal(in_memory())


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
@pytest.mark.parametrize("model", [MODEL, word_model([*WORDS, "more"])], ids=["same model", "other model"])
def test_of_processes_that_start_at_once_the_first_decides(model, links, tmp_path, monkeypatch):
    if not links:
        monkeypatch.setattr(os, "link", no_link)
    encode = MODEL.encode_document
    first = []

    def overtaken(texts, **options):
        if not first:
            first.append(True)
            with monkeypatch.context() as patch:
                patch.setattr(np, "save", stop_at(3))
                with pytest.raises(KeyboardInterrupt):
                    embed(tmp_path, model=model, shards=Shards(tmp_path, shard_size=7))
        return encode(texts, **options)

    monkeypatch.setattr(MODEL, "encode_document", overtaken)
    if model is MODEL:
        assert embed(tmp_path)[:].equal(in_memory())
        assert len(list(tmp_path.iterdir())) == 1 + 7
    else:
        with pytest.raises(ValueError, match="same model"):
            embed(tmp_path)
        assert len(list(tmp_path.iterdir())) == 1 + 2


def no_link(*_):
    raise PermissionError(1, "Operation not permitted")


def stop_at(call):
    """Return a `numpy.save` that is killed at a call."""
    save, calls = np.save, []

    def saving(*args, **options):
        calls.append(args)
        if len(calls) == call:
            raise KeyboardInterrupt
        save(*args, **options)

    return saving


def test_a_folder_that_cannot_be_written_is_refused_before_encoding(tmp_path, monkeypatch):
    calls = counted(monkeypatch)
    (tmp_path / "file").write_text("something else")
    with pytest.raises(ValueError, match="file must be a writable folder, got .*choose another folder"):
        embed(tmp_path / "file")
    assert not calls
    embed(tmp_path / "shards")

    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    assert embed(tmp_path / "shards")[:].equal(in_memory()), "a complete folder is only read"
    (tmp_path / "shards" / "00002.npy").unlink()
    with pytest.raises(ValueError, match="must be a writable folder, got .*Permission denied"):
        embed(tmp_path / "shards")


def test_a_pool_encodes(tmp_path, monkeypatch):
    pools = []
    encode = MODEL.encode_document
    monkeypatch.setattr(MODEL, "encode_document", lambda texts, pool, **o: pools.append(pool) or encode(texts, **o))
    assert embed(tmp_path, shards=Shards(tmp_path, pool="pool"))[:].equal(in_memory())
    assert pools == ["pool"]


OTHERS = {
    "corpus": ({"corpus": CORPUS | {"d00": "w7"}}, "same corpus"),
    "an id": ({"corpus": {f"{i}x": text for i, text in CORPUS.items()}}, "same corpus"),
    "a document less": ({"corpus": dict(list(CORPUS.items())[1:])}, "same corpus"),
    "model": ({"model": word_model([*WORDS, "more"])}, "same model"),
    "prompt": ({"corpus_prompt": "w1 "}, "same corpus_prompt"),
    "dimensions": ({"truncate_dim": 4}, "same truncate_dim, got None on disk"),
    "signs": ({"precision": "binary"}, "same precision"),
}


@pytest.mark.parametrize(("changed", "message"), OTHERS.values(), ids=OTHERS)
def test_embeddings_of_something_else_are_refused(changed, message, tmp_path, monkeypatch):
    embed(tmp_path)
    calls = counted(monkeypatch)
    with pytest.raises(ValueError, match=f"{message}.*choose another folder, or delete it"):
        embed(tmp_path, **changed)
    assert not calls


def test_another_dtype_is_refused_and_none_takes_that_of_the_folder(tmp_path):
    embed(tmp_path, shards=Shards(tmp_path, dtype="float16"))
    with pytest.raises(ValueError, match="same dtype, got 'float16' on disk.* 'float32' now"):
        embed(tmp_path, shards=Shards(tmp_path, dtype="float32"))
    assert embed(tmp_path)[:].dtype == torch.float16


def test_changed_weights_make_another_model(tmp_path):
    model = word_model(WORDS)
    embed(tmp_path, model=model)
    embed(tmp_path, model=word_model(WORDS))
    with torch.no_grad():
        model[0].embedding.weight[3] += 1e-6
    with pytest.raises(ValueError, match="same model"):
        embed(tmp_path, model=model)


def test_encoding_does_not_make_another_model_but_what_it_cuts_off_does(tmp_path):
    model = tiny_bert(tmp_path / "model", WORDS)
    embed(tmp_path / "shards", model=model)
    model.encode(["w1 " * 500, "w2"], prompt="w3 ")
    embed(tmp_path / "shards", model=model)
    model.tokenizer.truncation_side = "left"
    with pytest.raises(ValueError, match="same model.*while a model trains, leave Shards out"):
        embed(tmp_path / "shards", model=model)


def routed(folder):
    """A model whose queries and documents have a BERT each."""
    query, document = tiny_bert(folder / "query", WORDS), tiny_bert(folder / "document", WORDS)
    router = Router.for_query_document(query_modules=list(query), document_modules=list(document))
    return SentenceTransformer(modules=[router], device="cpu")


CHANGES = {
    "length": lambda route: setattr(route, "max_seq_length", 2),
    "truncation side": lambda route: setattr(route.tokenizer, "truncation_side", "left"),
    "activation": lambda route: setattr(route.auto_model.config, "hidden_act", "relu"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_route_makes_another_model(change, tmp_path):
    model = routed(tmp_path)
    embed(tmp_path / "shards", model=model)
    change(model[0].sub_modules["document"][0])
    with pytest.raises(ValueError, match="same model"):
        embed(tmp_path / "shards", model=model)


@pytest.mark.parametrize("make", [routed, lambda folder: tiny_bert(folder, WORDS)], ids=["routes", "BERT"])
def test_a_saved_model_is_the_same_one(make, tmp_path):
    model = make(tmp_path)
    embed(tmp_path / "shards", model=model)
    model.save_pretrained(str(tmp_path / "saved"))
    copy = SentenceTransformer(str(tmp_path / "saved"), device="cpu", model_kwargs={"attn_implementation": "eager"})
    assert len(embed(tmp_path / "shards", model=copy)) == len(CORPUS)


class Adapter(torch.nn.Module):
    """A layer with two adapters, of which the public attributes are those of PEFT's layers."""

    def __init__(self):
        super().__init__()
        self.adapters = torch.nn.ModuleDict({name: torch.nn.Linear(16, 16) for name in ("one", "two")})
        self.scaling = {"one": 1.0, "two": 1.0}
        self.active_adapters, self.disable_adapters, self.merged_adapters = ["one"], False, []

    def forward(self, features):
        for name in () if self.disable_adapters else self.active_adapters:
            features["sentence_embedding"] = self.scaling[name] * self.adapters[name](features["sentence_embedding"])
        return features


@pytest.mark.parametrize(
    "change", [{"active_adapters": ["two"]}, {"disable_adapters": True}, {"scaling": {"one": 0.5, "two": 1.0}}], ids=str
)
def test_other_adapters_make_another_model(change, tmp_path):
    model = SentenceTransformer(modules=[*word_model(WORDS), Adapter()], device="cpu")
    embed(tmp_path, model=model)
    before = dict(vars(model[1]))
    vars(model[1]).update(change)
    with pytest.raises(ValueError, match="same model"):
        embed(tmp_path, model=model)
    vars(model[1]).update(before)
    assert len(embed(tmp_path, model=model)) == len(CORPUS)


def test_a_complete_folder_may_be_of_any_model_but_not_of_any_corpus(tmp_path, monkeypatch):
    stored = embed(tmp_path)
    other, shards = Embedder(word_model(WORDS, dim=8)), Shards(tmp_path)
    with pytest.raises(ValueError, match="same model"):
        shards.embed(other, CORPUS)
    assert shards.embed(other, CORPUS, of_any_model=True)[:].equal(stored[:])
    with pytest.raises(ValueError, match="same corpus"):
        shards.embed(other, CORPUS | {"d00": "w9"}, of_any_model=True)
    (tmp_path / "00002.npy").unlink()
    with pytest.raises(ValueError, match="same model"):
        shards.embed(other, CORPUS, of_any_model=True)


def test_damaged_files_are_refused(tmp_path):
    embed(tmp_path)
    shard = tmp_path / "00001.npy"
    whole = shard.read_bytes()
    for content in (whole[:200], b"", whole.replace(b"(10,", b"(09,")):
        shard.write_bytes(content)
        with pytest.raises(ValueError, match=r"00001.npy must hold float32 of shape \(10, 16\).*delete it"):
            embed(tmp_path)
    shard.unlink()
    with pytest.raises(ValueError, match=r"every shard, but 00001.npy is missing"):
        Shards(tmp_path).read()
    assert embed(tmp_path)[:].equal(in_memory()), "what is missing is encoded again"


@pytest.mark.parametrize("content", ["", "[]", '{"format": 1}', "format", "dtype"])
def test_a_damaged_manifest_is_refused(content, tmp_path):
    embed(tmp_path)
    manifest = tmp_path / "manifest.json"
    if content in ("format", "dtype"):
        content = json.dumps(json.loads(manifest.read_text()) | {content: "int8"})
    manifest.write_text(content)
    with pytest.raises(ValueError, match="must be a manifest of format 1"):
        embed(tmp_path)
    manifest.unlink()
    with pytest.raises(ValueError, match="must be empty or have a manifest.json, got 00000.npy"):
        embed(tmp_path)


def test_what_cannot_be_kept_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has no manifest.json: encode the corpus first"):
        Shards(tmp_path).read()
    with pytest.raises(ValueError, match=r"only texts when they come again, got int \(id 'a'\)"):
        embed(tmp_path, {"a": 3})
    with pytest.raises(ValueError, match="which a SparseEncoder does not make"):
        embed(tmp_path, model=tiny_splade(tmp_path, WORDS))
    large = word_model(WORDS)
    with torch.no_grad():
        large[0].embedding.weight.mul_(1e6)
    for _ in range(2):
        with pytest.raises(ValueError, match="dtype must be 'float32' for this model"):
            embed(tmp_path / "large", model=large, shards=Shards(tmp_path / "large", dtype="float16"))
        with torch.no_grad():
            large[0].embedding.weight.mul_(1e-14)  # too small for float16
    with pytest.raises(ValueError, match="corpus must have a document"):
        embed(tmp_path, {})
    with pytest.raises(ValueError, match=r"ids of corpus must be strings, got 0: write str\(id\)"):
        embed(tmp_path, {"a": "w1", 0: "w2"})
    exported = word_model(WORDS)
    exported.backend = "onnx"
    with pytest.raises(ValueError, match="a model of the backend 'onnx'"):
        embed(tmp_path, model=exported)


WRONG = {
    "folder": ({"folder": 3}, "embeddings must be kept in Shards or the path of a folder, got 3"),
    "dtype": ({"dtype": "int8"}, "dtype must be None or one of"),
    "size": ({"shard_size": 0}, "shard_size must be an integer of at least 1, got 0"),
}


@pytest.mark.parametrize(("options", "message"), WRONG.values(), ids=WRONG)
def test_wrong_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Shards(**{"folder": "somewhere"} | options)
