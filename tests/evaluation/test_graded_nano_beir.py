"""NanoBEIR with grades, offline: what the hub would return is made here."""

from __future__ import annotations

import csv
import random

import datasets
import numpy as np
import pytest
from datasets import Dataset
from sentence_transformers.sentence_transformer.evaluation import NanoBEIREvaluator

from st_rankloss.evaluation import GradedInformationRetrievalEvaluator, GradedNanoBEIREvaluator
from st_rankloss.evaluation import graded_nano_beir as module
from tests.models import tiny_splade, without_one_vector, word_model

WORDS = [f"w{i}" for i in range(40)]
SETS = {"NanoMSMARCO": 0, "NanoNFCorpus": 1}


def made_set(seed, grades=None):
    """The subsets of a set, with judgements of grades if any are given."""
    draw = random.Random(seed)

    def texts(letter, count):
        return [{"_id": f"{letter}{i}", "text": " ".join(draw.choices(WORDS, k=3))} for i in range(count)]

    queries, corpus = texts("q", 6), texts("d", 30)
    qrels = [
        {"query-id": query["_id"], "corpus-id": document["_id"]}
        for query in queries
        for document in draw.sample(corpus, 4)
    ]
    if grades is not None:
        qrels = [row | {"score": draw.choice(grades)} for row in qrels]
    return {"queries": queries, "corpus": corpus, "qrels": qrels}


@pytest.fixture
def hub(monkeypatch):
    """The sets that the hub has; ``loaded`` lists what was asked of it."""
    sets = {split: made_set(seed) for split, seed in SETS.items()}
    sets["loaded"] = []

    def load(dataset_id, subset, split):
        sets["loaded"].append((dataset_id, subset, split))
        if split not in sets:
            raise ConnectionError("Couldn't reach the hub")
        return Dataset.from_list(sets[split][subset])

    monkeypatch.setattr(datasets, "load_dataset", load)
    return sets


@pytest.fixture(scope="module")
def model():
    return word_model(WORDS, dim=32)


def test_metrics_equal_those_of_the_host_on_binary_judgements(hub, model):
    cutoffs = {"accuracy_at_k": [1, 10], "mrr_at_k": [5], "ndcg_at_k": [5, 10]}
    theirs = NanoBEIREvaluator(["msmarco", "NFCorpus"], precision_recall_at_k=[3], **cutoffs)
    ours = GradedNanoBEIREvaluator(["msmarco", "NFCorpus"], recall_at_k=[3], **cutoffs)
    expected, metrics = theirs(model), ours(model)
    assert metrics == pytest.approx({key: expected[key] for key in metrics}, abs=1e-9)
    assert set(expected) - set(metrics) == {key for key in expected if "precision" in key}
    assert ours.primary_metric == theirs.primary_metric == "NanoBEIR_mean_cosine_ndcg@10"


def test_sparse_and_multi_vector_models_are_evaluated_by_their_similarity(hub, tmp_path):
    sparse, (_, multi) = tiny_splade(tmp_path / "sparse", WORDS), without_one_vector(tmp_path / "multi", WORDS)
    for model, similarity in ((sparse, "dot"), (multi, "maxsim")):
        evaluator = GradedNanoBEIREvaluator(["msmarco", "nfcorpus"])
        metrics = evaluator(model)
        each = [metrics[f"{split}_{similarity}_ndcg@10"] for split in SETS]
        assert metrics[evaluator.primary_metric] == pytest.approx(sum(each) / 2)
        assert evaluator.primary_metric == f"NanoBEIR_mean_{similarity}_ndcg@10"


def test_grades_are_those_of_the_score_column(hub, model):
    hub["NanoMSMARCO"] = made_set(0, grades=[0, 1, 2.5])
    evaluator = GradedNanoBEIREvaluator(["msmarco"])
    (inner,) = evaluator.evaluators
    rows = hub["NanoMSMARCO"]
    qrels = {}
    for row in rows["qrels"]:
        qrels.setdefault(row["query-id"], {})[row["corpus-id"]] = row["score"]
    assert inner.qrels == qrels
    texts = ({row["_id"]: row["text"] for row in rows[subset]} for subset in ("queries", "corpus"))
    expected = GradedInformationRetrievalEvaluator(*texts, qrels)(model)["cosine_ndcg@10"]
    assert evaluator(model)["NanoBEIR_mean_cosine_ndcg@10"] == expected


def test_a_row_of_judgements_may_list_documents(hub):
    hub["NanoMSMARCO"]["qrels"] = [{"query-id": "q0", "corpus-id": ["d1", "d2"], "score": [2, 1]}]
    assert GradedNanoBEIREvaluator(["msmarco"]).evaluators[0].qrels == {"q0": {"d1": 2, "d2": 1}}
    hub["NanoMSMARCO"]["qrels"] = [{"query-id": "q0", "corpus-id": ["d1", "d2"]}]
    assert GradedNanoBEIREvaluator(["msmarco"]).evaluators[0].qrels == {"q0": {"d1": 1, "d2": 1}}


def test_sets_are_averaged_as_asked(hub, model):
    evaluator = GradedNanoBEIREvaluator(["msmarco", "nfcorpus"], aggregate_fn=np.max, aggregate_key="best")
    metrics = evaluator(model)
    each = [metrics[f"{split}_cosine_map@100"] for split in SETS]
    assert len(set(each)) == 2
    assert metrics["NanoBEIR_best_cosine_map@100"] == max(each)


def test_options_apply_to_every_set(hub, model):
    prompts = {"msmarco": "w1 ", "nfcorpus": "w2 "}
    evaluator = GradedNanoBEIREvaluator(
        ["msmarco", "nfcorpus"], "me/NanoBEIR-de", truncate_dim=8, query_prompts=prompts, corpus_prompts="w3 "
    )
    assert {dataset_id for dataset_id, *_ in hub["loaded"]} == {"me/NanoBEIR-de"}
    assert [inner.query_prompt for inner in evaluator.evaluators] == ["w1 ", "w2 "]
    assert [inner.corpus_prompt for inner in evaluator.evaluators] == ["w3 ", "w3 "]
    metrics = evaluator(model)
    assert {"NanoMSMARCO_8_cosine_ndcg@10", "NanoBEIR_mean_8_cosine_ndcg@10"} < set(metrics)
    assert evaluator.get_config_dict() == {
        "dataset_names": ["msmarco", "nfcorpus"],
        "dataset_id": "me/NanoBEIR-de",
        "truncate_dim": 8,
        "query_prompts": prompts,
        "corpus_prompts": {"msmarco": "w3 ", "nfcorpus": "w3 "},
    }


def test_all_sets_are_evaluated_by_default(hub):
    splits = list(module.DATASET_NAME_TO_HUMAN_READABLE.values())
    hub |= {f"Nano{split}": made_set(0) for split in splits}
    evaluator = GradedNanoBEIREvaluator()
    assert [inner.name for inner in evaluator.evaluators] == [f"Nano{split}" for split in splits]


def test_texts_that_are_empty_are_left_out_unless_judged(hub, caplog):
    corpus, qrels = hub["NanoMSMARCO"]["corpus"], hub["NanoMSMARCO"]["qrels"]
    judged = {row["corpus-id"] for row in qrels}
    unjudged = next(row for row in corpus if row["_id"] not in judged)
    kept = next(row for row in corpus if row["_id"] in judged)
    unjudged["text"] = kept["text"] = ""
    (inner,) = GradedNanoBEIREvaluator(["msmarco"]).evaluators
    assert unjudged["_id"] not in inner.corpus
    assert inner.corpus[kept["_id"]] == ""
    assert "1 empty texts are left out of subset 'corpus', split 'NanoMSMARCO'" in caplog.text


def test_averages_are_written_and_stored(hub, model, tmp_path):
    evaluator = GradedNanoBEIREvaluator(["msmarco", "nfcorpus"])
    metrics = evaluator(model, str(tmp_path), epoch=1, steps=5)
    with (tmp_path / "Graded-NanoBEIR_evaluation_mean_results.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["cosine-NDCG@10"]) == metrics["NanoBEIR_mean_cosine_ndcg@10"]
    assert (row["epoch"], row["steps"]) == ("1", "5")
    assert len(list(tmp_path.iterdir())) == 3
    stored = model.model_card_data.eval_results_dict
    assert stored[evaluator]["NanoBEIR_mean_cosine_ndcg@10"] == metrics["NanoBEIR_mean_cosine_ndcg@10"]
    assert set(evaluator.evaluators) < set(stored)
    alone = GradedNanoBEIREvaluator(["msmarco"], write_csv=False)
    alone(model, str(tmp_path / "none"))
    assert alone not in model.model_card_data.eval_results_dict
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset_names": ["msmarko"]}, "got 'msmarko': did you mean 'msmarco'?"),
        ({"dataset_names": ["zzz"]}, "got 'zzz': did you mean '"),
        ({"dataset_names": []}, r"must be a non-empty list, or None for all sets, got \[\]"),
        ({"dataset_names": "msmarco"}, "must be a non-empty list, or None for all sets, got 'msmarco'"),
        ({"dataset_names": ["nq", "NQ"]}, "dataset_names must name each set once, got 'NQ' twice"),
        ({"query_prompts": {"nq": "q: "}}, r"query_prompts must be a prompt, or a dict .* got none for \['msmarco'\]"),
        ({"corpus_prompts": 3}, "corpus_prompts must be a prompt, or a dict .* got int"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_loaded(hub, options, message):
    with pytest.raises(ValueError, match=message):
        GradedNanoBEIREvaluator(**{"dataset_names": ["msmarco"]} | options)
    assert hub["loaded"] == []


@pytest.mark.parametrize(
    ("option", "remedy"),
    [("name", "aggregate_key"), ("query_prompt", "query_prompts"), ("corpus_prompt", "corpus_prompts")],
)
def test_options_of_a_single_set_are_refused_with_their_counterpart(hub, option, remedy):
    with pytest.raises(TypeError, match=f"^{option} is of a single set, got 'x': pass {remedy}=.$"):
        GradedNanoBEIREvaluator(["msmarco"], **{option: "x"})
    assert hub["loaded"] == []


def test_embeddings_are_kept_in_a_folder_for_each_set(hub, model, tmp_path):
    usual, kept = (
        GradedNanoBEIREvaluator(["msmarco", "nfcorpus"], corpus_embeddings=folder)(model)
        for folder in (None, tmp_path / "kept")
    )
    assert kept == usual
    assert {folder.name for folder in (tmp_path / "kept").iterdir()} == set(SETS)


@pytest.mark.parametrize("option", ["ndgc_at_k", "queries"])
def test_unknown_options_are_refused_before_anything_is_loaded(hub, option):
    with pytest.raises(TypeError, match=option):
        GradedNanoBEIREvaluator(["msmarco"], **{option: None})
    assert hub["loaded"] == []


def test_a_set_that_cannot_be_loaded_is_named(hub):
    with pytest.raises(ValueError, match=r"could not load subset 'qrels', split 'NanoNQ' of .*Couldn't reach the hub"):
        GradedNanoBEIREvaluator(["nq"])


def test_without_a_network_the_error_says_what_to_do():
    with pytest.raises(ValueError, match="could not load subset 'qrels', .* connect to the network once to cache it"):
        GradedNanoBEIREvaluator(["nq"], "st-rankloss/is-not-cached")


@pytest.mark.parametrize(
    ("subset", "rows", "message"),
    [
        ("corpus", [{"id": "d0", "text": "w1"}], r"subset 'corpus', .* must have the columns .* got none of \['_id'\]"),
        ("corpus", [{"_id": "d0", "text": "w1"}, {"_id": "d0", "text": "w2"}], "one text per id, got two for 'd0'"),
        ("corpus", [{"_id": "d0", "text": "w1"}], "qrels must name ids of corpus, got the unknown"),
        ("qrels", [{"query-id": "q0", "corpus-id": "d0", "score": -1}], "subset 'qrels', .*: row 0: a grade .* got -1"),
        ("qrels", [{"query-id": "q0", "corpus-id": ["d0", "d1"], "score": [1]}], "row 0: got 1 grades for 2 documents"),
        ("qrels", [{"query-id": "q0", "score": 1}], r"'qrels', .* got none of \['corpus-id'\]"),
    ],
)
def test_wrong_data_are_refused_by_subset(hub, subset, rows, message):
    hub["NanoMSMARCO"][subset] = rows
    with pytest.raises(ValueError, match=message):
        GradedNanoBEIREvaluator(["msmarco"])
