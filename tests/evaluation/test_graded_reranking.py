"""The reranking evaluator against arithmetic, pytrec_eval and sentence-transformers, with models of every kind."""

from __future__ import annotations

import copy
import csv
import math
import random
from math import log2

import numpy as np
import PIL.Image
import pytest
import pytrec_eval
import torch
from datasets import Dataset, Features, Image, List, Value
from sentence_transformers import (
    CrossEncoderTrainer,
    CrossEncoderTrainingArguments,
    MultiVectorEncoderTrainer,
    MultiVectorEncoderTrainingArguments,
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
    SparseEncoderTrainer,
    SparseEncoderTrainingArguments,
)
from sentence_transformers.cross_encoder.evaluation import CrossEncoderRerankingEvaluator
from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss
from sentence_transformers.multi_vector_encoder.evaluation import MultiVectorRerankingEvaluator
from sentence_transformers.multi_vector_encoder.losses import MultiVectorMultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.evaluation import RerankingEvaluator
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.sparse_encoder.evaluation import SparseRerankingEvaluator
from sentence_transformers.sparse_encoder.losses import SparseMultipleNegativesRankingLoss, SpladeLoss

from st_rankloss.evaluation import GradedInformationRetrievalEvaluator, GradedRerankingEvaluator
from st_rankloss.evaluation.reranking_samples import content, read_samples
from tests.models import tiny_bert, tiny_clip, tiny_splade, without_one_vector, word_model

WORDS = [f"w{i}" for i in range(60)]
KINDS = ("cross", "dense", "sparse", "multi")
HOSTS = {
    "cross": CrossEncoderRerankingEvaluator,
    "dense": RerankingEvaluator,
    "sparse": SparseRerankingEvaluator,
    "multi": MultiVectorRerankingEvaluator,
}


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """A tiny model of each kind, with random weights of a spread that keeps scores apart."""
    folder = tmp_path_factory.mktemp("encoders")
    torch.manual_seed(0)
    cross, multi = without_one_vector(folder / "others", WORDS)
    dense, sparse = tiny_bert(folder / "dense", WORDS, 0.0), tiny_splade(folder / "sparse", WORDS, 0.0)
    made = {"cross": cross, "dense": dense, "sparse": sparse, "multi": multi}
    for model in made.values():
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        model.eval()
    return made


def text(draw):
    return " ".join(draw.choices(WORDS, k=draw.randint(1, 4)))


def graded_rows(seed, queries=5, longest=14, grades=(None, 0, 0, 1, 2, 3)):
    """Rows with ids, in a random order of documents; the first document of each is relevant."""
    draw = random.Random(seed)
    rows = []
    for query in range(queries):
        names = draw.sample([f"d{i}" for i in range(99)], draw.randint(1, longest))
        labels = [draw.choice(grades[-1:]), *draw.choices(grades, k=len(names) - 1)]
        documents = [text(draw) for _ in names]
        rows.append({"query": text(draw), "documents": documents, "labels": labels})
        rows[-1] |= {"query_id": f"q{query}", "document_ids": names}
    return rows


def binary_rows(seed, queries=6, others="negative"):
    """Rows in the format of the host, of texts that differ."""
    draw = random.Random(seed)
    rows = []
    for _ in range(queries):
        texts = list(dict.fromkeys(text(draw) for _ in range(14)))
        rows.append({"query": text(draw), "positive": texts[:3], "negative": texts[3:]})
        if others == "documents":
            rows[-1]["documents"] = draw.sample(texts, len(texts))
            del rows[-1]["negative"]
    return rows


def trec_values(rows, rankings, level=1, k=10):
    """The metrics of pytrec_eval on the rankings, by query."""
    judged = {
        row["query_id"]: {d: g for d, g in zip(row["document_ids"], row["labels"], strict=True) if g is not None}
        for row in rows
    }
    values = pytrec_eval.RelevanceEvaluator(judged, {"map", f"ndcg_cut_{k}", "recip_rank"}, level).evaluate(rankings)
    return {
        query: {
            "map": found["map"],
            f"mrr@{k}": found["recip_rank"] if found["recip_rank"] >= 1 / k else 0.0,
            f"ndcg@{k}": found[f"ndcg_cut_{k}"],
        }
        for query, found in values.items()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_metrics_equal_pytrec_eval_on_the_same_rankings(encoders, kind):
    for seed in range(6):
        rows, k, level = graded_rows(seed), 1 + 3 * seed, 1 + seed % 3
        evaluator = GradedRerankingEvaluator(rows, at_k=k, relevance_level=level)
        metrics = evaluator(encoders[kind])
        expected = trec_values(rows, evaluator.rankings, level, k)
        for query, values in expected.items():
            assert evaluator.per_query[query] == pytest.approx(values, abs=1e-12), (seed, query)
        means = {metric: np.mean([values[metric] for values in expected.values()]) for metric in metrics}
        assert metrics == pytest.approx(means, abs=1e-12)
        assert list(metrics) == ["map", f"mrr@{k}", f"ndcg@{k}"]


def score_alone(model, kind, query, document):
    """The score of a document, without any other in the batch, and before the sigmoid."""
    if kind == "cross":
        return float(model.predict([[query, document]], activation_fn=torch.nn.Identity())[0])
    return float(model.similarity(model.encode_query([query]), model.encode_document([document])))


@pytest.mark.parametrize("kind", KINDS)
def test_documents_are_ranked_by_the_scores_of_the_model(encoders, kind):
    rows = graded_rows(1)
    evaluator = GradedRerankingEvaluator(Dataset.from_list(rows), batch_size=4)
    evaluator(encoders[kind])
    assert list(evaluator.rankings) == [row["query_id"] for row in rows]
    for row in rows:
        expected = {
            name: score_alone(encoders[kind], kind, row["query"], document)
            for name, document in zip(row["document_ids"], row["documents"], strict=True)
        }
        found = evaluator.rankings[row["query_id"]]
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-5)
        assert list(found.values()) == sorted(found.values(), reverse=True)


@pytest.mark.parametrize("kind", KINDS)
def test_metrics_equal_those_of_the_host_on_binary_samples_without_ties(encoders, kind):
    model = encoders[kind]
    for seed in range(3):
        rows = binary_rows(seed)
        options = {} if kind == "cross" else {"similarity_fct": model.similarity}
        theirs = HOSTS[kind](rows, at_k=5, name="dev", **({} if kind == "multi" else options))
        ours = GradedRerankingEvaluator(rows, at_k=5, name="dev")
        expected, metrics = theirs(model), ours(model)
        ranks = [list(ranking.values()) for ranking in ours.rankings.values()]
        assert all(len(set(scores)) == len(scores) for scores in ranks), "the test is about scores without ties"
        assert metrics == pytest.approx({key: expected[key] for key in metrics}, abs=1e-6)
        assert ours.primary_metric == theirs.primary_metric == "dev_ndcg@5"
        assert {"dev_map", "dev_mrr@5", "dev_ndcg@5"} == set(metrics)


def test_metrics_of_the_first_stage_equal_those_of_the_host(encoders):
    rows = binary_rows(3, others="documents")
    expected = CrossEncoderRerankingEvaluator(rows)(encoders["cross"])
    metrics = GradedRerankingEvaluator(rows)(encoders["cross"])
    assert metrics == pytest.approx(expected, abs=1e-6)
    assert list(metrics)[3:] == ["base_map", "base_mrr@10", "base_ndcg@10"]


# w0 is most similar to w0, then to "w0 w1", then to "w0 w1 w2" ...
STEPS = ["w0", "w0 w1", "w0 w1 w2", "w0 w1 w2 w3", "w0 w1 w2 w3 w4"]


@pytest.fixture(scope="module")
def steps():
    model = word_model(WORDS, dim=256)
    assert list(np.argsort(-model.similarity(model.encode(["w0"]), model.encode(STEPS))[0].numpy())) == [0, 1, 2, 3, 4]
    return model


def test_metrics_equal_their_definitions(steps):
    """Grades 0, .5, unjudged, 2, 1.25 in the order of the ranking; the list is in another order."""
    rows = [
        {"query": "w0", "documents": [STEPS[i] for i in (3, 1, 4, 0, 2)], "scores": [2.0, 0.5, 1.25, 0.0, math.nan]}
    ]
    metrics = GradedRerankingEvaluator(rows, at_k=4, name="x")(steps)
    ideal = 2 + 1.25 / log2(3) + 0.5 / log2(4)
    expected = {
        "x_map": (1 / 4 + 2 / 5) / 2,
        "x_mrr@4": 1 / 4,
        "x_ndcg@4": (0.5 / log2(3) + 2 / log2(5)) / ideal,
    }
    assert metrics == pytest.approx(expected, abs=1e-12)
    assert {type(value) for value in metrics.values()} == {float}
    assert GradedRerankingEvaluator(rows, at_k=3, name="x")(steps)["x_mrr@3"] == 0
    level = GradedRerankingEvaluator(rows, at_k=4, relevance_level=0.5)(steps)
    assert level["map"] == pytest.approx((1 / 2 + 2 / 4 + 3 / 5) / 3)
    assert level["ndcg@4"] == metrics["x_ndcg@4"]


@pytest.mark.parametrize("name", ["label", "labels", "score", "scores"])
def test_grades_are_found_under_each_name_of_labels(steps, name):
    dataset = Dataset.from_dict({"anchor": ["w0"], name: [[1, 0]], "passages": [[STEPS[1], STEPS[0]]]})
    assert GradedRerankingEvaluator(dataset)(steps)["ndcg@10"] == pytest.approx(1 / log2(3))
    assert GradedRerankingEvaluator(dataset.with_format("numpy"))(steps)["ndcg@10"] == pytest.approx(1 / log2(3))


def test_the_id_that_sorts_last_comes_first_among_ties(steps):
    row = {"query": "w0", "documents": ["w5", "w5", "w5"], "document_ids": ["b", "c", "a"], "labels": [0, 1, 3]}
    evaluator = GradedRerankingEvaluator([row])
    metrics = evaluator(steps)
    assert list(evaluator.rankings["0"]) == ["c", "b", "a"]
    assert metrics["ndcg@10"] == pytest.approx((1 + 3 / log2(4)) / (3 + 1 / log2(3)))


def test_the_document_named_last_comes_first_among_ties_without_ids(steps):
    """So a model that cannot tell documents apart gains nothing from lists that name the best first."""
    documents = ["w5"] * 12
    graded = GradedRerankingEvaluator([{"query": "w0", "documents": documents, "labels": [1] + [0] * 11}])
    assert graded(steps)["mrr@10"] == 0
    assert list(graded.rankings["0"]) == [str(place) for place in range(11, -1, -1)]
    unknown = [{"query": "w0", "positive": ["x"], "negative": ["y", "z"]}]  # all [UNK]
    assert GradedRerankingEvaluator(unknown)(steps)["mrr@10"] == pytest.approx(1 / 3)


def test_ties_are_broken_as_in_pytrec_eval(steps):
    for seed in range(60):
        draw = random.Random(seed)
        rows = graded_rows(seed, queries=3)
        for row in rows:
            row["documents"] = draw.choices(STEPS[:3], k=len(row["documents"]))
        evaluator = GradedRerankingEvaluator(rows)
        evaluator(steps)
        assert evaluator.per_query == {
            query: pytest.approx(values, abs=1e-12) for query, values in trec_values(rows, evaluator.rankings).items()
        }


@pytest.mark.parametrize("kind", KINDS)
def test_equal_documents_have_equal_scores_in_any_batch(encoders, kind):
    draw = random.Random(0)
    documents = [text(draw) for _ in range(5)] + ["w7 w8"] + [text(draw) for _ in range(5)] + ["w7 w8"]
    evaluator = GradedRerankingEvaluator([{"query": "w1", "documents": documents, "labels": [1] * 12}], batch_size=5)
    evaluator(encoders[kind])
    assert evaluator.rankings["0"]["5"] == evaluator.rankings["0"]["11"]


def three_queries(**kwargs):
    rows = [
        {"query": "w0", "documents": STEPS[:2], "labels": [0, 2]},
        {"query": "w1", "documents": STEPS[:2], "labels": [0, None]},
        {"query": "w2", "documents": STEPS[:1], "labels": None},
    ]
    return GradedRerankingEvaluator(rows, **kwargs)


def test_queries_without_a_relevant_document_are_left_out(steps, caplog):
    evaluator = three_queries()
    assert "2 of 3 queries have no document of grade 1 or above; no_relevant='skip'" in caplog.text
    assert evaluator(steps)["ndcg@10"] == pytest.approx(1 / log2(3))
    assert evaluator.queries_without_relevant == ["1", "2"]
    assert list(evaluator.per_query) == list(evaluator.rankings) == ["0"]


def test_queries_without_a_relevant_document_count_as_zero_on_request(steps):
    evaluator = three_queries(no_relevant="zero")
    assert evaluator(steps)["ndcg@10"] == pytest.approx(1 / log2(3) / 3)
    assert evaluator.per_query["2"] == {"map": 0, "mrr@10": 0, "ndcg@10": 0}


def test_queries_without_a_relevant_document_are_refused_on_request():
    with pytest.raises(ValueError, match="every query must have a document of grade 1 .* got none for '1', '2'"):
        three_queries(no_relevant="error")
    with pytest.raises(ValueError, match=r"at least one query must have a document of grade 3 .*highest grade is 2\.0"):
        three_queries(relevance_level=3)


def test_one_document_is_ranked_first(steps):
    metrics = GradedRerankingEvaluator([{"query": "w0", "documents": ["w9"], "labels": [1]}])(steps)
    assert metrics == {"map": 1, "mrr@10": 1, "ndcg@10": 1}


def test_positives_missed_by_the_first_stage_count_in_the_ideal_ranking(steps):
    rows = [{"query": "w0", "positive": [STEPS[0], STEPS[1]], "documents": [STEPS[4], STEPS[1]]}]
    missed = GradedRerankingEvaluator(rows, always_rerank_positives=False)(steps)
    ideal = 1 + 1 / log2(3)
    assert missed["ndcg@10"] == pytest.approx(1 / ideal)
    assert missed["map"] == pytest.approx(1 / 2)
    assert missed["base_ndcg@10"] == pytest.approx(1 / log2(3) / ideal)
    assert missed["base_map"] == pytest.approx(1 / 4)
    ranked = GradedRerankingEvaluator(rows)(steps)
    assert ranked == missed | {"map": 1, "mrr@10": 1, "ndcg@10": 1}


def test_single_texts_are_positives_and_negatives(steps):
    rows = {"a": {"query": "w0", "positive": STEPS[1], "negative": STEPS[0]}}
    assert GradedRerankingEvaluator(rows)(steps)["mrr@10"] == 1 / 2


def test_documents_given_twice_are_ranked_once(caplog):
    rows = [{"query": "w0", "positive": ["w1", "w1"], "negative": ["w2", "w1", "w2"]}]
    (sample,) = read_samples(rows).values()
    assert sample.documents == {"1": "w2", "0": "w1"}
    assert sample.grades == {"0": 1, "1": 0}
    assert "3 documents are given twice" in caplog.text


def test_the_first_stage_is_reranked_to_its_depth(steps):
    corpus = dict(zip("abcde", STEPS, strict=True))
    qrels = {"q": {"a": 3, "b": 1, "d": 2, "e": 0}}
    evaluator = GradedRerankingEvaluator.from_rankings(
        {"q": "w0"}, corpus, qrels, {"q": {"e": 9, "d": 8, "b": 7, "a": 6}}, depth=3, at_k=2
    )
    metrics = evaluator(steps)
    assert list(evaluator.rankings["q"]) == ["b", "d", "e"]
    ideal = 3 + 2 / log2(3)
    expected = {"map": 2 / 3, "mrr@2": 1, "ndcg@2": (1 + 2 / log2(3)) / ideal}
    expected |= {"base_map": (1 / 2 + 2 / 3) / 3, "base_mrr@2": 1 / 2, "base_ndcg@2": 2 / log2(3) / ideal}
    assert metrics == pytest.approx(expected, abs=1e-12)


def test_ties_are_not_broken_by_the_first_stage(steps):
    corpus = {"a": "w5", "b": "w5", "c": "w5"}
    evaluator = GradedRerankingEvaluator.from_rankings({"q": "w0"}, corpus, {"q": {"a": 1}}, {"q": ["a", "c", "b"]})
    metrics = evaluator(steps)
    assert list(evaluator.rankings["q"]) == ["c", "b", "a"]
    assert (metrics["mrr@10"], metrics["base_mrr@10"]) == (pytest.approx(1 / 3), 1)


def test_reranking_the_whole_corpus_equals_retrieval(steps):
    draw = random.Random(5)
    queries, corpus = {f"q{i}": text(draw) for i in range(8)}, {f"d{i}": text(draw) for i in range(30)}
    qrels = {q: {d: draw.randint(0, 3) for d in draw.sample(list(corpus), 6)} | {"d0": 1} for q in queries}
    first = GradedInformationRetrievalEvaluator(queries, corpus, qrels, map_at_k=[30])
    found = first(steps)
    evaluator = GradedRerankingEvaluator.from_rankings(queries, corpus, qrels, first.rankings)
    metrics = evaluator(steps)
    expected = {"map": found["cosine_map@30"], "mrr@10": found["cosine_mrr@10"], "ndcg@10": found["cosine_ndcg@10"]}
    assert metrics == expected | {f"base_{key}": value for key, value in expected.items()}
    assert evaluator.rankings == first.rankings


@pytest.mark.parametrize("kind", KINDS)
def test_queries_without_a_ranking_score_zero(encoders, kind, caplog):
    task = {"q": "w0", "r": "w1", "s": "w2"}, {"a": "w3"}, {"q": {"a": 1}, "r": {"a": 1}}
    evaluator = GradedRerankingEvaluator.from_rankings(*task, {"q": ["a"], "z": ["a"], "s": []})
    metrics = evaluator(encoders[kind])
    assert metrics["ndcg@10"] == metrics["base_map"] == 1 / 2
    assert evaluator.rankings["r"] == {}
    assert "1 judged queries have no ranking and score 0: 'r'" in caplog.text
    assert GradedRerankingEvaluator.from_rankings(*task, {"q": []})(encoders[kind])["ndcg@10"] == 0


@pytest.mark.parametrize(
    ("rankings", "message"),
    [
        ({}, "rankings must be a non-empty dict"),
        ([["a"]], "rankings must be a non-empty dict of query id to ranking, got list"),
        ({"z": ["a"]}, "rankings must name ids of queries, got the unknown 'z'"),
        ({"q": ["b"]}, "rankings must name ids of corpus, got the unknown 'b' for 'q'"),
        ({"q": ["a", "a"]}, "must name each document once"),
        ({"q": {"a": math.nan}}, "a score in rankings must be a number"),
    ],
)
def test_wrong_rankings_are_refused(rankings, message):
    with pytest.raises(ValueError, match=message):
        GradedRerankingEvaluator.from_rankings({"q": "w0"}, {"a": "w1"}, {"q": {"a": 1}}, rankings)


GOOD = {"query": "w0", "documents": ["w1", "w2"], "labels": [1, 0]}
HOST = {"query": "w0", "positive": ["w1"], "negative": ["w2"]}


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "samples must be a dataset or a non-empty list of dicts, one per query, got an empty list"),
        (Dataset.from_list([]), "samples must be a dataset .* got an empty Dataset"),
        (None, "samples must be a dataset .* got NoneType"),
        ("train.jsonl", "samples must be a dataset .* got str"),
        ([GOOD, "w0"], "must be a dict .* got str in row 1"),
        ({"query": ["w0"]}, "must be a dict .* got list in row 0: for a table use datasets.Dataset.from_dict"),
        ([GOOD, {"query": "w0", "labels": [1]}], "every row must have the columns .* in row 1"),
        ([{"query": "w0", "documents": ["w1"]}], "one column of grades, named one of .* rename the column of grades"),
        ([GOOD | {"score": [1, 0]}], r"one column of grades, .* got \['labels', 'score'\]: drop the others"),
        (
            [GOOD | {"qid": "7"}],
            r"got the columns \['query', 'documents', 'qid'\], of which \['documents'\] hold lists",
        ),
        ([GOOD | {"documents": "w1"}], r"got the columns \['query', 'documents'\], of which \[\] hold lists"),
        ([GOOD, GOOD | {"documents": []}], "'documents' must hold at least one document in each list, .* in row 1"),
        ([GOOD, GOOD | {"documents": None}], "'documents' must hold a list of documents, got None in row 1"),
        ([GOOD, GOOD | {"documents": ["w1", None]}], "'documents' must be a text, got None .* for row 1"),
        ([GOOD, GOOD | {"query": None}], "'query' must be a text, got None .* for row 1"),
        ([GOOD, GOOD | {"labels": [1]}], "'labels' .* got 1 grades for 2 documents in row 1"),
        ([GOOD, GOOD | {"labels": [1, -1]}], "'labels' must hold finite grades of at least 0, got -1 in row 1"),
        ([GOOD, GOOD | {"labels": ["1", "0"]}], "'labels' must hold grades that are numbers, got '1' in row 1"),
        ([GOOD | {"document_ids": ["a"]}], "'document_ids' must hold 2 different ids, .* in row 0"),
        ([GOOD | {"document_ids": ["a", "a"]}], "'document_ids' must hold 2 different ids, .* in row 0"),
        ([GOOD | {"document_ids": ["a", None]}], "'document_ids', row 0, must be a string or an integer, got None"),
        ([GOOD | {"query_id": 7}] * 2, "'query_id' must hold a different id in each row, got '7' in row 1"),
        ([{"positive": ["w1"], "negative": ["w2"]}], "must also have 'query' and either 'negative' or 'documents'"),
        ([HOST | {"documents": ["w1"]}], "must also have 'query' and either 'negative' or 'documents'"),
        ([HOST, HOST | {"negative": ["w1", 3.5]}], "'negative' must be a text, got 3.5 .* for row 1"),
        ([HOST, HOST | {"query": None}], "'query' must be a text, got None .* for row 1"),
        ([HOST | {"positive": []}], "at least one query must have a document of grade 1"),
    ],
)
def test_wrong_samples_are_refused_by_name_and_row(samples, message):
    with pytest.raises(ValueError, match=message):
        GradedRerankingEvaluator(samples)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"at_k": 0}, "at_k must be an integer of at least 1, got 0"),
        ({"relevance_level": 0}, "relevance_level must be a finite number above 0"),
        ({"no_relevant": "drop"}, "no_relevant must be one of"),
        ({"batch_size": 2.0}, "batch_size must be an integer"),
        ({"truncate_dim": 0}, "truncate_dim must be an integer"),
        ({"max_active_dims": 0}, "max_active_dims must be an integer"),
    ],
)
def test_wrong_options_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        GradedRerankingEvaluator([GOOD], **option)


def test_columns_that_are_not_used_are_named(caplog):
    read_samples([GOOD | {"document_weights": [1, 2]}])
    assert "The weights in ['document_weights'] are not used" in caplog.text
    read_samples([HOST | {"source": "web"}])
    assert "The columns ['source'] of samples are not used" in caplog.text


@pytest.mark.parametrize("kind", KINDS)
def test_each_distinct_input_is_encoded_once(encoders, kind, monkeypatch):
    rows = [GOOD, GOOD | {"query": "w3"}, GOOD | {"documents": ["w2", "w4"]}]
    seen = []
    for name in ("predict", "encode_document"):
        if real := getattr(encoders[kind], name, None):
            monkeypatch.setattr(
                encoders[kind],
                name,
                lambda inputs, real=real, **options: seen.extend(inputs) or real(inputs, **options),
            )
    GradedRerankingEvaluator(rows)(encoders[kind])
    pairs = [["w0", "w1"], ["w0", "w2"], ["w3", "w1"], ["w3", "w2"], ["w0", "w4"]]
    assert sorted(seen) == (sorted(pairs) if kind == "cross" else ["w1", "w2", "w4"])


def test_the_mean_does_not_depend_on_the_order_of_queries(encoders):
    rows = graded_rows(7, queries=30)
    shuffled = random.Random(0).sample(rows, len(rows))
    assert GradedRerankingEvaluator(rows)(encoders["dense"]) == pytest.approx(
        GradedRerankingEvaluator(shuffled)(encoders["dense"]), abs=0, rel=0
    )


def test_images_are_ranked_for_texts(tmp_path):
    model = tiny_clip(tmp_path, WORDS)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    dataset = Dataset.from_dict({"query": ["w1", "w2"], "documents": [list(pixels[:2]), list(pixels[1:])]})
    dataset = dataset.cast_column("documents", [Image()]).add_column("labels", [[1, 0], [0, 2, None]])
    evaluator = GradedRerankingEvaluator(dataset)
    evaluator(model)
    images = dataset[1]["documents"]
    scores = model.similarity(model.encode(["w2"]), model.encode(images))[0].tolist()
    assert evaluator.rankings["1"] == pytest.approx({str(i): score for i, score in enumerate(scores)}, abs=1e-5)


def test_a_list_may_mix_texts_and_images(tmp_path):
    model = tiny_clip(tmp_path, WORDS)
    picture = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))
    evaluator = GradedRerankingEvaluator([{"query": "w1", "documents": ["w2", picture, "w3"], "labels": [0, 1, 0]}])
    evaluator(model)
    found = {str(i): score_alone(model, "dense", "w1", value) for i, value in enumerate(["w2", picture, "w3"])}
    assert evaluator.rankings["0"] == pytest.approx(found, abs=1e-5)


def test_a_model_of_texts_refuses_other_documents(steps):
    documents = [np.zeros((4, 4, 3), dtype=np.uint8), np.ones((4, 4, 3), dtype=np.uint8)]
    evaluator = GradedRerankingEvaluator([{"query": "w0", "documents": documents, "labels": [1, 0]}])
    with pytest.raises(
        ValueError, match=r"(?s)'documents' must be a text, got .* for id '0/1'; .* use a model of its kind"
    ):
        evaluator(steps)


@pytest.mark.parametrize("model", ["all-MiniLM-L6-v2", SentenceTransformer, torch.nn.Linear(2, 2)])
def test_other_models_are_refused_with_the_kinds_that_work(model):
    kinds = "a CrossEncoder, a SentenceTransformer, a SparseEncoder, a MultiVectorEncoder"
    with pytest.raises(TypeError, match=f"GradedRerankingEvaluator needs {kinds}, got "):
        GradedRerankingEvaluator([GOOD])(model)


def test_a_cross_encoder_ranks_by_logits_where_the_sigmoid_is_1(encoders):
    model = copy.deepcopy(encoders["cross"])
    rows = graded_rows(8)
    expected = GradedRerankingEvaluator(rows)
    metrics = expected(model)
    with torch.no_grad():
        model[0].auto_model.classifier.bias += 40
    assert (model.predict([["w1", "w2"], ["w3", "w4"]]) == 1).all()
    evaluator = GradedRerankingEvaluator(rows)
    assert evaluator(model) == metrics
    assert {q: list(found) for q, found in evaluator.rankings.items()} == {
        q: list(found) for q, found in expected.rankings.items()
    }
    (score, *_) = evaluator.rankings["q0"].values()
    assert score == pytest.approx(40 + next(iter(expected.rankings["q0"].values())))


def test_another_activation_of_a_cross_encoder_stays(encoders):
    model = copy.deepcopy(encoders["cross"])
    model.activation_fn = torch.neg
    evaluator = GradedRerankingEvaluator(graded_rows(8))
    evaluator(model)
    usual = GradedRerankingEvaluator(graded_rows(8))
    usual(encoders["cross"])
    assert list(evaluator.rankings["q0"]) == list(usual.rankings["q0"])[::-1]


def test_a_cross_encoder_with_several_outputs_is_refused(encoders, monkeypatch):
    monkeypatch.setattr(encoders["cross"][0].model.config, "id2label", {0: "a", 1: "b", 2: "c"})
    with pytest.raises(ValueError, match="a CrossEncoder must have one output to rank by, got num_labels=3"):
        GradedRerankingEvaluator([GOOD])(encoders["cross"])


@pytest.mark.parametrize(
    ("kind", "option"),
    [
        ("cross", {"truncate_dim": 8}),
        ("cross", {"query_prompt": "w9 "}),
        ("dense", {"prompt_name": "query"}),
        ("dense", {"max_active_dims": 8}),
        ("sparse", {"truncate_dim": 8}),
        ("multi", {"truncate_dim": 8}),
    ],
)
def test_options_of_other_kinds_are_refused(encoders, kind, option):
    (name,) = option
    with pytest.raises(ValueError, match=f"{name} must be None for a {type(encoders[kind]).__name__}"):
        GradedRerankingEvaluator([GOOD], **option)(encoders[kind])


def test_prompts_and_dimensions_reach_the_model(encoders, monkeypatch):
    def scores(kind, **options):
        evaluator = GradedRerankingEvaluator([GOOD], **options)
        evaluator(encoders[kind])
        assert evaluator.get_config_dict().items() >= options.items()
        return [evaluator.rankings["0"][place] for place in "01"]

    def similar(kind, queries, documents, **options):
        model = encoders[kind]
        query, found = model.encode_query(queries, **options), model.encode_document(documents, **options)
        return pytest.approx(model.similarity(query, found)[0].tolist(), rel=1e-4)

    plain, prompted = ["w1", "w2"], ["w8 w1", "w8 w2"]
    for kind in ("dense", "sparse", "multi"):
        assert scores(kind, query_prompt="w9 ", corpus_prompt="w8 ") == similar(kind, ["w9 w0"], prompted)
        monkeypatch.setattr(encoders[kind], "prompts", {"named": "w7 "})
        assert scores(kind, query_prompt_name="named") == similar(kind, ["w7 w0"], plain)
    assert scores("dense", truncate_dim=4) == similar("dense", ["w0"], plain, truncate_dim=4)
    assert scores("sparse", max_active_dims=3) == similar("sparse", ["w0"], plain, max_active_dims=3)
    monkeypatch.setattr(encoders["cross"], "prompts", {"named": "w7 "})
    expected = [score_alone(encoders["cross"], "cross", "w7 w0", text) for text in plain]
    assert scores("cross", prompt_name="named") == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_that_are_not_numbers_are_named(encoders, kind):
    model = copy.deepcopy(encoders[kind])
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, math.nan)
    message = "scores must be numbers, got NaN for query '0', documents '1', '0'"
    with pytest.raises(ValueError, match=message if kind == "cross" else "embeddings must be finite, got NaN .* '0'"):
        GradedRerankingEvaluator([GOOD])(model)


def test_a_call_appends_to_the_csv_file(steps, tmp_path):
    evaluator = GradedRerankingEvaluator([GOOD], at_k=5, name="dev")
    metrics = evaluator(steps, str(tmp_path), epoch=1, steps=7)
    evaluator(steps, str(tmp_path), epoch=2, steps=8)
    with (tmp_path / "GradedRerankingEvaluator_dev_results_@5.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["epoch", "steps", "MAP", "MRR@5", "NDCG@5"]
    assert [row["steps"] for row in rows] == ["7", "8"]
    assert float(rows[0]["NDCG@5"]) == metrics["dev_ndcg@5"]


@pytest.mark.parametrize("kind", KINDS)
def test_metrics_reach_the_model_card(encoders, kind):
    rows = binary_rows(3, others="documents")
    evaluator = GradedRerankingEvaluator(rows, name="dev")
    metrics = evaluator(encoders[kind])
    stored = encoders[kind].model_card_data.eval_results_dict[evaluator]
    gain = metrics["dev_ndcg@10"] - metrics["dev_base_ndcg@10"]
    assert stored["dev_ndcg@10"] == f"{metrics['dev_ndcg@10']:.4f} ({gain:+.4f})"
    assert evaluator.description == "Graded Reranking"


TRAINED = {
    "cross": (
        CrossEncoderTrainer,
        CrossEncoderTrainingArguments,
        BinaryCrossEntropyLoss,
    ),
    "dense": (SentenceTransformerTrainer, SentenceTransformerTrainingArguments, MultipleNegativesRankingLoss),
    "sparse": (
        SparseEncoderTrainer,
        SparseEncoderTrainingArguments,
        lambda model: SpladeLoss(model, SparseMultipleNegativesRankingLoss(model), 1e-3, 1e-3),
    ),
    "multi": (
        MultiVectorEncoderTrainer,
        MultiVectorEncoderTrainingArguments,
        MultiVectorMultipleNegativesRankingLoss,
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_trainer_of_the_kind_selects_the_best_model_by_it(kind, tmp_path):
    words = WORDS[:16]
    cross, multi = without_one_vector(tmp_path / "others", words)
    model = {
        "cross": lambda: cross,
        "multi": lambda: multi,
        "dense": lambda: tiny_bert(tmp_path / "dense", words),
        "sparse": lambda: tiny_splade(tmp_path / "sparse", words),
    }[kind]()
    rows = [{"query": f"w{i}", "positive": [f"w{i + 8}"], "negative": [f"w{8 + (i + 1) % 8}"]} for i in range(8)]
    evaluator = GradedRerankingEvaluator(rows, name="dev")
    trainer_class, arguments_class, loss = TRAINED[kind]
    pairs = {"query": [f"w{i}" for i in range(8)] * 2, "document": [f"w{i + 8}" for i in range(8)] * 2}
    if kind == "cross":
        pairs["label"] = [1.0] * 16
    metric = "eval_dev_ndcg@10"
    args = arguments_class(
        output_dir=str(tmp_path / "out"),
        num_train_epochs=2,
        per_device_train_batch_size=8,
        learning_rate=1e-2,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model=metric,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    trainer = trainer_class(
        model=model, args=args, train_dataset=Dataset.from_dict(pairs), loss=loss(model), evaluator=evaluator
    )
    trainer.train()
    logged = [entry[metric] for entry in trainer.state.log_history if metric in entry]
    assert len(logged) == 2
    assert evaluator(model)["dev_ndcg@10"] == trainer.state.best_metric == max(logged)
    assert len(next(tmp_path.rglob(evaluator.csv_file)).read_text().splitlines()) == 3


def test_an_image_among_the_documents_is_the_positive_one_however_often_it_is_decoded():
    pictures = [PIL.Image.fromarray(np.full((4, 4, 3), 60 * i, dtype=np.uint8)) for i in range(3)]
    features = Features({"query": Value("string"), "positive": Image(), "documents": List(Image())})
    rows = Dataset.from_dict({"query": ["q"], "positive": [pictures[0]], "documents": [pictures]}, features=features)
    (sample,) = read_samples(rows, always_rerank_positives=True).values()
    assert len(sample.documents) == 3
    assert sorted(sample.grades.values()) == [0, 0, 1]
    first, again = torch.ones(3), torch.ones(3)
    assert content(first) == content(again) == content(again.clone())
    assert content(first) != content(np.ones(4, dtype=np.float32))


def test_keys_of_samples_are_ids_of_queries(steps):
    rows = {
        "b": {"query": "red", "documents": ["red", "sea"], "labels": [1, 0]},
        7: {"query": "a", "documents": ["a"], "labels": [1]},
    }
    evaluator = GradedRerankingEvaluator(rows)
    evaluator(steps)
    assert [*evaluator.per_query] == ["b", "7"]
    assert [
        *read_samples({"x": {"query": "red", "positive": "a", "negative": ["b"]}}, always_rerank_positives=True)
    ] == ["x"]
