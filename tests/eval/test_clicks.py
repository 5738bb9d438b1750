"""The simulated users of `eval.clicks`, whose clicks follow grades and positions as the protocol says."""

from __future__ import annotations

import numpy as np
import pytest

from eval.tasks.data import Collection

clicks = pytest.importorskip("eval.clicks", reason="needs the extras bm25 and minilm", exc_type=ImportError)

GRADES = {"best": 3.0, "good": 1.0}
DOCUMENTS = ["bad", "good", "best"]


@pytest.fixture
def collection():
    queries = [f"q{number}" for number in range(40)]
    corpus = {document: document for document in DOCUMENTS}
    return Collection({query: f"find {query}" for query in queries}, corpus, dict.fromkeys(queries, GRADES))


def shown(collection):
    return {query: dict.fromkeys(DOCUMENTS, 0.0) for query in collection.queries}


def test_users_click_by_grade_and_position(collection):
    log = {name: np.array(values) for name, values in clicks.simulate(collection, shown(collection), 200, 0).items()}
    assert log["impressions"].sum() == 3 * 40 * 200
    for document, attraction in (("bad", 0.1), ("good", 0.1 + 0.9 / 7), ("best", 1.0)):
        for position in (1, 2, 3):
            chosen = (log["document"] == document) & (log["position"] == position)
            rate = log["clicks"][chosen].sum() / log["impressions"][chosen].sum()
            assert rate == pytest.approx(attraction / position, abs=0.03)
    first = log["position"] == 1
    seen = [log["impressions"][first & (log["document"] == document)].sum() for document in DOCUMENTS]
    assert seen[0] > seen[1] > seen[2] > 0


def test_correcting_restores_the_order_of_grades_that_clicks_hide(collection):
    rows = clicks.rows(collection, shown(collection), 200, 0)
    means = {
        labels: {d: np.mean([row["labels"][row["documents"].index(d)] for row in rows[labels]]) for d in DOCUMENTS}
        for labels in clicks.LABELS
    }
    assert means["grades"] == pytest.approx({"bad": 0.0, "good": 1 / 3, "best": 1.0})
    ratio = {labels: found["good"] / found["best"] for labels, found in means.items()}
    assert ratio["clicks"] > 0.3
    assert ratio["corrected"] == pytest.approx(0.1 + 0.9 / 7, abs=0.03)
    assert all(row["query"].startswith("find ") for labels in clicks.LABELS for row in rows[labels])


def test_runs_tune_on_dev_first_and_test_the_best_setting():
    done = []
    for run in clicks.runs(done, 20, 2):
        done.append(run | {"ndcg": run["setting"]["rate"] - run["setting"]["top"]})
    trials = len(clicks.LABELS) * len(clicks.GRID)
    assert [run["split"] for run in done] == ["dev"] * trials + ["test"] * 2 * len(clicks.LABELS)
    best = {"rate": max(each["rate"] for each in clicks.GRID), "top": min(each["top"] for each in clicks.GRID)}
    assert all(run["setting"] == best for run in done[trials:])
    assert not list(clicks.runs(done, 20, 2))
