"""Labels as tensors; tests/test_collator_fuzz.py has thousands of random columns."""

from __future__ import annotations

import math

import pytest
import torch

from st_rankloss.encoding import EXACT, encode_labels, read_list_grades
from st_rankloss.relevance import Hierarchy, MultiLabel, encode_ids

NAN = math.nan


def test_strings_that_are_numbers_are_refused_where_numbers_are_read():
    with pytest.raises(ValueError, match=r"column 'score' must hold a number.* got '0.0' in row 0"):
        encode_labels(["0.0", "5.0"], "score", reads=["numbers"])


def test_timestamps_a_minute_apart_stay_apart():
    stamps = [1700000000.0, 1700000060.0]
    assert encode_labels(stamps, "label", reads=["numbers"])["label"].tolist() == stamps
    assert encode_labels(stamps, "label")["label"].dtype == EXACT
    with pytest.raises(ValueError, match="numbers that float32 cannot tell apart, such as 1.7e"):
        encode_labels(stamps, "label", exact=False)


def test_other_losses_get_the_types_that_they_read():
    assert encode_labels([0.5, 1.0], "label", exact=False)["label"].dtype == torch.float32
    assert encode_labels([1, 2], "label", exact=False)["label"].dtype == torch.int64


def test_integers_with_gaps_are_classes_and_not_floats():
    assert encode_labels([4, None, 4], "label")["label"].tolist() == [4, -1, 4]


def test_lists_of_strings_are_levels_for_a_hierarchy_and_sets_for_a_multi_label():
    rows = [["animal", "cat"], ["animal", "dog"], ["plant", "cat"]]
    path = encode_labels(rows, "label", reads=Hierarchy().reads)["label"]
    assert Hierarchy()(path, path)[0].tolist() == [2, 1, 0]
    hot = encode_labels(rows, "label", reads=MultiLabel().reads)["label"]
    assert MultiLabel()(hot, hot)[0].tolist() == pytest.approx([1, 1 / 3, 1 / 3])


@pytest.mark.parametrize("rows", [[[3, 17], [4], [17]], [[0, 1], [1, 0], [1, 1]]], ids=["ragged", "as_multi_hots"])
def test_sets_of_class_ids_share_ids_and_not_places(rows):
    encoded = encode_labels(rows, "label", reads=MultiLabel().reads, class_ids=True)
    hot = encoded["label"]
    expected = [[len(set(a) & set(b)) / len(set(a) | set(b)) for b in rows] for a in rows]
    torch.testing.assert_close(MultiLabel()(hot, hot), torch.tensor(expected))
    assert torch.equal(encoded["label_codes"], encode_ids(sorted({x for row in rows for x in row}, key=str)))


def test_a_batch_of_nothing_but_unlabelled_rows_has_a_column_that_no_label_has():
    encoded = encode_labels([None, []], "label", "multi_label")
    assert encoded["label"].isnan().tolist() == [[True], [False]]
    assert not set(encoded["label_codes"].tolist()) & set(encode_ids(["a", 0]).tolist())


def test_a_multi_hot_as_wide_as_its_names_keeps_its_places():
    rows = [[0, 1], [1, 1]]
    assert encode_labels(rows, "label", "multi_label", label_names=["a", "b"])["label"].tolist() == rows
    with pytest.raises(ValueError, match="as wide as label_names, 3, got 2 places"):
        encode_labels(rows, "label", "multi_label", label_names=["a", "b", "c"])


def test_a_list_without_grades_is_unjudged():
    assert all(math.isnan(grade) for grade in read_list_grades(None, 0, "labels", 3))
