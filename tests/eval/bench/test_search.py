"""The benchmark of evaluation at scale, on a tiny corpus."""

from __future__ import annotations

import json

import pytest

from eval.bench import search
from eval.bench.search import CONTENDERS, LookUp, make_task, make_vectors, measure


@pytest.mark.parametrize("name", CONTENDERS)
def test_every_contender_is_measured(name):
    found = measure(name, documents=300, queries=20)
    assert found["seconds"] > 0
    assert ("faiss within" in found) == (name == "faiss")


def test_the_model_looks_rows_up():
    documents = make_vectors(30, 2)
    assert LookUp(make_vectors(5, 1), documents).encode_document(["7", "3"]).equal(documents[[7, 3]])
    assert documents.norm(dim=-1).sub(1).abs().max() < 1e-6


def test_judgements_are_of_the_corpus():
    queries, corpus, qrels = make_task(300, 20)
    assert set(qrels) == set(queries)
    assert {d for judged in qrels.values() for d in judged} <= set(corpus)


def test_results_are_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(search, "in_own_process", lambda _, __, **case: measure(**case))
    monkeypatch.setattr("sys.argv", ["search", "--documents=200", "--queries=9", f"--output={tmp_path}/search"])
    search.main()
    records = json.loads((tmp_path / "search" / "search.json").read_text())["records"]
    assert [record["contender"] for record in records] == list(CONTENDERS)
    assert "200 documents, 9 queries" in capsys.readouterr().out
