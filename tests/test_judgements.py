"""One reader of judgements, ids and inputs, and what wrong ones are told."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image

from st_rankloss.judgements import check_inputs, collect_qrels, few, read_grade, read_id, read_inputs, read_qrels

NAN = math.nan


def test_judgements_are_copied_with_ids_as_strings_and_grades_as_floats():
    given = {"q": {"a": 1, 7: 2.5, np.int32(8): True}, 3: {}}
    found = read_qrels(given)
    assert found == {"q": {"a": 1.0, "7": 2.5, "8": 1.0}, "3": {}}
    assert {type(grade) for grade in found["q"].values()} == {float}
    found["q"]["a"] = 9.0
    assert given["q"]["a"] == 1


GRADES = [(3, 3.0), (0.9, 0.9), (True, 1.0), (False, 0.0), (Decimal("0.9"), 0.9), (Fraction(1, 4), 0.25)]
GRADES += [(np.float32(0.5), 0.5), (np.float64(0.1), 0.1), (np.int8(2), 2.0), (np.bool_(True), 1.0), (10**300, 1e300)]


@pytest.mark.parametrize(("given", "expected"), GRADES, ids=repr)
def test_grades_of_any_numeric_type_keep_their_value(given, expected):
    assert read_grade(given, "q", "d") == expected


WRONG_GRADES = {
    "text": ("2", r"got '2' \(str\) .*; convert it to a number first"),
    "None": (None, r"got None \(NoneType\) .*; give a number"),
    "list": ([1], "; give a number"),
    "tensor": (torch.tensor(1.0), "; give a number"),
    "complex": (1j, "; give a number"),
    "negative": (-0.5, "got -0.5 .*; write 0 for documents judged irrelevant"),
    "NaN": (NAN, "got nan .*; leave unjudged documents out"),
    "NaN of decimal": (Decimal("NaN"), "; leave unjudged documents out"),
    "infinite": (math.inf, "got inf .*; scale all grades down"),
    "too large for a float": (10**400, "; scale all grades down"),
}


@pytest.mark.parametrize(("grade", "message"), WRONG_GRADES.values(), ids=WRONG_GRADES)
def test_wrong_grades_are_refused_with_their_place_and_a_remedy(grade, message):
    with pytest.raises(ValueError, match="finite number of at least 0, .* for query 'q', document 'd'; "):
        read_qrels({"q": {"d": grade}})
    with pytest.raises(ValueError, match=message):
        read_qrels({"q": {"d": grade}})


WRONG_QRELS = {
    "None": (None, "non-empty dict of query id to dict of document id to grade, got NoneType"),
    "empty": ({}, "got an empty mapping"),
    "list": (["q"], "got list"),
    "array": (np.zeros(2), "got ndarray"),
    "set": ({"q": {"a"}}, r"got set for 'q'; .*write dict.fromkeys\(document_ids, 1\)"),
    "list of ids": ({"q": ["a"]}, "got list for 'q'; .*write dict.fromkeys"),
    "array of ids": ({"q": np.array(["a"])}, "got ndarray for 'q'; .*write dict.fromkeys"),
    "one id": ({"q": "a"}, "got str for 'q'; write {document_id: grade}"),
    "number": ({"q": 3}, "got int for 'q'; write {document_id: grade}"),
    "id None": ({None: {"a": 1}}, r"a query id in qrels must be a string or an integer, got None \(NoneType\)"),
    "float id": ({"q": {12.0: 1}}, r"a document id in qrels\['q'\] must be .* got 12.0 \(float\); write 12"),
    "bool id": ({"q": {True: 1}}, r"a document id in qrels\['q'\] must be .* got True \(bool\)"),
    "one id twice": (
        {"q": {12: 1, "12": 2}},
        r"in qrels\['q'\] must occur once, got 12 and '12', which are the same id",
    ),
}


@pytest.mark.parametrize(("qrels", "message"), WRONG_QRELS.values(), ids=WRONG_QRELS)
def test_wrong_judgements_are_refused_by_name(qrels, message):
    with pytest.raises(ValueError, match=message):
        read_qrels(qrels)


def test_ids_must_be_known_where_something_is_known():
    qrels = {"q": {"a": 1, "x": 1}, "p": {"x": 2, "y": 0}}
    assert read_qrels(qrels) == qrels
    assert read_qrels(qrels, queries={"q": 0, "p": 0, "r": 0}, corpus=dict.fromkeys("axy")) == qrels
    with pytest.raises(ValueError, match="qrels must name ids of queries, got the unknown 'p'"):
        read_qrels(qrels, queries={"q": 0})
    with pytest.raises(ValueError, match="qrels must name ids of corpus, got the unknown 'x', 'y'"):
        read_qrels(qrels, corpus={"a": 0})


def test_rows_are_collected_and_missing_grades_leave_documents_unjudged():
    rows = [("q", 1, 2), ("q", "b", NAN), ("q", "c", None), (5, "d", ""), ("q", "1", 2.0), ("p", "a", np.float32(0))]
    assert collect_qrels((i, *row) for i, row in enumerate(rows)) == {"q": {"1": 2.0}, "p": {"a": 0.0}}
    assert collect_qrels([]) == {}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((None, "a", 1), "row 7: a query id must be a string or an integer, got None"),
        (("q", 1.0, 1), "row 7: a document id must be .* got 1.0"),
        (("q", "a", "1"), "row 7: a grade in qrels must be .* got '1' .* query 'q', document 'a'; convert"),
        (("q", "a", -1), "row 7: .* got -1 .* query 'q', document 'a'; write 0"),
        (("q", "z", 2), "row 7: a document must have one grade per query, got 1.0 and 2.0 for query 'q', document 'z'"),
    ],
)
def test_wrong_rows_are_refused_by_their_number(row, message):
    with pytest.raises(ValueError, match=message):
        collect_qrels([(0, "q", "z", 1), (7, *row)])


def test_ids_are_strings_and_integers():
    assert [read_id(x) for x in ("a", np.str_("b"), 7, np.int64(-8))] == ["a", "b", "7", "-8"]
    assert {type(read_id(x)) for x in ("a", np.str_("b"), 7)} == {str}


INPUTS = [Image.new("RGB", (2, 2)), np.zeros(3), {"text": "a", "image": Image.new("RGB", (2, 2))}]
INPUTS += [{"role": "user", "content": "a"}, {"array": np.zeros(3), "sampling_rate": 16000}]


@pytest.mark.parametrize("value", INPUTS, ids=lambda value: type(value).__name__)
def test_what_is_not_a_text_is_for_models_that_encode_it(value):
    check_inputs([("d", value)], "corpus", "id")
    with pytest.raises(ValueError, match="each of 'corpus' must be a text, got .* for id 'd'; give a string"):
        check_inputs([("d", value)], "corpus", "id", text_only=True)


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        (None, 'leave it out, or give ""'),
        (3, "convert it to a string"),
        (NAN, "convert it to a string"),
        (b"a", "convert it to a string"),
        ({"a"}, "convert it to a string"),
        ({"title": "a", "text": "b"}, "join its fields into one text"),
        ({}, 'leave it out, or give ""'),
        (("a", "b"), "give one input each"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("text_only", [True, False])
def test_what_no_model_encodes_is_refused(value, remedy, text_only):
    with pytest.raises(ValueError, match=f"each of 'text' must be a text, got .* for row 1; {remedy}"):
        check_inputs(enumerate(["a", value]), "text", "row", text_only=text_only)


def test_long_values_are_cut_in_errors():
    with pytest.raises(ValueError, match=r"got b'x+\.\.\. \(bytes\) for row 0"):
        check_inputs([(0, b"x" * 1000)], "text", "row")


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (None, r"corpus must be a non-empty dict of id to text, got NoneType; .* dict\(enumerate\(texts\)\)"),
        (["a"], r"got list; for a list of texts write dict\(enumerate\(texts\)\)"),
        ({}, "got an empty dict"),
        ({1.5: "a"}, r"an id of corpus must be a string or an integer, got 1.5 \(float\)\."),
        ({"1": "a", 1: "b"}, "an id of corpus must occur once, got '1' and 1"),
        ({"d": None}, "each of 'corpus' must be a text, got None .* for id 'd'"),
    ],
)
def test_wrong_inputs_are_refused_by_name(inputs, message):
    with pytest.raises(ValueError, match=message):
        read_inputs(inputs, "corpus")


def test_errors_name_five_ids_and_count_the_others():
    assert few(["a", "b"]) == "'a', 'b'"
    assert few("abcdefg") == "'a', 'b', 'c', 'd', 'e' and 2 more"
