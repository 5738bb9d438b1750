"""Relevance by judgement."""

from __future__ import annotations

import math
import random
import warnings

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given

from st_rankloss.relevance import UNJUDGED, Qrels, encode_ids

NAN = math.nan
QUERIES, DOCUMENTS = [f"q{i}" for i in range(5)], [f"d{i}" for i in range(6)]
judgements = st.dictionaries(
    st.sampled_from(QUERIES), st.dictionaries(st.sampled_from(DOCUMENTS), st.integers(0, 4)), min_size=1
)


def same(found, expected):
    assert list(found.shape) == [len(expected), len(expected[0])]
    for row, wanted in zip(found.tolist(), expected, strict=True):
        assert row == pytest.approx(wanted, nan_ok=True)


@given(
    judgements,
    st.lists(st.sampled_from([*QUERIES, "stranger"]), min_size=1, max_size=8),
    st.lists(st.sampled_from([*DOCUMENTS, "unknown"]), min_size=1, max_size=12),
    st.sampled_from([0.0, 0.5, UNJUDGED]),
)
def test_every_document_has_the_grade_that_the_query_gave_it(qrels, queries, documents, unjudged):
    relevance = Qrels(qrels, unjudged=unjudged)
    codes, of_documents = encode_ids(queries), encode_ids(documents)
    whole = relevance(codes, of_documents)
    same(whole, [[qrels.get(q, {}).get(d, unjudged) for d in documents] for q in queries])
    slices = torch.cat([relevance(codes[q : q + 1], of_documents) for q in range(len(queries))])
    torch.testing.assert_close(slices, whole, rtol=0, atol=0, equal_nan=True)
    columns = [relevance(codes, of_documents[d : d + 1]) for d in range(len(documents))]
    torch.testing.assert_close(torch.cat(columns, 1), whole, rtol=0, atol=0, equal_nan=True)


def test_a_document_that_came_with_another_query_has_its_real_grade():
    relevance = Qrels({"q0": {"d0": 3, "d1": 2}, "q1": {"d1": 1}})
    batch = {"query_ids": encode_ids(["q0", "q1"]), "document_ids": encode_ids(["d0", "d1"])}
    same(relevance(*relevance.pair(batch, [2, 2])), [[3, 2], [0, 1]])


def test_a_judged_grade_of_zero_is_told_from_no_judgement():
    same(Qrels({"q": {"d": 0}}, unjudged=UNJUDGED)(encode_ids(["q"]), encode_ids(["d", "e"])), [[0, NAN]])


def test_a_document_that_comes_twice_has_its_grade_twice():
    relevance = Qrels({"q": {"a": 2, "b": 1}})
    same(relevance(encode_ids(["q", "q"]), encode_ids(["b", "a", "x", "a", "a"])), [[1, 2, 0, 2, 2]] * 2)


def test_queries_and_documents_that_nobody_judged_are_no_error():
    relevance = Qrels({"q": {"d": 1}, "empty": {}})
    same(relevance(encode_ids(["who", "empty", "q"]), encode_ids(["d", "what"])), [[0, 0], [0, 0], [1, 0]])
    same(Qrels({"empty": {}})(encode_ids(["empty"]), encode_ids(["d"])), [[0]])


def test_fractional_grades_are_kept():
    same(Qrels({"q": {"d": 0.3}})(encode_ids(["q"]), encode_ids(["d"])), [[0.3]])


def test_integers_and_their_decimal_strings_are_one_id():
    same(Qrels({"7": {"12": 2}})(encode_ids([7]), encode_ids([12, "12", 21])), [[2, 2, 0]])


def test_integer_ids_of_any_type_may_key_the_judgements():
    same(Qrels({7: {np.int64(12): 2}})(encode_ids(["7"]), encode_ids(["12"])), [[2]])


@pytest.mark.parametrize("wrong", [None, 7.0, NAN, True, ("a", 1)], ids=str)
def test_what_is_not_an_id_is_refused_instead_of_hashed(wrong):
    with pytest.raises(ValueError, match="an id must be a string or an integer, got "):
        encode_ids(["a", wrong])


def test_ids_in_a_tensor_are_the_integers_they_hold():
    assert torch.equal(encode_ids(torch.tensor([7, 12])), encode_ids([7, 12]))


@pytest.fixture(params=["_place", "_select"])
def way(request, monkeypatch):
    """Look up as on a CPU, or as on a device that must not be waited for."""
    monkeypatch.setattr(Qrels, "_place", getattr(Qrels, request.param))


def test_many_judgements_and_documents_are_looked_up_as_in_a_dictionary(way):
    draw = torch.Generator().manual_seed(0)
    qrels = {
        f"q{q}": {f"d{d}": int(d) % 4 for d in torch.randint(0, 3000, (q % 90,), generator=draw).tolist()}
        for q in range(200)
    }
    queries = [f"q{q}" for q in torch.randint(0, 220, (64,), generator=draw).tolist()]
    documents = [f"d{d}" for d in torch.randint(0, 3000, (500,), generator=draw).tolist()]
    found = Qrels(qrels)(encode_ids(queries), encode_ids(documents))
    assert found.any()
    same(found, [[qrels.get(q, {}).get(d, 0) for d in documents] for q in queries])


@pytest.mark.parametrize("case", range(60))
def test_any_judgements_are_looked_up_as_in_a_dictionary(way, case):
    draw = random.Random(case)
    unjudged, known = draw.choice([0.0, 0.5, UNJUDGED]), draw.randrange(1, 30)
    names = [draw.choice([f"d{n}", n, str(n)]) for n in range(known)]
    qrels = {
        draw.choice([q, f"q{q}"]): {
            d: draw.choice([0, 1, True, 2.5, np.float32(3)]) for d in names if draw.random() < 0.4
        }
        for q in range(draw.randrange(1, 12))
    }
    queries = draw.choices([*qrels, "unknown"], k=draw.randrange(1, 15))
    documents = draw.choices([*names, "unknown"], k=draw.randrange(1, 40))
    found = Qrels(qrels, unjudged=unjudged)(encode_ids(queries), encode_ids(documents))
    same(found, [[float(qrels.get(q, {}).get(d, unjudged)) for d in documents] for q in queries])


def test_judgements_take_24_bytes_per_query_and_12_per_judgement():
    qrels = Qrels({str(q): {f"D{q + d}": d for d in range(q % 4)} for q in range(1000)})
    assert sum(table.nbytes for table in qrels._tables.values()) == 24 * 1000 + 12 * (1500 + 1)


def test_codes_of_ids_are_distinct_and_not_negative():
    codes = encode_ids(range(50_000))
    assert codes.dtype == torch.int64
    assert codes.min() >= 0
    assert len(codes.unique()) == 50_000
    assert encode_ids([]).shape == (0,)


def test_codes_of_ids_are_the_same_in_every_process():
    assert encode_ids(["a", "β", 3]).tolist() == [2340832890917691671, 5650716000018095534, 5697770972097857280]


@pytest.mark.parametrize(
    ("qrels", "options", "message"),
    [
        ({}, {}, "qrels must be a non-empty dict of query id .* got an empty mapping"),
        ({"q": {"d": -1}}, {}, "of at least 0, got -1 .*query 'q', document 'd'; write 0"),
        ({"q": {"d": math.inf}}, {}, "of at least 0, got inf .*query 'q', document 'd'"),
        ({"q": {"d": NAN}}, {}, "got nan .*query 'q', document 'd'; leave unjudged documents out"),
        ({"q": {"d": 1e39}}, {}, r"got 1e\+39 .*'q', document 'd'; scale all grades down to at most 3.4e\+38"),
        ({"q": {"d": "2"}}, {}, "got '2' .*query 'q', document 'd'; convert it to a number"),
        ({"q": {"d"}}, {}, "got set for 'q'; .* write dict.fromkeys"),
        ({1: {"d": 2}, "1": {"d": 3}}, {}, "a query id in qrels must occur once, got 1 and '1', which are the same id"),
        ({"q": {"d": 1}}, {"unjudged": -0.5}, "at least 0 and finite.*got -0.5"),
    ],
    ids=str,
)
def test_wrong_judgements_are_refused(qrels, options, message):
    with pytest.raises(ValueError, match=message):
        Qrels(qrels, **options)


def test_the_repr_tells_the_number_of_queries():
    assert repr(Qrels({"a": {"d": 1}, "b": {}}, unjudged=UNJUDGED)) == "Qrels(<2 queries>, unjudged=nan)"


def warned(relevance, queries, documents, **examples):
    batch = {"query_ids": encode_ids(queries), "document_ids": encode_ids(documents), "id_examples": examples}
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        relevance.pair(batch, [len(queries), len(documents)])
    return [str(warning.message) for warning in found]


def test_a_batch_of_ids_that_occur_nowhere_is_told_once_with_examples():
    relevance = Qrels({"t1": {"doc1": 1}})
    (message,) = warned(relevance, ["q1", "q2"], ["d1", "d2"], query="q1", document="d1")
    assert "None of the query ids of this batch, such as 'q1', are in" in message
    assert "has query ids such as 't1'" in message
    assert not warned(relevance, ["q1", "q2"], ["d1", "d2"])
    (message,) = warned(Qrels({"t1": {"doc1": 1}}), ["t1", "q2"], ["d1", "d2"])
    assert "None of the document ids of this batch are in" in message
    assert "has document ids such as 'doc1'" in message


def test_batches_with_some_judged_ids_are_usual_and_strangers_among_later_ones_are_told():
    relevance = Qrels({"t1": {"doc1": 1}})
    assert not warned(relevance, ["q1", "t1"], ["d1", "doc1"])
    assert not warned(relevance, ["q1", "t1"], ["d1", "d2"])
    assert warned(relevance, ["q1", "q2"], ["d1", "d2"])
