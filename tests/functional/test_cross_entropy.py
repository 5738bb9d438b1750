"""Softmax cross-entropy against graded targets: the definition, its invariants, policies and bad input."""

from __future__ import annotations

import functools
import math

import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from torch import Tensor

from st_rankloss.functional.cross_entropy import softmax_cross_entropy
from tests import oracle

NAN = math.nan
GAINS = ["linear", "exponential"]
every_gain = pytest.mark.parametrize("gain", GAINS)
grades = st.sampled_from([0.0, 0.0, 0.5, 1.0, 3.0, NAN])
lists = st.lists(st.tuples(st.floats(-1, 1), grades), min_size=1, max_size=30)


def row(values: list[float]) -> Tensor:
    """A float64 list."""
    return torch.tensor(values, dtype=torch.float64)


def value_and_gradient(similarity: Tensor, relevance: Tensor, **options) -> tuple[Tensor, Tensor]:
    """The cross-entropy and the gradient of its sum over the queries that have one."""
    similarity = similarity.detach().requires_grad_()
    value = softmax_cross_entropy(similarity, relevance, **options)
    (gradient,) = torch.autograd.grad(value.nansum(), similarity)
    return value.detach(), gradient


@functools.cache
def example(size: int, unjudged: bool) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Similarities in [-1, 1) and grades of one query."""
    draws = torch.rand(3, size, dtype=torch.float64, generator=torch.Generator().manual_seed(size))
    relevance = (4 * draws[1]).floor()
    if unjudged:
        relevance[draws[2] < 0.3] = NAN
    relevance[0] = 1
    return tuple((2 * draws[0] - 1).tolist()), tuple(relevance.tolist())


@pytest.mark.parametrize("unjudged", [False, True], ids=["judged", "unjudged"])
@every_gain
@pytest.mark.parametrize("temperature", [0.02, 0.5], ids=lambda t: f"tau{t}")
@pytest.mark.parametrize("size", [1, 2, 63, 64, 65, 1000], ids=lambda d: f"D{d}")
def test_the_value_and_gradient_are_those_of_the_definition(size, temperature, gain, unjudged):
    similarity, relevance = example(size, unjudged)
    value, gradient = value_and_gradient(row(similarity), row(relevance), temperature=temperature, gain=gain)
    arguments = {"temperature": temperature, "gain": gain}
    assert value.shape == ()
    assert value.item() == pytest.approx(
        oracle.softmax_cross_entropy(similarity, relevance, **arguments), rel=1e-12, abs=1e-14
    )
    if size < 1000:
        expected = oracle.slope(
            lambda s: oracle.softmax_cross_entropy(s, relevance, **arguments), similarity, step=1e-4
        )
        torch.testing.assert_close(gradient, row(expected), rtol=1e-6, atol=1e-7)
    assert (gradient[row(relevance).isnan()] == 0).all()
    assert size == 1 or gradient.norm() > 0.01


def test_the_terms_are_written_out():
    value = softmax_cross_entropy(row([0.2, 0.5, 0.1]), row([3.0, 0.0, 1.0]), temperature=0.1)
    total = math.exp(2) + math.exp(5) + math.exp(1)
    expected = -(3 / 4 * math.log(math.exp(2) / total) + 1 / 4 * math.log(math.exp(1) / total))
    assert value.item() == pytest.approx(expected, rel=1e-12)


def test_one_relevant_document_makes_it_the_usual_cross_entropy():
    similarity, target = torch.randn(8, 20), torch.arange(8)
    value = softmax_cross_entropy(similarity, 5 * F.one_hot(target, 20).float(), temperature=0.05)
    torch.testing.assert_close(value, F.cross_entropy(similarity / 0.05, target, reduction="none"))


@every_gain
def test_gradcheck_holds_in_float64(gain):
    relevance = torch.tensor([[3.0, 0.0, 1.0, NAN], [0.0, NAN, 0.0, 1.0]])
    similarity = torch.rand(2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda s: softmax_cross_entropy(s, relevance, temperature=0.2, gain=gain), similarity
    )


@given(pairs=lists, constant=st.floats(-5, 5), factor=st.floats(0.01, 100), gain=st.sampled_from(GAINS))
def test_shift_and_common_scale_change_nothing_and_gradients_sum_to_zero(pairs, constant, factor, gain):
    similarity, relevance = row([s for s, _ in pairs]), row([y for _, y in pairs])
    value, gradient = value_and_gradient(similarity, relevance, temperature=0.1, gain=gain)
    shifted, _ = value_and_gradient(similarity + constant, relevance, temperature=0.1, gain=gain)
    scaled, _ = value_and_gradient(factor * similarity, relevance, temperature=factor * 0.1, gain=gain)
    torch.testing.assert_close(shifted, value, rtol=1e-9, atol=1e-10, equal_nan=True)
    torch.testing.assert_close(scaled, value, rtol=1e-9, atol=1e-10, equal_nan=True)
    assert abs(gradient.sum().item()) <= 1e-11
    assert value.isnan() or value >= -1e-12


@given(pairs=lists)
def test_it_is_least_where_the_softmax_equals_the_gains(pairs):
    relevance = row([y for _, y in pairs]).nan_to_num(0) + 0.1
    best = 0.1 * relevance.log()
    least = softmax_cross_entropy(best, relevance, temperature=0.1)
    other = softmax_cross_entropy(row([s for s, _ in pairs]), relevance, temperature=0.1)
    targets = relevance / relevance.sum()
    assert least.item() == pytest.approx(-(targets * targets.log()).sum().item(), rel=1e-9, abs=1e-12)
    assert other >= least - 1e-12


def test_an_unjudged_document_is_as_good_as_absent():
    similarity, relevance = torch.rand(4, 30, dtype=torch.float64), torch.randint(0, 4, (4, 30)).double()
    relevance[torch.rand(4, 30) < 0.4] = NAN
    value, gradient = value_and_gradient(similarity, relevance)
    for wild in (1e30, -math.inf, NAN):
        wild_value, wild_gradient = value_and_gradient(torch.where(relevance.isnan(), wild, similarity), relevance)
        assert torch.equal(wild_value, value)
        assert torch.equal(wild_gradient, gradient)
    for query in range(4):
        keep = ~relevance[query].isnan()
        alone, gradient_alone = value_and_gradient(similarity[query, keep], relevance[query, keep])
        torch.testing.assert_close(value[query], alone)
        torch.testing.assert_close(gradient[query, keep], gradient_alone)
    assert (gradient[relevance.isnan()] == 0).all()
    assert gradient.norm() > 1


@pytest.mark.parametrize("nothing", [[0.0, 0.0], [NAN, NAN], [0.0, NAN]], ids=["zeros", "unjudged", "both"])
@every_gain
def test_a_query_without_gain_has_a_zero_gradient_whatever_is_sent_back(gain, nothing):
    relevance = torch.tensor([nothing, [0.0, 1.0]])
    similarity = torch.tensor([[0.3, 0.2], [0.3, 0.2]], requires_grad=True)
    value = softmax_cross_entropy(similarity, relevance, gain=gain)
    assert value[0].isnan()
    value.backward(torch.ones(2))
    assert similarity.grad[0].tolist() == [0, 0]
    assert similarity.grad[1].norm() > 1


@pytest.mark.parametrize("temperature", [1e-6, 1e6], ids=lambda t: f"tau{t}")
def test_extreme_temperatures_and_grades_stay_finite(temperature):
    relevance = torch.tensor([[1000.0, 999.0, 0.0, NAN]])
    value, gradient = value_and_gradient(
        torch.tensor([[0.1, 0.9, 0.5, 0.2]]), relevance, temperature=temperature, gain="exponential"
    )
    assert value.isfinite().all()
    assert gradient.isfinite().all()
    # the gains 2^1000 - 1 : 2^999 - 1 : 0 are 2/3 : 1/3 : 0; the top grade lies 0.8 below the best similarity
    expected = 2 / 3 * 0.8 / temperature if temperature < 1 else math.log(3)
    assert value.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("shape", [(7,), (2, 3, 7), (0, 7)], ids=str)
def test_leading_dimensions_are_a_batch(shape):
    similarity, relevance = torch.rand(shape), torch.randint(1, 3, shape).float()
    value = softmax_cross_entropy(similarity, relevance)
    assert value.shape == shape[:-1]
    rows = zip(similarity.reshape(-1, 7), relevance.reshape(-1, 7), strict=True)
    one_by_one = torch.tensor([softmax_cross_entropy(s, y).item() for s, y in rows])
    torch.testing.assert_close(value.flatten(), one_by_one)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_and_autocast_are_computed_in_float32(dtype):
    similarity, relevance = torch.rand(3, 200).to(dtype), torch.randint(0, 4, (3, 200)).float()
    full, full_gradient = value_and_gradient(similarity.float(), relevance)
    value, gradient = value_and_gradient(similarity, relevance)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast, cast_gradient = value_and_gradient(similarity, relevance)
    for v, g in ((value, gradient), (cast, cast_gradient)):
        assert v.dtype == torch.float32
        assert torch.equal(v, full)
        assert torch.equal(g, full_gradient.to(dtype))
    assert gradient.norm() > 0.1


def test_strides_do_not_matter():
    similarity, relevance = torch.rand(6, 4, dtype=torch.float64).T, torch.randint(1, 3, (6, 4)).double().T
    value, gradient = value_and_gradient(similarity, relevance)
    plain, plain_gradient = value_and_gradient(similarity.contiguous(), relevance.contiguous())
    torch.testing.assert_close(value, plain)
    torch.testing.assert_close(gradient, plain_gradient)


WRONG = {
    "temperature-zero": ({"temperature": 0.0}, ["temperature", "0.0"]),
    "temperature-negative": ({"temperature": -1.0}, ["temperature", "-1.0"]),
    "temperature-nan": ({"temperature": NAN}, ["temperature", "nan"]),
    "temperature-inf": ({"temperature": math.inf}, ["temperature", "inf"]),
    "gain-unknown": ({"gain": "quadratic"}, ["gain", "'quadratic'", "linear", "exponential"]),
    "relevance-negative": ({"relevance": torch.tensor([[1.0, -1.0, 0.0]])}, ["relevance", "-1.0"]),
    "relevance-inf": ({"relevance": torch.tensor([[1.0, math.inf, 0.0]])}, ["relevance", "inf"]),
    "relevance-integer": ({"relevance": torch.tensor([[1, 0, 2]])}, ["relevance", "int64"]),
    "relevance-shape": ({"relevance": torch.ones(1, 4)}, ["relevance", "(1, 4)", "(1, 3)"]),
    "similarity-nan": ({"similarity": torch.tensor([[0.1, NAN, 0.3]])}, ["similarity", "nan"]),
    "similarity-inf": ({"similarity": torch.tensor([[0.1, math.inf, 0.3]])}, ["similarity", "inf"]),
}


@pytest.mark.parametrize(("wrong", "fragments"), WRONG.values(), ids=WRONG.keys())
def test_wrong_input_is_named_with_its_value(wrong, fragments):
    right = {"similarity": torch.tensor([[0.1, 0.5, 0.3]]), "relevance": torch.tensor([[1.0, 0.0, 2.0]])}
    with pytest.raises((ValueError, TypeError)) as error:
        softmax_cross_entropy(**right | wrong)
    for fragment in fragments:
        assert fragment in str(error.value)
