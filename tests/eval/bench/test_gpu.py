"""The command for a GPU: every part runs on a CPU, and neither an error nor a slow case costs the others."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys

import pytest
import torch

from eval.bench.gpu import __main__ as command
from eval.bench.gpu import figure, largest, steps, tables, tests
from eval.bench.gpu.methods import used_methods
from eval.bench.gpu.part import cases, part_parser, read, run_cases
from st_rankloss.functional import soft_rank


@pytest.fixture
def options(tmp_path):
    return part_parser(None).parse_args(["--device", "cpu", "--quick", "--output", str(tmp_path / "part.jsonl")])


@pytest.fixture(autouse=True)
def precision():
    yield
    torch.set_float32_matmul_precision("highest")


def here(monkeypatch, arguments, **_):
    """Run a part in this process instead of its own."""
    module = importlib.import_module(arguments[2])
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", arguments[2:])
        module.main()
    return subprocess.CompletedProcess(arguments, 0)


def test_the_command_measures_every_part(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command.subprocess, "run", lambda arguments, **given: here(monkeypatch, arguments, **given))
    monkeypatch.setattr(tests, "files", lambda folder: ["--version"])
    monkeypatch.setattr(tables, "REPEATS", 1)
    monkeypatch.setattr(steps, "REPEATS", 1)
    monkeypatch.setattr(sys, "argv", ["gpu", "--device", "cpu", "--quick", "--output", str(tmp_path)])
    command.main()
    content = json.loads((tmp_path / "gpu.json").read_text("utf-8"))
    assert all(ended.startswith("done") for ended in content["ended"].values())
    assert {(r["batch"], r["relevance"], r["precision"]) for r in content["tables"]} == {
        (batch, relevance, precision)
        for batch in (64, 128)
        for relevance in ("classes", "numeric", "pairs")
        for precision in ("float32", "bf16")
    }
    assert all(record["methods"] and record["times MNRL"] > 0 for record in content["tables"])
    assert [record["kind"] for record in content["steps"]] == ["plain", "cached"]
    assert all(0 < share < 1 for record in content["steps"] for share in record["share of the loss"].values())
    assert [record["batch"] for record in content["largest"]] == [256] * 3
    assert (tmp_path / "gpu.png").stat().st_size > 1000
    assert "× MNRL" in capsys.readouterr().out


def test_without_a_gpu_the_command_says_how_to_try_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu"])
    with pytest.raises(SystemExit, match="--device cpu --quick"):
        command.main()


def test_a_case_that_does_not_fit_is_recorded_and_the_next_measured(options):
    def measure(batch, device):
        if batch == 2:
            raise torch.OutOfMemoryError
        return {"seconds": batch}

    run_cases(cases(batch=[1, 2, 3]), measure, options)
    expected = [{"batch": 1, "seconds": 1}, {"batch": 2, "error": "out of memory"}, {"batch": 3, "seconds": 3}]
    assert read(options.output) == expected


def test_a_part_that_fails_goes_on_with_its_next_case(options):
    measured = []

    def measure(batch, device):
        measured.append(batch)
        if batch == 2:
            raise RuntimeError("an assertion on the device")
        return {}

    with pytest.raises(RuntimeError):
        run_cases(cases(batch=[1, 2, 3]), measure, options)
    run_cases(cases(batch=[1, 2, 3]), measure, options)
    assert measured == [1, 2, 3]
    assert [record.get("error") for record in read(options.output)] == [
        None,
        "RuntimeError: an assertion on the device",
        None,
    ]


@pytest.mark.parametrize(
    ("codes", "ended"), [([1, 1, 0], "done"), ([1, 1, 1], "failed, see tables.log"), ([None], "stopped after 170 s")]
)
def test_a_part_is_started_again_while_it_has_new_results(tmp_path, monkeypatch, codes, ended):
    monkeypatch.setattr(sys, "argv", ["gpu", "--output", str(tmp_path)])
    left = iter(codes)
    new = iter([True, True, False])

    def run(arguments, timeout, **_):
        code = next(left)
        if code is None:
            raise subprocess.TimeoutExpired(arguments, timeout)
        if next(new):
            with (tmp_path / "tables.jsonl").open("a") as file:
                file.write("{}\n")
        return subprocess.CompletedProcess(arguments, code)

    monkeypatch.setattr(command.subprocess, "run", run)
    assert command.run_part("tables", command.parse()) == ended


def test_all_parts_fit_into_eight_minutes():
    assert sum(command.SECONDS.values()) <= 450


def test_the_files_of_gpu_tests_are_found():
    assert any(name.endswith("test_kernels.py") for name in tests.files("tests"))


OUTCOMES = """
import pytest

@pytest.mark.gpu
def test_passes(): pass

@pytest.mark.gpu
def test_fails(): assert False, "wrong"

@pytest.mark.gpu
def test_is_skipped(): pytest.skip("no device")

def test_is_not_marked(): pass
"""


def test_outcomes_of_tests_are_written_and_missing_packages_named(tmp_path, monkeypatch, capsys):
    (tmp_path / "test_some_outcomes.py").write_text(OUTCOMES, encoding="utf-8")
    (tmp_path / "test_of_missing.py").write_text("import absent_package  # pytest.mark.gpu", encoding="utf-8")
    monkeypatch.setattr(tests, "files", lambda folder: sorted(map(str, tmp_path.glob("test_*.py"))))
    monkeypatch.setattr(sys, "argv", ["tests", "--quick", "--output", str(tmp_path / "tests.jsonl")])
    tests.main()
    found = {record["test"].rpartition("/")[2]: record for record in read(tmp_path / "tests.jsonl")}
    assert {name: record["outcome"] for name, record in found.items()} == {
        "test_of_missing.py": "skipped",
        "test_some_outcomes.py::test_passes": "passed",
        "test_some_outcomes.py::test_fails": "failed",
        "test_some_outcomes.py::test_is_skipped": "skipped",
    }
    assert found["test_of_missing.py"]["reason"] == "No module named 'absent_package'"
    assert "wrong" in found["test_some_outcomes.py::test_fails"]["reason"]


def test_the_batch_doubles_until_memory_or_time_ends(monkeypatch):
    def step(loss, relevance, batch, device):
        if batch > 256:
            raise torch.OutOfMemoryError
        return {"batch": batch, "seconds": batch / 100}

    monkeypatch.setattr(largest, "try_batch", step)
    by_memory = largest.measure("MNRL", "cpu", first=64, last=1024, seconds=9)
    assert (by_memory["batch"], by_memory["stopped by"]) == (256, "memory")
    by_time = largest.measure("MNRL", "cpu", first=64, last=1024, seconds=1)
    assert (by_time["batch"], by_time["stopped by"]) == (128, "time, over 1 s")


def test_the_methods_that_ran_are_noted():
    with used_methods() as methods:
        soft_rank(torch.rand(2, 8), 0.1, method="relevant")
        soft_rank(torch.rand(2, 8), 0.1)
    soft_rank(torch.rand(2, 8), 0.1, method="grid")
    assert methods == {"relevant", "dense"}


def test_a_figure_of_nothing_is_not_drawn(tmp_path):
    drawn = figure.draw([{"error": "out of memory"}], "machine", tmp_path / "gpu.png")
    assert drawn == "no figure: no case was measured"


def test_a_figure_is_drawn_where_memory_is_unknown_or_nothing(tmp_path):
    record = {"batch": 64, "relevance": "classes", "precision": "bf16", "times MNRL": 2.0}
    records = [record | {"megabytes": {"A-NDCG": megabytes}} for megabytes in (None, 0.0)]
    path = tmp_path / "gpu.png"
    assert figure.draw(records, "machine", path) == str(path)
    assert path.exists()
