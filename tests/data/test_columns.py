"""Which column is what, by names as people give them."""

from __future__ import annotations

import pytest

from st_rankloss.data.columns import ROLES, choose, find, stays_text


@pytest.mark.parametrize(
    ("role", "names", "found"),
    [
        ("query_id", ["queryId", "docId"], "queryId"),
        ("document_id", ["query-id", "corpus-id", "score"], "corpus-id"),
        ("id", ["_id", "text"], "_id"),
        ("grade", ["Query", "Passage Text", "Relevance Label"], "Relevance Label"),
        ("document", ["query", "PASSAGE"], "PASSAGE"),
        ("grade", ["query", "note"], None),
    ],
)
def test_names_are_found_in_any_case_and_with_any_sign(role, names, found):
    assert find(role, names) == found


@pytest.mark.parametrize("role", ROLES)
def test_every_name_of_a_role_is_found(role):
    assert all(find(role, [name]) == name for name in ROLES[role])


def test_a_column_has_one_role():
    names = choose(["text", "title", "label"], required=["document", "grade"], optional=["title"])
    assert names == {"document": "text", "grade": "label", "title": "title"}


def test_a_misspelt_column_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"grade='lable' must be a column, got .*; the nearest is 'label'"):
        choose(["query", "label"], required=["query"], given={"grade": "lable"})


def test_a_role_without_a_column_names_the_likeliest():
    with pytest.raises(ValueError, match=r"a column for the grade, got .*: pass grade='relevanc'"):
        choose(["query", "document", "relevanc"], required=["query", "document", "grade"])


@pytest.mark.parametrize("name", ["qid", "Doc-ID", "passage", "negative_3", "title"])
def test_ids_and_texts_stay_text(name):
    assert stays_text(name)
    assert not stays_text("grade")
