"""The search collection made of docstrings, on a package written for the test."""

from __future__ import annotations

import pytest

SOURCE = '''
"""A module."""

class Reader:
    """Read rows from a file. It keeps the file open until it is closed, and reads ahead by one block."""

    def close(self, force=False):
        """Close the file that is read. Rows that were read ahead are lost, unless ``force`` keeps them around."""

    def _private(self):
        """Never shown to anybody at all. This sentence is long enough to count, but its name hides it from all."""

def count(rows: list, *, start: int = 0) -> int:
    """Count the rows of a table, e.g. of
    a file. Empty rows do not count, and neither do comments, wherever in the table they are found."""

def short():
    """Do it."""
'''
TWIN = SOURCE.replace("Read rows", "Write rows").replace("Close the file that is read", "Close what was written")


@pytest.fixture
def entries(tmp_path):
    import documentation

    for name in ("zoo", "ant"):
        (tmp_path / name / "tests").mkdir(parents=True)
        (tmp_path / name / "io.py").write_text(SOURCE if name == "ant" else TWIN)
        (tmp_path / name / "tests" / "helper.py").write_text(SOURCE.replace("Count", "Recount"))
        (tmp_path / name / "broken.py").write_text("def (")
    return documentation.load(packages={"zoo": tmp_path / "zoo", "ant": tmp_path / "ant", "none": None}, processes=1)


def test_public_documented_objects_are_found_once_and_tests_are_left_out(entries):
    assert [entry.id for entry in entries] == [
        "ant.io.Reader",
        "ant.io.Reader.close",
        "ant.io.count",  # its twin in zoo asks the same question
        "zoo.io.Reader",
        "zoo.io.Reader.close",
    ]


def test_an_entry_has_the_first_sentence_as_query_and_the_rest_behind_name_and_signature(entries):
    count = entries[2]
    assert count.query == "Count the rows of a table, e.g. of a file."
    assert count.document.startswith("ant.io.count(rows, *, start=0) Empty rows do not count,")
    assert count.query not in count.document
    assert (count.module, count.class_name, count.package) == ("ant.io", "ant.io.count", "ant")
    assert entries[1].document.startswith("ant.io.Reader.close(self, force=False) Rows")
    assert entries[1].class_name == entries[0].class_name == "ant.io.Reader"


def test_grades_are_3_for_the_object_2_for_its_class_and_1_for_its_module(entries):
    import documentation

    grades = documentation.qrels(entries, entries)
    assert grades["ant.io.Reader"] == {"ant.io.Reader": 3, "ant.io.Reader.close": 2, "ant.io.count": 1}
    assert grades["ant.io.count"] == {"ant.io.Reader": 1, "ant.io.Reader.close": 1, "ant.io.count": 3}
    assert grades["zoo.io.Reader"] == {"zoo.io.Reader": 3, "zoo.io.Reader.close": 2}


def test_paths_give_the_hierarchy_relevance_the_same_grades(entries):
    import documentation
    import torch

    from st_rankloss.relevance import Hierarchy

    labels = torch.tensor(documentation.paths(entries))
    grades = documentation.qrels(entries, entries)
    expected = [[grades[q.id].get(d.id, 0) for d in entries] for q in entries]
    assert Hierarchy()(labels, labels).tolist() == expected


def test_no_module_is_in_two_parts_and_every_entry_is_in_one():
    import documentation

    modules = [f"package.module{i // 3}" for i in range(900)]
    entries = [documentation.Entry(f"{m}.f{i}", "", "", m, f"{m}.f{i}", "package") for i, m in enumerate(modules)]
    parts = documentation.split(entries)
    assert sorted(e.id for part in parts.values() for e in part) == sorted(e.id for e in entries)
    sets = [{entry.module for entry in part} for part in parts.values()]
    assert all(sets)
    assert sum(map(len, sets)) == len(set(modules))
    assert documentation.split(entries) == parts
    assert documentation.split(entries, seed=1) != parts


def test_a_limit_leaves_whole_modules_out_but_for_one(entries, tmp_path):
    import documentation

    fewer = documentation.load(3, packages={name: tmp_path / name for name in ("ant", "zoo")}, processes=1)
    assert len(fewer) == 3
    assert set(fewer) < set(entries)


def test_parameters_are_those_the_docstring_mentions_and_lines_those_after_it():
    import documentation

    source = '''
class Reader:
    """Read rows of a file, one block at a time. The size of a block is ``block``, in bytes, and the file is path."""

    def __init__(self, path, /, block=1, *, other=2):
        self.path = path

def count(rows, *, start=0, step=1):
    """Count the rows of a table from start. Empty rows do not count, and neither do comments in the rows."""
    total = start
    for row in rows:
        total += step
    return total
'''
    reader, count = documentation.parse_module(source, "m", "m")
    assert (reader.parameters, reader.lines) == (("path", "block"), 3)
    assert (count.parameters, count.lines) == (("rows", "start"), 4)
