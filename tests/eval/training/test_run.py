"""Runs: training rows, every loss of every kind of task, keys, repeats and failures."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
import torch

from eval.results import BEFORE, BM25, decode_items
from eval.tasks.mteb_tasks import make_task
from eval.training import run as runs
from eval.training.encoders import make_encoder
from eval.training.run import run
from eval.training.scoring import evaluate
from eval.training.train import train
from tests.eval.tiny import first_setting


@pytest.mark.parametrize(("name", "loss"), [("tree", "A-NDCG"), ("topics", "A-NDCG binary"), ("tree", "SupCon")])
def test_views_can_be_added_to_samples(world, name, loss):
    setting = first_setting(world.records[name], loss)
    given = {"setting": setting, "learning_rate": 0.5}
    plain, augmented = (run(world.spec(name, loss, augmented=augmented, **given)) for augmented in (False, True))
    assert augmented.error is None
    assert augmented.key != plain.key
    assert augmented.scores != plain.scores


def without_clock(line):
    """A line without what no two runs share."""
    return replace(line, started="", seconds={}, peak_memory_mb=None)


@pytest.mark.parametrize(
    ("name", "loss"), [("alike", "CoSENT"), ("search", "A-NDCG"), ("tree", "softmax classifier"), ("lines", "recipe")]
)
def test_the_same_run_gives_the_same_scores(world, name, loss):
    spec = world.spec(name, loss, "test", setting=first_setting(world.records[name], loss), learning_rate=0.02)
    first, again, other = run(spec), run(spec), run(replace(spec, seed=1))
    assert first.status == "ok", first.error
    assert without_clock(first) == without_clock(again)
    assert other.scores != first.scores
    assert other.key != first.key == spec.key


@pytest.mark.parametrize("name", ["alike", "search", "tree", "lines"])
def test_the_untrained_encoder_is_only_scored(world, monkeypatch, name):
    monkeypatch.setattr(runs, "train", None)
    line = run(world.spec(name, BEFORE, "test", learning_rate=0.0))
    assert (line.status, line.role) == ("ok", "before")
    scored = world.records["alike" if name == "lines" else name]
    data = world.data(scored.name)
    assert len(decode_items(line.items)) == len(data.parts["test"])
    assert line.scores[scored.main] == pytest.approx(decode_items(line.items).mean(), abs=2e-3)


@pytest.mark.parametrize("name", ["search", "judged"])
def test_bm25_is_scored_without_training(world, monkeypatch, name):
    monkeypatch.setattr(runs, "train", None)
    line, again = (run(world.spec(name, BM25, "test", learning_rate=0.0, seed=seed)) for seed in (0, 1))
    assert line.error is None
    assert line.role == "before"
    assert len(decode_items(line.items)) == len(world.data(name).parts["test"])
    assert line.scores == again.scores  # whatever the encoder is
    assert line.scores["ndcg_at_10"] > (0.85 if name == "judged" else 0.6)


def test_a_line_says_what_was_run(world):
    setting = {"scale": 20.0}
    line = run(world.spec("search", "MNRL", "test", setting=setting, seed=2, ablation="mine", value=3))
    expected = {"stage": "test", "status": "ok", "error": None, "task": "search", "kind": "retrieval", "seed": 2}
    expected |= {"metric": "ndcg_at_10+mrr_at_10", "encoder": "static", "loss": "MNRL", "role": "usual"}
    expected |= {"setting": setting, "learning_rate": 0.05, "steps": 2, "batch_size": 8, "ablation": "mine", "value": 3}
    assert {name: getattr(line, name) for name in expected} == expected
    assert {"torch", "mteb", "st_rankloss", "python"} <= set(line.versions)
    assert line.seconds["train"] > 0
    assert set(line.scores) >= {"ndcg_at_10", "mrr_at_10", "ndcg_at_10+mrr_at_10", "auc", "opis"}
    assert run(world.spec("sets", BEFORE)).kind == "sets"


@pytest.mark.parametrize(
    ("name", "metrics"),
    [
        ("search", "ndcg_at_10 ndcg_at_100 mrr_at_10 recall_at_100 ndcg_at_10+mrr_at_10"),
        ("alike", "spearman pearson cosine_spearman cosine_pearson"),
        ("tree", "ndcg_at_10 ndcg_at_100 map accuracy map+ndcg_at_100"),
        ("sets", "ndcg_at_10 ndcg_at_100 lrap ndcg_at_10+lrap"),
        ("number", "ndcg_at_10 ndcg_at_100 probe_spearman ndcg_at_10+probe_spearman"),
    ],
)
def test_scores_are_those_that_a_task_computes(world, name, metrics):
    assert set(run(world.spec(name, BEFORE)).scores) == set(metrics.split())


def test_trials_are_scored_on_dev_and_tests_on_test(world):
    scores = {
        stage: run(world.spec("alike", BEFORE, stage)).scores["spearman"] for stage in ("dev", "ablation", "test")
    }
    model = make_encoder("static", [world.data("alike")], 0)
    for stage, split in (("dev", "dev"), ("ablation", "dev"), ("test", "test")):
        found = evaluate(model, world.spec("alike", BEFORE), world.data("alike"), split)
        assert scores[stage] == found["scores"]["spearman"]
    assert scores["dev"] != scores["test"]


def test_only_a_test_measures_reliability(world):
    trial, test = (run(world.spec("alike", BEFORE, stage)) for stage in ("dev", "test"))
    assert "auc" not in trial.scores
    assert "auc" in test.scores


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"setting": {"temperature": -1.0}}, "ValueError: temperature"),
        ({"setting": {"tempratur": 0.1}}, "TypeError: "),
        ({"encoder": "statc"}, "ValueError: unknown encoder .*did you mean static"),
        ({"loss": "SupConn"}, "ValueError: unknown loss for topics 'SupConn'; did you mean SupCon"),
    ],
)
def test_a_failure_is_a_line_with_its_error(world, changes, error):
    spec = replace(world.spec("topics", "SupCon", setting={"temperature": 0.1}), **changes)
    line = run(spec)
    assert line.status == "failed"
    assert line.scores == {}
    assert line.key == spec.key
    assert re.match(error, line.error), line.error


def test_a_model_that_diverged_is_a_failure(world):
    line = run(world.spec("alike", "CoSENT", setting={"scale": 5.0}, learning_rate=math.inf))
    assert line.status == "failed"


def test_one_record_can_be_trained_on_another(world):
    own = run(world.spec("search", "SupCon", setting={"temperature": 0.1}))
    other = run(world.spec("judged", "SupCon", setting={"temperature": 0.1}))
    assert other.status == "ok", other.error
    assert (other.task, other.metric, other.steps) == ("judged", "ndcg_at_10", 2)
    assert (own.trained_on, other.trained_on) == (None, "search")
    assert other.key != own.key
    spec = world.spec("search", "SupCon", setting={"temperature": 0.1})
    model = make_encoder("static", [world.data("search")], 0)
    train(model, spec, world.data("search"))
    expected = evaluate(model, spec, world.data("judged"), "dev")["scores"]["ndcg_at_10"]
    assert other.scores["ndcg_at_10"] == pytest.approx(expected, abs=1e-6)


def test_one_record_can_be_scored_on_another(world):
    line = run(world.spec("lines", "recipe", setting={"weight": 0.1}))
    assert line.status == "ok", line.error
    assert (line.task, line.kind, line.metric) == ("lines", "texts", "spearman")
    assert len(decode_items(line.items)) == len(world.data("alike").parts["dev"])


def test_an_evaluation_uses_no_cache(world):
    spec = world.spec("alike", BEFORE)
    model = make_encoder("static", [world.data("alike")], 0)
    first = evaluate(model, spec, world.data("alike"), "dev")
    with torch.no_grad():
        model[0].embedding.weight.copy_(torch.randn_like(model[0].embedding.weight))
    assert evaluate(model, spec, world.data("alike"), "dev")["scores"] != first["scores"]
    assert make_task(world.data("alike"), "dev").items is None
