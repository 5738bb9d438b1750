"""The built-in corpus: the same as the examples', in parts without a module in common."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from eval.tasks import documentation
from eval.tasks.data import Data
from eval.tasks.records import load_records

EXAMPLE = Path(__file__).parents[3] / "examples" / "documentation.py"


@pytest.fixture(scope="module")
def entries():
    """The entries of a package of the standard library."""
    return sorted(documentation.read_package("json", Path(json.__file__).parent), key=lambda entry: entry.id)


@pytest.fixture
def example(monkeypatch):
    """The examples' corpus."""
    spec = importlib.util.spec_from_file_location("documentation_of_examples", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("package", ["json", "rich"])
def test_entries_and_grades_are_those_of_the_examples(example, package):
    folder = example.locate(package)
    ours, theirs = documentation.read_package(package), example.read_package(package, folder)
    kept = [(entry.id, entry.query, entry.document, entry.module, entry.class_name) for entry in theirs]
    assert [tuple(vars(entry).values()) for entry in ours] == kept
    assert documentation.qrels(ours) == example.qrels(theirs, theirs)
    for split, part in example.split(theirs).items():
        assert [entry.id for entry in documentation.split(ours)[split]] == [entry.id for entry in part]
    assert documentation.PACKAGES == example.PACKAGES
    assert documentation.SKIPPED == example.SKIPPED_FOLDERS


def test_a_package_that_is_not_installed_has_no_entries():
    assert documentation.read_package("no_such_package") == []


def test_a_limit_is_kept_and_queries_are_distinct(monkeypatch):
    monkeypatch.setattr(documentation, "PACKAGES", ("json", "rich"))
    everything, few = documentation.load(9_999), documentation.load(20)
    assert len(few) == 20
    assert set(few) < set(everything)
    assert len({entry.query.casefold() for entry in everything}) == len(everything)


def test_the_documentation_is_read_without_files(entries, monkeypatch):
    limits = []
    monkeypatch.setattr(documentation, "load", lambda limit: limits.append(limit) or entries)
    found = {"train": entries[3:], "dev": entries[:2], "test": entries[2:3]}
    monkeypatch.setattr(documentation, "split", lambda entries: found)
    parts = Data(load_records()["documentation"], None, 60).parts
    assert limits == [60]
    assert [len(part) for part in parts.values()] == [len(entries) - 3, 2, 1]
    for part in parts.values():
        assert list(part.queries) == list(part.corpus) == list(part.qrels)
        assert all(part.qrels[name][name] == 3 for name in part.queries)
        assert all(part.queries[name] != part.corpus[name] for name in part.queries)
