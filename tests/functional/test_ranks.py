"""Exact and soft ranks: the definition, its invariants, what is left out, dtypes and bad input."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import assume, given
from scipy.stats import rankdata
from torch import Tensor

from st_rankloss.functional.ranks import exact_ranks, soft_rank
from tests import oracle

METHODS = ["dense", "relevant", "grid", "auto"]
every_method = pytest.mark.parametrize("method", METHODS)
temperatures = st.floats(0.005, 2)
lists_of_similarities = st.lists(st.floats(-1, 1), min_size=1, max_size=40)


def ranks_and_gradient(similarity: Tensor, temperature: float, upstream: Tensor, **options) -> tuple:
    """Soft ranks, and the gradient of ``upstream`` times the finite ones."""
    similarity = similarity.detach().requires_grad_()
    ranks = soft_rank(similarity, temperature, **options)
    total = torch.where(ranks.isfinite(), ranks, 0).mul(upstream).sum()
    (gradient,) = torch.autograd.grad(total, similarity)
    return ranks.detach(), gradient


def row(values: list[float]) -> Tensor:
    """A float64 list."""
    return torch.tensor(values, dtype=torch.float64)


# --- exact ranks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 63, 64, 65, 1000], ids=lambda d: f"D{d}")
def test_exact_ranks_count_the_documents_above_and_halve_the_ties(size):
    similarity = torch.randint(0, max(2, size // 3), (size,)) / 7
    ranks = exact_ranks(similarity)
    assert ranks.tolist() == oracle.exact_ranks(similarity.tolist())
    assert ranks.tolist() == rankdata([-s for s in similarity.tolist()], method="average").tolist()


def test_exact_ranks_leave_out_masked_and_unwanted_documents():
    similarity = row([0.1, 0.9, 0.5, 0.5, 0.7])
    mask = torch.tensor([True, False, True, True, True])
    wanted = torch.tensor([True, True, True, False, True])
    assert exact_ranks(similarity).tolist() == [5, 1, 3.5, 3.5, 2]
    assert exact_ranks(similarity, mask=mask).tolist() == [4, math.inf, 2.5, 2.5, 1]
    assert exact_ranks(similarity, wanted=wanted).tolist() == [5, 1, 3.5, math.inf, 2]
    assert exact_ranks(similarity, mask=mask, wanted=wanted).tolist() == [4, math.inf, 2.5, math.inf, 1]


@given(st.data(), st.lists(st.sampled_from([-1.0, -0.5, -0.0, 0.0, 0.25, 1.0]), min_size=1, max_size=12))
def test_exact_ranks_agree_with_the_oracle_on_any_list(data, values):
    flags = st.lists(st.booleans(), min_size=len(values), max_size=len(values))
    mask, wanted = data.draw(flags), data.draw(flags)
    ranks = exact_ranks(row(values), mask=torch.tensor(mask), wanted=torch.tensor(wanted))
    assert ranks.tolist() == oracle.exact_ranks(values, mask=mask, wanted=wanted)


def test_exact_ranks_work_on_any_batch_and_stride():
    similarity = torch.randint(0, 5, (4, 3, 7)).double()
    ranks = exact_ranks(similarity.permute(1, 2, 0))
    assert ranks.shape == (3, 7, 4)
    for a in range(3):
        for b in range(7):
            assert ranks[a, b].tolist() == oracle.exact_ranks(similarity[:, a, b].tolist())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_exact_ranks_of_any_dtype_are_exact(dtype):
    """Half-precision cannot hold rank 999.5: the ranks come in float32."""
    similarity = (torch.arange(1000) // 2 / 500).to(dtype)
    ranks = exact_ranks(similarity)
    assert ranks.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert ranks.tolist() == oracle.exact_ranks(similarity.tolist())


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 5), (0, 0)], ids=str)
def test_exact_ranks_of_nothing_are_empty(shape):
    assert exact_ranks(torch.zeros(shape)).shape == shape


@pytest.mark.parametrize(
    ("wrong", "fragments"),
    [
        ({"similarity": torch.tensor([0.1, math.nan])}, ["similarity", "nan"]),
        ({"similarity": torch.tensor([1, 2])}, ["similarity", "int64"]),
        ({"mask": torch.ones(3, dtype=torch.bool)}, ["mask", "(3,)", "(2,)"]),
        ({"wanted": torch.ones(1, 2, dtype=torch.bool)}, ["wanted", "(1, 2)", "(2,)"]),
    ],
    ids=["nan", "integer", "mask-shape", "wanted-shape"],
)
def test_wrong_input_to_exact_ranks_is_named_with_its_value(wrong, fragments):
    with pytest.raises((ValueError, TypeError)) as error:
        exact_ranks(**{"similarity": torch.tensor([0.1, 0.5])} | wrong)
    for fragment in fragments:
        assert fragment in str(error.value)


# --- soft ranks are their definition -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [(), ("weights",), ("mask",), ("wanted",), ("weights", "mask", "wanted")],
    ids=lambda names: "+".join(names) or "plain",
)
@pytest.mark.parametrize("size", [1, 2, 63, 64, 65], ids=lambda d: f"D{d}")
@every_method
def test_soft_ranks_and_gradients_are_those_of_the_definition(method, size, names):
    draws = torch.rand(5, size, dtype=torch.float64, generator=torch.Generator().manual_seed(size))
    similarity, upstream = 2 * draws[0] - 1, draws[1] - 0.5
    every = {"weights": 3 * draws[2], "mask": draws[3] < 0.8, "wanted": draws[4] < 0.3}
    every["mask"][0] = every["wanted"][0] = True
    options = {name: every[name] for name in names}
    ranks, gradient = ranks_and_gradient(similarity, 0.1, upstream, method=method, **options)

    lists = {name: option.tolist() for name, option in options.items()}
    expected_ranks = row(oracle.soft_ranks(similarity.tolist(), 0.1, **lists))
    expected = row(oracle.soft_ranks_gradient(similarity.tolist(), upstream.tolist(), 0.1, **lists))
    torch.testing.assert_close(ranks, expected_ranks, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(gradient, expected, rtol=1e-8, atol=1e-8)
    assert size <= 2 or expected.norm() > 0.1, "the line above would prove nothing"


@pytest.mark.parametrize("names", [(), ("weights", "mask", "wanted")], ids=["plain", "weights+mask+wanted"])
@pytest.mark.parametrize("temperature", [0.05, 0.5], ids=lambda t: f"tau{t}")
@every_method
def test_gradcheck_holds_with_every_option(method, temperature, names):
    every = {
        "weights": torch.rand(3, 8, dtype=torch.float64) * 2,
        "mask": torch.rand(3, 8) < 0.7,
        "wanted": torch.rand(3, 8) < 0.5,
    }
    options = {name: every[name] for name in names}

    def finite_ranks(similarity: Tensor) -> Tensor:
        ranks = soft_rank(similarity, temperature, method=method, **options)
        return torch.where(ranks.isfinite(), ranks, 0)

    similarity = torch.rand(3, 8, dtype=torch.float64, requires_grad=True)
    assert finite_ranks(similarity).sum() > 8
    assert torch.autograd.gradcheck(finite_ranks, similarity, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("size", [2, 63, 1000], ids=lambda d: f"D{d}")
@every_method
def test_a_tiny_temperature_gives_the_exact_ranks_ties_included(method, size):
    similarity = torch.randint(0, max(2, size // 2), (3, size)).double() / size
    assert similarity.unique().numel() < 3 * size, "there must be ties"
    torch.testing.assert_close(
        soft_rank(similarity, 1e-3 / size, method=method), exact_ranks(similarity), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("size", [1, 2, 65], ids=lambda d: f"D{d}")
@every_method
def test_a_huge_temperature_gives_every_document_the_middle_rank(method, size):
    ranks, gradient = ranks_and_gradient(torch.rand(2, size), 1e6, torch.rand(2, size), method=method)
    torch.testing.assert_close(ranks, torch.full((2, size), (size + 1) / 2), rtol=1e-5, atol=0)
    assert gradient.abs().max() <= size / (4 * 1e6)


@pytest.mark.parametrize("temperature", [1e-30, 1e-6, 1e30], ids=lambda t: f"tau{t}")
@every_method
def test_extreme_temperatures_give_finite_ranks_and_gradients(method, temperature):
    ranks, gradient = ranks_and_gradient(torch.rand(2, 65), temperature, torch.rand(2, 65), method=method)
    assert ranks.min() >= 1 - 1e-3
    assert ranks.max() <= 65 + 1e-3
    assert gradient.isfinite().all()


@every_method
def test_one_query_with_an_outlier_does_not_disturb_the_queries_beside_it(method):
    """A million temperatures of range in one row: no method may let the other rows' ranks go."""
    similarity, upstream = torch.rand(3, 200), torch.rand(3, 200)
    alone, gradient_alone = ranks_and_gradient(similarity, 0.05, upstream, method="relevant")
    similarity[1, 7] = 5e4
    ranks, gradient = ranks_and_gradient(similarity, 0.05, upstream, method=method)
    for query in (0, 2):
        torch.testing.assert_close(ranks[query], alone[query], rtol=0, atol=1e-6 * 200)
        torch.testing.assert_close(gradient[query], gradient_alone[query], rtol=1e-4, atol=1e-2)
    assert gradient_alone.abs().max() > 1


# --- invariants --------------------------------------------------------------------------------------------


@every_method
@given(values=lists_of_similarities, temperature=temperatures)
def test_ranks_sum_to_those_of_a_list(method, values, temperature):
    size = len(values)
    ranks = soft_rank(row(values), temperature, method=method)
    assert ranks.sum().item() == pytest.approx(size * (size + 1) / 2, rel=1e-11)
    assert ranks.min() >= 1 - 1e-9
    assert ranks.max() <= size + 1e-9


@every_method
@given(data=st.data(), values=lists_of_similarities, temperature=temperatures)
def test_permuting_the_documents_permutes_ranks_and_gradients(method, data, values, temperature):
    order = data.draw(st.permutations(range(len(values))))
    similarity, upstream = row(values), torch.linspace(-1, 2, len(values), dtype=torch.float64)
    ranks, gradient = ranks_and_gradient(similarity, temperature, upstream, method=method)
    permuted, permuted_gradient = ranks_and_gradient(similarity[order], temperature, upstream[order], method=method)
    torch.testing.assert_close(permuted, ranks[order], rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(permuted_gradient, gradient[order], rtol=1e-9, atol=1e-9 / temperature)


@every_method
@given(values=lists_of_similarities, temperature=temperatures, constant=st.floats(-10, 10))
def test_adding_a_constant_changes_nothing_so_gradients_sum_to_zero(method, values, temperature, constant):
    similarity, upstream = row(values), torch.linspace(-1, 2, len(values), dtype=torch.float64)
    ranks, gradient = ranks_and_gradient(similarity, temperature, upstream, method=method)
    shifted, _ = ranks_and_gradient(similarity + constant, temperature, upstream, method=method)
    torch.testing.assert_close(shifted, ranks, rtol=0, atol=1e-9)
    assert abs(gradient.sum().item()) <= 1e-9 * (gradient.abs().sum().item() + 1 / temperature)


@every_method
@given(values=lists_of_similarities, temperature=temperatures, factor=st.floats(0.01, 100))
def test_scaling_similarities_and_temperature_together_changes_nothing(method, values, temperature, factor):
    upstream = torch.linspace(-1, 2, len(values), dtype=torch.float64)
    ranks, gradient = ranks_and_gradient(row(values), temperature, upstream, method=method)
    scaled, scaled_gradient = ranks_and_gradient(factor * row(values), factor * temperature, upstream, method=method)
    torch.testing.assert_close(scaled, ranks, rtol=0, atol=1e-9)
    torch.testing.assert_close(factor * scaled_gradient, gradient, rtol=1e-8, atol=1e-8 / temperature)


@every_method
@given(values=st.lists(st.floats(-1, 1), min_size=2, max_size=10), temperature=st.floats(0.05, 1))
def test_a_higher_similarity_never_has_a_later_rank(method, values, temperature):
    ranks = soft_rank(row(values), temperature, method=method)
    best_first = row(values).argsort(descending=True)
    assert (ranks[best_first].diff() >= -1e-9).all()


# --- what is not in the list, and what needs no rank -------------------------------------------------------


@every_method
@given(data=st.data(), values=st.lists(st.floats(-1, 1), min_size=2, max_size=30))
def test_masking_a_document_equals_removing_it(method, data, values):
    keep = torch.tensor(data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values))))
    assume(keep.any())
    similarity, upstream = row(values), torch.linspace(-1, 2, len(values), dtype=torch.float64)
    weights = torch.linspace(0, 3, len(values), dtype=torch.float64)
    masked, masked_gradient = ranks_and_gradient(similarity, 0.1, upstream, mask=keep, weights=weights, method=method)
    removed, removed_gradient = ranks_and_gradient(
        similarity[keep], 0.1, upstream[keep], weights=weights[keep], method=method
    )
    torch.testing.assert_close(masked[keep], removed, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(masked_gradient[keep], removed_gradient, rtol=1e-8, atol=1e-8)
    assert masked[~keep].isposinf().all()
    assert (masked_gradient[~keep] == 0).all()


@every_method
def test_lists_of_different_lengths_in_one_batch_do_not_touch_each_other(method):
    similarity, upstream = torch.rand(4, 65, dtype=torch.float64), torch.rand(4, 65, dtype=torch.float64)
    lengths = [65, 1, 0, 33]
    mask = torch.arange(65) < torch.tensor(lengths)[:, None]
    ranks, gradient = ranks_and_gradient(similarity, 0.05, upstream, mask=mask, method=method)
    for query, length in enumerate(lengths):
        alone, gradient_alone = ranks_and_gradient(
            similarity[query, :length], 0.05, upstream[query, :length], method=method
        )
        torch.testing.assert_close(ranks[query, :length], alone, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(gradient[query, :length], gradient_alone, rtol=1e-8, atol=1e-8)
    assert ranks[~mask].isposinf().all()
    assert (gradient[~mask] == 0).all()
    assert gradient[3].norm() > 1


@every_method
def test_a_rank_that_is_not_wanted_is_infinite_and_pulls_at_nothing(method):
    similarity = torch.rand(2, 64, dtype=torch.float64)
    wanted = torch.zeros(2, 64, dtype=torch.bool)
    wanted[0, :3] = wanted[1, 10] = True
    ranks, gradient = ranks_and_gradient(
        similarity, 0.1, torch.ones(2, 64, dtype=torch.float64), wanted=wanted, method=method
    )
    everyone, _ = ranks_and_gradient(similarity, 0.1, torch.zeros(2, 64, dtype=torch.float64), method=method)
    torch.testing.assert_close(ranks[wanted], everyone[wanted], rtol=1e-10, atol=1e-10)
    assert ranks[~wanted].isposinf().all()
    _, gradient_of_wanted = ranks_and_gradient(similarity, 0.1, wanted.double(), method=method)
    torch.testing.assert_close(gradient, gradient_of_wanted, rtol=1e-8, atol=1e-8)
    assert (gradient[~wanted] > 0).all(), "documents without a rank still push the ranked ones down"


@every_method
def test_what_stands_at_a_masked_place_does_not_matter(method):
    similarity, upstream = torch.rand(5, 64), torch.rand(5, 64)
    mask = torch.ones(5, 64, dtype=torch.bool)
    mask[:, 5] = False
    wild = similarity.clone()
    wild[:, 5] = torch.tensor([1e30, -1e30, math.inf, -math.inf, math.nan])
    ranks, gradient = ranks_and_gradient(similarity, 0.05, upstream, mask=mask, method=method)
    wild_ranks, wild_gradient = ranks_and_gradient(wild, 0.05, upstream, mask=mask, method=method)
    assert torch.equal(wild_ranks, ranks)
    assert torch.equal(wild_gradient, gradient)
    assert gradient.isfinite().all()
    assert (gradient.norm(dim=1) > 1).all()
    assert torch.equal(exact_ranks(wild, mask=mask), exact_ranks(similarity, mask=mask))


@every_method
def test_nothing_in_the_list_or_nothing_wanted_gives_no_rank_and_a_zero_gradient(method):
    nothing = torch.zeros(2, 5, dtype=torch.bool)
    for options in ({"mask": nothing}, {"wanted": nothing}):
        ranks, gradient = ranks_and_gradient(torch.rand(2, 5), 0.05, torch.ones(2, 5), method=method, **options)
        assert ranks.isposinf().all()
        assert gradient.tolist() == [[0.0] * 5] * 2


# --- shapes, strides, dtypes -------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(9,), (1, 9), (2, 3, 9), (2, 1, 2, 9)], ids=str)
@every_method
def test_leading_dimensions_are_a_batch(method, shape):
    similarity, upstream = torch.rand(shape, dtype=torch.float64), torch.rand(shape, dtype=torch.float64)
    mask = torch.rand(shape) < 0.8
    ranks, gradient = ranks_and_gradient(similarity, 0.1, upstream, mask=mask, method=method)
    assert ranks.shape == gradient.shape == shape
    for query, up, keep, rank, grad in zip(
        *(t.reshape(-1, 9) for t in (similarity, upstream, mask, ranks, gradient)), strict=True
    ):
        lists = query.tolist(), up.tolist(), 0.1
        expected = oracle.soft_ranks_gradient(*lists, mask=keep.tolist())
        torch.testing.assert_close(grad, row(expected), rtol=1e-8, atol=1e-8)
        expected = oracle.soft_ranks(lists[0], 0.1, mask=keep.tolist())
        torch.testing.assert_close(rank, row(expected), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 5), (0, 0)], ids=str)
@every_method
def test_empty_input_gives_empty_ranks(method, shape):
    ranks, gradient = ranks_and_gradient(torch.zeros(shape), 0.1, torch.zeros(shape), method=method)
    assert ranks.shape == gradient.shape == shape


@every_method
def test_strides_do_not_matter(method):
    base = torch.rand(3, 20, 4, dtype=torch.float64)
    for view in (base.transpose(1, 2), base[:, ::3, 1], base[:1, :, 0].expand(5, 20), base.flip(-1)):
        upstream = torch.rand(view.shape, dtype=torch.float64)
        mask = (torch.rand(view.shape[::-1]) < 0.8).permute(*reversed(range(view.ndim)))
        plain, plain_gradient = ranks_and_gradient(
            view.clone(memory_format=torch.contiguous_format),
            0.1,
            upstream,
            mask=mask.contiguous(),
            method=method,
        )
        ranks, gradient = ranks_and_gradient(view, 0.1, upstream, mask=mask, method=method)
        torch.testing.assert_close(ranks, plain, rtol=1e-11, atol=1e-11)
        torch.testing.assert_close(gradient, plain_gradient, rtol=1e-10, atol=1e-10)
        assert gradient.norm() > 0.1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["fp16", "bf16"])
@every_method
def test_half_precision_is_computed_in_float32(method, dtype):
    """At D = 300 a bf16 rank would be rounded to a multiple of 2, and a bf16 sum would be worse."""
    similarity, upstream = torch.rand(2, 300).to(dtype), torch.rand(2, 300)
    mask = torch.rand(2, 300) < 0.9
    ranks, gradient = ranks_and_gradient(similarity, 0.05, upstream, mask=mask, method=method)
    full_ranks, full_gradient = ranks_and_gradient(similarity.float(), 0.05, upstream, mask=mask, method=method)
    assert ranks.dtype == torch.float32
    assert torch.equal(ranks, full_ranks)
    assert gradient.dtype == dtype
    assert torch.equal(gradient, full_gradient.to(dtype))
    assert gradient.norm() > 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
@every_method
def test_autocast_changes_neither_ranks_nor_gradients(method, dtype):
    """Also when the backward pass runs inside: a loss that works block by block does that."""
    similarity, upstream = torch.rand(2, 65).to(dtype), torch.rand(2, 65)
    plain, plain_gradient = ranks_and_gradient(similarity, 0.05, upstream, method=method)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (torch.rand(2, 2) @ torch.rand(2, 2)).dtype == torch.bfloat16, "autocast must be on"
        ranks, gradient = ranks_and_gradient(similarity, 0.05, upstream, method=method)
    assert ranks.dtype == plain.dtype
    assert gradient.dtype == dtype
    assert torch.equal(ranks, plain)
    assert torch.equal(gradient, plain_gradient)
    assert plain_gradient.norm() > 1


@every_method
def test_a_lower_precision_of_float32_products_does_not_reach_the_ranks(method):
    """Trainers switch TF32 and its like on for the encoder's sake."""
    similarity, upstream = torch.rand(2, 300), torch.rand(2, 300)
    plain = ranks_and_gradient(similarity, 0.05, upstream, method=method)
    torch.set_float32_matmul_precision("medium")
    try:
        reduced = ranks_and_gradient(similarity, 0.05, upstream, method=method)
    finally:
        torch.set_float32_matmul_precision("highest")
    for value, expected in zip(reduced, plain, strict=True):
        assert (value - expected).norm() <= 1e-6 * expected.norm()
        assert expected.norm() > 1


@every_method
def test_an_offset_of_all_similarities_costs_no_float32_accuracy(method):
    """Dot products are not centred at 0: 64 plus multiples of 2^-10 are exact in float32."""
    steps = torch.randint(0, 1024, (1, 300)) / 1024
    expected = row(oracle.soft_ranks(steps[0].tolist(), 0.01))
    ranks = soft_rank(steps + 64, 0.01, method=method)[0]
    assert (ranks - expected).abs().max() <= 1e-6 * 300


@every_method
def test_no_gradient_is_recorded_when_none_is_asked_for(method):
    similarity = torch.rand(2, 9)
    assert not soft_rank(similarity, 0.1, method=method).requires_grad
    with torch.no_grad():
        assert not soft_rank(similarity.requires_grad_(), 0.1, method=method).requires_grad


@every_method
def test_the_inputs_are_left_as_they_were(method):
    similarity, weights, mask = torch.rand(3, 70), torch.rand(3, 70), torch.rand(3, 70) < 0.8
    copies = similarity.clone(), weights.clone(), mask.clone()
    ranks_and_gradient(similarity, 0.05, torch.ones(3, 70), weights=weights, mask=mask, method=method)
    assert torch.equal(similarity, copies[0])
    assert torch.equal(weights, copies[1])
    assert torch.equal(mask, copies[2])


@every_method
def test_deterministic_algorithms_give_the_same_bits_twice(method, deterministic):
    similarity, upstream, mask = torch.rand(5, 300), torch.rand(5, 300), torch.rand(5, 300) < 0.8
    first = ranks_and_gradient(similarity, 0.05, upstream, mask=mask, method=method)
    for _ in range(3):
        again = ranks_and_gradient(similarity, 0.05, upstream, mask=mask, method=method)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert first[0][mask].isfinite().all()
    assert first[1].isfinite().all()
    assert first[1].norm() > 1


# --- bad input ---------------------------------------------------------------------------------------------

SIMILARITY = torch.tensor([[0.1, 0.5, 0.3]])
WRONG = {
    "temperature-zero": ({"temperature": 0.0}, ["temperature", "0.0"]),
    "temperature-negative": ({"temperature": -0.05}, ["temperature", "-0.05"]),
    "temperature-nan": ({"temperature": math.nan}, ["temperature", "nan"]),
    "temperature-inf": ({"temperature": math.inf}, ["temperature", "inf"]),
    "temperature-text": ({"temperature": "0.05"}, ["temperature", "'0.05'"]),
    "method-unknown": ({"method": "fast"}, ["method", "'fast'", "dense", "relevant", "grid", "auto"]),
    "weights-negative": ({"weights": torch.tensor([[1.0, -2.0, 1.0]])}, ["weights", "-2.0"]),
    "weights-nan": ({"weights": torch.tensor([[1.0, math.nan, 1.0]])}, ["weights", "nan"]),
    "weights-inf": ({"weights": torch.tensor([[1.0, math.inf, 1.0]])}, ["weights", "inf"]),
    "weights-shape": ({"weights": torch.ones(1, 4)}, ["weights", "(1, 4)", "(1, 3)"]),
    "mask-shape": ({"mask": torch.ones(2, 3, dtype=torch.bool)}, ["mask", "(2, 3)", "(1, 3)"]),
    "wanted-shape": ({"wanted": torch.ones(1, 2, dtype=torch.bool)}, ["wanted", "(1, 2)", "(1, 3)"]),
    "weights-differentiated": ({"weights": torch.ones(1, 3, requires_grad=True)}, ["weights", "gradient"]),
    "weights-integer": ({"weights": torch.ones(1, 3, dtype=torch.int64)}, ["weights", "int64"]),
    "similarity-nan": ({"similarity": torch.tensor([[0.1, math.nan, 0.3]])}, ["similarity", "nan"]),
    "similarity-inf": ({"similarity": torch.tensor([[0.1, math.inf, 0.3]])}, ["similarity", "inf"]),
    "similarity-integer": ({"similarity": torch.tensor([[1, 2, 3]])}, ["similarity", "int64"]),
    "similarity-scalar": ({"similarity": torch.tensor(0.5)}, ["similarity"]),
}


@pytest.mark.parametrize(("wrong", "fragments"), WRONG.values(), ids=WRONG.keys())
@every_method
def test_wrong_input_is_named_with_its_value(method, wrong, fragments):
    arguments = {"similarity": SIMILARITY, "temperature": 0.05, "method": method} | wrong
    with pytest.raises((ValueError, TypeError)) as error:
        soft_rank(**arguments)
    for fragment in fragments:
        assert fragment in str(error.value)


# --- on a GPU ----------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@every_method
def test_a_gpu_gives_the_cpu_ranks_and_gradients(method, dtype, cuda):
    similarity, upstream = torch.rand(3, 300).to(dtype), torch.rand(3, 300)
    mask, wanted = torch.rand(3, 300) < 0.9, torch.rand(3, 300) < 0.5
    options = {"mask": mask, "wanted": wanted}
    expected, expected_gradient = ranks_and_gradient(similarity.double(), 0.05, upstream, method="dense", **options)
    ranks, gradient = ranks_and_gradient(
        similarity.to(cuda),
        0.05,
        upstream.to(cuda),
        method=method,
        **{name: option.to(cuda) for name, option in options.items()},
    )
    assert ranks.dtype == torch.float32
    assert gradient.dtype == dtype
    torch.testing.assert_close(ranks.cpu().double(), expected, rtol=0, atol=2e-6 * 300)
    error = (gradient.cpu() - expected_gradient).norm() / expected_gradient.norm()
    assert error <= max(1e-5, torch.finfo(dtype).eps)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["high", "medium"])
@every_method
def test_tf32_products_do_not_reach_the_ranks_on_a_gpu(method, precision, cuda):
    similarity, upstream = torch.rand(2, 300), torch.rand(2, 300)
    expected, expected_gradient = ranks_and_gradient(similarity.double(), 0.05, upstream, method="dense")
    torch.set_float32_matmul_precision(precision)
    try:
        ranks, gradient = ranks_and_gradient(similarity.to(cuda), 0.05, upstream.to(cuda), method=method)
    finally:
        torch.set_float32_matmul_precision("highest")
    assert (ranks.cpu() - expected).abs().max() <= 2e-6 * 300
    assert (gradient.cpu() - expected_gradient).norm() <= 1e-5 * expected_gradient.norm()


@pytest.mark.gpu
@pytest.mark.parametrize("method", ["relevant", "grid", "auto"])
def test_a_gpu_gives_the_same_bits_twice_in_deterministic_mode(method, cuda, deterministic):
    similarity, upstream = torch.rand(64, 1000, device=cuda), torch.rand(64, 1000, device=cuda)
    ranks, gradient = ranks_and_gradient(similarity, 0.05, upstream, method=method)
    for _ in range(3):
        again, gradient_again = ranks_and_gradient(similarity, 0.05, upstream, method=method)
        assert torch.equal(again, ranks)
        assert torch.equal(gradient_again, gradient)
    assert gradient.norm() > 1


@pytest.mark.gpu
def test_the_grid_never_waits_for_the_gpu(cuda):
    similarity = torch.rand(64, 1000, device=cuda, requires_grad=True)
    mask = torch.rand(64, 1000, device=cuda) < 0.9

    def step() -> None:
        ranks = soft_rank(similarity, 0.05, mask=mask, method="grid")
        ranks.clamp(max=1e4).sum().backward()

    step()  # constants are built, and cached, on the first call
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert similarity.grad.isfinite().all()
