"""Files that few would write: each gives a report that says no more than it knows, or is refused by name."""

from __future__ import annotations

import math
import warnings
from itertools import pairwise

import numpy as np
import pytest

from eval.report import compare, read_runs, write
from eval.report.duels import against_usual, overall
from eval.report.figures import forest, to_png
from eval.report.significance import Estimate
from eval.results import decode_items, encode_items
from tests.eval.report.test_report import line, page_of, row, save, section


def tasks(*names, **given):
    """Runs of a recipe that is better by .1, of the usual loss and of the encoder before, with items."""
    runs = []
    for place, task in enumerate(names):
        for loss, score in (("Mine", 0.6), ("Usual", 0.5), ("before", 0.2)):
            for seed in range(1 if loss == "before" else 3):
                items = score + 0.05 * np.random.default_rng([place, seed]).standard_normal(50)
                runs.append(line(task=task, loss=loss, seed=seed, score=score, items=encode_items(items)) | given)
    return runs


def duels_of(path, *lines):
    """The recipe's duels in some lines."""
    return against_usual(compare(read_runs([save(path / "runs.jsonl", *lines)]).runs))


def test_a_task_with_an_undefined_score_is_left_out_of_the_mean(tmp_path):
    lines = tasks("alpha", "beta", "gamma", "delta")
    lines[0]["scores"] = {"ndcg": None}
    text = page_of(tmp_path, *lines)
    assert row(text, "[alpha](#alpha-tiny)", "tiny")[5:] == ["–", "–", "–"]
    assert "3 of 4 comparisons and loses none, 1 without an interval" in section(text, "Result")
    (own,) = overall(duels_of(tmp_path, *lines)).values()
    assert list(own.observed) == ["beta", "gamma", "delta"]


def test_losses_of_different_budgets_are_not_compared(tmp_path):
    lines = [line(steps=600), line(loss="Usual"), line(loss="before", steps=900)]
    with pytest.raises(
        ValueError, match="alpha, tiny, tuned: losses must be trained alike, got Mine with 600 steps of"
    ):
        duels_of(tmp_path, *lines)
    duels_of(tmp_path, *lines[1:], line(steps=None))


def untouched(*losses):
    """A recipe and usual losses that were tested without tuning, at configurations that dev has not seen."""
    return [line(loss=loss, protocol="untouched", key=f"{loss} untouched", learning_rate=0.2) for loss in losses]


def test_a_peer_that_test_chose_among_tuned_losses_is_not_called_chosen_on_dev(tmp_path):
    """Tuned, only Usual has a dev score, so the best on test was taken."""
    lines = [line(loss="Usual", score=0.6), line(loss="Weak"), line(loss="Usual", stage="dev"), line()]
    found = duels_of(tmp_path, *lines, *untouched("Mine", "Usual", "Weak"))
    assert [duel.by_dev for duel in found] == [False, False]


def test_a_peer_that_was_never_tuned_may_be_the_best(tmp_path):
    lines = [line(loss="Usual"), line(loss="Usual", stage="dev"), line()]
    more = untouched("Mine", "Usual", "Weak")
    more[2]["scores"] = {"ndcg": 0.9}
    duel = duels_of(tmp_path, *lines, *more)[1]
    assert (duel.opponent.loss, duel.by_dev) == ("Weak", False)


@pytest.mark.parametrize("name", ["$x_$", "z" * 300, "<script>"])
def test_names_are_not_mathematics_in_figures(tmp_path, name):
    values = [
        line(task=name, stage="ablation", ablation=name, value=v, loss=name, role="family", key=f"{v}") for v in (0, 1)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write([save(tmp_path / "runs.jsonl", *tasks(name, "b", "c"), *values)], tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    shown = {"<script>": "&lt;script&gt;", "z" * 300: "z" * 39 + "…"}.get(name, f"{name}, tiny")
    assert page.count(shown) >= 2
    assert page.count("<script>") == 1


@pytest.mark.parametrize("scale", [0.001, 0.02, 0.04, 0.3, 30.0])
def test_numbers_below_the_forest_plot_are_few_and_keep_apart(scale):
    rows = {f"task {i}": {"tuned": Estimate(scale * i, scale * (i - 1.3), scale * (i + 1.3))} for i in range(3)}
    figure = forest(rows, {})
    to_png(figure)
    low, high = figure.axes[0].get_xlim()
    shown = [t for t in figure.axes[0].get_xticklabels() if low <= t.get_position()[0] <= high]
    assert 2 <= len(shown) <= 5
    boxes = [tick.get_window_extent() for tick in shown]
    assert all(left.x1 + 0.3 * left.width < right.x0 for left, right in pairwise(boxes))
    assert all(float(t.get_text().replace("−", "-")) == pytest.approx(t.get_position()[0], abs=1e-9) for t in shown)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"setting": "x"}, "line 1: setting must be of the type Mapping.*, got 'x'"),
        ({"learning_rate": "x"}, "line 1: learning_rate must be of the type float, got 'x'"),
        ({"seed": "x"}, "line 1: seed must be of the type int, got 'x'"),
        ({"task": 3}, "line 1: task must be of the type str, got 3"),
        ({"scores": {"ndcg": "x"}}, "line 1: scores must be finite numbers or null, got 'x' for 'ndcg'"),
        ({"scores": {"ndcg": math.inf}}, "line 1: scores must be finite numbers or null, got inf for 'ndcg'"),
        ({"scores": [1]}, "line 1: scores must be of the type Mapping"),
    ],
)
def test_values_of_the_wrong_type_are_refused_by_name(tmp_path, given, message):
    with pytest.raises(ValueError, match=message):
        read_runs([save(tmp_path / "runs.jsonl", line(**given))])


@pytest.mark.parametrize("text", ["zzz", "zzzz", encode_items([0.5])[:-5]])
def test_items_that_cannot_be_read_are_refused(text):
    with pytest.raises(ValueError, match="items must be what encode_items makes, got 'zzz|got 'e"):
        decode_items(text)


def test_unknown_times_count_as_none(tmp_path):
    text = page_of(tmp_path, line(seconds={"train": None, "evaluate": 3600.0}))
    assert "1 runs (1 test), 0 failed, 1.0 hours" in text


def test_the_peer_of_what_is_untouched_is_the_best_of_its_own_trials(tmp_path):
    """Those trials tune nothing, so they do not count among the tuned."""
    lines = [line(loss="Usual", stage="dev", score=0.6), line(loss="Weak", stage="dev", score=0.5)]
    lines += [line(loss="Usual"), line(loss="Weak"), line(), *untouched("Mine", "Usual", "Weak")]
    own = {"stage": "dev", "protocol": "untouched", "learning_rate": 0.2}
    lines += [line(loss=loss, score=score, key=f"{loss} dev", **own) for loss, score in (("Usual", 0.7), ("Weak", 0.8))]
    tuned, untuned = compare(read_runs([save(tmp_path / "runs.jsonl", *lines)]).runs)
    assert [(duel.opponent.loss, duel.by_dev) for duel in against_usual([tuned, untuned])] == [
        ("Usual", True),
        ("Weak", True),
    ]
    assert {entry.loss: entry.dev_scores for entry in tuned.peers("usual")} == {"Usual": [0.6], "Weak": [0.5]}
