"""Relevance from samples' own labels, against the definitions as plain loops."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from st_rankloss.relevance import Classes, Hierarchy, MultiLabel, Numeric, Vectors
from tests.models import (
    agreement,
    each_with_each,
    label_cosine,
    nearness,
    quarter_deviations,
    same_class,
    shared_levels,
)

NAN = math.nan
AGREEMENTS = ["jaccard", "cosine", "overlap", "dice"]
KERNELS = ["gaussian", "laplace", "triangle"]
few = st.integers(1, 7)


def close(relevance, expected, tolerance=2e-6):
    """Assert that a (Q, D) relevance is the table of numbers."""
    assert relevance.is_floating_point()
    assert list(relevance.shape) == [len(expected), len(expected[0])]
    for row, wanted in zip(relevance.tolist(), expected, strict=True):
        assert row == pytest.approx(wanted, rel=tolerance, abs=tolerance, nan_ok=True)


def in_slices(relevance, queries, documents):
    """The relevance computed for one query at a time."""
    return torch.cat([relevance(queries[q : q + 1], documents) for q in range(len(queries))])


@given(st.lists(st.integers(0, 4), min_size=1, max_size=8), st.lists(st.integers(0, 4), min_size=1, max_size=8))
def test_classes_are_relevant_to_their_own(queries, documents):
    relevance = Classes()(torch.tensor(queries), torch.tensor(documents))
    close(relevance, each_with_each(queries, documents, same_class), 0)


def test_classes_are_told_apart_up_to_the_last_bit():
    close(Classes()(torch.tensor([2**62, -2]), torch.tensor([2**62, 2**62 + 1, -2])), [[1, 0, 0], [0, 0, 1]])


def test_a_sample_without_a_class_is_unjudged():
    classes = torch.tensor([3, -1, 3])
    close(Classes()(classes, classes), [[1, NAN, 1], [NAN] * 3, [1, NAN, 1]], 0)


def test_a_sample_without_a_label_set_is_unjudged():
    sets = torch.tensor([[1.0, 0.0], [NAN, NAN], [0.0, 0.0]])
    close(MultiLabel()(sets, sets), [[1, NAN, 0], [NAN] * 3, [0, NAN, 0]], 0)


@pytest.mark.parametrize("relevance", [Numeric(), Numeric("triangle", 2.0), Vectors()], ids=repr)
def test_a_sample_without_numbers_is_unjudged_and_changes_nothing_for_the_others(relevance):
    numbers = torch.tensor([[1.0, 2.0], [NAN, NAN], [4.0, 1.0], [0.5, 0.5]])
    queries, documents = relevance.pair({"label": numbers}, [4])
    labelled = torch.tensor([0, 2, 3])
    whole = relevance(queries, documents)
    assert whole[1].isnan().all()
    assert whole[:, 1].isnan().all()
    queries, documents = relevance.pair({"label": numbers[labelled]}, [3])
    torch.testing.assert_close(whole[labelled][:, labelled], relevance(queries, documents))


@pytest.mark.parametrize(
    ("relevance", "label"),
    [
        (Classes(), torch.tensor([0, -1])),
        (Hierarchy(), torch.tensor([[0, 1], [-1, -1]])),
        (MultiLabel(), torch.tensor([[0.0, 1.0], [NAN, NAN]])),
        (Numeric(), torch.tensor([0.0, NAN])),
        (Vectors(), torch.tensor([[0.0, 1.0], [NAN, NAN]])),
    ],
    ids=repr,
)
def test_rows_without_a_label_are_mentioned(relevance, label):
    with pytest.warns(UserWarning, match="Some rows have no label"):
        relevance.pair({"label": label}, [2])


@pytest.mark.parametrize(
    ("relevance", "kind"),
    [
        (Classes(), "path"),
        (Hierarchy(), "multi_label"),
        (MultiLabel(), "class"),
        (Numeric(), "class"),
        (Vectors(), "grades"),
    ],
    ids=repr,
)
def test_labels_of_another_kind_are_refused_by_name(relevance, kind):
    with pytest.raises(ValueError, match=rf"reads labels of the kind '{relevance.reads[0]}', got '{kind}'"):
        relevance.pair({"label": torch.ones(2), "kind": kind}, [2])


@st.composite
def levels(draw):
    depth = draw(st.integers(1, 4))
    path = st.lists(st.integers(-1, 2), min_size=depth, max_size=depth)
    weights = draw(st.none() | st.lists(st.floats(0.1, 5), min_size=depth, max_size=depth))
    return draw(st.lists(path, min_size=1, max_size=6)), draw(st.lists(path, min_size=1, max_size=6)), weights


@given(levels())
def test_levels_count_from_the_top_as_long_as_they_match(case):
    queries, documents, weights = case
    relevance = Hierarchy(weights)
    expected = each_with_each(queries, documents, lambda q, d: shared_levels(q, d, weights))
    close(relevance(torch.tensor(queries), torch.tensor(documents)), expected)


def test_a_level_below_a_difference_does_not_count():
    paths = torch.tensor([[0, 1, 2], [3, 1, 2], [0, 4, 2], [0, 1, 5], [0, 1, 2]])
    close(Hierarchy((4, 2, 1))(paths[:1], paths), [[7, 0, 4, 6, 7]], 0)


def test_no_level_matches_nothing_not_even_no_level():
    paths = torch.tensor([[0, -1], [0, -1], [0, 2], [-1, -1], [-1, 2]])
    expected = [[1, 1, 1, NAN, NAN], [1, 1, 1, NAN, NAN], [1, 1, 2, NAN, NAN], [NAN] * 5, [NAN] * 5]
    close(Hierarchy()(paths, paths), expected, 0)


@st.composite
def label_sets(draw):
    width = draw(st.integers(1, 6))
    rows = st.lists(st.lists(st.booleans(), min_size=width, max_size=width), min_size=1, max_size=6)
    idf = draw(st.none() | st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=width, max_size=width))
    return draw(rows), draw(rows), idf


@pytest.mark.parametrize("kind", AGREEMENTS)
@given(case=label_sets())
def test_label_sets_agree_as_defined(kind, case):
    queries, documents, idf = case
    relevance = MultiLabel(kind, idf=idf)
    expected = each_with_each(queries, documents, lambda q, d: agreement(q, d, kind, idf))
    close(relevance(torch.tensor(queries), torch.tensor(documents)), expected)
    close(relevance(torch.tensor(queries).long(), torch.tensor(documents).float()), expected)


@pytest.mark.parametrize("kind", AGREEMENTS)
def test_an_empty_label_set_agrees_with_none_not_even_another_empty_one(kind):
    sets = torch.tensor([[0, 0], [0, 0], [1, 0]])
    close(MultiLabel(kind)(sets, sets), [[0, 0, 0], [0, 0, 0], [0, 0, 1]], 0)


@pytest.mark.parametrize("kind", AGREEMENTS)
def test_sharing_only_labels_of_no_weight_is_no_agreement(kind):
    sets = torch.tensor([[1, 0], [1, 1]])
    close(MultiLabel(kind, idf=[0.0, 2.0])(sets, sets), [[0, 0], [0, 1]], 0)


@pytest.mark.parametrize("kind", AGREEMENTS)
def test_a_rare_label_counts_more(kind):
    sets = torch.tensor([[1, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1]])
    by_count = MultiLabel(kind)(sets[:1], sets)[0]
    by_rarity = MultiLabel(kind, idf=[0.1, 3.0, 1.0, 1.0])(sets[:1], sets)[0]
    assert by_count[1] == by_count[2]
    assert by_rarity[1] < by_rarity[2]


@pytest.mark.parametrize("kind", AGREEMENTS)
@given(rows=st.lists(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=3, max_size=3), min_size=1, max_size=6))
def test_membership_weights_leave_the_agreement_between_0_and_1(kind, rows):
    relevance = MultiLabel(kind)(torch.tensor(rows), torch.tensor(rows))
    assert relevance.isfinite().all()
    assert relevance.min() >= 0
    assert relevance.max() <= 1 + 1e-6


@st.composite
def numbers(draw):
    targets = draw(st.integers(1, 3))
    row = st.lists(st.floats(-100, 100, width=32), min_size=targets, max_size=targets)
    rows = st.lists(row, min_size=1, max_size=7)
    return draw(rows), draw(rows), draw(st.lists(st.floats(0.125, 50, width=32), min_size=targets, max_size=targets))


@pytest.mark.parametrize("kernel", KERNELS)
@given(case=numbers())
def test_numbers_are_near_as_defined(kernel, case):
    queries, documents, widths = case
    relevance = Numeric(kernel, bandwidth=tuple(widths))
    expected = each_with_each(queries, documents, lambda q, d: nearness(q, d, kernel, widths))
    close(relevance(torch.tensor(queries), torch.tensor(documents)), expected, 1e-4)


@pytest.mark.parametrize("kernel", KERNELS)
def test_without_a_bandwidth_it_is_a_quarter_of_each_targets_deviation_among_the_documents(kernel):
    queries, documents = torch.rand(4, 2) * torch.tensor([1, 1000]), torch.rand(9, 2) * torch.tensor([1, 1000])
    widths = quarter_deviations(documents.tolist())
    expected = each_with_each(queries.tolist(), documents.tolist(), lambda q, d: nearness(q, d, kernel, widths))
    close(Numeric(kernel)(queries, documents), expected, 1e-5)


def test_one_bandwidth_holds_for_all_targets():
    rows = torch.rand(5, 3)
    close(Numeric(bandwidth=0.5)(rows, rows), Numeric(bandwidth=(0.5, 0.5, 0.5))(rows, rows).tolist())


def test_one_number_a_row_may_come_as_a_vector_or_a_column():
    column = torch.rand(5)
    close(Numeric()(column, column), Numeric()(column[:, None], column[:, None]).tolist(), 0)


@pytest.mark.parametrize("kernel", KERNELS)
def test_where_all_numbers_are_equal_all_is_relevant(kernel):
    close(Numeric(kernel)(torch.full((3,), 7.0), torch.full((4,), 7.0)), [[1] * 4] * 3, 0)


def test_integers_are_numbers_too():
    close(Numeric("triangle", bandwidth=4)(torch.tensor([1]), torch.tensor([1, 2, 3, 5, 9])), [[1, 0.75, 0.5, 0, 0]])


@pytest.mark.parametrize("dtype", [torch.int64, torch.float64], ids=str)
def test_numbers_far_from_zero_keep_their_distances(dtype):
    minutes = torch.tensor([0, 60, 120, 180, 600], dtype=dtype)
    seconds = 1_700_000_000 + minutes  # as timestamps are
    close(Numeric(bandwidth=60.0)(seconds, seconds), Numeric(bandwidth=60.0)(minutes, minutes).tolist())
    close(Numeric()(seconds, seconds), Numeric()(minutes, minutes).tolist(), 1e-5)


@given(st.integers(1, 5), few, few, st.sampled_from([-1.0, 0.0, 0.3, 0.9]), st.sampled_from([0.5, 1.0, 3.0]))
def test_vectors_agree_by_their_cosine_above_the_threshold(width, queries, documents, threshold, power):
    draw = torch.Generator().manual_seed(width + 10 * queries + 100 * documents)
    q, d = torch.randn(queries, width, generator=draw), torch.randn(documents, width, generator=draw)
    expected = each_with_each(q.tolist(), d.tolist(), lambda a, b: label_cosine(a, b, threshold, power))
    # Near the threshold the root of a rounding error is larger than the error.
    close(Vectors(threshold, power)(q, d), expected, 1e-5 if power >= 1 else 2e-3)


def test_a_vector_of_zeros_agrees_with_none():
    vectors = torch.tensor([[0.0, 0.0], [1.0, 2.0]])
    close(Vectors()(vectors, vectors), [[0, 0], [0, 1]])


@given(few, st.integers(1, 3), st.integers(1, 3))
def test_vectors_of_each_column_are_compared_the_first_with_the_others(rows, documents, width):
    labels = torch.randn(rows, 1 + documents, width, generator=torch.Generator().manual_seed(rows + 10 * documents))
    relevance = Vectors(0.1, 2.0)
    queries, columns = labels[:, 0].tolist(), [labels[:, c].tolist() for c in range(1, 1 + documents)]
    expected = each_with_each(queries, sum(columns, []), lambda a, b: label_cosine(a, b, 0.1, 2.0))
    close(relevance(*relevance.pair({"label": labels}, [rows] * (1 + documents))), expected, 1e-5)


def test_one_column_of_vectors_of_each_column_is_queries_and_documents():
    labels = torch.randn(4, 3)
    whole = Vectors()(*Vectors().pair({"label": labels[:, None]}, [4]))
    torch.testing.assert_close(whole, Vectors()(labels, labels))


@pytest.mark.parametrize(
    ("labels", "sizes", "message"),
    [
        (torch.rand(4, 2, 3), [4, 4, 4], r"per input of each column.* got shape \(4, 2, 3\) .*\[4, 4, 4\] rows"),
        (torch.rand(4, 2, 3), [4], r"got shape \(4, 2, 3\) for columns of \[4\] rows"),
        (torch.rand(4, 2, 3), [3, 3], r"got shape \(4, 2, 3\) for columns of \[3, 3\] rows"),
        (torch.rand(4, 2, 3), [4, 7], r"got shape \(4, 2, 3\) for columns of \[4, 7\] rows"),
        (torch.ones(4, 2, 3).long(), [4, 4], r"reads floating vectors.* got torch.int64 of shape \(4, 2, 3\)"),
        (torch.rand(4, 2, 3, 1), [4, 4], r"reads floating vectors.* got torch.float32 of shape \(4, 2, 3, 1\)"),
    ],
)
def test_vectors_that_do_not_fit_the_columns_are_refused(labels, sizes, message):
    with pytest.raises(ValueError, match=message):
        Vectors().pair({"label": labels}, sizes)


WHOLE = {
    "classes": (Classes(), torch.arange(20) % 4),
    "levels": (Hierarchy((3, 1)), torch.arange(40).reshape(20, 2) % 5),
    "label_sets": (MultiLabel("cosine", idf=[1.0, 2, 3, 4]), torch.arange(80).reshape(20, 4) % 3 == 0),
    "numbers": (Numeric("laplace"), (torch.arange(20.0) * 1.7) % 3),
    "targets": (Numeric(), torch.arange(60.0).reshape(20, 3) % 7),
    "vectors": (Vectors(0.1), torch.arange(60.0).reshape(20, 3) % 7 - 3),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_slice_of_queries_gives_a_slice_of_the_whole(name):
    relevance, labels = WHOLE[name]
    whole = relevance(labels, labels)
    assert whole.unique().numel() > 1
    torch.testing.assert_close(in_slices(relevance, labels, labels), whole, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", WHOLE)
def test_relevance_lies_between_0_and_its_maximum_and_a_sample_has_it_of_itself(name):
    relevance, labels = WHOLE[name]
    whole = relevance(labels, labels)
    top = 4 if name == "levels" else 1
    assert whole.min() >= 0
    assert whole.max() <= top + 1e-6
    # A sample without labels, or whose top level is absent, agrees not even with itself.
    full = whole.diagonal()[whole.sum(1) > 0]
    assert (full >= whole[whole.sum(1) > 0].amax(1) - 1e-6).all()


@pytest.mark.parametrize("name", WHOLE)
def test_it_is_symmetric_on_one_set_of_labels(name):
    relevance, labels = WHOLE[name]
    torch.testing.assert_close(relevance(labels, labels), relevance(labels, labels).T)


@pytest.mark.parametrize("name", WHOLE)
def test_every_column_of_documents_has_the_labels_of_its_rows(name):
    relevance, labels = WHOLE[name]
    queries, documents = relevance.pair({"label": labels}, [20, 20, 20])
    torch.testing.assert_close(relevance(queries, documents), relevance(labels, torch.cat([labels, labels])))
    queries, documents = relevance.pair({"label": labels}, [20])
    torch.testing.assert_close(relevance(queries, documents), relevance(labels, labels))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Hierarchy([]), r"weights must be finite numbers above 0, one per level, got \[\]"),
        (lambda: Hierarchy([1, 0]), r"weights must be .* above 0.* got \[1, 0\]"),
        (lambda: Hierarchy([1, -1]), r"weights .* got \[1, -1\]"),
        (lambda: Hierarchy([math.nan]), r"weights .* got \[nan\]"),
        (lambda: Hierarchy([math.inf]), r"weights .* got \[inf\]"),
        (lambda: MultiLabel("tanimoto"), "agreement must be one of 'jaccard', .*'dice', got 'tanimoto'"),
        (lambda: MultiLabel(idf=[1, -1]), r"idf must be a finite weight of at least 0 per label, got \[1, -1\]"),
        (lambda: MultiLabel(idf=[math.inf]), "idf must be .*inf"),
        (lambda: MultiLabel(idf=[math.nan]), "idf must be .*nan"),
        (lambda: MultiLabel(idf=torch.ones(2, 2)), "idf must be"),
        (lambda: Numeric("box"), "kernel must be one of 'gaussian', .* got 'box'"),
        (lambda: Numeric(bandwidth=0), "bandwidth must be finite and above 0, got 0"),
        (lambda: Numeric(bandwidth=-2.0), "bandwidth .* got -2.0"),
        (lambda: Numeric(bandwidth=math.nan), "bandwidth .* got nan"),
        (lambda: Numeric(bandwidth=(1.0, math.inf)), r"bandwidth .* got \(1.0, inf\)"),
        (lambda: Numeric(bandwidth=()), r"bandwidth .* got \(\)"),
        (lambda: Vectors(threshold=1.0), r"threshold must be in \[-1, 1\), got 1.0"),
        (lambda: Vectors(threshold=-1.1), "threshold .* got -1.1"),
        (lambda: Vectors(threshold=math.nan), "threshold .* got nan"),
        (lambda: Vectors(power=0), "power must be a finite number above 0, got 0"),
        (lambda: Vectors(power=math.inf), "power .* got inf"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_name_rule_and_value(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("relevance", "text"),
    [
        (Classes(), "Classes()"),
        (Hierarchy(), "Hierarchy(weights=None)"),
        (Hierarchy([2, 1.5]), "Hierarchy(weights=(2, 1.5))"),
        (MultiLabel("dice"), "MultiLabel('dice')"),
        (MultiLabel(idf=[1, 2, 3]), "MultiLabel('jaccard', idf=<3 weights>)"),
        (Numeric("laplace", 0.5), "Numeric(kernel='laplace', bandwidth=0.5)"),
        (Vectors(0.5), "Vectors(threshold=0.5, power=1.0)"),
    ],
)
def test_each_has_a_repr_with_its_settings(relevance, text):
    assert repr(relevance) == text
