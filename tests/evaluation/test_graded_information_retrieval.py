"""The graded evaluator against arithmetic, pytrec_eval, MTEB and sentence-transformers."""

from __future__ import annotations

import copy
import json
import logging
import sys
from decimal import Decimal
from math import log2

import faiss
import mteb
import numpy as np
import pytest
import pytrec_eval
import sentence_transformers
import torch
from datasets import Dataset
from mteb.abstasks import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
from sentence_transformers import SentenceTransformerTrainingArguments as TrainingArguments
from sentence_transformers.sentence_transformer.evaluation import (
    InformationRetrievalEvaluator,
    SequentialEvaluator,
)
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, models, pre_tokenizers

from st_rankloss.evaluation import GradedInformationRetrievalEvaluator, mean_metrics
from st_rankloss.evaluation import graded_information_retrieval as module
from st_rankloss.evaluation.metrics import trec_ndcg

DIM = 16


def word_model(embeddings, similarity_fn_name="cosine", **kwargs):
    """A model that embeds the text "w3" as row 3, and several words as the mean of their rows."""
    vocabulary = {f"w{i}": i for i in range(len(embeddings))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    static = StaticEmbedding(tokenizer, embedding_weights=torch.as_tensor(embeddings, dtype=torch.float32))
    return SentenceTransformer(modules=[static], similarity_fn_name=similarity_fn_name, device="cpu", **kwargs)


def words(size, similarity_fn_name="cosine"):
    """A word model with random embeddings."""
    return word_model(torch.randn(size, DIM), similarity_fn_name)


def graded_task(copies=1, documents=60, queries=12):
    """Queries, corpus and grades 0 to 3; ``copies`` documents in a row have the same text."""
    rng = np.random.default_rng(0)
    corpus = {f"d{i:03}": f"w{i // copies}" for i in range(documents)}
    texts = {f"q{i}": f"w{documents + i}" for i in range(queries)}
    qrels = {
        query_id: {str(d): int(rng.integers(0, 4)) for d in rng.choice(list(corpus), 12, replace=False)} | {"d000": 1}
        for query_id in texts
    }
    return texts, corpus, qrels


# Five documents at growing angles to the query rank a, b, c, d, e.
ANGLES = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
FAN = torch.stack([ANGLES.cos(), ANGLES.sin()], dim=-1)
FAN_QUERIES = {"q": "w0"}
FAN_CORPUS = {"a": "w1", "b": "w2", "c": "w3", "d": "w4", "e": "w5"}
FAN_QRELS = {"q": {"a": 0, "b": 1, "c": 3, "e": 2}}


def fan(**kwargs):
    """The evaluator of the five documents: grades 0, 1, 3, unjudged, 2 in the order of the ranking."""
    return GradedInformationRetrievalEvaluator(FAN_QUERIES, FAN_CORPUS, FAN_QRELS, **kwargs)


def test_metrics_equal_their_definitions():
    evaluator = fan(ndcg_at_k=[2, 10], mrr_at_k=[1, 10], map_at_k=[3, 100], recall_at_k=[2, 3], accuracy_at_k=[1, 2])
    dcg_10 = 1 / log2(3) + 3 / log2(4) + 2 / log2(6)
    expected = {
        "cosine_ndcg@2": (1 / log2(3)) / (3 / log2(2) + 2 / log2(3)),
        "cosine_ndcg@10": dcg_10 / (3 / log2(2) + 2 / log2(3) + 1 / log2(4)),
        "cosine_mrr@1": 0.0,
        "cosine_mrr@10": 1 / 2,
        "cosine_map@3": (1 / 2 + 2 / 3) / 3,
        "cosine_map@100": (1 / 2 + 2 / 3 + 3 / 5) / 3,
        "cosine_recall@2": 1 / 3,
        "cosine_recall@3": 2 / 3,
        "cosine_accuracy@1": 0.0,
        "cosine_accuracy@2": 1.0,
    }
    metrics = evaluator(word_model(FAN))
    assert list(metrics) == list(expected)
    assert metrics == pytest.approx(expected, abs=1e-12)
    assert {type(value) for value in metrics.values()} == {float}
    assert evaluator.primary_metric == "cosine_ndcg@10"
    assert {f"cosine_{metric}": value for metric, value in evaluator.per_query["q"].items()} == metrics


def test_relevance_level_changes_the_binary_metrics_only():
    metrics = fan(relevance_level=2)(word_model(FAN))
    assert metrics["cosine_mrr@10"] == pytest.approx(1 / 3)
    assert metrics["cosine_map@100"] == pytest.approx((1 / 3 + 2 / 5) / 2)
    assert metrics["cosine_accuracy@1"] == 0
    assert metrics["cosine_ndcg@10"] == fan()(word_model(FAN))["cosine_ndcg@10"]


def test_grade_0_is_not_relevant():
    """sentence-transformers' evaluator takes grades without complaint and counts grade 0 as relevant."""
    task = {"q": "w0"}, {"a": "w1", "b": "w2"}, {"q": {"b": 1, "a": 0}}
    model = word_model(FAN)
    theirs = InformationRetrievalEvaluator(*task, ndcg_at_k=[2], mrr_at_k=[2])(model)
    ours = GradedInformationRetrievalEvaluator(*task, ndcg_at_k=[2], mrr_at_k=[2])(model)
    assert (theirs["cosine_ndcg@2"], theirs["cosine_mrr@2"]) == (1, 1), "the bug is gone: update the docs"
    assert ours["cosine_ndcg@2"] == pytest.approx(1 / log2(3))
    assert ours["cosine_mrr@2"] == 0.5


def test_binary_metrics_equal_those_of_sentence_transformers():
    """For grades 0 and 1 without ties; MAP is left out where more documents are relevant than k."""
    queries, corpus, qrels = graded_task()
    qrels = {q: {d: min(grade, 1) for d, grade in judged.items()} for q, judged in qrels.items()}
    relevant = {q: {d for d, grade in judged.items() if grade} for q, judged in qrels.items()}
    model = words(80)
    ours = GradedInformationRetrievalEvaluator(queries, corpus, qrels, name="x", recall_at_k=[1, 3, 5, 10])(model)
    theirs = InformationRetrievalEvaluator(queries, corpus, relevant, name="x")(model)
    shared = set(ours) & set(theirs)
    assert shared >= {"x_cosine_ndcg@10", "x_cosine_mrr@10", "x_cosine_map@100", "x_cosine_recall@5"}
    assert {key: ours[key] for key in shared} == pytest.approx({key: theirs[key] for key in shared}, abs=1e-12)


@pytest.mark.parametrize("similarity_fn_name", ["cosine", "dot", "euclidean", "manhattan"])
def test_metrics_equal_pytrec_eval_on_the_model_s_similarity(similarity_fn_name):
    """Three copies of each document: the tie rule is pytrec_eval's, so its figures are met with ties too."""
    queries, corpus, qrels = graded_task(copies=3)
    model = words(80, similarity_fn_name)
    evaluator = GradedInformationRetrievalEvaluator(queries, corpus, qrels)
    metrics = evaluator(model)
    similarity = model.similarity(
        model.encode_query(list(queries.values())).astype(np.float64),
        model.encode_document(list(corpus.values())).astype(np.float64),
    )
    run = {
        query_id: dict(zip(corpus, row, strict=True))
        for query_id, row in zip(queries, similarity.float().tolist(), strict=True)
    }
    assert len(set(run["q0"].values())) <= 20, "no ties, so this test would say less than it claims"
    oracle = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut_10", "map_cut_100", "recall_10"}).evaluate(run)
    for ours, theirs in {
        "ndcg@10": "ndcg_cut_10",
        "map@100": "map_cut_100",
        "recall@10": "recall_10",
    }.items():
        assert metrics[f"{similarity_fn_name}_{ours}"] == pytest.approx(
            np.mean([values[theirs] for values in oracle.values()]), abs=1e-12
        )
        assert {q: values[ours] for q, values in evaluator.per_query.items()} == pytest.approx(
            {q: values[theirs] for q, values in oracle.items()}, abs=1e-12
        )


class LocalRetrieval(AbsTaskRetrieval):
    """The task above in MTEB's format."""

    metadata = TaskMetadata(
        name="LocalRetrieval",
        description="local",
        dataset={"path": "local", "revision": "1"},
        type="Retrieval",
        eval_langs=["eng-Latn"],
        main_score="ndcg_at_10",
        category="t2t",
    )

    def load_data(self, num_proc=None, **kwargs):
        queries, corpus, qrels = graded_task()
        data = {
            "corpus": Dataset.from_list([{"id": i, "title": "", "text": text} for i, text in corpus.items()]),
            "queries": Dataset.from_list([{"id": i, "text": text} for i, text in queries.items()]),
            "relevant_docs": qrels,
            "top_ranked": None,
        }
        self.dataset = {"default": {"test": data}}
        self.data_loaded = True


def test_metrics_equal_mteb():
    model = words(80)
    ours = GradedInformationRetrievalEvaluator(*graded_task())(model)
    result = mteb.evaluate(model, tasks=[LocalRetrieval()], cache=None, show_progress_bar=False)
    theirs = result[0].scores["test"][0]
    for metric in ("ndcg@10", "mrr@10", "map@100", "recall@10", "recall@100"):
        assert ours[f"cosine_{metric}"] == pytest.approx(theirs[metric.replace("@", "_at_")], abs=1e-5), metric


@pytest.mark.parametrize("chunk", [1, 7, 60])
def test_metrics_do_not_depend_on_corpus_order_or_chunk_size(chunk):
    """Four copies of each document, of different grades: any other tie rule than one by id would show."""
    queries, corpus, qrels = graded_task(copies=4)
    model = words(80)
    expected = GradedInformationRetrievalEvaluator(queries, corpus, qrels)
    expected(model)
    order = np.random.default_rng(chunk).permutation(list(corpus))
    evaluator = GradedInformationRetrievalEvaluator(
        queries, {str(d): corpus[d] for d in order}, qrels, corpus_chunk_size=chunk
    )
    evaluator(model)
    assert evaluator.per_query == expected.per_query


def test_the_last_id_of_tied_documents_ranks_first():
    evaluator = GradedInformationRetrievalEvaluator({"q": "w0"}, {"a": "w1", "b": "w1"}, {"q": {"a": 1}})
    assert evaluator(word_model(FAN))["cosine_mrr@10"] == 0.5


SEARCHES = {
    "flat above a size": {"faiss_above": 59},
    "factory string": {"index": "Flat"},
    "index": {"index": faiss.IndexHNSWFlat(DIM, 32, faiss.METRIC_INNER_PRODUCT)},
    "index that needs training": {"index": faiss.index_factory(DIM, "IVF1,Flat", faiss.METRIC_INNER_PRODUCT)},
}


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
def test_faiss_gives_the_metrics_of_exact_search(search, monkeypatch):
    task, model = graded_task(), words(80)
    exact = GradedInformationRetrievalEvaluator(*task)
    exact(model)
    monkeypatch.setattr(module, "exact_search", None)  # to call it would be an error
    evaluator = GradedInformationRetrievalEvaluator(*task, corpus_chunk_size=25, **search)
    for _ in range(2):  # a second call finds the index as empty as the first
        evaluator(model)
        assert evaluator.per_query == exact.per_query


def test_search_is_exact_up_to_the_size_and_for_manhattan(monkeypatch):
    monkeypatch.setattr(module, "faiss_search", None)
    task = graded_task()
    GradedInformationRetrievalEvaluator(*task, faiss_above=60)(words(80))
    GradedInformationRetrievalEvaluator(*task, faiss_above=None)(words(80))
    GradedInformationRetrievalEvaluator(*task, faiss_above=5)(words(80, "manhattan"))


def test_an_index_that_does_not_fit_is_refused_before_anything_is_encoded(monkeypatch):
    model = words(80)
    monkeypatch.setattr(model, "encode_query", None)
    evaluator = GradedInformationRetrievalEvaluator(*graded_task(), index=faiss.IndexFlat(DIM, faiss.METRIC_L1))
    with pytest.raises(ValueError, match="index must use faiss.METRIC_INNER_PRODUCT or faiss.METRIC_L2"):
        evaluator(model)


def test_documents_that_an_index_does_not_find_are_missing_not_wrong():
    """One probed cell of eight: what it lacks, faiss numbers -1, which must not become the last document."""
    queries, corpus, _ = graded_task(documents=400)
    last = {query_id: {min(corpus): 1} for query_id in queries}
    index = faiss.index_factory(DIM, "IVF8,Flat", faiss.METRIC_INNER_PRODUCT)
    evaluator = GradedInformationRetrievalEvaluator(queries, corpus, last, recall_at_k=[400], index=index)
    metrics = evaluator(words(420))
    assert 0 < metrics["cosine_recall@400"] < 1


def test_no_relevant_is_a_named_choice(caplog):
    queries = FAN_QUERIES | {"judged": "w0", "unjudged": "w0"}
    qrels = FAN_QRELS | {"judged": {"a": 0}}
    model = word_model(FAN)
    with caplog.at_level(logging.WARNING):
        skip = GradedInformationRetrievalEvaluator(queries, FAN_CORPUS, qrels)
    assert "2 of 3 queries have no document of grade 1 or above" in caplog.text
    assert skip.queries_without_relevant == ["judged", "unjudged"]
    assert skip(model) == fan()(model)
    assert list(skip.per_query) == ["q"]

    zero = GradedInformationRetrievalEvaluator(queries, FAN_CORPUS, qrels, no_relevant="zero")
    assert zero(model) == pytest.approx({key: value / 3 for key, value in skip(model).items()})
    assert set(zero.per_query) == set(queries)

    with pytest.raises(ValueError, match="no_relevant='error', got none for 'judged', 'unjudged'"):
        GradedInformationRetrievalEvaluator(queries, FAN_CORPUS, qrels, no_relevant="error")
    with pytest.raises(ValueError, match=r"grade 3 or above \(relevance_level\), got none for 1 queries"):
        GradedInformationRetrievalEvaluator({"q": "w0"}, FAN_CORPUS, {"q": {"a": 2}}, relevance_level=3)


def test_exclude_identical_ids():
    """A query that is part of the corpus finds itself first; BEIR skips it."""
    corpus = FAN_CORPUS | {"q": "w0"}
    qrels = {"q": FAN_QRELS["q"] | {"q": 3}}
    kept = GradedInformationRetrievalEvaluator(FAN_QUERIES, corpus, qrels)
    excluded = GradedInformationRetrievalEvaluator(FAN_QUERIES, corpus, qrels, exclude_identical_ids=True)
    model = word_model(FAN)
    assert kept(model)["cosine_mrr@10"] == 1
    assert excluded(model) == fan()(model)
    assert qrels["q"]["q"] == 3, "the caller's judgements were edited"


def test_exclude_identical_ids_holds_for_rankings_of_any_origin():
    task = FAN_QUERIES, FAN_CORPUS | {"q": "w0"}, {"q": {"b": 1, "q": 3}}
    evaluator = GradedInformationRetrievalEvaluator(*task, exclude_identical_ids=True)
    for ranking in (["q", "b"], {"q": 2.0, "b": 1.0}):
        assert evaluator.compute_metrics({"q": ranking})["q"]["mrr@10"] == 1


def test_exclude_identical_ids_still_fills_the_last_place():
    corpus, qrels = {"q": "w0", "a": "w1"}, {"q": {"a": 1}}
    one = {f"{metric}_at_k": [1] for metric in ("ndcg", "mrr", "map", "recall", "accuracy")}
    evaluator = GradedInformationRetrievalEvaluator(FAN_QUERIES, corpus, qrels, exclude_identical_ids=True, **one)
    assert evaluator(word_model(FAN))["cosine_recall@1"] == 1


def test_rankings_of_any_origin_are_scored_alike():
    model, evaluator = word_model(FAN), fan()
    metrics = evaluator(model)
    assert evaluator.compute_metrics({"q": ["a", "b", "c", "d", "e"]}) == evaluator.per_query
    assert {f"cosine_{metric}": value for metric, value in mean_metrics(evaluator.per_query).items()} == metrics
    assert set(evaluator.compute_metrics({"q": []})["q"].values()) == {0.0}


def test_scores_of_documents_rank_them_whatever_order_they_come_in():
    scores = {"e": 0.1, "d": 0.2, "c": np.float32(0.3), "b": 4, "a": 5.0}
    ranked = fan().compute_metrics({"q": ["a", "b", "c", "d", "e"]})
    assert (
        fan().compute_metrics({"q": scores}) == fan().compute_metrics({"q": dict(reversed(scores.items()))}) == ranked
    )
    assert fan().compute_metrics({"q": {d: -score for d, score in scores.items()}}) != ranked


def test_tied_scores_rank_as_in_pytrec_eval():
    """The last id first, and scores are float32: 0.1 and 0.1 + 1e-12 tie, 0.1 + 1e-7 does not."""
    scores = {"a": 0.1, "b": 0.1 + 1e-12, "c": 0.1 + 1e-7, "d": 0.1, "e": 0.0}
    measures = {"ndcg_cut_10", "recip_rank"}
    (oracle,) = pytrec_eval.RelevanceEvaluator(FAN_QRELS, measures).evaluate({"q": scores}).values()
    for given in (scores, dict(reversed(scores.items()))):
        (ours,) = fan().compute_metrics({"q": given}).values()
        assert ours["ndcg@10"] == pytest.approx(oracle["ndcg_cut_10"], abs=1e-12)
        assert ours["mrr@10"] == oracle["recip_rank"]
    assert fan().compute_metrics({"q": scores}) == fan().compute_metrics({"q": ["c", "d", "b", "a", "e"]})


@pytest.mark.parametrize(
    ("rankings", "message"),
    [
        ({"q": {"a", "b"}}, r"rankings\['q'\] must be a list of document ids or a dict of scores, got set"),
        ({"q": "ab"}, "must be a list of document ids or a dict of scores, got str"),
        ({"q": ["a", "b", "a"]}, r"rankings\['q'\] must name each document once, got 'a' twice"),
        ({"q": [("a", 0.5)]}, r"a document id in rankings\['q'\] must be a string or an integer, got \('a', 0.5\)"),
        ({"q": {"a": None}}, "a score in rankings must be a number, got None for 'q', 'a'"),
        ({"q": {"a": float("nan")}}, "a score in rankings must be a number, got nan for 'q', 'a'"),
        ({"p": ["a"]}, "rankings must name ids of queries, got the unknown 'p'"),
    ],
)
def test_wrong_rankings_are_refused_by_name(rankings, message):
    with pytest.raises(ValueError, match=message):
        fan().compute_metrics(rankings)


def test_prompts_and_truncation_reach_the_encoder():
    embeddings = torch.randn(80, DIM)
    task = graded_task()
    model = word_model(embeddings, prompts={"ask": "w1 ", "file": "w2 "})
    prompted = GradedInformationRetrievalEvaluator(*task, query_prompt_name="ask", corpus_prompt="w2 ")
    queries, corpus, qrels = task
    written_out = GradedInformationRetrievalEvaluator(
        {q: f"w1 {text}" for q, text in queries.items()},
        {d: f"w2 {text}" for d, text in corpus.items()},
        qrels,
    )
    assert prompted(model) == written_out(model) != GradedInformationRetrievalEvaluator(*task)(model)
    assert prompted.get_config_dict()["query_prompt_name"] == "ask"

    truncated = GradedInformationRetrievalEvaluator(*task, truncate_dim=4)
    assert truncated(model) == GradedInformationRetrievalEvaluator(*task)(word_model(embeddings[:, :4]))


def test_the_primary_metric_follows_the_model_and_the_name():
    evaluator = fan(name="cosine", ndcg_at_k=[20, 5, 20])
    metrics = evaluator(word_model(FAN))
    assert evaluator.primary_metric == "cosine_cosine_ndcg@20"
    assert "cosine_cosine_ndcg@5" in metrics
    evaluator(word_model(FAN, "dot"))
    assert evaluator.primary_metric == "cosine_dot_ndcg@20"
    sequence = SequentialEvaluator([evaluator, fan(name="b")])
    assert {"cosine_cosine_ndcg@20", "b_cosine_ndcg@10"} <= set(sequence(word_model(FAN)))


def test_csv_and_predictions_are_written(tmp_path, caplog):
    evaluator = fan(name="fan", map_at_k=[5], recall_at_k=[5], accuracy_at_k=[1], write_predictions=True)
    evaluator(word_model(FAN), str(tmp_path / "new"), epoch=1, steps=20)
    evaluator(word_model(FAN), str(tmp_path / "new"))
    header, first, second = (tmp_path / "new" / evaluator.csv_file).read_text().splitlines()
    assert header == "epoch,steps,cosine-NDCG@10,cosine-MRR@10,cosine-MAP@5,cosine-Recall@5,cosine-Accuracy@1"
    values = evaluator.per_query["q"].values()
    assert first == ",".join(map(str, [1, 20, *values]))
    assert second == ",".join(map(str, [-1, -1, *values]))
    assert not caplog.records

    path = tmp_path / "new" / "Graded-Information-Retrieval_evaluation_fan_predictions_cosine.jsonl"
    (prediction,) = [json.loads(line) for line in path.read_text().splitlines()]
    assert (prediction["query_id"], prediction["query"]) == ("q", "w0")
    assert [result["corpus_id"] for result in prediction["results"]] == ["a", "b", "c", "d", "e"]
    assert prediction["results"][0]["score"] == pytest.approx(np.cos(0.1), abs=1e-6)

    evaluator(word_model(FAN, "dot"), str(tmp_path / "new"))
    assert "has other columns than this evaluation" in caplog.text


def test_nothing_is_written_unless_wanted(tmp_path):
    fan(write_csv=False)(word_model(FAN), str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_metrics_reach_the_model_card(tmp_path):
    model, evaluator = word_model(FAN), fan(name="fan")
    metrics = evaluator(model)
    assert model.model_card_data.eval_results_dict[evaluator] == metrics
    model.save_pretrained(str(tmp_path))
    card = (tmp_path / "README.md").read_text()
    assert "Graded Information Retrieval" in card
    assert "**cosine_ndcg@10**" in card
    assert '"relevance_level": 1' in card
    copied = copy.deepcopy(model)  # takes the evaluator along
    assert fan()(copied) == fan()(model)


def test_training_selects_the_best_checkpoint_by_it(tmp_path):
    """Words 0 to 7 and 8 to 15 are to be paired: training lifts the metric that the trainer selects by."""
    model = word_model(torch.randn(16, DIM))
    evaluator = GradedInformationRetrievalEvaluator(
        {f"q{i}": f"w{i}" for i in range(8)},
        {f"d{i}": f"w{i + 8}" for i in range(8)},
        {f"q{i}": {f"d{i}": 2, f"d{(i + 1) % 8}": 0} for i in range(8)},
        name="pairs",
    )
    before = evaluator(model)[evaluator.primary_metric]
    metric = "eval_pairs_cosine_ndcg@10"
    args = TrainingArguments(
        output_dir=str(tmp_path),
        num_train_epochs=3,
        per_device_train_batch_size=8,
        learning_rate=0.1,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model=metric,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    pairs = {"query": [f"w{i}" for i in range(8)] * 4, "document": [f"w{i + 8}" for i in range(8)] * 4}
    trainer = SentenceTransformerTrainer(
        model=model,
        args=args,
        train_dataset=Dataset.from_dict(pairs),
        loss=MultipleNegativesRankingLoss(model),
        evaluator=evaluator,
    )
    trainer.train()
    logged = [entry[metric] for entry in trainer.state.log_history if metric in entry]
    assert len(logged) == 3
    assert trainer.state.best_metric == max(logged) > before
    assert evaluator(model)["pairs_cosine_ndcg@10"] == trainer.state.best_metric
    lines = next(tmp_path.rglob(evaluator.csv_file)).read_text().splitlines()
    assert len(lines) == 4


def test_embeddings_that_are_not_finite_are_named():
    embeddings = FAN.clone()
    embeddings[3, 0] = torch.inf
    with pytest.raises(ValueError, match="document embeddings must be finite, got NaN or infinity for 'c':"):
        fan()(word_model(embeddings))
    embeddings[0, 1] = torch.nan
    with pytest.raises(ValueError, match="query embeddings must be finite, got NaN or infinity for 'q'"):
        fan()(word_model(embeddings))


WRONG = {
    "no queries": (
        {"queries": {}},
        "queries must be a non-empty dict of id to text, got an empty dict",
    ),
    "a list of queries": ({"queries": ["red"]}, "queries must be a non-empty dict of id to text, got list"),
    "no corpus": ({"corpus": {}}, "corpus must be a non-empty dict of id to text"),
    "float ids": (
        {"corpus": {1.0: "red"}},
        r"an id of corpus must be a string or an integer, got 1.0 \(float\); write 1",
    ),
    "one id twice": ({"corpus": {1: "red", "1": "blue"}}, "an id of corpus must occur once, got 1 and '1'"),
    "no text": ({"corpus": {"a": None}}, "each of 'corpus' must be a text, got None .* for id 'a'"),
    "a record": (
        {"corpus": {"a": {"title": "x", "text": "y"}}},
        "each of 'corpus' must be a text, got .*'title'.* for id 'a'; join its fields",
    ),
    "no qrels": ({"qrels": {}}, "qrels must be a non-empty dict of query id"),
    "None for qrels": ({"qrels": None}, "qrels must be a non-empty dict of query id .* got NoneType"),
    "sets": ({"qrels": {"q": {"a"}}}, r"got set for 'q'; .* write dict.fromkeys"),
    "unknown query": (
        {"qrels": {"q": {"a": 1}, "p": {"a": 1}}},
        "qrels must name ids of queries, got the unknown 'p'",
    ),
    "unknown documents": (
        {"qrels": {"q": {f"x{i}": 1 for i in range(9)}}},
        "qrels must name ids of corpus, got the unknown 'x0', 'x1', 'x2', 'x3', 'x4' and 4 more",
    ),
    "NaN grade": ({"qrels": {"q": {"a": float("nan")}}}, "got nan .*'q', document 'a'; leave unjudged documents out"),
    "text grade": ({"qrels": {"q": {"a": "1"}}}, "got '1' .*'q', document 'a'; convert it to a number"),
    "negative grade": ({"qrels": {"q": {"a": -1}}}, "got -1 .*'q', document 'a'; write 0"),
    "infinite grade": ({"qrels": {"q": {"a": 10**400}}}, "got 10+ .*'q', document 'a'; scale all grades down"),
    "only grade 0": (
        {"qrels": {"q": {"a": 0}}},
        "at least one query must have a document of grade 1 or above",
    ),
    "only fractions": (
        {"qrels": {"q": {"a": 0.5}}},
        r"a document of grade 1 or above \(relevance_level\), got none for 1 queries; the highest grade is 0.5",
    ),
    "k of 0": ({"ndcg_at_k": [10, 0]}, "each of ndcg_at_k must be an integer of at least 1, got 0"),
    "float k": ({"mrr_at_k": [1.5]}, "each of mrr_at_k must be an integer of at least 1, got 1.5"),
    "no k": (
        {"recall_at_k": []},
        r"recall_at_k must be a non-empty list of integers of at least 1, got \[\]",
    ),
    "k alone": ({"map_at_k": 100}, "map_at_k must be a non-empty list of integers of at least 1, got 100"),
    "level": ({"relevance_level": 0}, "relevance_level must be a finite number above 0, got 0"),
    "NaN level": ({"relevance_level": float("nan")}, "relevance_level must be a finite number above 0, got nan"),
    "chunk": ({"corpus_chunk_size": 0}, "corpus_chunk_size must be an integer of at least 1, got 0"),
    "batch": ({"batch_size": -1}, "batch_size must be an integer of at least 1, got -1"),
    "dim": ({"truncate_dim": 0}, "truncate_dim must be an integer of at least 1, got 0"),
    "active dims": ({"max_active_dims": 2.5}, "max_active_dims must be an integer of at least 1, got 2.5"),
    "precision": (
        {"precision": "float16"},
        r"precision must be one of \('float32', 'binary', 'ubinary'\), .*'float16'\.$",
    ),
    "integers": (
        {"precision": "int8"},
        "got 'int8'; rank with the engine .*, and score its rankings with compute_metrics",
    ),
    "size": ({"faiss_above": -1}, "faiss_above must be an integer of at least 0, got -1"),
    "policy": (
        {"no_relevant": "drop"},
        "no_relevant must be one of 'skip', 'zero', 'error', got 'drop'",
    ),
    "index": ({"index": 3}, "index must be None, a faiss.Index or a factory string, got 3"),
}


@pytest.mark.parametrize(("changed", "message"), WRONG.values(), ids=WRONG)
def test_wrong_input_is_refused_by_name(changed, message):
    good = {"queries": FAN_QUERIES, "corpus": FAN_CORPUS, "qrels": FAN_QRELS}
    with pytest.raises(ValueError, match=message):
        GradedInformationRetrievalEvaluator(**good | changed)


@pytest.mark.parametrize("scale", [1, 3, 7])
def test_fractional_grades_give_exactly_the_scores_of_the_same_grades_in_integers(scale):
    """pytrec_eval takes integers only: nDCG does not depend on the scale, nor do the others if the level follows."""
    queries, corpus, qrels = graded_task(copies=2)
    options = {"ndcg_at_k": [1, 3, 10, 100], "recall_at_k": [5], "map_at_k": [10, 100]}
    fractions = {q: {d: grade / 10 for d, grade in judged.items()} for q, judged in qrels.items()}
    ours = GradedInformationRetrievalEvaluator(queries, corpus, fractions, relevance_level=0.2, **options)
    ours(words(80))
    integers = {q: {d: scale * grade for d, grade in judged.items()} for q, judged in qrels.items()}
    measures = {"ndcg_cut_1,3,10,100", "map_cut_10,100", "recall_5", "success_1,10", "recip_rank"}
    oracle = pytrec_eval.RelevanceEvaluator(integers, measures, relevance_level=2 * scale).evaluate(ours.rankings)
    names = {"ndcg@": "ndcg_cut_", "map@": "map_cut_", "recall@": "recall_", "accuracy@": "success_"}
    for query_id, values in ours.per_query.items():
        for metric, value in values.items():
            name = next((metric.replace(a, b) for a, b in names.items() if metric.startswith(a)), "recip_rank")
            expected = oracle[query_id][name]
            assert value == pytest.approx(0 if name == "recip_rank" and expected < 0.1 else expected, abs=1e-12), metric


@pytest.mark.parametrize("factor", [5e-324, 1e-40, 0.1, 1e300])
def test_ndcg_does_not_depend_on_the_size_of_grades(factor):
    grades = {"a": 1.0, "b": 0.0, "c": 2.0, "d": 4.0}
    scaled = {document: grade * factor for document, grade in grades.items()}
    expected = (1 + 2 / log2(4)) / (4 + 2 / log2(3) + 1 / log2(4))
    assert trec_ndcg(["a", "b", "c"], scaled, 10) == pytest.approx(expected, abs=1e-12)


def test_ndcg_counts_judged_documents_that_were_not_found():
    assert trec_ndcg(["a"], {"a": 1, "b": 2.5}, 10) == pytest.approx(1 / (2.5 + 1 / log2(3)))
    assert trec_ndcg(["a"], {"a": 0}, 10) == trec_ndcg([], {"a": 1}, 10) == trec_ndcg(["a"], {}, 10) == 0


def test_integers_may_be_ids():
    evaluator = GradedInformationRetrievalEvaluator({7: "w0"}, {1: "w1", 2: "w2"}, {7: {2: 1}})
    assert evaluator(word_model(FAN))["cosine_mrr@10"] == 0.5
    assert evaluator.compute_metrics({7: [2, 1]}) == evaluator.compute_metrics({"7": ["2", "1"]})
    assert evaluator.compute_metrics({7: [2, 1]})["7"]["mrr@10"] == 1


def test_numbers_are_taken_whatever_their_type():
    qrels = {"q": {"a": np.int64(0), "b": True, "c": np.float32(3), "e": Decimal(2)}}
    evaluator = GradedInformationRetrievalEvaluator(FAN_QUERIES, FAN_CORPUS, qrels, ndcg_at_k=(np.int64(10),))
    assert evaluator(word_model(FAN)) == fan()(word_model(FAN))


def test_an_unknown_similarity_is_refused():
    class Other:
        similarity_fn_name = "maxsim"

    with pytest.raises(ValueError, match="similarity_fn_name must be one of .*'cosine'.* got 'maxsim'"):
        fan()(Other())


def test_a_cross_encoder_is_refused_by_name():
    other = object.__new__(sentence_transformers.CrossEncoder)
    with pytest.raises(TypeError, match="got a CrossEncoder; for a CrossEncoder use GradedRerankingEvaluator"):
        fan()(other)


def test_inputs_that_the_model_does_not_encode_are_refused_by_their_id():
    evaluator = GradedInformationRetrievalEvaluator({"q": "w0"}, {"a": "w1", "b": np.zeros(3)}, {"q": {"a": 1}})
    with pytest.raises(ValueError, match="each of 'corpus' must be a text, got array.* for id 'b'"):
        evaluator(word_model(FAN))


@pytest.mark.parametrize(
    ("missing", "extra", "kwargs"),
    [
        ("pytrec_eval", "metrics", {}),
        ("faiss", "faiss", {"index": "Flat"}),
        ("faiss", "faiss", {"faiss_above": 4}),
    ],
)
def test_a_missing_dependency_names_the_extra(missing, extra, kwargs, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=rf"^{missing} is required for .*pip install 'st_rankloss\[{extra}\]'$"):
        fan(**kwargs)


def test_the_package_imports_without_the_extra(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("st_rankloss.evaluation")]:
        monkeypatch.delitem(sys.modules, name)
    for missing in ("pytrec_eval", "faiss", "mteb"):
        monkeypatch.setitem(sys.modules, missing, None)
    import st_rankloss.evaluation  # noqa: F401
