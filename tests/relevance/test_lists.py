"""Relevance given with the documents: pairs and lists."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from st_rankloss.relevance import UNJUDGED, Lists, Pairs

NAN = math.nan


def table(relevance, batch, sizes):
    """The whole relevance as Python numbers, the same when computed for one query at a time."""
    queries, documents = relevance.pair(batch, sizes)
    whole = relevance(queries, documents)
    assert whole.shape == (sizes[0], sum(sizes[1:]))
    slices = [relevance({n: x[q : q + 1] for n, x in queries.items()}, documents) for q in range(sizes[0])]
    torch.testing.assert_close(torch.cat(slices), whole, rtol=0, atol=0, equal_nan=True)
    of_documents = [relevance(queries, {n: x[d : d + 1] for n, x in documents.items()}) for d in range(whole.shape[1])]
    torch.testing.assert_close(torch.cat(of_documents, dim=1), whole, rtol=0, atol=0, equal_nan=True)
    return whole.tolist()


def same(found, expected):
    for row, wanted in zip(found, expected, strict=True):
        assert row == pytest.approx(wanted, nan_ok=True)


def test_a_pairs_document_is_relevant_and_the_other_rows_are_not():
    same(table(Pairs(), {}, [3, 3]), [[1, 0, 0], [0, 1, 0], [0, 0, 1]])


def test_further_columns_are_negatives():
    same(table(Pairs(), {}, [2, 2, 2, 2]), [[1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0]])


def test_other_rows_may_be_left_out():
    same(table(Pairs(UNJUDGED), {}, [2, 2, 2]), [[1, NAN, 0, NAN], [NAN, 1, NAN, 0]])


def test_other_rows_may_have_a_grade():
    same(table(Pairs(0.25), {}, [2, 2]), [[1, 0.25], [0.25, 1]])


def test_a_score_is_the_relevance_of_the_first_document():
    batch = {"label": torch.tensor([0.5, 4.0])}
    same(table(Pairs(), batch, [2, 2, 2]), [[0.5, 0, 0, 0], [0, 4, 0, 0]])


def test_integer_scores_and_unjudged_pairs_are_read():
    same(table(Pairs(), {"label": torch.tensor([2, 5])}, [2, 2]), [[2, 0], [0, 5]])
    same(table(Pairs(), {"label": torch.tensor([NAN, 1.0])}, [2, 2]), [[NAN, 0], [0, 1]])


def test_pairs_read_a_grade_for_each_column():
    batch = {"label": torch.tensor([[3.0, 1.0], [2.0, 0.5]])}
    same(table(Pairs(), batch, [2, 2, 2]), [[3, 0, 1, 0], [0, 2, 0, 0.5]])


def test_lists_read_a_grade_for_each_column():
    batch = {"label": torch.tensor([[3, 1, 0], [0, 2, 5]])}
    same(table(Lists(), batch, [2, 2, 2, 2]), [[3, 0, 1, 0, 0, 0], [0, 0, 0, 2, 0, 5]])
    same(table(Lists(UNJUDGED), batch, [2] * 4), [[3, NAN, 1, NAN, 0, NAN], [NAN, 0, NAN, 2, NAN, 5]])


@given(
    st.lists(st.lists(st.sampled_from([0.0, 1.0, 2.5, NAN]), min_size=1, max_size=5), min_size=1, max_size=6),
    st.sampled_from([0.0, 1.0, UNJUDGED]),
)
def test_ragged_lists_have_their_own_grades_and_others_one_value(lists, others):
    longest, flat = max(map(len, lists)), [(row, grade) for row, grades in enumerate(lists) for grade in grades]
    batch = {
        "label": torch.tensor([row + [NAN] * (longest - len(row)) for row in lists]),
        "list_sizes": torch.tensor([len(row) for row in lists]),
    }
    expected = [[grade if row == q else others for row, grade in flat] for q in range(len(lists))]
    same(table(Lists(others), batch, [len(lists), len(flat)]), expected)


def test_ragged_lists_without_grades_are_all_relevant():
    same(table(Lists(), {"list_sizes": torch.tensor([2, 1])}, [2, 3]), [[1, 1, 0], [0, 0, 1]])


def test_padding_of_grades_has_no_influence():
    sizes = torch.tensor([1, 2])
    for padding in (NAN, 9.0):
        grades = torch.tensor([[1.0, padding], [2.0, 3.0]])
        same(table(Lists(), {"label": grades, "list_sizes": sizes}, [2, 3]), [[1, 0, 0], [0, 2, 3]])


@pytest.mark.parametrize("kind", [Pairs, Lists])
@pytest.mark.parametrize("others", [-1.0, math.inf, -math.inf])
def test_a_wrong_grade_of_others_is_refused(kind, others):
    with pytest.raises(ValueError, match=f"must be at least 0 and finite, or NaN for unjudged, got {others}"):
        kind(others)


@pytest.mark.parametrize("relevance", [Pairs(), Pairs(UNJUDGED), Lists(), Lists(0.5)])
def test_the_repr_names_the_value_of_others(relevance):
    assert repr(relevance) == f"{type(relevance).__name__}(off_diagonal={relevance.off_diagonal})"


def test_pairs_without_labels_are_pointed_to_the_relevance_that_reads_them():
    with pytest.raises(ValueError, match=r"got columns of \[8, 8\] rows: for pairs without labels use Pairs\(\)"):
        Lists().pair({}, [8, 8])
