"""The demo, on a small part of the standard library."""

from __future__ import annotations

import json

import pytest

from st_rankloss.encoders import RATES, make_encoder

TINY = ["--packages", "stdlib", "--limit", "900", "--epochs", "2", "--batch-size", "64"]


def run_quickstart(folder):
    """Run the demo; return what it measured, without the seconds."""
    import quickstart

    quickstart.main([*TINY, "--output", str(folder)])
    results = json.loads((folder / "results.json").read_text())
    for row in results["test"].values():
        del row["seconds"]
    return results


def test_training_beats_no_training_the_seed_fixes_it_and_the_saved_model_answers(tmp_path, capsys):
    import search

    first = run_quickstart(tmp_path / "first")
    table = first["test"]
    for loss in ("MNRL", "A-NDCG"):
        assert table[loss]["ndcg@10"] > table["before"]["ndcg@10"] + 0.05
        assert table[loss]["mrr@10"] > table["before"]["mrr@10"]
        assert len(first["dev"][loss]) == 3  # before training, and after each epoch
    assert all(0 < row[metric] <= 1 for row in table.values() for metric in ("ndcg@10", "mrr@10", "recall@100"))
    assert (tmp_path / "first" / "quickstart.png").stat().st_size > 10_000

    assert run_quickstart(tmp_path / "second") == first

    capsys.readouterr()
    search.main([str(tmp_path / "first" / "model"), "read a file", "sort a list", "--top", "3"])
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith("  ")] == ["read a file", "sort a list"]
    assert len(lines) == 2 * (1 + 3)
    similarities = [float(line.split()[0]) for line in lines[1:4]]
    assert similarities == sorted(similarities, reverse=True)
    assert similarities[0] > 0


@pytest.mark.parametrize(
    ("model", "kind"), [("static", None), ("static-minilm", "static-minilm"), ("minilm", "transformer")]
)
def test_settings_left_out_are_those_of_the_kind_of_model(model, kind):
    import quickstart
    import shared

    options = quickstart.parse_options(["--model", model, "--epochs", "2"])
    assert options.epochs == 2
    assert options.batch_size == (512 if model == "static" else 64)
    encoder = make_encoder(model, ["red roses"])
    rate = shared.learning_rate(encoder, options, quickstart.LEARNING_RATE)
    assert rate == (0.1 if kind is None else RATES[kind])
