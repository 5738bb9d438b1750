"""The table by which relevance=None chooses, and relevances made of functions."""

from __future__ import annotations

import pytest
import torch

from st_rankloss.relevance import (
    Classes,
    CustomRelevance,
    Lists,
    MultiLabel,
    Numeric,
    Pairs,
    Relevance,
    as_relevance,
    choose_relevance,
)

B = 8
INTEGERS, FLOATS, FLAGS = torch.arange(B), torch.rand(B), torch.rand(B, 3) < 0.5

CHOICES = {
    "one column and integers": ([B], INTEGERS, Classes()),
    "one column and short integers": ([B], INTEGERS.to(torch.int32), Classes()),
    "one column and floats": ([B], FLOATS, Numeric()),
    "one column and doubles": ([B], FLOATS.double(), Numeric()),
    "one column and a flag for each label": ([B], FLAGS, MultiLabel()),
    "two columns and nothing": ([B, B], None, Pairs()),
    "three columns and nothing": ([B, B, B], None, Pairs()),
    "six columns and nothing": ([B] * 6, None, Pairs()),
    "two columns and floats": ([B, B], FLOATS, Pairs()),
    "three columns and two floats": ([B] * 3, torch.rand(B, 2), Lists()),
    "three columns and two integers": ([B] * 3, torch.ones(B, 2).long(), Lists()),
    "six columns and five floats": ([B] * 6, torch.rand(B, 5), Lists()),
}


@pytest.mark.parametrize("case", CHOICES)
def test_the_columns_and_labels_choose(case):
    sizes, label, expected = CHOICES[case]
    chosen = choose_relevance({} if label is None else {"label": label}, sizes)
    assert type(chosen) is type(expected)
    assert repr(chosen) == repr(expected)


@pytest.mark.parametrize("grades", [None, torch.rand(B, 4)], ids=["no_grades", "grades"])
def test_a_column_of_lists_chooses_lists(grades):
    batch = {"list_sizes": torch.full((B,), 3)} | ({} if grades is None else {"label": grades})
    assert choose_relevance(batch, [B, 3 * B]) == Lists()


AMBIGUOUS = {
    "one column and nothing": ([B], None, "needs labels for a single input column"),
    "one column and several integers": (
        [B],
        torch.zeros(B, 3).long(),
        r"ambiguous for labels of int64 of shape \(8, 3\).*MultiLabel\(\).*Hierarchy\(\).*Numeric\(\).*Vectors\(\)",
    ),
    "one column and several floats": ([B], torch.rand(B, 3), r"ambiguous .*float32 of shape \(8, 3\)"),
    "one column and small unsigned integers": ([B], torch.zeros(B, 3, dtype=torch.uint8), "ambiguous .*uint8"),
    "one column and a cube": ([B], torch.rand(B, 3, 3), r"ambiguous .*\(8, 3, 3\)"),
    "two columns and integers": (
        [B, B],
        INTEGERS,
        r"ambiguous for 2 input columns.*int64 of shape \(8,\).*"
        r"Classes\(\).*Hierarchy\(\).*MultiLabel\(\).*Numeric\(\).*Pairs\(\)",
    ),
    "two columns and one grade in a matrix": ([B, B], torch.rand(B, 1), r"ambiguous for 2 .*\(8, 1\)"),
    "two columns and several numbers": ([B, B], torch.rand(B, 3), "ambiguous for 2"),
    "three columns and integers": ([B] * 3, INTEGERS, "ambiguous for 3"),
    "three columns and floats": ([B] * 3, FLOATS, "ambiguous for 3"),
    "three columns and three numbers": ([B] * 3, torch.rand(B, 3), "ambiguous for 3"),
}


@pytest.mark.parametrize("case", AMBIGUOUS)
def test_what_could_mean_several_things_is_an_error_that_names_the_choices(case):
    sizes, label, message = AMBIGUOUS[case]
    with pytest.raises(ValueError, match=message):
        choose_relevance({} if label is None else {"label": label}, sizes)


@pytest.mark.parametrize("sizes", [[B], [B, B], [B, 3 * B]])
def test_ids_ask_for_their_judgements(sizes):
    with pytest.raises(ValueError, match=r"relevance=None .*relevance=Qrels\(qrels\)"):
        choose_relevance({"query_ids": INTEGERS, "document_ids": INTEGERS, "label": FLOATS}, sizes)


def test_ids_and_lists_of_grades_ask_which_of_them_counts():
    batch = {"query_ids": INTEGERS, "document_ids": INTEGERS, "label": FLOATS, "list_sizes": INTEGERS}
    with pytest.raises(ValueError, match=r"relevance=Lists\(\) to read the grades .* or Qrels\(qrels\) to look up"):
        choose_relevance(batch, [B, 3 * B])


def test_a_relevance_stays_what_it_is():
    relevance = Classes()
    assert as_relevance(relevance) is relevance


def test_a_function_becomes_a_relevance_with_its_name():
    def near(queries, documents):
        return queries[:, None] == documents

    relevance = as_relevance(near)
    assert isinstance(relevance, Relevance)
    assert repr(relevance) == "near"
    found = relevance(torch.tensor([1, 2]), torch.tensor([2, 3, 1]))
    assert found.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert found.is_floating_point()


def test_a_function_of_the_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"must return shape \(2, 3\), got \(3, 2\)"):
        CustomRelevance(lambda q, d: torch.zeros(3, 2))(torch.zeros(2), torch.zeros(3))


@pytest.mark.parametrize("what", [None, "classes", 3])
def test_what_is_no_function_is_refused(what):
    with pytest.raises(TypeError, match=f"relevance must be a function .* got {what!r}"):
        as_relevance(what)


def test_a_subclass_must_say_what_is_relevant():
    with pytest.raises(TypeError, match=r"must define __call__\(query_labels, document_labels\)"):
        Relevance()(torch.zeros(2), torch.zeros(3))


def test_lists_of_documents_that_another_trainer_has_read_are_named_first():
    with pytest.raises(ValueError, match="of shape .8, 2.: if a column holds lists of documents, train with RankingTr"):
        choose_relevance({"label": torch.ones(8, 2)}, [8, 8])
