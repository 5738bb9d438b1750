"""Benchmarks of the losses: what is timed computes the right thing, and every case runs."""

from __future__ import annotations

import json
import sys

import pytest
import torch

from eval.bench import performance, whole_step
from eval.bench.timing import in_turns, make_batch


def test_the_direct_formula_is_the_loss():
    values = [loss(*make_batch(16, "cpu"), 0.05) for loss in (performance.ours, performance.direct)]
    torch.testing.assert_close(*values)


def test_actions_take_turns_after_one_that_warms_up():
    calls = []
    times = in_turns({name: lambda name=name: calls.append(name) for name in "ab"}, "cpu", 2)
    assert calls == ["a", "b"] * 3
    assert [len(times[name]) for name in "ab"] == [2, 2]


def test_every_case_is_measured_and_saved(tmp_path, monkeypatch, capsys):
    def here(module, device, **case):
        measure = performance.measure_memory if "name" in case else performance.measure_times
        return measure(**case, device=device)

    monkeypatch.setattr(performance, "in_own_process", here)
    given = ["--batches", "16", "--temperatures", "0.05", "--repeats", "1", "--output", str(tmp_path / "performance")]
    monkeypatch.setattr(sys, "argv", ["performance", *given])
    performance.main()
    records = json.loads((tmp_path / "performance" / "performance.json").read_text("utf-8"))["records"]
    assert [record["contender"] for record in records] == list(performance.CONTENDERS)
    assert all(record["seconds"] == pytest.approx(record["fastest"]) for record in records)
    assert "MNRL" in capsys.readouterr().out


def test_a_stopwatch_counts_each_second_once_and_leaves_functions_as_they_were(monkeypatch):
    class Outer:
        def outer(self):
            self.inner()

        def inner(self):
            pass

    now = iter([0.0, 1.0, 4.0, 10.0])
    monkeypatch.setattr("eval.bench.timing.time.perf_counter", lambda: next(now))
    functions = Outer.outer, Outer.inner
    with whole_step.Stopwatch() as watch:
        watch.watch(Outer, "outer", "out")
        watch.watch(Outer, "inner", "in")
        Outer().outer()
    assert watch.seconds == {"out": 7.0, "in": 3.0}
    assert (Outer.outer, Outer.inner) == functions


@pytest.mark.parametrize("contender", ["st_rankloss", "MNRL"])
def test_the_parts_of_a_step_add_up_to_the_step(contender, capsys):
    record = whole_step.measure(contender, "static", 32, 1, "cpu")
    parts = record["parts"]
    assert sum(parts.values()) == pytest.approx(record["step"])
    assert all(seconds >= 0 for seconds in parts.values())
    ours = {"collator", "labels", "look-up", "loss"} & parts.keys()
    assert len(ours) == (4 if contender == "st_rankloss" else 0)
