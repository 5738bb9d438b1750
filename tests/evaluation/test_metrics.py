"""Scores of rankings against pytrec_eval, over thousands of random cases."""

from __future__ import annotations

import numpy as np
import pytest
import pytrec_eval

from st_rankloss.evaluation import GradedInformationRetrievalEvaluator
from st_rankloss.evaluation.metrics import order_documents, score_rankings

CASES = 1_000
CUTOFFS = (1, 3, 10, 100)
COLUMNS = [(metric, k) for metric in ("ndcg", "map", "recall", "precision", "accuracy") for k in CUTOFFS]
THEIRS = {"ndcg": "ndcg_cut", "map": "map_cut", "recall": "recall", "precision": "P", "accuracy": "success"}


def random_cases(seed):
    """Integer grades of some documents, and similarities of some, with many ties: query id to document id to both."""
    rng = np.random.default_rng(seed)
    qrels, runs = {}, {}
    for case in range(CASES):
        judged, found = rng.integers(1, 30), rng.integers(1, 40)
        names = [f"d{i}" for i in rng.permutation(60)]
        qrels[f"q{case}"] = {names[i]: int(rng.integers(0, 5)) for i in range(judged)}
        places = rng.choice(60, found, replace=False)
        values = rng.integers(0, 6, found) / 7 if case % 2 else rng.normal(size=found)
        runs[f"q{case}"] = {names[i]: float(value) for i, value in zip(places, values, strict=True)}
    return qrels, runs


def theirs(qrels, runs, level):
    """The scores by pytrec_eval."""
    names = {f"{THEIRS[metric]}_{k}" for metric, k in COLUMNS}
    binary = {name for name in names if not name.startswith("ndcg")}
    graded = pytrec_eval.RelevanceEvaluator(qrels, names - binary).evaluate(runs)
    other = pytrec_eval.RelevanceEvaluator(qrels, binary, relevance_level=level).evaluate(runs)
    return {query: graded[query] | other[query] for query in runs}


@pytest.mark.parametrize("level", [1, 2, 4])
@pytest.mark.parametrize("unit", [1, 10, 3])
def test_scores_equal_those_of_pytrec_eval_on_grades_times_any_unit(unit, level):
    qrels, runs = random_cases(10 * unit + level)
    graded = {query: {d: grade / unit for d, grade in judged.items()} for query, judged in qrels.items()}
    rankings = {query: order_documents(query, run) for query, run in runs.items()}
    ours = score_rankings(rankings, graded, COLUMNS, level / unit)
    expected = theirs(qrels, runs, level)
    found = [[values[f"{metric}@{k}"] for metric, k in COLUMNS] for values in ours.values()]
    wanted = [[expected[query][f"{THEIRS[metric]}_{k}"] for metric, k in COLUMNS] for query in ours]
    assert np.abs(np.array(found) - wanted).max() < 1e-12


def test_the_evaluator_scores_rankings_like_pytrec_eval():
    qrels, runs = random_cases(0)
    documents = {f"d{i}": "text" for i in range(60)}
    evaluator = GradedInformationRetrievalEvaluator(
        dict.fromkeys(qrels, "text"), documents, qrels, ndcg_at_k=CUTOFFS, relevance_level=2, no_relevant="zero"
    )
    expected = theirs(qrels, runs, 2)
    for query, values in evaluator.compute_metrics(runs).items():
        if query not in evaluator.queries_without_relevant:
            assert [values[f"ndcg@{k}"] for k in CUTOFFS] == pytest.approx(
                [expected[query][f"ndcg_cut_{k}"] for k in CUTOFFS], abs=1e-12
            )


def test_the_level_is_stated_in_the_settings_and_in_the_log(caplog):
    qrels = {"q": {"a": 0.5, "b": 1.0}, "p": {"a": 0.2}}
    with caplog.at_level("WARNING"):
        evaluator = GradedInformationRetrievalEvaluator(
            {"q": "x", "p": "y"}, {"a": "x", "b": "y"}, qrels, relevance_level=0.5
        )
    assert evaluator.get_config_dict()["relevance_level"] == 0.5
    assert "1 of 2 queries have no document of grade 0.5 or above" in caplog.text


@pytest.mark.parametrize(
    "ids", [("a\0b", "a\0c"), ("cut \ud83d", "cut \ud83e"), ("a b\n", "ä")], ids=["NUL", "surrogate", "signs"]
)
def test_ids_may_hold_any_characters(ids):
    first, second = ids
    columns = [(metric, 10) for metric in ("ndcg", "map", "mrr", "recall", "precision", "accuracy")]
    wanted = score_rankings({"1": ["x", "y"], "2": ["y"]}, {"1": {"y": 2}, "2": {"x": 1}}, columns, 1)
    found = score_rankings(
        {first: [first, second], second: [second]}, {first: {second: 2}, second: {first: 1}}, columns, 1
    )
    assert [*found] == [first, second]
    assert [*found.values()] == [*wanted.values()]
    assert wanted["1"]["map@10"] == 0.5


@pytest.mark.parametrize(
    ("rankings", "message"),
    [
        ({}, "non-empty dict of query id to ranking, got an empty dict"),
        ([["a"]], "got list"),
        ({"q": None}, r"rankings\['q'\] must be a list of document ids"),
        ({1: ["a"], "1": ["b"]}, "1 and '1', which are the same id"),
    ],
)
def test_rankings_that_cannot_be_meant_are_refused(rankings, message):
    evaluator = GradedInformationRetrievalEvaluator(
        {"q": "red", "1": "x"}, {"a": "rose"}, {"q": {"a": 2}, "1": {"a": 1}}
    )
    with pytest.raises(ValueError, match=message):
        evaluator.compute_metrics(rankings)
