"""The comparison on test: the best trials, and the plan of runs."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from eval.plans.comparison import Choice, best_trials, plan_tests, with_budget
from eval.plans.contenders import Problem
from eval.plans.learning_rates import learning_rates, middle_learning_rate
from eval.plans.losses import contenders
from eval.results import BEFORE
from eval.training.encoders import make_encoder
from tests.eval.tiny import TRAINED, line, trained, trial


def test_the_best_trial_is_that_on_dev(choice):
    lines = [
        trial(choice, "SupCon", 0.5, 0),
        trial(choice, "SupCon", 0.7, 1),
        trial(choice, "SupCon", 0.7, 2),
        trial(choice, "SupCon", 0.9, 2, stage="test"),
        trial(choice, "SupCon", 0.9, 2, stage="ablation"),
        trial(choice, "SupCon", None, 2, rate=0.1, status="failed"),
        trial(choice, "recipe", 0.6, 1),
    ]
    best = best_trials(lines)
    tied = min(lines[1:3], key=lambda line: line.key)
    assert best == {("topics", "static", "SupCon"): tied, ("topics", "static", "recipe"): lines[-1]}


def test_of_trials_that_tie_the_same_one_is_best_in_any_order(choice):
    lines = [trial(choice, "SupCon", 0.7, place) for place in (2, 0, 1)]
    found = [best_trials(order)["topics", "static", "SupCon"] for order in (lines, lines[::-1], lines[1:] + lines[:1])]
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("scores", [(math.nan, 0.5), (0.5, math.nan)])
def test_a_trial_without_a_score_is_never_the_best(choice, scores):
    lines = [trial(choice, "SupCon", score, place) for place, score in enumerate(scores)]
    assert best_trials(lines)["topics", "static", "SupCon"].scores == {"map+accuracy": 0.5}


def test_trials_of_another_budget_are_not_the_best(choice):
    long = replace(choice, records=[replace(choice.records[0], steps=50)])
    lines = [
        trial(choice, "SupCon", 0.5, 0),
        trial(choice, "recipe", 0.5),
        trial(long, "SupCon", 0.9, 2),
        trial(long, "recipe", 0.9),
    ]
    specs = {spec.loss: spec for spec in trained(plan_tests(choice, lines))}
    assert specs["SupCon"].setting == contenders(choice.records[0])["SupCon"].settings[0]


def test_every_loss_is_compared_at_its_best_with_every_seed(choice):
    lines = [
        trial(choice, "SupCon", 0.5, 0),
        trial(choice, "SupCon", 0.6, 2, rate=0.2),
        trial(choice, "recipe", 0.1, 1),
    ]
    specs = plan_tests(choice, lines)
    settings = {name: contenders(choice.records[0])[name].settings for name in ("SupCon", "recipe")}
    found = [(spec.loss, spec.seed, spec.setting, spec.learning_rate, spec.stage) for spec in specs]
    assert found == [
        (BEFORE, 0, {}, 0.0, "test"),
        *(
            (loss, seed, setting, rate, "test")
            for seed in (0, 1)
            for loss, setting, rate in (("recipe", settings["recipe"][1], 0.05), ("SupCon", settings["SupCon"][2], 0.2))
        ),
    ]
    assert len({spec.key for spec in specs}) == len(specs)
    assert {spec.folder for spec in specs} == {choice.folder}


def test_a_search_is_also_compared_with_bm25(world):
    plan = plan_tests(
        Choice([world.records["search"]], ["static", "clip"], ["MNRL"], seeds=1, protocol="untouched"), []
    )
    others = [(spec.encoder, spec.loss) for spec in plan if spec.loss != "MNRL"]
    assert ("static", BEFORE) in others
    assert ("clip", BEFORE) in others
    assert any(loss == "BM25" for _, loss in others)


def test_losses_without_trials_are_named(choice):
    with pytest.raises(ValueError, match=r"not tuned yet: recipe on topics\. Run `python -m eval tune`.* untouched"):
        plan_tests(choice, [trial(choice, "SupCon", 0.5)])
    with pytest.raises(ValueError, match=r"not tuned yet: recipe on topics, SupCon on topics\."):
        plan_tests(choice, [trial(choice, "SupCon", None, status="failed")])


def test_who_tunes_nothing_has_the_defaults_and_the_hosts_learning_rate(choice):
    better = [trial(choice, loss, 0.9, 2, rate=0.07) for loss in ("SupCon", "recipe")]
    specs = trained(plan_tests(replace(choice, protocol="untouched"), better))
    found = {(spec.loss, str(spec.setting), spec.learning_rate, spec.protocol) for spec in specs}
    assert found == {
        ("recipe", "{}", 0.2, "untouched"),
        ("SupCon", "{'temperature': 0.1}", 0.2, "untouched"),
    }
    other = replace(choice, protocol="untouched", encoders=["static-minilm"])
    assert {spec.learning_rate for spec in trained(plan_tests(other, []))} == {middle_learning_rate("static-minilm")}


def test_defaults_have_the_best_of_three_learning_rates(choice):
    choice = replace(choice, protocol="defaults")
    record, known = choice.records[0], contenders(choice.records[0])

    def at(loss, score, setting, rate):
        spec = choice.spec(record, "static", loss, "dev", setting=setting, learning_rate=rate)
        return line(spec, score)

    low, middle, high = learning_rates(record, "static", 3)
    lines = [
        at("SupCon", 0.5, {"temperature": 0.1}, low),
        at("SupCon", 0.6, {"temperature": 0.1}, middle),
        at("SupCon", 0.9, {"temperature": 0.2}, high),
        at("SupCon", 0.9, {"temperature": 0.1}, 0.99),
        at("recipe", 0.4, {}, high),
        at("recipe", 0.9, known["recipe"].settings[0], low),
    ]
    specs = trained(plan_tests(choice, lines))
    found = {(spec.loss, str(spec.setting), spec.learning_rate) for spec in specs}
    assert found == {("SupCon", "{'temperature': 0.1}", middle), ("recipe", "{}", high)}
    tuned = {spec.loss: spec for spec in trained(plan_tests(replace(choice, protocol="tuned"), lines))}
    assert tuned["recipe"].setting == known["recipe"].settings[0]
    assert {spec.key for spec in specs}.isdisjoint(spec.key for spec in tuned.values())
    with pytest.raises(ValueError, match="not tuned yet: recipe on topics"):
        plan_tests(choice, lines[:4])


@pytest.mark.parametrize("name", TRAINED)
def test_every_default_is_a_setting_of_its_loss(world, name):
    data = world.data(name)
    model = make_encoder("clip" if data.record.modality == "image" else "static", [data], 0)
    for contender in contenders(data.record).values():
        assert isinstance(contender.make(model, Problem(data), **contender.default), torch.nn.Module)


def test_what_is_trained_elsewhere_has_the_settings_of_there(world):
    own = Choice([world.records["search"]], ["static"], ["SupCon"], world.folder, known=world.records)
    other = Choice([world.records["judged"]], ["static"], ["SupCon"], world.folder, seeds=1, known=world.records)
    lines = [trial(own, "SupCon", 0.5, 2, rate=0.3), trial(other, "SupCon", 0.9, 0, rate=0.1)]
    (spec,) = trained(plan_tests(other, lines))
    assert (spec.learning_rate, spec.setting) == (0.3, contenders(world.records["search"])["SupCon"].settings[2])
    assert (spec.trained.name, spec.scored.name) == ("search", "judged")


def test_what_must_be_tuned_first_is_named_where_it_is_trained(world):
    other = Choice([world.records["judged"]], ["static"], ["SupCon"], world.folder, known=world.records)
    with pytest.raises(ValueError, match="SupCon on search"):
        plan_tests(other, [])


def test_unknown_losses_have_close_names(choice):
    with pytest.raises(ValueError, match="unknown loss 'SupConn'; did you mean SupCon"):
        list(replace(choice, losses=["SupConn"]).groups())


def test_a_loss_is_compared_where_a_task_has_it(world):
    both = Choice([world.records["topics"], world.records["alike"]], ["static"], ["CoSENT", "SupCon", "recipe"])
    assert [(record.name, contender.name) for record, _, contender in both.groups()] == [
        ("topics", "recipe"),
        ("topics", "SupCon"),
        ("alike", "recipe"),
        ("alike", "CoSENT"),
    ]


def test_a_budget_replaces_what_is_given(world):
    record = world.records["alike"]
    assert with_budget(record, None, None) == record
    assert with_budget(record, 7, None) == replace(record, steps=7)
    assert with_budget(record, None, 16) == replace(record, batch_size=16)
