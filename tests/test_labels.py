"""Readers of raw labels; tests/test_collator_fuzz.py has thousands of random columns."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pytest
import torch

from st_rankloss.labels import (
    is_missing,
    is_multi_hot,
    plain,
    read_classes,
    read_grades,
    read_numbers,
    read_paths,
    read_sets,
)

NAN = math.nan


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.int64(3), 3),
        (np.float64(0.5), 0.5),
        (np.str_("a"), "a"),
        (torch.tensor([[1, 2]]), [[1, 2]]),
        (np.array(["a", None], dtype=object), ["a", None]),
        ([Decimal("1.5"), np.float32(2)], [1.5, 2.0]),
        ({"b", "a"}, ["a", "b"]),
        ((1, 2), [1, 2]),
        ({"a": 1}, {"a": 1}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_of_any_library_become_plain_ones(value, expected):
    found = plain(value)
    assert found == expected
    assert type(found) is type(expected)


def test_missing_is_none_nan_or_an_empty_string_and_minus_one_as_a_class():
    assert all(is_missing(value) for value in (None, NAN, ""))
    assert not any(is_missing(value) for value in (0, -1, False, "none", [], "-1"))
    assert is_missing(-1, code=True)
    assert not is_missing("-1", code=True)


def test_whole_floats_are_the_integers_that_pandas_wrote():
    assert read_classes([1.0, NAN, 2.0], "label") == [1, None, 2]


@pytest.mark.parametrize(
    ("reader", "rows", "message"),
    [
        (read_classes, ["a", 0.5], r"column 'label' must hold a class .* got 0.5 in row 1: .*Numeric"),
        (read_classes, ["a", 3], r"strings or integers, not both, got 'a' and 3"),
        (read_classes, [["a"]], r"a class .* got \['a'\] in row 0"),
        (read_paths, [["a"], "a > b"], r"a path: .* got 'a > b' in row 1: split the string into a list"),
        (read_paths, [["a", None, "b"]], r"a path without gaps, got \['a', None, 'b'\] in row 0"),
        (read_sets, [["a"], "a|b"], r"a set of labels: .* got 'a\|b' in row 1: split the string into a list"),
        (read_sets, [["a", None]], r"labels that are not missing, got \['a', None\] in row 0"),
        (read_numbers, [1.0, "2,5"], r"a number.* got '2,5' in row 1: cast the column"),
        (read_numbers, [1.0, math.inf], r"finite numbers, got inf in row 1"),
        (read_numbers, [[1, 2], [3]], r"numbers of shape \(2,\).* got \[3\] in row 1: for sets of class ids"),
        (lambda rows, column: read_grades(rows, 4, column), [1, -1], r"at least 0, got -1 in row 4: use None"),
        (lambda rows, column: read_grades(rows, 4, column), ["3"], r"grades that are numbers, got '3' in row 4: cast"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_column_row_rule_value_and_remedy(reader, rows, message):
    with pytest.raises(ValueError, match=message):
        reader(rows, "label")


def test_a_long_value_is_shortened_in_the_error():
    with pytest.raises(ValueError, match=r"got '(x{70,80})\.\.\. in row 0"):
        read_numbers(["x" * 5000], "label")


def test_features_decide_whether_zeros_and_ones_are_ids():
    rows = [[0, 1], [1, 0]]
    assert is_multi_hot(rows)
    assert not is_multi_hot(rows, class_ids=True)
    assert read_sets(rows, "label") == [{1: 1.0}, {0: 1.0}]
    assert read_sets(rows, "label", class_ids=True) == [{0: 1.0, 1: 1.0}] * 2


def test_numbers_keep_their_digits():
    assert np.diff(read_numbers([1.7e9, 1.7e9 + 0.5], "label")).tolist() == [0.5]
