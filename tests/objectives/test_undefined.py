"""Where there is nothing to learn: no loss, no gradient, not counted; and grades at the edge of what floats hold."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch.nn import functional as F

from st_rankloss import ANDCGLoss, RankingLoss
from st_rankloss import objectives as o
from st_rankloss.functional import approx_ndcg, ndcg
from st_rankloss.relevance import Classes
from tests.models import Passing
from tests.objectives.test_contracts import TABLE, batch, cases, value_and_gradient

NAN = math.nan

# Losses that are no function of the order alone: a likelihood of a uniform distribution is highest where similarities
# are equal, thresholds and probabilities are to be reached by documents that are all relevant, and so are margins of 0.
LEARN_WHERE_ALL_ARE_ALIKE = (
    o.SoftmaxCrossEntropy,
    o.SupCon,
    o.RegressionCompatible,
    o.MultiSimilarity,
    o.ThresholdMargin,
    o.MarginMSE,
    o.Wasserstein,
    o.CWCL,
)


def learns_where_all_are_alike(objective) -> bool:
    if isinstance(objective, o.Mixture):
        return any(learns_where_all_are_alike(term) for _, term in objective.terms)
    inner = getattr(objective, "objective", objective)
    return isinstance(inner, LEARN_WHERE_ALL_ARE_ALIKE)


every_case = cases()
every_metric = cases(lambda case: not learns_where_all_are_alike(case.objective))


@pytest.mark.parametrize("grade", [1.0, 0.3])
@every_metric
def test_equally_relevant_documents_have_no_loss_and_no_gradient_and_do_not_count(case, grade):
    similarity, relevance = batch(case)
    alike = torch.where(relevance.isnan(), NAN, grade)
    for dtype in (torch.float32, torch.float64):
        value, gradient = value_and_gradient(case.objective, similarity.to(dtype), alike.to(dtype))
        assert not case.objective.defined(alike.to(dtype)).any()
        assert value.eq(0).all()
        assert gradient.eq(0).all()
    assert case.objective.defined(relevance).any(), "the lines above would prove nothing"


@pytest.mark.parametrize("grade", [1.0, 0.3])
@cases(lambda case: learns_where_all_are_alike(case.objective))
def test_what_is_not_a_function_of_the_order_learns_from_equally_relevant_documents(case, grade):
    similarity, relevance = batch(case)
    alike = torch.where(relevance.isnan(), NAN, grade)
    _, gradient = value_and_gradient(case.objective, similarity, alike)
    assert case.objective.defined(alike).all()
    assert gradient.abs().max() > 1e-3


@cases(lambda case: case.objective.separable)
def test_a_single_document_counts_only_where_there_is_a_threshold(case):
    for dtype in (torch.float32, torch.float64):
        value, gradient = value_and_gradient(case.objective, torch.tensor([[0.3]], dtype=dtype), torch.ones(1, 1))
        if isinstance(case.objective, o.MultiSimilarity | o.ThresholdMargin | o.RegressionCompatible):
            assert case.objective.defined(torch.ones(1, 1)).all()
            assert gradient.abs().max() > 1e-3
        else:
            assert not case.objective.defined(torch.ones(1, 1)).any()
            assert value.item() == gradient.item() == 0


@pytest.mark.parametrize("kind", [o.ApproxNDCG, o.NeuralNDCG, o.LambdaLoss, o.PolicyGradient])
def test_grades_of_equal_gain_are_alike(kind):
    objective = kind(gain=lambda y: y.clamp_max(1))
    relevance = torch.tensor([[1.0, 2.0, 3.0], [0.0, 2.0, 3.0]])
    value, gradient = value_and_gradient(objective, torch.rand(2, 3) / 20, relevance)
    assert objective.defined(relevance).tolist() == [False, True]
    assert value[0] == 0
    assert gradient[0].eq(0).all()
    assert gradient[1].norm() > 1e-3


@pytest.mark.parametrize(("k", "defined"), [(1, True), (4, True), (5, False), (10, False)])
def test_recall_at_the_length_of_a_list_is_always_1(k, defined):
    """Unjudged documents are not in the list, whose five are then all among the first k."""
    relevance = torch.tensor([[1.0, 0, 0, NAN, 1, 0, NAN]])
    objective = o.ApproxRecall(k=k)
    value, gradient = value_and_gradient(objective, torch.rand(1, 7), relevance)
    assert objective.defined(relevance).tolist() == [defined]
    assert (value.item() > 0, gradient.norm().item() > 1e-3) == (defined, defined)


def test_pairs_of_a_batch_without_a_negative_teach_shared_negatives_nothing():
    objective = o.SharedNegatives()
    rows = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    assert objective.defined(rows).tolist() == [True, True]  # the first has the second's negative
    assert objective.defined(rows.ceil().clamp_min(1)).tolist() == [False, False]


@pytest.mark.parametrize(
    "metric",
    [c.objective for c in TABLE if hasattr(c.objective, "method") and c.objective.declaration.metric],
    ids=repr,
)
def test_a_soft_metric_of_equally_relevant_documents_is_1_or_has_no_value(metric):
    """Correlations have none, and no method of ranking changes that."""
    function = type(metric).function
    settings = {} if not isinstance(metric, o.ApproxRecall) else {"k": 2}
    for method in ("dense", "relevant", "grid"):
        similarity = torch.rand(2, 5, requires_grad=True)
        value = function(similarity, torch.tensor([[1.0] * 5, [2.0, 2.0, NAN, 2.0, NAN]]), method=method, **settings)
        assert value.isnan().all() or value.eq(1).all()
        value.nansum().backward()
        assert similarity.grad.eq(0).all()


@pytest.mark.filterwarnings("ignore:No query of this batch:UserWarning")
@pytest.mark.parametrize(
    "objective", [o.ApproxNDCG(), o.ApproxNDCG(k=10), o.ApproxMRR(), o.SmoothAP(), o.ApproxRecall()], ids=repr
)
def test_three_hundred_steps_on_one_class_leave_it_where_it_is(objective):
    points = (torch.randn(1, 64) + 0.1 * torch.randn(32, 64)).requires_grad_()
    loss = RankingLoss(Passing(), objective=objective, relevance=Classes())
    optimizer = torch.optim.Adam([points], 1e-2)
    before = points.detach().clone()
    for _ in range(300):
        optimizer.zero_grad()
        value = loss([{"input_ids": points}], torch.zeros(32, dtype=torch.long))
        value.backward()
        optimizer.step()
        assert value.item() == 0
    assert torch.equal(points, before)


def test_queries_whose_documents_are_alike_are_not_counted():
    """Three queries see two classes, the fourth's documents are all of its own: it is not in the mean."""
    points = F.normalize(torch.randn(8, 4), dim=1)
    loss = ANDCGLoss(Passing(), relevance=Classes())
    member = torch.tensor([0, 0, 0, 1])
    relevance = (member[:, None] == member).float()
    mean = o.ApproxNDCG()(points[:4] @ points[:4].T, relevance.fill_diagonal_(NAN))[:3].mean()
    torch.testing.assert_close(loss([{"input_ids": points[:4]}], member), mean)


# --- grades at the edge of what floats hold ------------------------------------------------------------------------

SMALLEST, LARGEST = torch.finfo(torch.float32).tiny, torch.finfo(torch.float32).max
grades = st.one_of(
    st.sampled_from([0.0, NAN, 1e-45, 1e-40, SMALLEST / 2, SMALLEST, 2 * SMALLEST, 1.0, 3.0, 3e38, LARGEST]),
    st.floats(0, LARGEST, width=32),
)


@every_case
@given(drawn=st.lists(grades, min_size=12, max_size=12))
def test_no_grade_that_float32_holds_gives_nan_or_infinity(case, drawn):
    similarity, relevance = (x.float() for x in batch(case))
    drawn = torch.tensor(drawn, dtype=torch.float32)
    rows = torch.stack([drawn.roll(n) for n in range(len(relevance))])
    if case.labels == "views" or not case.objective.separable:  # what is not in the batch's list stays so
        rows = rows.nan_to_num(nan=0.0)
    relevance = torch.where(relevance.isnan(), NAN, rows)
    if isinstance(case.objective, o.RegressionCompatible):
        relevance = relevance.clamp_max(1)
    if isinstance(case.objective, o.MarginMSE | o.PRO) and relevance.nan_to_num(nan=0).max() > 1e15:
        with pytest.raises(ValueError, match="relevance must be at most 1e\\+15 for this loss, got .*: scale it"):
            case.objective(similarity, relevance)
        return
    value, gradient = value_and_gradient(case.objective, similarity, relevance)
    assert value.isfinite().all()
    assert gradient.isfinite().all()
    assert value[~case.objective.defined(relevance)].eq(0).all()


@every_case
def test_less_than_the_smallest_normal_number_is_no_relevance(case):
    similarity, relevance = (x.float() for x in batch(case))
    traces = torch.where(relevance == 0, 1e-40, relevance)
    assert (traces > 0).sum() > (relevance > 0).sum()
    torch.manual_seed(0)
    plain = value_and_gradient(case.objective, similarity, relevance)
    torch.manual_seed(0)
    torch.testing.assert_close(value_and_gradient(case.objective, similarity, traces), plain, rtol=0, atol=0)
    assert torch.equal(case.objective.defined(traces), case.objective.defined(relevance))


@pytest.mark.parametrize("metric", [ndcg, approx_ndcg])
@pytest.mark.parametrize(("dtype", "least"), [(torch.float32, 1e-40), (torch.float64, 1e-310)])
def test_ndcg_of_the_smallest_grades(metric, dtype, least):
    similarity = torch.tensor([0.1, 0.2, 0.3], dtype=dtype, requires_grad=True)
    smallest = 2 * torch.finfo(dtype).tiny
    assert metric(similarity, torch.tensor([0, 0, least], dtype=dtype)).isnan()
    value = metric(similarity, torch.tensor([0, smallest, 2 * smallest], dtype=dtype))
    torch.testing.assert_close(value, metric(similarity, torch.tensor([0.0, 1.0, 2.0], dtype=dtype)))
    largest = torch.finfo(dtype).max
    value = metric(similarity, torch.tensor([0, largest / 2, largest], dtype=dtype))
    torch.testing.assert_close(value, metric(similarity, torch.tensor([0.0, 1.0, 2.0], dtype=dtype)))


def test_a_gain_of_your_own_that_overflows_is_refused():
    with pytest.raises(ValueError, match="gain must return numbers that are at least 0 and finite, got inf"):
        o.ApproxNDCG(gain=torch.square)(torch.rand(1, 2), torch.tensor([[1e30, 0.0]]))
    with pytest.raises(ValueError, match="gain must return numbers that are at least 0 and finite, got -1.0"):
        ndcg(torch.rand(1, 2), torch.tensor([[1.0, 0.0]]), gain=torch.neg)
