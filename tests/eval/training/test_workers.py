"""Workers: nothing runs twice, failures stop nothing, and durations are estimated."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace

import pytest
from rich.console import Console

from eval.plans.comparison import plan_tests
from eval.plans.tuning import Tuning
from eval.results import ResultsFile
from eval.training import workers
from eval.training.workers import Executor, estimate_seconds
from tests.eval.tiny import QUIET, VERSIONS, InThisProcess, line, untouched


@pytest.fixture
def ran(monkeypatch):
    """The specs that workers were given; what they return can be replaced."""
    found = []

    def run(spec):
        found.append(spec)
        return line(spec, 0.01 * len(found))

    monkeypatch.setattr(workers, "ProcessPoolExecutor", InThisProcess)
    monkeypatch.setattr(workers, "run", run)
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
    assert set(keys) == set(results.runs)
    again = ResultsFile(tmp_path / "runs.jsonl", VERSIONS)
    Executor(again, jobs, QUIET).tune_all(tunings(choice))
    assert len(ran) == len(keys)


def test_what_was_interrupted_goes_on_where_it_stopped(tmp_path, choice, ran, monkeypatch):
    specs = plan_tests(untouched(choice), [])
    path, whole = tmp_path / "runs.jsonl", workers.run

    def interrupted(spec):
        if len(ran) == 2:
            raise KeyboardInterrupt
        return whole(spec)

    monkeypatch.setattr(workers, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Executor(ResultsFile(path, VERSIONS), 1, QUIET).run_all(specs)
    assert len(ResultsFile(path, VERSIONS).runs) == 2
    monkeypatch.setattr(workers, "run", whole)
    Executor(ResultsFile(path, VERSIONS), 1, QUIET).run_all(specs)
    assert [spec.key for spec in ran] == [spec.key for spec in specs]


def test_failed_runs_run_again_and_stop_no_others(tmp_path, choice, ran, monkeypatch, capsys):
    specs = plan_tests(untouched(choice), [])
    path, whole = tmp_path / "runs.jsonl", workers.run
    monkeypatch.setattr(
        workers, "run", lambda spec: line(spec, None, "failed") if spec.loss == "SupCon" else whole(spec)
    )
    Executor(ResultsFile(path, VERSIONS), 2, Console(width=120)).run_all(specs)
    lines = ResultsFile(path, VERSIONS)
    assert [lines.has(spec.key) for spec in specs] == [spec.loss != "SupCon" for spec in specs]
    assert "failed: topics SupCon: ValueError: no" in capsys.readouterr().out
    del ran[:]
    monkeypatch.setattr(workers, "run", whole)
    Executor(lines, 2, QUIET).run_all(specs)
    assert [spec.loss for spec in ran] == ["SupCon", "SupCon"]
    assert all(ResultsFile(path, VERSIONS).has(spec.key) for spec in specs)


def test_a_worker_that_raises_stops_no_others(tmp_path, choice, ran, monkeypatch):
    specs, whole = plan_tests(untouched(choice), []), workers.run

    def fails(spec):
        if spec.loss == "SupCon":
            raise MemoryError("killed")
        return whole(spec)

    monkeypatch.setattr(workers, "run", fails)
    results = ResultsFile(tmp_path / "runs.jsonl", VERSIONS)
    Executor(results, 1, QUIET).run_all(specs)
    assert [spec.loss for spec in ran] == [spec.loss for spec in specs if spec.loss != "SupCon"]


def test_trials_that_are_there_are_reported_to_the_tuning(tmp_path, choice, ran):
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

    monkeypatch.setattr(workers, "ProcessPoolExecutor", Slow)
    monkeypatch.setattr(workers, "wait", wait)
    specs = plan_tests(untouched(choice, seeds=3), [])
    results = ResultsFile(tmp_path / "runs.jsonl", VERSIONS)
    Executor(results, 3, QUIET).run_all(specs)
    assert max(most) == 3
    assert set(results.runs) == {spec.key for spec in specs}


def test_an_estimate_is_of_what_is_left(choice):
    specs = plan_tests(untouched(choice), [])
    guessed = estimate_seconds(specs, {}, 1)
    texts = 2 * 8 * (1 + 4) / 2
    assert guessed == pytest.approx(len(specs) * (3 + texts / 4_000))
    assert estimate_seconds(specs, {}, 2) == pytest.approx(guessed / 2)
    lines = {spec.key: line(spec, 0.5) for spec in specs[:2]}
    assert estimate_seconds(specs, lines, 1) == pytest.approx(3.0 * (len(specs) - 2))
    failed = {spec.key: line(spec, None, "failed", seconds=None) for spec in specs[:2]}
    assert estimate_seconds(specs, failed, 1) == pytest.approx(guessed)
    assert estimate_seconds(specs, {spec.key: line(spec, 0.5) for spec in specs}, 1) == 0


def test_what_another_protocol_has_run_is_not_run_again(tmp_path, choice, ran):
    results = ResultsFile(tmp_path / "runs.jsonl", VERSIONS)
    specs = plan_tests(untouched(choice), [])
    Executor(results, 1, QUIET).run_all(specs)
    alike = [replace(spec, protocol="defaults") for spec in specs if spec.loss == "SupCon"]
    other = replace(alike[0], learning_rate=0.01)
    del ran[:]
    Executor(results, 1, QUIET).run_all([*alike, other])
    assert ran == [other]
    lines = ResultsFile(tmp_path / "runs.jsonl", VERSIONS).runs
    for spec in alike:
        mine, theirs = lines[spec.key], lines[replace(spec, protocol="untouched").key]
        assert (mine.protocol, theirs.protocol) == ("defaults", "untouched")
        assert mine.scores == theirs.scores
