"""NDCG with exact and soft ranks: the definition, outside oracles, invariants, policies and bad input."""

from __future__ import annotations

import functools
import math

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from sklearn.metrics import dcg_score, ndcg_score
from torch import Tensor

from st_rankloss.functional.diagnostics import random_ndcg
from st_rankloss.functional.ndcg import approx_ndcg, dcg, ideal_dcg, ndcg
from st_rankloss.functional.ranks import soft_rank
from tests import oracle

METHODS = ["dense", "relevant", "grid", "auto"]
GAINS = ["linear", "exponential"]
every_method = pytest.mark.parametrize("method", METHODS)
every_kind = pytest.mark.parametrize("kind", ["graded", "few-relevant", "all-relevant", "unjudged", "all-tied"])
every_gain = pytest.mark.parametrize("gain", GAINS)
NAN = math.nan

grades = st.sampled_from([0.0, 0.0, 0.0, 0.5, 1.0, 2.0, 3.0, NAN])
lists = st.lists(st.tuples(st.floats(-1, 1), grades), min_size=1, max_size=30)


def row(values: list[float]) -> Tensor:
    """A float64 list."""
    return torch.tensor(values, dtype=torch.float64)


def columns_of(pairs: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """Similarities and relevances of drawn pairs."""
    return [s for s, _ in pairs], [y for _, y in pairs]


@functools.cache
def example(kind: str, size: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Similarities in [-1, 1) and relevances of one query."""
    draws = torch.rand(3, size, dtype=torch.float64, generator=torch.Generator().manual_seed(size))
    similarity, relevance = 2 * draws[0] - 1, (4 * draws[1]).floor()
    if kind == "few-relevant":
        relevance[draws[2] > 0.1] = 0
        relevance[0] = 2
    elif kind == "all-relevant":
        relevance += 1
    elif kind == "unjudged":
        relevance[draws[2] < 0.4] = NAN
        relevance[0] = 1
    elif kind == "all-tied":
        similarity[:] = 0.3
        relevance[0] = 3
    else:
        relevance[0] = 1
    return tuple(similarity.tolist()), tuple(relevance.tolist())


def value_and_gradient(similarity: Tensor, relevance: Tensor, **options) -> tuple[Tensor, Tensor]:
    """``approx_ndcg`` and the gradient of its sum over the queries that have one."""
    similarity = similarity.detach().requires_grad_()
    value = approx_ndcg(similarity, relevance, **options)
    (gradient,) = torch.autograd.grad(value.nansum(), similarity)
    return value.detach(), gradient


# --- the soft metric is its definition ---------------------------------------------------------------------


@pytest.mark.parametrize("k", [None, 1, 10], ids=lambda k: f"k{k}")
@every_gain
@pytest.mark.parametrize("size", [1, 2, 63, 64, 65], ids=lambda d: f"D{d}")
@every_kind
@every_method
def test_the_value_is_that_of_the_definition(method, kind, size, gain, k):
    similarity, relevance = example(kind, size)
    expected = expected_value(kind, size, gain, k)
    value = approx_ndcg(row(similarity), row(relevance), temperature=0.05, gain=gain, k=k, method=method)
    assert value.shape == ()
    assert value.item() == pytest.approx(expected, rel=1e-9)
    assert 0 < expected <= 1


@pytest.mark.parametrize("k", [None, 10], ids=lambda k: f"k{k}")
@pytest.mark.parametrize("kind", ["graded", "unjudged"])
def test_a_thousand_documents_follow_the_definition(kind, k):
    similarity, relevance = example(kind, 1000)
    expected = expected_value(kind, 1000, "linear", k)
    for method in METHODS:
        value = approx_ndcg(row(similarity), row(relevance), temperature=0.05, k=k, method=method)
        assert value.item() == pytest.approx(expected, rel=1e-9), method
    assert ndcg(row(similarity), row(relevance), k=k).item() == pytest.approx(
        oracle.ndcg(similarity, relevance, k=k), rel=1e-12
    )


@functools.cache
def expected_value(kind: str, size: int, gain: str, k: int | None) -> float:
    """The oracle's soft NDCG of an example at temperature 0.05."""
    return oracle.approx_ndcg(*example(kind, size), temperature=0.05, gain=gain, k=k)


@pytest.mark.parametrize("cutoff_temperature", [0.1, 5.0], ids=lambda t: f"cutoff-tau{t}")
@every_gain
def test_the_width_of_the_cutoff_is_in_ranks(gain, cutoff_temperature):
    similarity, relevance = example("graded", 33)
    arguments = {"temperature": 0.1, "gain": gain, "k": 5, "cutoff_temperature": cutoff_temperature}
    value, gradient = value_and_gradient(row(similarity), row(relevance), **arguments)
    assert value.item() == pytest.approx(oracle.approx_ndcg(similarity, relevance, **arguments), rel=1e-9)
    expected = oracle.slope(lambda s: oracle.approx_ndcg(s, relevance, **arguments), similarity, step=1e-5)
    torch.testing.assert_close(gradient, row(expected), rtol=1e-6, atol=1e-8)
    assert gradient.norm() > 0.01


@functools.cache
def expected_gradient(kind: str, size: int, gain: str, k: int | None) -> list[float]:
    """Differences of the oracle's soft NDCG of an example at temperature 0.1."""
    similarity, relevance = example(kind, size)
    return oracle.slope(
        lambda s: oracle.approx_ndcg(s, relevance, temperature=0.1, gain=gain, k=k), similarity, step=1e-4
    )


@pytest.mark.parametrize("k", [None, 5], ids=lambda k: f"k{k}")
@every_gain
@pytest.mark.parametrize("size", [1, 2, 33], ids=lambda d: f"D{d}")
@every_kind
@every_method
def test_the_gradient_is_that_of_the_definition(method, kind, size, gain, k):
    similarity, relevance = (row(values) for values in example(kind, size))
    _, gradient = value_and_gradient(similarity, relevance, temperature=0.1, gain=gain, k=k, method=method)
    expected = row(expected_gradient(kind, size, gain, k))
    torch.testing.assert_close(gradient, expected, rtol=1e-7, atol=1e-8)
    assert (gradient[relevance.isnan()] == 0).all()
    if size > 2 and kind != "all-tied":
        assert expected.norm() > 0.01, "the lines above would prove nothing"


@pytest.mark.parametrize("k", [None, 3], ids=lambda k: f"k{k}")
@every_gain
@every_method
def test_gradcheck_holds_in_float64(method, gain, k):
    relevance = torch.tensor([[3.0, 0.0, 1.0, NAN, 0.0, 2.0], [0.0, NAN, 0.0, 0.0, 1.0, 0.0]])
    similarity = torch.rand(2, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda s: approx_ndcg(s, relevance, temperature=0.2, gain=gain, k=k, method=method),
        similarity,
        rtol=1e-6,
        atol=1e-6,
    )


@every_method
def test_raising_a_relevant_document_raises_the_metric(method):
    similarity, relevance = row([0.5, 0.6, 0.4, 0.7]), row([3.0, 0.0, 0.0, 0.0])
    _, gradient = value_and_gradient(similarity, relevance, temperature=0.1, method=method)
    assert gradient[0] > 0.1
    assert (gradient[1:] < -0.01).all()


# --- outside oracles ---------------------------------------------------------------------------------------


@every_method
def test_tensorflow_rankings_documented_values_are_reproduced(method):
    """Its ApproxNDCG loss is the mean of -NDCG, with gain 2^y - 1 and, in its examples, temperature 0.1."""
    arguments = {"temperature": 0.1, "gain": "exponential", "method": method}
    first = approx_ndcg(row([0.6, 0.8]), row([1.0, 0.0]), **arguments)
    second = approx_ndcg(row([0.5, 0.8, 0.4]), row([0.0, 1.0, 0.0]), **arguments)
    assert -first.item() == pytest.approx(-0.655107, abs=5e-7)
    assert -(first + second).item() / 2 == pytest.approx(-0.80536866, abs=2e-7)
    padded = approx_ndcg(row([[0.6, 0.8, 0.0], [0.5, 0.8, 0.4]]), row([[1.0, 0.0, NAN], [0.0, 1.0, 0.0]]), **arguments)
    assert -padded.mean().item() == pytest.approx(-0.80536866, abs=2e-7)


def untied_lists(queries: int, size: int) -> tuple[Tensor, Tensor]:
    """Similarities at least 1 / size apart, and grades 0 to 3."""
    generator = torch.Generator().manual_seed(size)
    similarity = torch.rand(queries, size, generator=generator).argsort(1).double() / size
    relevance = torch.randint(0, 4, (queries, size), generator=generator).double()
    relevance[:, 0] = 1
    return similarity, relevance


@pytest.mark.parametrize("k", [None, 1, 10, 100], ids=lambda k: f"k{k}")
@every_gain
@pytest.mark.parametrize("size", [2, 10, 65], ids=lambda d: f"D{d}")
def test_without_ties_exact_ndcg_is_scikit_learns(size, gain, k):
    similarity, relevance = untied_lists(5, size)
    gains = relevance.numpy() if gain == "linear" else 2 ** relevance.numpy() - 1
    expected = [ndcg_score(g[None], s[None], k=k) for g, s in zip(gains, similarity.numpy(), strict=True)]
    np.testing.assert_allclose(ndcg(similarity, relevance, gain=gain, k=k), expected, rtol=1e-12)
    assert len(set(expected)) > 1


@every_gain
@every_method
def test_without_ties_soft_ndcg_tends_to_scikit_learns(method, gain):
    similarity, relevance = untied_lists(5, 65)
    gains = relevance.numpy() if gain == "linear" else 2 ** relevance.numpy() - 1
    expected = [ndcg_score(g[None], s[None]) for g, s in zip(gains, similarity.numpy(), strict=True)]
    soft = approx_ndcg(similarity, relevance, temperature=1e-3, gain=gain, method=method)
    np.testing.assert_allclose(soft, expected, rtol=1e-5)
    sharper = approx_ndcg(similarity, relevance, temperature=3e-4, gain=gain, method=method)
    np.testing.assert_allclose(sharper, expected, rtol=1e-9)


def trec_ndcg(similarity: Tensor, relevance: Tensor, measure: str) -> list[float]:
    """What trec_eval reports for each query."""
    names = [f"d{n}" for n in range(similarity.shape[1])]
    run = {f"q{q}": dict(zip(names, s, strict=True)) for q, s in enumerate(similarity.tolist())}
    qrels = {f"q{q}": dict(zip(names, map(int, y), strict=True)) for q, y in enumerate(relevance.tolist())}
    reported = pytest.importorskip("pytrec_eval").RelevanceEvaluator(qrels, {measure}).evaluate(run)
    return [reported[query][measure.replace(".", "_")] for query in run]


@pytest.mark.parametrize("k", [None, 5, 20], ids=lambda k: f"k{k}")
def test_without_ties_linear_ndcg_is_trec_evals(k):
    similarity, relevance = untied_lists(6, 40)
    expected = trec_ndcg(similarity, relevance, "ndcg" if k is None else f"ndcg_cut.{k}")
    np.testing.assert_allclose(ndcg(similarity, relevance, k=k), expected, rtol=1e-12)
    if k is None:
        soft = approx_ndcg(similarity, relevance, temperature=5e-4)
        np.testing.assert_allclose(soft, expected, rtol=1e-9)


# --- the exact metric --------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [None, 1, 2, 10, 5000], ids=lambda k: f"k{k}")
@every_gain
@pytest.mark.parametrize("size", [1, 2, 63, 64, 65], ids=lambda d: f"D{d}")
@every_kind
def test_exact_ndcg_is_that_of_the_definition(kind, size, gain, k):
    similarity, relevance = example(kind, size)
    value = ndcg(row(similarity), row(relevance), gain=gain, k=k)
    assert value.item() == pytest.approx(oracle.ndcg(similarity, relevance, gain=gain, k=k), rel=1e-12)


@given(pairs=lists, k=st.sampled_from([None, 1, 3, 50]), gain=st.sampled_from(GAINS))
def test_any_list_agrees_with_the_oracle(pairs, k, gain):
    similarity, relevance = columns_of(pairs)
    arguments = {"gain": gain, "k": k}
    value = ndcg(row(similarity), row(relevance), **arguments)
    expected = oracle.ndcg(similarity, relevance, **arguments)
    assert value.item() == pytest.approx(expected, rel=1e-12, nan_ok=True)
    soft = approx_ndcg(row(similarity), row(relevance), temperature=0.1, **arguments)
    expected = oracle.approx_ndcg(similarity, relevance, temperature=0.1, **arguments)
    assert soft.item() == pytest.approx(expected, rel=1e-9, nan_ok=True)


@given(
    pairs=st.lists(st.tuples(st.integers(-3, 3), st.sampled_from([0.0, 0.0, 0.5, 1.0, 3.0])), min_size=2, max_size=25),
    data=st.data(),
)
def test_with_ties_exact_dcg_and_ndcg_are_scikit_learns(pairs, data):
    """Tied documents share the first k places: the mean over all of their orders."""
    k = data.draw(st.one_of(st.none(), st.integers(1, len(pairs) + 2)))
    similarity, relevance = (row(values)[None] for values in columns_of(pairs))
    arguments = relevance.numpy(), similarity.numpy()
    assert dcg(similarity, relevance, k=k).item() == pytest.approx(dcg_score(*arguments, k=k), rel=1e-12)
    value = ndcg(similarity, relevance, k=k).nan_to_num(0).item()
    assert value == pytest.approx(ndcg_score(*arguments, k=k), rel=1e-12)
    assert value <= 1 + 1e-12


@given(
    pairs=st.lists(st.tuples(st.integers(-2, 2), grades), min_size=1, max_size=20), k=st.sampled_from([None, 1, 3, 9])
)
def test_ties_among_judged_documents_agree_with_the_oracle(pairs, k):
    similarity, relevance = columns_of(pairs)
    value = ndcg(row(similarity), row(relevance), k=k)
    assert value.item() == pytest.approx(oracle.ndcg(similarity, relevance, k=k), rel=1e-12, nan_ok=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("k", [None, 1, 5, 300], ids=lambda k: f"k{k}")
def test_documents_that_are_all_tied_are_worth_what_a_random_order_is(k, dtype):
    relevance = torch.randint(0, 4, (5, 4000)).to(dtype)
    relevance[torch.rand(5, 4000) < 0.3] = NAN
    tied = ndcg(torch.full((5, 4000), 0.3, dtype=dtype), relevance, k=k)
    rounding = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(tied, random_ndcg(relevance, k=k), rtol=rounding, atol=0)


def test_a_tie_of_relevant_documents_at_the_cutoff_is_perfect_and_no_better():
    assert ndcg(row([0.5, 0.5]), row([1.0, 1.0]), k=1).item() == 1
    assert ndcg(row([0.5] * 9), row([1.0] * 9), k=5).item() == pytest.approx(1, rel=1e-15)
    assert ndcg(row([0.5, 0.5]), row([1.0, 0.0]), k=1).item() == 0.5


def test_dcg_and_its_ideal_are_sums_of_discounted_gains():
    similarity, relevance = row([0.2, 0.9, 0.5, 0.7]), row([3.0, 0.0, 2.0, 1.0])
    log2 = math.log2
    assert dcg(similarity, relevance).item() == pytest.approx(1 / log2(3) + 2 / log2(4) + 3 / log2(5))
    assert dcg(similarity, relevance, k=3).item() == pytest.approx(1 / log2(3) + 2 / log2(4))
    assert dcg(similarity, relevance, k=1).item() == 0
    assert ideal_dcg(relevance).item() == pytest.approx(3 / log2(2) + 2 / log2(3) + 1 / log2(4))
    assert ideal_dcg(relevance, k=2).item() == pytest.approx(3 / log2(2) + 2 / log2(3))
    assert ndcg(similarity, relevance, k=3).item() == pytest.approx(
        (1 / log2(3) + 2 / log2(4)) / (3 / log2(2) + 2 / log2(3) + 1 / log2(4))
    )


@pytest.mark.parametrize("k", [None, 2], ids=lambda k: f"k{k}")
@every_gain
def test_dcg_over_its_ideal_is_ndcg(gain, k):
    similarity, relevance = torch.rand(4, 3, 9), torch.randint(1, 5, (4, 3, 9)).float()
    ratio = dcg(similarity, relevance, gain=gain, k=k) / ideal_dcg(relevance, gain=gain, k=k)
    assert ratio.shape == (4, 3)
    torch.testing.assert_close(ndcg(similarity, relevance, gain=gain, k=k), ratio)


def test_a_perfect_order_is_worth_one():
    relevance = row([3.0, 0.0, 1.0, 2.0, NAN])
    similarity = row([0.9, 0.1, 0.4, 0.6, 1.0])
    for k in (None, 1, 2, 4):
        assert ndcg(similarity, relevance, k=k).item() == 1
    assert approx_ndcg(similarity, relevance, temperature=1e-3).item() == pytest.approx(1, abs=1e-12)


# --- invariants --------------------------------------------------------------------------------------------


@every_method
@given(pairs=lists, temperature=st.floats(0.005, 2), gain=st.sampled_from(GAINS))
def test_soft_ndcg_never_exceeds_one(method, pairs, temperature, gain):
    """Soft ranks are an average over orders. With a cutoff it need not hold: 90 tied documents at k = 50."""
    similarity, relevance = (row(values) for values in columns_of(pairs))
    value = approx_ndcg(similarity, relevance, temperature=temperature, gain=gain, method=method).nan_to_num(0)
    assert 0 <= value.item() <= 1 + 1e-9


@every_method
@given(data=st.data(), pairs=lists)
def test_the_order_in_which_documents_are_given_does_not_matter(method, data, pairs):
    order = data.draw(st.permutations(range(len(pairs))))
    similarity, relevance = (row(values) for values in columns_of(pairs))
    value, gradient = value_and_gradient(similarity, relevance, temperature=0.1, method=method)
    permuted, permuted_gradient = value_and_gradient(
        similarity[order], relevance[order], temperature=0.1, method=method
    )
    torch.testing.assert_close(permuted, value, rtol=1e-11, atol=0, equal_nan=True)
    torch.testing.assert_close(permuted_gradient, gradient[order], rtol=1e-8, atol=1e-8)


@every_method
@given(pairs=lists, constant=st.floats(-5, 5))
def test_adding_a_constant_changes_nothing_so_gradients_sum_to_zero(method, pairs, constant):
    similarity, relevance = (row(values) for values in columns_of(pairs))
    value, gradient = value_and_gradient(similarity, relevance, temperature=0.1, method=method)
    shifted, _ = value_and_gradient(similarity + constant, relevance, temperature=0.1, method=method)
    torch.testing.assert_close(shifted, value, rtol=1e-9, atol=0, equal_nan=True)
    assert abs(gradient.sum().item()) <= 1e-9


@every_method
@given(pairs=lists, factor=st.floats(0.01, 100))
def test_scaling_similarities_and_temperature_together_changes_nothing(method, pairs, factor):
    similarity, relevance = (row(values) for values in columns_of(pairs))
    value, gradient = value_and_gradient(similarity, relevance, temperature=0.1, method=method)
    scaled, scaled_gradient = value_and_gradient(
        factor * similarity, relevance, temperature=factor * 0.1, method=method
    )
    torch.testing.assert_close(scaled, value, rtol=1e-9, atol=0, equal_nan=True)
    torch.testing.assert_close(factor * scaled_gradient, gradient, rtol=1e-8, atol=1e-8)


@given(pairs=lists, factor=st.floats(0.01, 100))
def test_linear_ndcg_does_not_depend_on_the_scale_of_the_grades(pairs, factor):
    similarity, relevance = (row(values) for values in columns_of(pairs))
    for metric in (ndcg, approx_ndcg):
        torch.testing.assert_close(
            metric(similarity, factor * relevance), metric(similarity, relevance), equal_nan=True
        )


@every_method
def test_permuting_documents_with_the_same_grade_and_tied_similarity_keeps_the_value(method):
    similarity, relevance = row([0.3, 0.5, 0.5, 0.1]), row([1.0, 2.0, 0.0, 0.0])
    swapped = relevance[[0, 2, 1, 3]]
    for k in (None, 2):
        value = approx_ndcg(similarity, relevance, temperature=0.05, k=k, method=method)
        other = approx_ndcg(similarity, swapped, temperature=0.05, k=k, method=method)
        assert value.item() == pytest.approx(other.item(), rel=1e-12)


# --- unjudged documents and queries without gain -----------------------------------------------------------


@pytest.mark.parametrize("k", [None, 3], ids=lambda k: f"k{k}")
@every_method
def test_an_unjudged_document_is_as_good_as_absent(method, k):
    similarity, relevance = torch.rand(4, 65, dtype=torch.float64), torch.randint(0, 4, (4, 65)).double()
    relevance[torch.rand(4, 65) < 0.5] = NAN
    arguments = {"temperature": 0.05, "k": k, "method": method}
    value, gradient = value_and_gradient(similarity, relevance, **arguments)
    for query in range(4):
        keep = ~relevance[query].isnan()
        alone, gradient_alone = value_and_gradient(similarity[query, keep], relevance[query, keep], **arguments)
        torch.testing.assert_close(value[query], alone, rtol=1e-10, atol=0)
        torch.testing.assert_close(gradient[query, keep], gradient_alone, rtol=1e-8, atol=1e-9)
        assert ndcg(similarity, relevance, k=k)[query].item() == pytest.approx(
            ndcg(similarity[query, keep], relevance[query, keep], k=k).item(), rel=1e-12
        )
    assert (gradient[relevance.isnan()] == 0).all()
    assert (gradient[~relevance.isnan()] != 0).float().mean() > 0.9


@every_method
def test_the_similarity_of_an_unjudged_document_does_not_matter(method):
    similarity, relevance = torch.rand(2, 30), torch.randint(0, 3, (2, 30)).float()
    relevance[:, 4] = NAN
    value, gradient = value_and_gradient(similarity, relevance, method=method)
    exact = ndcg(similarity, relevance)
    for wild in (1e30, -1e30, math.inf, -math.inf, NAN):
        similarity[:, 4] = wild
        same_value, same_gradient = value_and_gradient(similarity, relevance, method=method)
        assert torch.equal(same_value, value)
        assert torch.equal(same_gradient, gradient)
        assert torch.equal(ndcg(similarity, relevance), exact)
    assert gradient.norm() > 0.01


NOTHING_RELEVANT = {"zeros": [0.0, 0.0, 0.0], "unjudged": [NAN, NAN, NAN], "both": [0.0, NAN, 0.0]}


@pytest.mark.parametrize("nothing", NOTHING_RELEVANT.values(), ids=NOTHING_RELEVANT.keys())
@pytest.mark.parametrize("k", [None, 2], ids=lambda k: f"k{k}")
@every_gain
@every_method
def test_a_query_without_gain_has_a_zero_gradient_whatever_is_sent_back(method, gain, k, nothing):
    """The classic trap: where(ideal > 0, dcg / ideal, 0) has the right value and a NaN gradient."""
    relevance = torch.tensor([nothing, [0.0, 2.0, 1.0]])
    similarity = torch.tensor([[0.3, 0.2, 0.1], [0.3, 0.2, 0.1]], requires_grad=True)
    value = approx_ndcg(similarity, relevance, gain=gain, k=k, method=method)
    assert value[0].isnan()
    value.backward(torch.ones(2))
    assert similarity.grad[0].tolist() == [0, 0, 0]
    assert similarity.grad[1].isfinite().all()
    assert similarity.grad[1].norm() > 0.1


@every_gain
def test_a_batch_without_gain_is_still_connected_to_the_graph(gain):
    similarity = torch.rand(2, 4, requires_grad=True)
    value = approx_ndcg(similarity, torch.zeros(2, 4), gain=gain)
    value.sum().backward()
    assert value.isnan().all()
    assert similarity.grad.tolist() == [[0.0] * 4] * 2


def test_the_mean_of_skipped_queries_is_that_of_the_others():
    similarity, relevance = torch.rand(3, 4), torch.tensor([[0.0] * 4, [1.0, 0, 0, 0], [0, 2.0, 0, 1]])
    for metric in (ndcg, approx_ndcg):
        value = metric(similarity, relevance)
        assert value.isnan().tolist() == [True, False, False]
        assert value.nanmean().item() == pytest.approx(metric(similarity[1:], relevance[1:]).mean().item())


# --- gains and cutoffs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("top", [1, 17, 100, 128, 1000, 60_000], ids=lambda y: f"grade{y}")
def test_the_exponential_gain_is_finite_at_any_grade(top, dtype):
    """2^60000 - 1 overflows every dtype; beside it, a document one grade below gains one half."""
    similarity = torch.tensor([[0.1, 0.2, 0.3]], dtype=dtype, requires_grad=True)
    relevance = torch.tensor([[float(top), float(top - 1), 0.0]])
    half = (2 ** (min(top, 60) - 1) - 1) / (2 ** min(top, 60) - 1)
    ideal = 1 + half / math.log2(3)
    value = ndcg(similarity, relevance, gain="exponential")
    expected = (1 / math.log2(4) + half / math.log2(3)) / ideal
    assert value.item() == pytest.approx(expected, rel=1e-6)
    soft = approx_ndcg(similarity, relevance, gain="exponential", temperature=0.1)
    ranks = [r.item() for r in soft_rank(similarity.detach().double(), 0.1)[0]]
    expected = (1 / math.log2(1 + ranks[0]) + half / math.log2(1 + ranks[1])) / ideal
    assert soft.item() == pytest.approx(expected, rel=1e-5)
    soft.sum().backward()
    assert similarity.grad.isfinite().all()
    assert similarity.grad.norm() > 0.1


def test_a_gain_of_your_own_is_applied_to_the_grades():
    similarity, relevance = torch.rand(3, 8), torch.randint(0, 4, (3, 8)).float()
    relevance[:, 0], relevance[1, 3] = 2, NAN
    for metric in (ndcg, approx_ndcg):
        squared = metric(similarity, relevance, gain=torch.square)
        torch.testing.assert_close(squared, metric(similarity, relevance**2))
        assert not torch.allclose(squared, metric(similarity, relevance))


@every_method
def test_a_relevant_document_below_the_cutoff_still_gets_a_gradient(method):
    """A hard cut at k would give none: the document could never climb back."""
    k = 5
    similarity = torch.linspace(1, 0, 20, dtype=torch.float64)
    relevance = torch.zeros(20, dtype=torch.float64)
    relevance[k + 5 - 1] = 1  # rank k + 5
    value, gradient = value_and_gradient(similarity, relevance, temperature=0.05, k=k, method=method)
    assert gradient[k + 5 - 1] > 1e-3
    assert 0 < value < 0.1
    assert ndcg(similarity, relevance, k=k).item() == 0


@every_method
def test_a_cutoff_far_beyond_the_list_changes_nothing(method):
    similarity, relevance = torch.rand(3, 20, dtype=torch.float64), torch.randint(1, 4, (3, 20)).double()
    whole = approx_ndcg(similarity, relevance, method=method)
    torch.testing.assert_close(approx_ndcg(similarity, relevance, k=10_000, method=method), whole, rtol=1e-12, atol=0)
    assert (approx_ndcg(similarity, relevance, k=3, method=method) != whole).all()


# --- shapes and dtypes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(7,), (1, 7), (2, 3, 7), (0, 7)], ids=str)
def test_leading_dimensions_are_a_batch(shape):
    similarity, relevance = torch.rand(shape), torch.randint(0, 3, shape).float()
    for metric in (ndcg, approx_ndcg):
        value = metric(similarity, relevance)
        assert value.shape == shape[:-1]
        rows = zip(similarity.reshape(-1, 7), relevance.reshape(-1, 7), strict=True)
        one_by_one = torch.tensor([metric(s, y).item() for s, y in rows])
        torch.testing.assert_close(value.flatten(), one_by_one, equal_nan=True)


def test_strides_do_not_matter():
    base, grades = torch.rand(6, 4, dtype=torch.float64), torch.randint(0, 3, (6, 4)).double()
    similarity, relevance = base.T, grades.T
    value, gradient = value_and_gradient(similarity, relevance)
    plain, plain_gradient = value_and_gradient(similarity.contiguous(), relevance.contiguous())
    torch.testing.assert_close(value, plain, equal_nan=True)
    torch.testing.assert_close(gradient, plain_gradient)
    torch.testing.assert_close(ndcg(similarity, relevance), ndcg(similarity.contiguous(), relevance), equal_nan=True)
    assert plain_gradient.norm() > 0.1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@every_method
def test_half_precision_is_computed_in_float32(method, dtype):
    similarity, relevance = torch.rand(3, 200).to(dtype), torch.randint(0, 4, (3, 200)).float()
    value, gradient = value_and_gradient(similarity, relevance, method=method)
    full, full_gradient = value_and_gradient(similarity.float(), relevance, method=method)
    assert value.dtype == torch.float32
    assert torch.equal(value, full)
    assert torch.equal(gradient, full_gradient.to(dtype))
    assert gradient.norm() > 0.01


@every_method
def test_autocast_changes_nothing(method):
    similarity, relevance = torch.rand(3, 65), torch.randint(0, 4, (3, 65)).float()
    plain, plain_gradient = value_and_gradient(similarity, relevance, k=5, method=method)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, gradient = value_and_gradient(similarity, relevance, k=5, method=method)
    assert torch.equal(value, plain)
    assert torch.equal(gradient, plain_gradient)


def test_grades_may_be_of_another_dtype_than_similarities():
    similarity = torch.rand(2, 5)
    grades = torch.tensor([[0.0, 1.0, 2.0, 0.0, 3.0], [1.0, 0.0, 0.0, 0.0, 1.0]])
    for metric in (ndcg, approx_ndcg):
        expected = metric(similarity, grades)
        for dtype in (torch.float16, torch.bfloat16, torch.float64):
            torch.testing.assert_close(metric(similarity, grades.to(dtype)), expected, check_dtype=False)


@pytest.mark.parametrize("size", [64, 1000], ids=lambda d: f"D{d}")
def test_all_methods_agree_in_float32(size):
    similarity, relevance = torch.rand(3, size), (torch.rand(3, size) < 0.2).float()
    results = {method: value_and_gradient(similarity, relevance, temperature=0.02, method=method) for method in METHODS}
    value, gradient = results.pop("dense")
    for other, other_gradient in results.values():
        torch.testing.assert_close(other, value, rtol=1e-5, atol=0)
        assert (other_gradient - gradient).norm() <= 1e-5 * gradient.norm()
    assert gradient.norm() > 0.01


# --- bad input ---------------------------------------------------------------------------------------------

WRONG = {
    "temperature-zero": ({"temperature": 0.0}, ["temperature", "0.0"]),
    "temperature-negative": ({"temperature": -1.0}, ["temperature", "-1.0"]),
    "temperature-nan": ({"temperature": NAN}, ["temperature", "nan"]),
    "temperature-inf": ({"temperature": math.inf}, ["temperature", "inf"]),
    "cutoff-temperature": ({"k": 5, "cutoff_temperature": 0.0}, ["cutoff_temperature", "0.0"]),
    "method-unknown": ({"method": "fast"}, ["method", "'fast'", "grid"]),
    "k-zero": ({"k": 0}, ["k ", "0"]),
    "k-negative": ({"k": -3}, ["k ", "-3"]),
    "k-fraction": ({"k": 2.5}, ["k ", "2.5"]),
    "gain-unknown": ({"gain": "quadratic"}, ["gain", "'quadratic'", "linear", "exponential"]),
    "relevance-negative": ({"relevance": torch.tensor([[1.0, -1.0, 0.0]])}, ["relevance", "-1.0"]),
    "relevance-inf": ({"relevance": torch.tensor([[1.0, math.inf, 0.0]])}, ["relevance", "inf"]),
    "relevance-integer": ({"relevance": torch.tensor([[1, 0, 2]])}, ["relevance", "int64"]),
    "similarity-integer": ({"similarity": torch.tensor([[1, 0, 2]])}, ["similarity", "int64"]),
    "relevance-shape": ({"relevance": torch.ones(1, 4)}, ["relevance", "(1, 4)", "(1, 3)"]),
    "relevance-batch": ({"relevance": torch.ones(3)}, ["relevance", "(3,)", "(1, 3)"]),
    "similarity-nan": ({"similarity": torch.tensor([[0.1, NAN, 0.3]])}, ["similarity", "nan"]),
    "similarity-inf": ({"similarity": torch.tensor([[0.1, -math.inf, 0.3]])}, ["similarity", "inf"]),
}
ONLY_SOFT = {"temperature", "cutoff_temperature", "method"}


@pytest.mark.parametrize(("wrong", "fragments"), WRONG.values(), ids=WRONG.keys())
def test_wrong_input_is_named_with_its_value(wrong, fragments):
    right = {"similarity": torch.tensor([[0.1, 0.5, 0.3]]), "relevance": torch.tensor([[1.0, 0.0, 2.0]])}
    for metric in (approx_ndcg,) if ONLY_SOFT & wrong.keys() else (approx_ndcg, ndcg):
        with pytest.raises((ValueError, TypeError)) as error:
            metric(**right | wrong)
        for fragment in fragments:
            assert fragment in str(error.value)


# --- on a GPU ----------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("k", [None, 10], ids=lambda k: f"k{k}")
@every_method
def test_a_gpu_gives_the_cpu_values_and_gradients(method, k, cuda):
    similarity, relevance = torch.rand(5, 1000), torch.randint(0, 4, (5, 1000)).float()
    relevance[torch.rand(5, 1000) < 0.3] = NAN
    expected, expected_gradient = value_and_gradient(similarity.double(), relevance, k=k, method="dense")
    value, gradient = value_and_gradient(similarity.to(cuda), relevance.to(cuda), k=k, method=method)
    # The cutoff turns a rank's absolute error of 1e-3 into a relative one of the same size.
    tolerance = 1e-5 if k is None else 1e-4
    torch.testing.assert_close(value.cpu().double(), expected, rtol=tolerance, atol=0)
    assert (gradient.cpu() - expected_gradient).norm() <= tolerance * expected_gradient.norm()
