"""Views against the definition, view by view."""

from __future__ import annotations

import pytest
import torch

from st_rankloss.relevance import Classes, Hierarchy, MultiLabel, Numeric, Views, choose_relevance
from st_rankloss.relevance.matrix import map_labels
from tests.models import agreement, nearness, quarter_deviations, same_class, shared_levels

SAMPLE = [0, 1, 2, 0, 1, 2, 0, 1, 2]
KEEP = [1.0] * 3 + [0.75] * 3 + [0.25] * 3
LABELS = {
    None: [0] * 9,
    Classes(): [1, 1, 2] * 3,
    Hierarchy(): [[1, 1], [1, 2], [2, 1]] * 3,
    MultiLabel(): [[1, 1, 0], [1, 0, 0], [0, 0, 1]] * 3,
    Numeric(): [1.0, 1.5, 7.0] * 3,
}


def batch_of(relevance):
    label = {} if relevance is None else {"label": torch.tensor(LABELS[relevance])}
    return label | {"sample": torch.tensor(SAMPLE), "keep": torch.tensor(KEEP)}


def related(relevance, a, b):
    """The definition: views of one sample, or the relevance of their labels."""
    labels = LABELS[relevance]
    if relevance is None:
        return float(SAMPLE[a] == SAMPLE[b])
    kind = type(relevance)
    if kind is Numeric:
        return nearness([labels[a]], [labels[b]], "gaussian", quarter_deviations([[x] for x in labels]))
    plain = {Classes: same_class, Hierarchy: shared_levels, MultiLabel: lambda x, y: agreement(x, y, "jaccard")}
    return plain[kind](labels[a], labels[b])


@pytest.mark.parametrize("relevance", LABELS, ids=repr)
def test_relevance_is_that_of_the_samples_times_what_the_document_has_left(relevance):
    views = Views(relevance)
    queries, documents = views.pair(batch_of(relevance), [9])
    found = views(map_labels(lambda x: x[2:7], queries), documents)
    expected = [[related(relevance, q, d) * KEEP[d] for d in range(9)] for q in range(2, 7)]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-5, atol=1e-6)


def test_relevance_falls_from_unaltered_views_through_weaker_ones_to_none():
    views = Views()
    row = views(*views.pair(batch_of(None), [9]))[3]
    assert row[0] == 1 > row[3] > row[6] > row[1] == 0


def test_labels_need_views():
    with pytest.raises(
        ValueError, match=r"Views\(\) needs a batch of views: .*ViewsCollator.* 1 input columns without"
    ):
        Views().pair({"label": torch.tensor([1, 2])}, [2])
    with pytest.raises(ValueError, match="got 2 input columns"):
        Views().pair(batch_of(None), [9, 9])
    with pytest.raises(ValueError, match="views must have a row for each of the 4 inputs"):
        Views().pair(batch_of(None), [4])
    with pytest.raises(TypeError, match="relevance must be a function"):
        Views(3)


@pytest.mark.parametrize(("relevance", "chosen"), [(None, "Views()"), (Classes(), "Views(Classes())")], ids=str)
def test_views_are_chosen_for_batches_of_views(relevance, chosen):
    assert repr(choose_relevance(batch_of(relevance), [9])) == chosen


def test_any_function_of_labels_serves():
    views = Views(lambda q, d: (q[:, None] - d).abs())
    labels = batch_of(Classes())
    found = views(*views.pair(labels, [9]))
    expected = (labels["label"][:, None] - labels["label"]).abs() * labels["keep"]
    torch.testing.assert_close(found, expected.float())
