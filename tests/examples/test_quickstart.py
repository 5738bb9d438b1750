"""The demo, on a small part of the standard library."""

from __future__ import annotations

import json

import pytest
import torch

from st_rankloss.encoders import RATES, make_encoder

TINY = ["--packages", "stdlib", "--limit", "900", "--epochs", "2", "--batch-size", "64"]


@pytest.fixture
def entries():
    import documentation

    modules = ["a.b.c", "a.b.c", "a.b.d", "a.e", "f"]
    return [documentation.Entry(f"{module}.x{i}", f"text {i}", "", module, "", "a") for i, module in enumerate(modules)]


def run_quickstart(folder):
    """Run the demo; return what it measured, without the seconds."""
    import quickstart

    quickstart.main([*TINY, "--output", str(folder)])
    results = json.loads((folder / "results.json").read_text())
    for row in results.values():
        del row["seconds"]
    return results


def test_training_beats_no_training_the_seed_fixes_it_and_the_saved_model_answers(tmp_path, capsys, monkeypatch):
    import documentation
    import quickstart
    import search

    title = documentation.split(documentation.load(900, packages=["stdlib"], processes=1))["test"][0].id
    monkeypatch.setattr(quickstart, "TITLES", (title, "no.such.object"))
    first = run_quickstart(tmp_path / "first")
    assert list(first) == ["BM25", "untrained", *quickstart.METHODS]
    for method in quickstart.METHODS:
        assert first[method]["nDCG@100"] > first["untrained"]["nDCG@100"] + 0.02
    assert all(0 < value <= 1 for row in first.values() for value in row.values())
    assert (tmp_path / "first" / "quickstart.png").stat().st_size > 10_000
    printed = capsys.readouterr().out
    assert title in printed
    assert "no.such.object" not in printed
    assert max(map(len, printed.splitlines())) <= 100

    assert run_quickstart(tmp_path / "second") == first

    capsys.readouterr()
    search.main([str(tmp_path / "first" / "model"), "read a file", "sort a list", "--top", "3"])
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith("  ")] == ["read a file", "sort a list"]
    assert len(lines) == 2 * (1 + 3)
    similarities = [float(line.split()[0]) for line in lines[1:4]]
    assert similarities == sorted(similarities, reverse=True)
    assert similarities[0] > 0


def test_grades_count_the_levels_of_the_module_that_two_objects_share(entries):
    import quickstart

    nan = torch.nan
    expected = [[nan, 3, 2, 1, 0], [3, nan, 2, 1, 0], [2, 2, nan, 1, 0], [1, 1, 1, nan, 0], [0, 0, 0, 0, nan]]
    torch.testing.assert_close(quickstart.Part(entries).relevance, torch.tensor(expected), equal_nan=True)


def test_each_level_is_scored_alone(entries):
    import quickstart

    part = quickstart.Part(entries[:3])
    similarity = torch.tensor([[1, 0.1, 0.9], [0.1, 1, 0.9], [0.5, 0.4, 1.0]])
    scores = part.score(similarity)
    second = 1 / torch.tensor(3.0).log2().item()  # the only text of the same module comes second
    assert scores["module"] == pytest.approx(second)
    assert scores["package"] == 1
    graded = (2 + 3 * second) / (3 + 2 * second)
    assert scores["nDCG@10"] == pytest.approx((graded + graded + 1) / 3)


def test_hits_leave_out_the_text_itself_and_are_marked_by_their_grades(entries):
    import quickstart

    similarity = torch.tensor([[1.0, 0.2, 0.3, 0.4, 0.5]]).repeat(5, 1)
    hits = quickstart.Part(entries).hits(similarity, "a.b.c.x0", 4)
    assert hits == ["○○○ f.x4", "●○○ a.e.x3", "●●○ a.b.d.x2", "●●● a.b.c.x1"]


@pytest.mark.parametrize("nearest", [True, False])
def test_pairs_are_relevant_and_nearest_pairs_have_the_highest_grade(entries, nearest):
    import quickstart

    grades = quickstart.Part(entries).relevance
    pairs = quickstart.pair_rows(entries, nearest=nearest, draws=20, seed=0)
    assert len(pairs) == 4 * 20  # the last text has nothing relevant
    drawn = {(int(row["anchor"][-1]), int(row["positive"][-1])) for row in pairs}
    relevant = {(i, j) for i in range(5) for j in range(5) if grades[i, j] > 0}
    highest = {(i, j) for i, j in relevant if grades[i, j] == grades[i].nan_to_num(0).max()}
    assert drawn == (highest if nearest else relevant)


@pytest.mark.parametrize(
    ("model", "kind"), [("static", None), ("static-minilm", "static-minilm"), ("minilm", "transformer")]
)
def test_settings_left_out_are_those_of_the_kind_of_model(model, kind):
    import quickstart
    import shared

    options = quickstart.parse_options(["--model", model, "--epochs", "2"])
    assert options.epochs == 2
    assert options.batch_size == (512 if model == "static" else 64)
    rate = shared.learning_rate(make_encoder(model, ["red roses"]), options, 0.05)
    assert rate == (0.05 if kind is None else RATES[kind])
