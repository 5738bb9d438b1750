"""Plans and their execution: tuning on dev, the comparison on test, ablations, and the file of results."""

from __future__ import annotations

import json
import math
from concurrent.futures import Future
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from eval import ablations, compare
from eval.ablations import ABLATIONS
from eval.compare import (
    Choice,
    Executor,
    Tuning,
    best_trials,
    estimate_seconds,
    learning_rates,
    plan_tests,
    with_budget,
)
from eval.data import load_records
from eval.encoders import NAMES, middle_learning_rate
from eval.losses import contenders
from eval.results_file import ResultsFile, read_lines
from eval.runs import BEFORE, versions
from tests.eval.tiny import InThisProcess

VERSIONS = {"torch": "2.0", "mteb": "2.26"}
QUIET = Console(quiet=True)


@pytest.fixture
def choice(world):
    """Two losses of one task."""
    return Choice(
        [world.records["topics"]], ["static"], ["SupCon", "recipe"], world.folder, seeds=2, known=world.records
    )


def line(spec, score, status="ok", **given):
    """The line that a run would leave."""
    record = spec.record
    found = {"key": spec.key, "stage": spec.stage, "status": status, "task": record.name, "metric": record.main}
    found |= {"encoder": spec.encoder, "loss": spec.loss, "setting": dict(spec.setting), "seed": spec.seed}
    found |= {"learning_rate": spec.learning_rate, "scores": {record.main: score} if status == "ok" else {}}
    found |= {"versions": VERSIONS, "error": None if status == "ok" else "ValueError: no"}
    return (
        found
        | {
            "seconds": {"train": 2.0, "evaluate": 1.0},
            "steps": spec.trained.steps,
            "batch_size": spec.trained.batch_size,
        }
        | given
    )


def trial(choice, loss, score, place=0, rate=0.05, stage="dev", **given):
    """The line of one trial."""
    record = choice.records[0]
    setting = contenders(record)[loss].settings[place]
    return line(choice.spec(record, "static", loss, stage, setting=setting, learning_rate=rate), score, **given)


def trained(specs):
    """The runs that train."""
    return [spec for spec in specs if spec.loss in contenders(spec.trained)]


# Grids.


@pytest.mark.parametrize("encoder", [*NAMES, "some/model"])
def test_learning_rates_lie_around_the_encoders_own(world, encoder):
    record = world.record("alike", rate=2.0)
    few, many = learning_rates(record, encoder, 3), learning_rates(record, encoder, 1)
    middle = 2 * middle_learning_rate(encoder)
    assert (len(few), len(many)) == (3, 9)
    for rates in (few, many):
        assert rates == sorted(rates)
        assert rates[len(rates) // 2] == pytest.approx(middle, rel=1e-3)
        assert rates[-1] / rates[0] == pytest.approx(9, rel=1e-3)


@pytest.mark.parametrize("loss", ["SupCon", "recipe"])
def test_tuning_tries_the_whole_grid(choice, loss):
    record = choice.records[0]
    tuning = Tuning(choice, record, "static", contenders(record)[loss])
    specs = [tuning.ask()[0] for _ in range(tuning.left)]
    assert tuning.left == 0
    rates, settings = learning_rates(record, "static", 3), contenders(record)[loss].settings
    tried = {(json.dumps(spec.setting), spec.learning_rate) for spec in specs}
    assert tried == {(json.dumps(setting), rate) for setting in settings for rate in rates}
    assert {(spec.stage, spec.seed, spec.loss) for spec in specs} == {("dev", 0, loss)}


def test_a_loss_without_settings_has_nine_learning_rates(world):
    record = world.records["alike"]
    tuning = Tuning(Choice([record], ["static"]), record, "static", contenders(record)["Pearson"])
    specs = [tuning.ask()[0] for _ in range(tuning.left)]
    assert [spec.learning_rate for spec in specs] == learning_rates(record, "static", 1)
    assert {json.dumps(spec.setting) for spec in specs} == {"{}"}


@pytest.mark.parametrize("trials", [1, 4, 6, 8])
@pytest.mark.parametrize("loss", ["CoSENT", "Pearson"])
def test_fewer_trials_than_the_grid_are_all_different_and_of_it(world, trials, loss):
    record = world.records["alike"]
    contender = contenders(record)[loss]

    def keys():
        tuning = Tuning(Choice([record], ["static"], trials=trials), record, "static", contender)
        found = []
        for i in range(tuning.left):
            spec, token = tuning.ask()
            assert spec.setting in contender.settings
            assert spec.learning_rate in learning_rates(record, "static", len(contender.settings))
            found.append(spec.key)
            tuning.tell(token, line(spec, i / 10))
        return found

    first = keys()
    assert first == keys()
    assert len(first) == trials
    assert len(set(first)) == trials


def test_failed_trials_are_told_as_failed(choice):
    record = choice.records[0]
    tuning = Tuning(choice, record, "static", contenders(record)["SupCon"])
    for status, score in (("ok", 0.5), ("failed", 0.9), ("ok", 0.7)):
        spec, token = tuning.ask()
        tuning.tell(token, line(spec, score, status))
    assert [t.state.name for t in tuning.study.trials[:3]] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert tuning.study.best_value == 0.7


# The best trial.


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
    tied = min(lines[1:3], key=lambda line: line["key"])
    assert best == {("topics", "static", "SupCon"): tied, ("topics", "static", "recipe"): lines[-1]}


def test_of_trials_that_tie_the_same_one_is_best_in_any_order(choice):
    lines = [trial(choice, "SupCon", 0.7, place) for place in (2, 0, 1)]
    found = [best_trials(order)["topics", "static", "SupCon"] for order in (lines, lines[::-1], lines[1:] + lines[:1])]
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("scores", [(math.nan, 0.5), (0.5, math.nan)])
def test_a_trial_without_a_score_is_never_the_best(choice, scores):
    lines = [trial(choice, "SupCon", score, place) for place, score in enumerate(scores)]
    assert best_trials(lines)["topics", "static", "SupCon"]["scores"] == {"map+accuracy": 0.5}


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


# The plan of the comparison.


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
    plan = plan_tests(Choice([world.records["search"]], ["static", "bert"], ["MNRL"], seeds=1), [], untuned=True)
    others = [(spec.encoder, spec.loss) for spec in plan if spec.loss != "MNRL"]
    assert ("static", BEFORE) in others
    assert ("bert", BEFORE) in others
    assert any(loss == "BM25" for _, loss in others)


def test_losses_without_trials_are_named(choice):
    with pytest.raises(ValueError, match=r"not tuned yet: recipe on topics\. Run `python -m eval tune`.*--untuned"):
        plan_tests(choice, [trial(choice, "SupCon", 0.5)])
    with pytest.raises(ValueError, match=r"not tuned yet: recipe on topics, SupCon on topics\."):
        plan_tests(choice, [trial(choice, "SupCon", None, status="failed")])


def test_middle_settings_stand_in_for_trials(choice):
    specs = trained(plan_tests(choice, [trial(choice, "SupCon", 0.5, 2)], untuned=True))
    chosen = {spec.loss: (spec.setting, spec.learning_rate) for spec in specs}
    settings = contenders(choice.records[0])
    assert chosen["SupCon"] == (settings["SupCon"].settings[2], 0.05)
    assert chosen["recipe"] == (settings["recipe"].settings[1], middle_learning_rate("static"))


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


def test_what_is_trained_elsewhere_and_untuned_has_the_learning_rate_of_there(world):
    known = world.records | {"search": world.record("search", rate=3.0)}
    other = Choice([known["judged"]], ["static"], ["SupCon"], world.folder, seeds=1, known=known)
    (spec,) = trained(plan_tests(other, [], untuned=True))
    assert spec.learning_rate == pytest.approx(3 * middle_learning_rate("static"))


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


# Ablations.


def test_ablations_vary_the_best_trial():
    records = load_records()
    record, encoder = records["clinc150"], "static-minilm"
    one = Choice([record], [encoder], ["SupCon", "A-NDCG"])
    lines = []
    for loss in ("SupCon", "A-NDCG"):
        for score, rate in ((0.3, 0.1), (0.4, 0.02), (0.2, 0.3)):
            setting = contenders(record)[loss].settings[1]
            lines.append(line(one.spec(record, encoder, loss, "dev", setting=setting, learning_rate=rate), score))
    specs = ablations.plan(["temperature"], records, lines, seeds=2, folder=None)
    assert {spec.learning_rate for spec in specs} == {0.02}
    assert {(spec.stage, spec.ablation) for spec in specs} == {("ablation", "temperature")}
    assert {spec.setting["temperature"] for spec in specs} == {0.01, 0.02, 0.05, 0.1, 0.2, 0.5}
    assert [spec.value for spec in specs] == [spec.setting["temperature"] for spec in specs]
    assert len(specs) == 2 * 6 * 2 == len({spec.key for spec in specs})
    everything = ablations.plan([], records, lines, seeds=1, folder=None)
    assert {spec.ablation for spec in everything} == {"temperature", "gain", "sampler", "augmentation"}
    assert {spec.sampler for spec in everything if spec.ablation == "sampler"} == {"balanced", "random"}
    views = [(spec.value, spec.augmented) for spec in everything if spec.ablation == "augmentation"]
    assert views == [("off", False), ("on", True)]
    assert len({spec.key for spec in everything}) == len(everything)


def test_ablations_need_trials_and_known_names():
    with pytest.raises(ValueError, match="unknown ablation 'temprature'; did you mean temperature"):
        ablations.plan(["temprature"], load_records(), [], seeds=1, folder=None)
    with pytest.raises(ValueError, match="run `python -m eval tune`"):
        ablations.plan([], load_records(), [], seeds=1, folder=None)


@pytest.mark.parametrize("ablation", ABLATIONS, ids=lambda ablation: f"{ablation.name}-{ablation.task}")
def test_every_ablation_is_of_what_its_losses_can_be_given(ablation):
    record = load_records()[ablation.task]
    assert ablation.encoder in NAMES
    for loss in ablation.losses:
        contender = contenders(record)[loss]
        for changes in ablation.changes.values():
            of_loss = {n: v for n, v in changes.items() if n not in ("steps", "batch_size", "sampler", "augmented")}
            if contender.role != "recipe":
                assert contender.make(None, _Problem(record), **(dict(contender.settings[0]) | of_loss))


class _Problem:
    """A task without data."""

    def __init__(self, record):
        self.record, self.relevance, self.binary = record, same, same


def same(query_labels, document_labels):
    """A relevance of anything."""
    return query_labels


# The file of results.


def test_a_line_is_there_as_soon_as_it_is_added(tmp_path, choice):
    path = tmp_path / "deep" / "runs.jsonl"
    results = ResultsFile(path, VERSIONS)
    assert not path.exists()
    found = trial(choice, "SupCon", 0.5, error="ü\n")
    results.add(found)
    assert read_lines(path) == {found["key"]: found}
    assert results.has(found["key"])
    assert not results.has("other")


def test_the_last_line_of_a_key_counts(tmp_path, choice):
    results = ResultsFile(tmp_path / "runs.jsonl", VERSIONS)
    results.add(trial(choice, "SupCon", None, status="failed"))
    key = next(iter(results.lines))
    assert not results.has(key)
    results.add(trial(choice, "SupCon", 0.5))
    again = ResultsFile(tmp_path / "runs.jsonl", VERSIONS)
    assert again.has(key)
    assert len(again.lines) == 1
    assert len((tmp_path / "runs.jsonl").read_text("utf-8").splitlines()) == 2


def test_an_unfinished_last_line_is_left_out_and_overwritten(tmp_path, choice):
    path = tmp_path / "runs.jsonl"
    first, second = trial(choice, "SupCon", 0.5), trial(choice, "recipe", 0.5)
    ResultsFile(path, VERSIONS).add(first)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(second)[:40])
    results = ResultsFile(path, VERSIONS)
    assert list(results.lines) == [first["key"]]
    results.add(second)
    assert list(read_lines(path)) == [first["key"], second["key"]]


def test_any_other_line_must_be_whole(tmp_path, choice):
    path = tmp_path / "runs.jsonl"
    path.write_text('{"key": \n' + json.dumps(trial(choice, "SupCon", 0.5)) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"runs.jsonl, line 1, is not JSON"):
        read_lines(path)


@pytest.mark.parametrize("there", [{"torch": "1.9", "mteb": "2.26"}, {"mteb": "2.26"}])
def test_lines_of_other_versions_are_refused_by_name(tmp_path, choice, there):
    path = tmp_path / "runs.jsonl"
    ResultsFile(path, there).add(trial(choice, "SupCon", 0.5, versions=there))
    with pytest.raises(ValueError, match=rf"other versions \(torch {there.get('torch')} there, 2.0 here\).*--mixed"):
        ResultsFile(path, VERSIONS)
    assert len(ResultsFile(path, VERSIONS, mixed=True).lines) == 1


# Execution, with workers that do nothing.


@pytest.fixture
def ran(monkeypatch):
    """The specs that workers were given; what they return can be replaced."""
    found = []

    def run(spec):
        found.append(spec)
        return line(spec, 0.01 * len(found))

    monkeypatch.setattr(compare, "ProcessPoolExecutor", InThisProcess)
    monkeypatch.setattr(compare, "run", run)
    return found


def tunings(choice):
    """The tuning of every loss."""
    return [Tuning(choice, *group) for group in choice.groups()]


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("trials", [4, 9])
def test_no_trial_runs_twice(tmp_path, choice, ran, jobs, trials):
    choice = replace(choice, trials=trials)
    results = ResultsFile(tmp_path / "runs.jsonl", VERSIONS)
    Executor(results, jobs, QUIET).tune_all(tunings(choice))
    keys = [spec.key for spec in ran]
    assert len(set(keys)) == len(keys)
    assert set(keys) == set(results.lines)
    again = ResultsFile(tmp_path / "runs.jsonl", VERSIONS)
    Executor(again, jobs, QUIET).tune_all(tunings(choice))
    assert len(ran) == len(keys)


def test_what_was_interrupted_goes_on_where_it_stopped(tmp_path, choice, ran, monkeypatch):
    specs = plan_tests(choice, [], untuned=True)
    path, whole = tmp_path / "runs.jsonl", compare.run

    def interrupted(spec):
        if len(ran) == 2:
            raise KeyboardInterrupt
        return whole(spec)

    monkeypatch.setattr(compare, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Executor(ResultsFile(path, VERSIONS), 1, QUIET).run_all(specs)
    assert len(read_lines(path)) == 2
    monkeypatch.setattr(compare, "run", whole)
    Executor(ResultsFile(path, VERSIONS), 1, QUIET).run_all(specs)
    assert [spec.key for spec in ran] == [spec.key for spec in specs]


def test_failed_runs_run_again_and_stop_no_others(tmp_path, choice, ran, monkeypatch, capsys):
    specs = plan_tests(choice, [], untuned=True)
    path, whole = tmp_path / "runs.jsonl", compare.run
    monkeypatch.setattr(
        compare, "run", lambda spec: line(spec, None, "failed") if spec.loss == "SupCon" else whole(spec)
    )
    Executor(ResultsFile(path, VERSIONS), 2, Console(width=120)).run_all(specs)
    lines = ResultsFile(path, VERSIONS)
    assert [lines.has(spec.key) for spec in specs] == [spec.loss != "SupCon" for spec in specs]
    assert "failed: topics SupCon: ValueError: no" in capsys.readouterr().out
    del ran[:]
    monkeypatch.setattr(compare, "run", whole)
    Executor(lines, 2, QUIET).run_all(specs)
    assert [spec.loss for spec in ran] == ["SupCon", "SupCon"]
    assert all(ResultsFile(path, VERSIONS).has(spec.key) for spec in specs)


def test_a_worker_that_raises_stops_no_others(tmp_path, choice, ran, monkeypatch):
    specs, whole = plan_tests(choice, [], untuned=True), compare.run

    def fails(spec):
        if spec.loss == "SupCon":
            raise MemoryError("killed")
        return whole(spec)

    monkeypatch.setattr(compare, "run", fails)
    results = ResultsFile(tmp_path / "runs.jsonl", VERSIONS)
    Executor(results, 1, QUIET).run_all(specs)
    assert [spec.loss for spec in ran] == [spec.loss for spec in specs if spec.loss != "SupCon"]


def test_trials_that_are_there_are_told_to_the_tuning(tmp_path, choice, ran):
    choice = replace(choice, losses=["SupCon"])
    path = tmp_path / "runs.jsonl"
    Executor(ResultsFile(path, VERSIONS), 1, QUIET).tune_all(tunings(choice))
    (tuning,) = tunings(choice)
    Executor(ResultsFile(path, VERSIONS), 1, QUIET).tune_all([tuning])
    assert len(ran) == 9
    assert tuning.study.best_value == pytest.approx(0.09)
    assert tuning.left == 0


def test_no_more_runs_are_under_way_than_there_are_workers(tmp_path, choice, ran, monkeypatch):
    waiting, most = [], []

    class Slow(InThisProcess):
        def submit(self, function, spec):
            waiting.append((Future(), function(spec)))
            most.append(len([f for f, _ in waiting if not f.done()]))
            return waiting[-1][0]

    def wait(futures, return_when):
        future, found = next((f, x) for f, x in waiting if not f.done())
        future.set_result(found)
        return {future}, set()

    monkeypatch.setattr(compare, "ProcessPoolExecutor", Slow)
    monkeypatch.setattr(compare, "wait", wait)
    specs = plan_tests(replace(choice, seeds=3), [], untuned=True)
    results = ResultsFile(tmp_path / "runs.jsonl", VERSIONS)
    Executor(results, 3, QUIET).run_all(specs)
    assert max(most) == 3
    assert set(results.lines) == {spec.key for spec in specs}


# Estimates.


def test_an_estimate_is_of_what_is_left(choice):
    specs = plan_tests(choice, [], untuned=True)
    guessed = estimate_seconds(specs, {}, 1)
    texts = 2 * 8 * (1 + 4) / 2
    assert guessed == pytest.approx(len(specs) * (3 + texts / 4_000))
    assert estimate_seconds(specs, {}, 2) == pytest.approx(guessed / 2)
    lines = {spec.key: line(spec, 0.5) for spec in specs[:2]}
    assert estimate_seconds(specs, lines, 1) == pytest.approx(3.0 * (len(specs) - 2))
    failed = {spec.key: line(spec, None, "failed", seconds=None) for spec in specs[:2]}
    assert estimate_seconds(specs, failed, 1) == pytest.approx(guessed)
    assert estimate_seconds(specs, {spec.key: line(spec, 0.5) for spec in specs}, 1) == 0


def test_versions_are_those_of_the_installed_packages():
    assert versions()["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert {"st_rankloss", "sentence_transformers", "mteb", "python"} <= set(versions())
