"""The graded evaluator with each kind of model, against pytrec_eval and the evaluators of sentence-transformers."""

from __future__ import annotations

import random

import numpy as np
import pytest
import pytrec_eval
import torch
from PIL import Image
from sentence_transformers.multi_vector_encoder.evaluation import MultiVectorInformationRetrievalEvaluator
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from sentence_transformers.sparse_encoder.evaluation import SparseInformationRetrievalEvaluator
from sentence_transformers.util.quantization import semantic_search_faiss

from st_rankloss.evaluation import GradedInformationRetrievalEvaluator
from st_rankloss.evaluation.embedding import Embedder
from st_rankloss.evaluation.search import exact_search
from tests.models import tiny_bert, tiny_clip, tiny_multi_vector, tiny_splade, word_model

WORDS = [f"w{i}" for i in range(30)]
DRAW = random.Random(2)
TEXTS = list(dict.fromkeys(" ".join(DRAW.sample(WORDS, DRAW.randint(2, 7))) for _ in range(40)))
CORPUS = {f"d{i:02}": text for i, text in enumerate(TEXTS)}
QUERIES = {f"q{i}": " ".join(DRAW.sample(WORDS, 3)) for i in range(8)}
QRELS = {q: {d: DRAW.randrange(4) for d in DRAW.sample(list(CORPUS), 10)} | {"d00": 1} for q in QUERIES}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    return {
        "dense": tiny_bert(folder / "dense", WORDS),
        "sparse": tiny_splade(folder / "sparse", WORDS),
        "multi-vector": tiny_multi_vector(folder / "multi", WORDS),
        "mean": tiny_multi_vector(folder / "mean", WORDS, similarity_fn_name="meanmaxsim"),
    }


KINDS = {
    "dense": ("cosine", InformationRetrievalEvaluator),
    "sparse": ("dot", SparseInformationRetrievalEvaluator),
    "multi-vector": ("maxsim", MultiVectorInformationRetrievalEvaluator),
    "mean": ("meanmaxsim", MultiVectorInformationRetrievalEvaluator),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
def test_rankings_follow_the_model_s_similarity_and_are_scored_as_by_pytrec_eval(kind, models):
    model, (similarity, _) = models[kind], KINDS[kind]
    evaluator = GradedInformationRetrievalEvaluator(QUERIES, CORPUS, QRELS, name="x")
    metrics = evaluator(model)
    scores = model.similarity(model.encode_query(list(QUERIES.values())), model.encode_document(list(CORPUS.values())))
    for row, ranking in zip(scores.tolist(), evaluator.rankings.values(), strict=True):
        assert list(ranking.values()) == sorted(ranking.values(), reverse=True)
        assert ranking == pytest.approx(dict(zip(CORPUS, row, strict=True)), rel=1e-4, abs=1e-4)
    oracle = pytrec_eval.RelevanceEvaluator(QRELS, {"ndcg_cut_10"}).evaluate(evaluator.rankings)
    found = {query_id: values["ndcg@10"] for query_id, values in evaluator.per_query.items()}
    assert found == pytest.approx({query_id: values["ndcg_cut_10"] for query_id, values in oracle.items()}, abs=1e-12)
    assert evaluator.primary_metric == f"x_{similarity}_ndcg@10"
    assert metrics[evaluator.primary_metric] == pytest.approx(np.mean(list(found.values())))


@every_kind
def test_binary_metrics_equal_those_of_sentence_transformers_for_the_kind(kind, models):
    relevant = {q: {d for d, grade in judged.items() if grade} for q, judged in QRELS.items()}
    qrels = {q: {d: min(grade, 1) for d, grade in judged.items()} for q, judged in QRELS.items()}
    prompts = {"query_prompt": "w1 w2 ", "corpus_prompt": "w3 "}
    for options in ({}, prompts):
        ours = GradedInformationRetrievalEvaluator(QUERIES, CORPUS, qrels, **options)(models[kind])
        theirs = KINDS[kind][1](QUERIES, CORPUS, relevant, **options)(models[kind])
        shared = set(ours) & set(theirs)
        assert {f"{KINDS[kind][0]}_{metric}@10" for metric in ("ndcg", "mrr", "recall")} <= shared
        assert {key: ours[key] for key in shared} == pytest.approx({key: theirs[key] for key in shared}, abs=1e-9)


@every_kind
@pytest.mark.parametrize("chunk", [1, 7])
def test_metrics_do_not_depend_on_the_chunk_size(kind, chunk, models):
    whole, cut = (
        GradedInformationRetrievalEvaluator(QUERIES, CORPUS, QRELS, batch_size=1, corpus_chunk_size=size)
        for size in (None, chunk)
    )
    assert cut(models[kind]) == whole(models[kind])
    assert cut.rankings == whole.rankings


@pytest.mark.parametrize("similarity_fn_name", ["cosine", "euclidean", "manhattan"])
def test_sparse_models_rank_by_any_of_their_similarities(similarity_fn_name, tmp_path):
    model = tiny_splade(tmp_path, WORDS)
    model.similarity_fn_name = similarity_fn_name
    evaluator = GradedInformationRetrievalEvaluator(QUERIES, CORPUS, QRELS)
    assert f"{similarity_fn_name}_ndcg@10" in evaluator(model)
    dense = [encode(list(inputs.values())).to_dense() for encode, inputs in
             ((model.encode_query, QUERIES), (model.encode_document, CORPUS))]  # fmt: skip
    for row, ranking in zip(model.similarity(*dense).tolist(), evaluator.rankings.values(), strict=True):
        assert ranking == pytest.approx(dict(zip(CORPUS, row, strict=True)), rel=1e-4, abs=1e-4)


def test_max_active_dims_limits_queries_and_documents_as_in_sentence_transformers(models):
    relevant = {q: {d for d, grade in judged.items() if grade} for q, judged in QRELS.items()}
    qrels = {q: {d: min(grade, 1) for d, grade in judged.items()} for q, judged in QRELS.items()}
    ours = GradedInformationRetrievalEvaluator(QUERIES, CORPUS, qrels, max_active_dims=4)
    theirs = SparseInformationRetrievalEvaluator(QUERIES, CORPUS, relevant, max_active_dims=4)(models["sparse"])
    metrics = ours(models["sparse"])
    for metric in ("dot_mrr@10", "dot_ndcg@10"):
        assert metrics[metric] == pytest.approx(theirs[metric], abs=1e-9)
    assert metrics != GradedInformationRetrievalEvaluator(QUERIES, CORPUS, qrels)(models["sparse"])
    assert ours.get_config_dict()["max_active_dims"] == 4


@pytest.mark.parametrize("precision", ["binary", "ubinary"])
def test_binary_embeddings_rank_by_the_hamming_distance(precision):
    model = word_model(WORDS, dim=32)
    evaluator = GradedInformationRetrievalEvaluator(QUERIES, CORPUS, QRELS, precision=precision)
    evaluator(model)
    queries, documents = (model.encode(list(inputs.values()), precision="ubinary") for inputs in (QUERIES, CORPUS))
    results, _ = semantic_search_faiss(
        queries, corpus_embeddings=documents, corpus_precision="ubinary", top_k=len(CORPUS), rescore=False
    )
    for hits, ranking in zip(results, evaluator.rankings.values(), strict=True):
        distances = {f"d{hit['corpus_id']:02}": hit["score"] for hit in hits}
        assert ranking == {d: 32 - 2 * distance for d, distance in distances.items()}
        assert list(ranking) == sorted(distances, key=lambda d: (-distances[d], d), reverse=True)
    assert evaluator.get_config_dict()["precision"] == precision
    indexed = GradedInformationRetrievalEvaluator(QUERIES, CORPUS, QRELS, precision=precision, index="Flat")
    assert indexed(model) == evaluator(model)
    assert indexed.rankings == evaluator.rankings


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("sparse", {"truncate_dim": 4}, "truncate_dim must be None for a SparseEncoder, got 4; use max_active_dims"),
        ("sparse", {"precision": "binary"}, "precision must be 'float32' for a SparseEncoder, got 'binary'"),
        ("sparse", {"index": "Flat"}, "index must be None for a SparseEncoder .searched exactly., got 'Flat'"),
        ("multi-vector", {"truncate_dim": 4}, r"truncate_dim must be None for a MultiVectorEncoder, got 4\.$"),
        ("multi-vector", {"max_active_dims": 4}, "max_active_dims must be None for a MultiVectorEncoder, got 4"),
        ("multi-vector", {"precision": "ubinary"}, "precision must be 'float32' for a MultiVectorEncoder"),
        ("multi-vector", {"index": "HNSW32"}, "index must be None for a MultiVectorEncoder .searched exactly."),
        ("dense", {"max_active_dims": 4}, "max_active_dims must be None for a SentenceTransformer, got 4; use trunc"),
    ],
)
def test_settings_of_another_kind_are_refused_before_anything_is_encoded(kind, options, message, models, monkeypatch):
    monkeypatch.setattr(models[kind], "encode_query", None)
    with pytest.raises(ValueError, match=message):
        GradedInformationRetrievalEvaluator(QUERIES, CORPUS, QRELS, **options)(models[kind])


@pytest.mark.parametrize("kind", ["sparse", "multi-vector"])
def test_a_large_corpus_is_searched_exactly_where_faiss_has_no_index(kind, models):
    exact, large = (GradedInformationRetrievalEvaluator(QUERIES, CORPUS, QRELS, faiss_above=n) for n in (None, 5))
    assert large(models[kind]) == exact(models[kind])


@pytest.mark.parametrize("kind", ["sparse", "multi-vector"])
def test_embeddings_that_are_not_finite_are_named(kind, models, monkeypatch):
    encode = models[kind].encode_document

    def overflowing(inputs, **options):
        found = encode(inputs, **options)
        found = found.to_dense() if kind == "sparse" else found
        found[1][..., 2] = np.nan
        return found.to_sparse() if kind == "sparse" else found

    monkeypatch.setattr(models[kind], "encode_document", overflowing)
    evaluator = GradedInformationRetrievalEvaluator({"q": "w1"}, {"a": "w2", "b": "w7 w3", "c": "w4"}, {"q": {"a": 1}})
    with pytest.raises(ValueError, match="document embeddings must be finite, got NaN or infinity for 'b':"):
        evaluator(models[kind])


def test_a_document_without_tokens_ranks_last(tmp_path):
    model = tiny_multi_vector(tmp_path, WORDS)
    model[1].skiplist_words = ["w0", "w1"]
    model[1].resolve_with_tokenizer(model.tokenizer)
    evaluator = GradedInformationRetrievalEvaluator(
        {"q": "w5"}, {"a": "w0 w1", "b": "w9", "z": "w1"}, {"q": {"b": 1}}, corpus_chunk_size=1
    )
    evaluator(model)
    assert list(evaluator.rankings["q"]) == ["b", "z", "a"]
    assert evaluator.rankings["q"]["a"] == -1e9


def test_a_corpus_mixes_texts_and_images(tmp_path):
    model = tiny_clip(tmp_path, ["red", "blue"])
    corpus = {"a": "red", "b": Image.new("RGB", (16, 16), "red"), "c": "blue", "d": Image.new("RGB", (16, 16), "blue")}
    evaluator = GradedInformationRetrievalEvaluator({"q": "red"}, corpus, {"q": {"a": 3, "b": 2}})
    evaluator(model)
    query = model.encode_query("red")
    for document_id, document in corpus.items():
        expected = model.similarity(query, model.encode_document(document)).item()
        assert evaluator.rankings["q"][document_id] == pytest.approx(expected, abs=1e-5)


def test_inputs_of_several_modalities_keep_their_places(models):
    """In each form of embeddings; the tiny models here read only texts, so the modality is by the text's length."""
    for kind in KINDS:
        embedder = Embedder(models[kind], batch_size=1)
        whole = embedder.embed_documents(CORPUS)
        with pytest.MonkeyPatch.context() as patch:
            groups = [{d: t for d, t in CORPUS.items() if len(t) % 3 == rest} for rest in range(3)]
            patch.setattr(Embedder, "_by_modality", lambda self, inputs, groups=groups: groups)
            apart = embedder.embed_documents(CORPUS)
        scores, numbers = exact_search(whole, [apart], 1, embedder.compared_by)
        own = exact_search(whole, [whole], 1, embedder.compared_by)
        assert numbers.tolist() == own[1].tolist()
        assert scores.tolist() == own[0].tolist()
