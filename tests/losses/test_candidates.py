"""Reading raw columns, and choosing what a cross-encoder scores: random batches against plain loops."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from st_rankloss.losses.candidates import choose_candidates, numbers_of
from st_rankloss.losses.gathering import Shares
from st_rankloss.losses.raw_columns import read_columns, read_labels

LISTS = st.lists(st.integers(1, 4), min_size=1, max_size=6)
NEGATIVES = st.one_of(st.none(), st.integers(0, 12))


def columns_of_lists(lengths):
    """Queries q0, q1, ... and lists of documents whose names tell the row."""
    return [[f"q{i}" for i in range(len(lengths))], [[f"d{i}.{j}" for j in range(n)] for i, n in enumerate(lengths)]]


def columns_of_documents(rows, count):
    return [[f"q{i}" for i in range(rows)], *([f"d{i}.{c}" for i in range(rows)] for c in range(count))]


def check(columns, candidates, numbers, negatives):
    """Every query has all of its own documents, and so many of the others, each in its place."""
    for row, query in enumerate(columns.queries):
        scored = [document for q, document in candidates.pairs if q == query]
        own = [d for d, owner in zip(columns.documents, columns.owners.tolist(), strict=True) if owner == row]
        others = len(columns.documents) - len(own)
        assert len(set(scored)) == len(scored)
        assert set(own) <= set(scored)
        assert len(scored) - len(own) == (others if negatives is None else min(negatives, others))
    width = candidates.scored.shape[1]
    assert len(candidates.place.unique()) == len(candidates.place) == int(candidates.scored.sum())
    number = dict(zip(columns.documents, numbers.tolist(), strict=True))
    for (query, document), place in zip(candidates.pairs, candidates.place.tolist(), strict=True):
        row, slot = divmod(place, width)
        assert columns.queries[row] == query
        assert candidates.scored[row, slot]
        assert candidates.columns[row, slot] == number[document]


@given(LISTS, NEGATIVES, st.integers(0, 1000))
def test_queries_are_scored_with_their_lists_and_with_some_others(lengths, negatives, seed):
    torch.manual_seed(seed)
    columns = read_columns(columns_of_lists(lengths))
    numbers = torch.randperm(len(columns.documents) + 3)[: len(columns.documents)]
    check(columns, choose_candidates(columns, slice(0, len(lengths)), numbers, negatives), numbers, negatives)
    whole = choose_candidates(columns, slice(0, len(lengths)), numbers, negatives, width=len(numbers) + 3)
    check(columns, whole, numbers, negatives)
    assert (whole.columns == torch.arange(len(numbers) + 3)).all()


@given(st.integers(1, 6), st.integers(1, 3), NEGATIVES, st.integers(0, 1000))
def test_queries_are_scored_with_their_columns_and_with_some_others(rows, count, negatives, seed):
    torch.manual_seed(seed)
    columns = read_columns(columns_of_documents(rows, count))
    numbers = torch.arange(rows * count)
    check(columns, choose_candidates(columns, slice(0, rows), numbers, negatives), numbers, negatives)


@given(st.integers(2, 7), st.one_of(st.none(), st.integers(1, 12)))
def test_a_single_column_is_scored_with_itself_but_no_text_with_itself(rows, negatives):
    texts = [f"t{i}" for i in range(rows)]
    candidates = choose_candidates(read_columns([texts]), slice(0, rows), torch.arange(rows), negatives)
    for text in texts:
        others = [other for query, other in candidates.pairs if query == text]
        assert text not in others
        assert len(set(others)) == len(others) == (rows - 1 if negatives is None else min(negatives, rows - 1))


@given(LISTS, NEGATIVES, st.integers(0, 1000))
def test_copies_of_a_querys_own_documents_are_not_drawn(lengths, negatives, seed):
    torch.manual_seed(seed)
    queries = [f"q{i}" for i in range(len(lengths))]
    lists = [[f"d{i}" for i in torch.randint(5, (length,)).tolist()] for length in lengths]
    candidates = choose_candidates(
        read_columns([queries, lists]), slice(0, len(lengths)), torch.arange(sum(lengths)), negatives
    )
    for query, own in zip(queries, lists, strict=True):
        scored = [document for q, document in candidates.pairs if q == query]
        drawn = [document for document in scored if document not in own]
        others = sum(document not in own for each in lists for document in each)
        assert sorted(document for document in scored if document in own) == sorted(own)
        assert len(drawn) == (others if negatives is None else min(negatives, others))


@given(LISTS, LISTS)
def test_documents_of_every_process_have_their_number_in_the_whole_batch(first, second):
    processes = [columns_of_lists(first), columns_of_lists(second)]
    shares = [[len(lengths), sum(lengths)] for lengths in (first, second)]
    whole = read_columns([[*a, *b] for a, b in zip(*processes, strict=True)])
    for rank, columns in enumerate(processes):
        numbers = numbers_of(Shares(shares, rank)).tolist()
        named = [whole.documents[number] for number in numbers]
        assert named == read_columns(columns).documents


def test_columns_of_documents_are_numbered_column_by_column_over_processes():
    shares = [[2, 2, 2], [3, 3, 3]]
    assert numbers_of(Shares(shares, 0)).tolist() == [0, 1, 5, 6]
    assert numbers_of(Shares(shares, 1)).tolist() == [2, 3, 4, 7, 8, 9]
    assert numbers_of(Shares([[2], [3]], 1)).tolist() == [2, 3, 4]


def test_grades_of_integers_and_floats_become_one_matrix():
    columns = read_columns(columns_of_lists([2, 1, 3]))
    labels = read_labels([torch.tensor([1, 0]), torch.tensor([0.5]), torch.tensor([2, 3, 1])], columns)
    assert labels["kind"] == "grades"
    assert labels["list_sizes"].tolist() == [2, 1, 3]
    assert labels["label"].nan_to_num(nan=-1).tolist() == [[1, 0, -1], [0.5, -1, -1], [2, 3, 1]]


@pytest.mark.parametrize("label", [torch.tensor([1, 0, 1]), torch.rand(3, 2)])
def test_labels_of_rows_are_kept_as_they_are(label):
    columns = read_columns(columns_of_documents(3, 1))
    assert read_labels(label, columns) == {"label": label}
    assert torch.equal(
        read_labels(list(label[:, None] if label.dim() == 1 else label), columns)["label"].squeeze(1), label
    )


def test_chats_and_numbers_are_documents_not_lists():
    chat = [{"role": "user", "content": "hello"}]
    assert read_columns([["q"], [chat]]).lists is None
    assert read_columns([["q"], [[chat, chat]]]).lists == [2]
