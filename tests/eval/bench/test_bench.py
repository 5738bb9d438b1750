"""Benchmarks of the losses: what is timed computes the right thing, and every case runs."""

from __future__ import annotations

import json
import sys

import pytest
import torch

from eval.bench import performance
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
