"""Benchmarks of the losses: what is timed computes the right thing, and every case runs."""

from __future__ import annotations

import json
import sys

import pytest
import torch

from eval.bench import performance, profile, ranks, whole_step
from eval.bench.contenders import RELEVANCES, andcg, direct, given_similarity, make_labelled, softmax
from eval.bench.operators import Operator, Recorder, kind_of
from eval.bench.roofline import Rates, least_seconds
from eval.bench.timing import in_turns, make_batch, mnrl


def test_the_direct_formula_is_the_loss():
    values = [loss(*make_batch(16, "cpu"), 0.05) for loss in (andcg("classes"), direct)]
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
    kinds = ["classes", "pairs"]
    given = ["--batches", "16", "--temperatures", "0.05", "--repeats", "1", "--output", str(tmp_path / "performance")]
    given += ["--relevances", *kinds]
    monkeypatch.setattr(sys, "argv", ["performance", *given])
    performance.main()
    records = json.loads((tmp_path / "performance" / "performance.json").read_text("utf-8"))["records"]
    cases = [(kind, name) for kind in kinds for name in performance.contenders(kind, 16, "cpu")]
    assert [(record["relevance"], record["contender"]) for record in records] == cases
    assert all(record["seconds"] == pytest.approx(record["fastest"]) for record in records)
    assert "MNRL" in capsys.readouterr().out


@pytest.mark.parametrize("relevance", ["classes", "pairs"])
def test_a_relevance_has_the_number_of_relevant_documents_that_the_roofline_counts(relevance):
    _, labels = make_labelled(32, "cpu", relevance)
    kind, _ = RELEVANCES[relevance]
    pairs = kind.pair({} if labels is None else {"label": labels}, [32, 32])
    relevant = (kind(*pairs) > 0).sum(1)
    assert relevant.tolist() == [profile.RANKED[relevance](32)] * 32


def test_most_documents_are_relevant_to_a_number():
    _, labels = make_labelled(256, "cpu", "numeric")
    kind, _ = RELEVANCES["numeric"]
    assert (kind(labels, labels) > 1e-7).float().mean() > 0.5


@pytest.mark.parametrize("relevance", RELEVANCES)
def test_a_relevance_has_a_loss(relevance):
    assert 0 < andcg(relevance)(*make_labelled(32, "cpu", relevance), 0.05) < 1


def test_the_softmax_of_given_similarities_is_mnrl():
    columns, labels = make_batch(16, "cpu")
    values = softmax(given_similarity(columns), labels, 0.05), mnrl(columns, labels, 0.05)
    torch.testing.assert_close(*values)


def test_operators_are_recorded_with_the_function_of_their_forward():
    from st_rankloss.functional.gains import discount

    ranks = torch.rand(4, 8, requires_grad=True)
    with Recorder() as recorder:
        discount(ranks).sum().backward()
    callers = {operator.name: operator.caller for operator in recorder.spent}
    assert callers["log2"] == "functional/gains.py:discount"
    assert callers["mul"] == "functional/gains.py:discount"  # only in backward
    assert callers["sum"] == "outside the package"
    log2 = next(spent for operator, spent in recorder.spent.items() if operator.name == "log2")
    assert (log2.calls, log2.bytes) == (1, 2 * 4 * 32)


def test_recording_changes_neither_loss_nor_gradient():
    columns, labels = make_batch(32, "cpu")
    expected = torch.autograd.grad(andcg("classes")(columns, labels, 0.05), columns)
    with Recorder():
        recorded = torch.autograd.grad(andcg("classes")(columns, labels, 0.05), columns)
    for both in zip(recorded, expected, strict=True):
        torch.testing.assert_close(*both, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("addmm_", "products"), ("sigmoid_backward", "transcendental"), ("masked_fill", "masks"), ("div_", "passes")],
)
def test_operators_have_a_kind(name, kind):
    assert kind_of(name, torch.zeros(1)) == kind


def test_comparisons_are_passes_over_masks():
    assert kind_of("lt", torch.zeros(1, dtype=torch.bool)) == "masks"


@pytest.mark.parametrize(
    ("caller", "kind", "part"),
    [
        ("kernels/grid.py:_read", "products", "grid: read"),
        ("kernels/relevant.py:pull", "passes", "pair sums"),
        ("losses/comparisons.py:send_back", "products", "matrix products"),
        ("relevance/labels.py:__call__", "masks", "relevance"),
        ("functional/gains.py:gains_of", "masks", "masks"),
        ("functional/ndcg.py:ideal_of_gains", "indexed", "objective"),
        ("losses/blocks.py:forward", "passes", "everything else"),
    ],
)
def test_operators_belong_to_a_part(caller, kind, part):
    assert profile.part_of(Operator("any", kind, caller)) == part


def test_the_least_time_is_the_work_over_the_rates():
    least = least_seconds(10, 2, Rates(bytes=16, flops=384, exponentials=50, divisions=100))
    assert least == {"products": 600, "memory": 100, "exponentials": 2, "pairs": 2}


def test_the_profile_has_the_time_of_every_part(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(profile, "measure_rates", lambda device: Rates(1e9, 1e9, 1e9, 1e9))
    given = ["--batches", "64", "--temperatures", "0.05", "--repeats", "1", "--output", str(tmp_path / "profile")]
    monkeypatch.setattr(sys, "argv", ["profile", *given])
    profile.main()
    records = json.loads((tmp_path / "profile" / "profile.json").read_text("utf-8"))["records"]
    assert [record["relevance"] for record in records] == ["classes", "numeric"]
    for record in records:
        parts = {profile.part_of(operator) for operator in profile.spent_of(record)}
        assert {"matrix products", "pair sums", "relevance", "masks"} <= parts
    printed = capsys.readouterr().out
    assert "× MNRL" in printed
    assert "at best" in printed


def test_the_direct_formula_competes_with_classes_that_fit_in_memory(monkeypatch):
    monkeypatch.setattr(performance, "available_bytes", lambda device: 10 * 100**3)
    assert "direct" not in performance.contenders("numeric", 16, "cpu")
    assert "direct" not in performance.contenders("classes", 200, "cpu")
    assert performance.contenders("classes", 64, "cpu") == [*performance.CONTENDERS]


def test_soft_ranks_are_timed_and_a_missing_package_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ranks.importlib.util, "find_spec", lambda name: None)
    given = ["--documents", "64", "--temperatures", "0.05", "--repeats", "1", "--output", str(tmp_path / "ranks")]
    monkeypatch.setattr(sys, "argv", ["ranks", *given])
    ranks.main()
    (record,) = json.loads((tmp_path / "ranks" / "ranks.json").read_text("utf-8"))["records"]
    assert (record["contender"], record["documents"]) == ("st_rankloss", 64)
    assert "torchsort is not installed" in capsys.readouterr().out


def test_both_soft_ranks_are_1_for_the_most_similar_document():
    apart = torch.tensor([[0.9, 0.1, 0.5]])
    for rank in ranks.contenders().values():
        torch.testing.assert_close(rank(apart, 1e-3), torch.tensor([[1.0, 3.0, 2.0]]))


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
