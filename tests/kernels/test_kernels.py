"""The ways to compute soft ranks against the oracle's loops, and the grid against every pair in float64."""

from __future__ import annotations

import functools
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from st_rankloss.functional.ndcg import approx_ndcg
from st_rankloss.functional.ranks import soft_rank
from st_rankloss.kernels import choice, grid, relevant
from st_rankloss.kernels.dense import dense_sum
from st_rankloss.kernels.grid import grid_sum
from st_rankloss.kernels.relevant import relevant_sum
from tests import oracle

KERNELS = {"dense": dense_sum, "relevant": relevant_sum, "grid": grid_sum}
# On float64 input: the exact kernels differ from the loops by rounding, the grid by its interpolation.
TOLERANCE = {"dense": 1e-13, "relevant": 1e-13, "grid": 1e-10}

every_kernel = pytest.mark.parametrize("kernel", KERNELS)


class Example(NamedTuple):
    """One query: float64 similarities, weights and the gradient of its ranks, and which documents to rank."""

    similarity: Tensor
    weights: Tensor
    upstream: Tensor
    wanted: Tensor

    @property
    def columns(self) -> Tensor:
        """Indices of the wanted documents, ``(1, P)``."""
        return self.wanted.nonzero().T


def example(size: int, *, weighted: bool = False, few: bool = False) -> Example:
    """Random similarities in [-1, 1); weights 1 or in [0, 3), a fifth of them 0; all or a third ranked."""
    generator = torch.Generator().manual_seed(size)
    draws = torch.rand(4, size, generator=generator, dtype=torch.float64)
    weights = torch.where(draws[1] < 0.2, 0.0, 3 * draws[1]) if weighted else torch.ones_like(draws[1])
    wanted = draws[3] < (1 / 3 if few else 2)
    wanted[0] = True
    return Example(2 * draws[0] - 1, weights, draws[2] - 0.5, wanted)


@functools.cache
def expected(size: int, temperature: float, weighted: bool, few: bool) -> tuple[Tensor, Tensor]:
    """The oracle's ranks of the wanted documents, and its gradient."""
    case = example(size, weighted=weighted, few=few)
    lists = {"weights": case.weights.tolist(), "wanted": case.wanted.tolist()}
    similarity = case.similarity.tolist()
    ranks = oracle.soft_ranks(similarity, temperature, **lists)
    gradient = oracle.soft_ranks_gradient(similarity, case.upstream.tolist(), temperature, **lists)
    ranked = [rank for rank, wanted in zip(ranks, lists["wanted"], strict=True) if wanted]
    return torch.tensor(ranked, dtype=torch.float64), torch.tensor(gradient, dtype=torch.float64)


def ranks_and_gradient(
    kernel: str,
    similarity: Tensor,
    temperature: float,
    *,
    upstream: Tensor,
    weights: Tensor | None = None,
    columns: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Run a kernel on ``(Q, D)`` similarities and send ``upstream``, one number a rank, back through it."""
    everything = torch.arange(similarity.shape[1]).expand(similarity.shape)
    similarity = similarity.detach().requires_grad_()
    ranks = 1 + KERNELS[kernel](
        similarity,
        everything if columns is None else columns,
        temperature,
        torch.ones_like(similarity) if weights is None else weights,
    )
    (gradient,) = torch.autograd.grad(ranks, similarity, upstream.to(ranks.dtype))
    return ranks.detach(), gradient


# --- every kernel is the definition ------------------------------------------------------------------------


@pytest.mark.parametrize("few", [False, True], ids=["all-ranked", "few-ranked"])
@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("temperature", [0.01, 0.05, 0.5], ids=lambda t: f"tau{t}")
@pytest.mark.parametrize("size", [1, 2, 63, 64, 65], ids=lambda d: f"D{d}")
@every_kernel
def test_ranks_and_gradients_are_those_of_the_definition(kernel, size, temperature, weighted, few):
    case = example(size, weighted=weighted, few=few)
    ranks, gradient = ranks_and_gradient(
        kernel,
        case.similarity[None],
        temperature,
        upstream=case.upstream[case.columns],
        weights=case.weights[None],
        columns=case.columns,
    )
    expected_ranks, expected_gradient = expected(size, temperature, weighted, few)
    assert ranks.dtype == gradient.dtype == torch.float64
    assert (ranks[0] - expected_ranks).abs().max() <= TOLERANCE[kernel] * size
    steepest = case.upstream.norm() / (4 * temperature)  # what one pair of tied documents would give
    assert (gradient[0] - expected_gradient).norm() <= TOLERANCE[kernel] * steepest * size**0.5
    assert size <= 2 or expected_gradient.norm() > 0.1 * steepest, "the line above would prove nothing"


@pytest.mark.parametrize(("weighted", "few"), [(False, False), (True, True)], ids=["all", "weighted-few"])
@every_kernel
def test_a_thousand_documents_follow_the_definition(kernel, weighted, few):
    case = example(1000, weighted=weighted, few=few)
    ranks, gradient = ranks_and_gradient(
        kernel,
        case.similarity[None],
        0.05,
        upstream=case.upstream[case.columns],
        weights=case.weights[None],
        columns=case.columns,
    )
    expected_ranks, expected_gradient = expected(1000, 0.05, weighted, few)
    assert (ranks[0] - expected_ranks).abs().max() <= TOLERANCE[kernel] * 1000
    assert (gradient[0] - expected_gradient).norm() <= TOLERANCE[kernel] * expected_gradient.norm()


@pytest.mark.parametrize("temperature", [0.05, 0.5], ids=lambda t: f"tau{t}")
@every_kernel
def test_gradcheck_holds_in_float64(kernel, temperature):
    torch.manual_seed(1)
    similarity = torch.rand(2, 9, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(2, 9, dtype=torch.float64) * 3
    columns = torch.tensor([[0, 3, 4], [8, 1, 1]])
    assert torch.autograd.gradcheck(
        lambda s: KERNELS[kernel](s, columns, temperature, weights), similarity, rtol=1e-6, atol=1e-6
    )


@every_kernel
def test_all_tied_documents_share_the_middle_rank_and_move_against_their_own_gradient(kernel):
    size, temperature = 65, 0.05
    upstream = torch.linspace(-1, 1, size, dtype=torch.float64)[None]
    ranks, gradient = ranks_and_gradient(
        kernel, torch.full((1, size), 0.3, dtype=torch.float64), temperature, upstream=upstream
    )
    torch.testing.assert_close(ranks, torch.full_like(ranks, (size + 1) / 2), rtol=1e-10, atol=0)
    # every slope is 1/4: s_k gains from all upstreams, which sum to 0 here, and loses its own size times
    torch.testing.assert_close(gradient, -size * upstream / (4 * temperature), rtol=1e-9, atol=1e-9)


@every_kernel
def test_a_document_listed_twice_is_ranked_twice_and_its_gradients_add_up(kernel):
    similarity = torch.rand(1, 20, dtype=torch.float64)
    once, gradient_once = ranks_and_gradient(
        kernel, similarity, 0.1, upstream=torch.tensor([[5.0]]), columns=torch.tensor([[7]])
    )
    twice, gradient_twice = ranks_and_gradient(
        kernel, similarity, 0.1, upstream=torch.tensor([[2.0, 3.0]]), columns=torch.tensor([[7, 7]])
    )
    assert twice.tolist() == [[once.item(), once.item()]]
    torch.testing.assert_close(gradient_twice, gradient_once, rtol=1e-10, atol=1e-12)
    assert gradient_once.norm() > 1


@every_kernel
def test_weights_of_zero_remove_documents_from_the_ranks_of_the_others(kernel):
    case = example(64)
    kept = case.similarity[::2]
    weights = torch.zeros(1, 64, dtype=torch.float64)
    weights[:, ::2] = 1
    columns = torch.arange(0, 64, 2)[None]
    upstream = case.upstream[None, ::2]
    ranks, gradient = ranks_and_gradient(
        kernel, case.similarity[None], 0.05, upstream=upstream, weights=weights, columns=columns
    )
    alone, gradient_alone = ranks_and_gradient(kernel, kept[None], 0.05, upstream=upstream)
    torch.testing.assert_close(ranks, alone, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(gradient[:, ::2], gradient_alone, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(gradient[:, 1::2], torch.zeros(1, 32, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernel", ["relevant", "grid"])
def test_a_second_derivative_is_refused_rather_than_wrong(kernel):
    similarity = torch.rand(1, 8, requires_grad=True)
    ranks = 1 + KERNELS[kernel](similarity, torch.arange(8)[None], 0.1, torch.ones(1, 8))
    (gradient,) = torch.autograd.grad(ranks.square().sum(), similarity, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_the_grids_constants_made_without_autograd_serve_training_too():
    """They are cached: tensors made under inference mode would be refused by autograd later."""
    similarity, columns, weights = torch.rand(2, 40), torch.arange(40).expand(2, 40), torch.ones(2, 40)
    for cache in (grid._spline_pieces, grid._small_spectrum):
        cache.cache_clear()
    with torch.inference_mode():
        first = 1 + grid_sum(similarity, columns, 0.05, weights)
    ranks, gradient = ranks_and_gradient("grid", similarity, 0.05, upstream=torch.rand(2, 40))
    assert torch.equal(ranks, first)
    assert gradient.norm() > 1


# --- rows and blocks ---------------------------------------------------------------------------------------


@every_kernel
def test_a_query_does_not_depend_on_the_queries_beside_it(kernel):
    """Rows are handled in blocks (here several for each kernel) and share one grid layout in a block."""
    queries, size, temperature = 300, 700, 0.05
    similarity = torch.rand(queries, size) * torch.logspace(-2, 1, queries)[:, None]  # ranges 0.01 .. 10
    columns = torch.rand(queries, size).argsort(1)[:, :5]
    upstream = torch.rand(queries, 5)
    ranks, gradient = ranks_and_gradient(kernel, similarity, temperature, upstream=upstream, columns=columns)
    for query in (0, 1, 150, 186, 187, 188, 298, 299):
        row = slice(query, query + 1)
        alone, gradient_alone = ranks_and_gradient(
            kernel, similarity[row], temperature, upstream=upstream[row], columns=columns[row]
        )
        torch.testing.assert_close(ranks[row], alone, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(gradient[row], gradient_alone, rtol=1e-5, atol=1e-5)
        assert gradient_alone.norm() > 0


@every_kernel
def test_no_queries_give_no_ranks(kernel):
    ranks, gradient = ranks_and_gradient(kernel, torch.zeros(0, 5), 0.05, upstream=torch.zeros(0, 5))
    assert ranks.shape == gradient.shape == (0, 5)


@every_kernel
def test_nothing_to_rank_gives_no_ranks_and_a_zero_gradient(kernel):
    ranks, gradient = ranks_and_gradient(
        kernel,
        torch.rand(3, 5),
        0.05,
        upstream=torch.zeros(3, 0),
        columns=torch.zeros(3, 0, dtype=torch.int64),
    )
    assert ranks.shape == (3, 0)
    assert gradient.tolist() == [[0.0] * 5] * 3


@every_kernel
def test_strides_do_not_matter(kernel):
    similarity = torch.rand(6, 40, 2, dtype=torch.float64)
    views = {
        "transposed": similarity[..., 0].T,
        "strided": similarity[:, ::3, 1],
        "expanded": similarity[:1, :, 0].expand(4, 40),
        "flipped": similarity[:, :, 0].flip(1),
    }
    for name, view in views.items():
        upstream = torch.rand(view.shape, dtype=torch.float64)
        ranks, gradient = ranks_and_gradient(kernel, view, 0.1, upstream=upstream)
        plain_ranks, plain_gradient = ranks_and_gradient(
            kernel, view.clone(memory_format=torch.contiguous_format), 0.1, upstream=upstream
        )
        torch.testing.assert_close(ranks, plain_ranks, rtol=1e-12, atol=1e-12, msg=name)
        torch.testing.assert_close(gradient, plain_gradient, rtol=1e-11, atol=1e-11, msg=name)
        assert plain_gradient.norm() > 1


@every_kernel
def test_no_memory_is_left_unwritten(kernel, monkeypatch):
    """Uninitialised tensors come filled with NaN: a missed entry of a rank or gradient would show."""
    for name in ("empty", "empty_like"):
        make = getattr(torch, name)
        monkeypatch.setattr(torch, name, functools.partial(_nan_filled, make))
    monkeypatch.setattr(Tensor, "new_empty", functools.partialmethod(_new_nan_filled, Tensor.new_empty))
    assert torch.rand(3, 2).new_empty(4).isnan().all()
    ranks, gradient = ranks_and_gradient(
        kernel,
        torch.rand(300, 700),
        0.05,
        upstream=torch.rand(300, 2),
        columns=torch.arange(2).expand(300, 2),
    )
    assert ranks.isfinite().all()
    assert gradient.isfinite().all()
    assert (gradient.norm(dim=1) > 0).all()


def _nan_filled(make, *args, **kwargs):
    made = make(*args, **kwargs)
    return made.fill_(torch.nan) if made.is_floating_point() else made


def _new_nan_filled(tensor, make, *args, **kwargs):
    return _nan_filled(make, tensor, *args, **kwargs)


@every_kernel
def test_deterministic_algorithms_give_the_same_bits_twice(kernel, deterministic):
    case = example(257, few=True)
    arguments = {"upstream": case.upstream[case.columns], "columns": case.columns}
    ranks, gradient = ranks_and_gradient(kernel, case.similarity[None].float(), 0.05, **arguments)
    for _ in range(3):
        again, gradient_again = ranks_and_gradient(kernel, case.similarity[None].float(), 0.05, **arguments)
        assert torch.equal(again, ranks)
        assert torch.equal(gradient_again, gradient)
    assert gradient.isfinite().all()
    assert gradient.norm() > 1


# --- the grid against every pair in float64 ----------------------------------------------------------------


def similarities(kind: str, size: int) -> Tensor:
    """Float32 similarities of one query, seeded by their number."""
    generator = torch.Generator().manual_seed(size)
    if kind == "random":
        return 0.3 + 0.1 * torch.randn(size, generator=generator)  # cosines as an encoder gives them
    if kind == "clustered":
        centres = 2 * torch.rand(1 + size // 16, generator=generator) - 1
        near = 1e-3 * torch.randn(size, generator=generator)
        return centres[torch.randint(len(centres), (size,), generator=generator)] + near
    if kind == "tied":
        return torch.randint(-4, 5, (size,), generator=generator) / 4  # nine values from -1 to 1
    return torch.full((size,), 0.1)


@functools.cache
def float64_pairs(kind: str, size: int, temperature: float) -> tuple[Tensor, Tensor]:
    """Ranks and gradient by ``dense_sum`` in float64 and its autograd, a few ranked documents at a time."""
    similarity, upstream = similarities(kind, size).double()[None], upstream_of(size).double()
    ranks, gradient = [], torch.zeros(size, dtype=torch.float64)
    for columns in torch.arange(size).split(64):
        some, their_gradient = ranks_and_gradient(
            "dense", similarity, temperature, upstream=upstream[:, columns], columns=columns[None]
        )
        ranks.append(some[0])
        gradient += their_gradient[0]
    return torch.cat(ranks), gradient


def upstream_of(size: int) -> Tensor:
    """A random gradient of the ranks, ``(1, D)``."""
    return torch.randn(1, size, generator=torch.Generator().manual_seed(size + 1))


@pytest.mark.parametrize(
    ("size", "temperature"),
    [(d, t) for d in (2, 3, 17, 64, 257, 1024) for t in (0.005, 0.01, 0.05, 0.1, 0.5)]
    + [(4096, t) for t in (0.005, 0.05, 0.5)],
    ids=lambda value: f"tau{value}" if isinstance(value, float) else f"D{value}",
)
@pytest.mark.parametrize("kind", ["random", "clustered", "tied", "all-tied"])
def test_the_grid_reaches_float32_accuracy(kind, size, temperature):
    ranks, gradient = ranks_and_gradient(
        "grid", similarities(kind, size)[None], temperature, upstream=upstream_of(size)
    )
    expected_ranks, expected_gradient = float64_pairs(kind, size, temperature)
    assert ranks.dtype == gradient.dtype == torch.float32
    assert (ranks[0] - expected_ranks).abs().max() <= 1e-6 * size
    # Documents many temperatures apart have gradients far below what float32 resolves of a slope σ'(0)/τ:
    # there the relative error means nothing, and the absolute one is held to two roundings of that slope.
    roundings = 2**-23 * upstream_of(size).norm() / (4 * temperature)
    error = (gradient[0] - expected_gradient).norm()
    assert error <= max(1e-5 * expected_gradient.norm(), roundings)
    if size >= 17:
        assert roundings < 1e-6 * expected_gradient.norm(), "the exception must not be the rule"


@pytest.mark.parametrize("temperature", [0.005, 0.05, 0.5], ids=lambda t: f"tau{t}")
@pytest.mark.parametrize("kind", ["random", "clustered", "tied", "all-tied"])
@every_kernel
def test_every_kernel_is_as_exact_as_float32_sums_are(kernel, kind, temperature):
    ranks, gradient = ranks_and_gradient(
        kernel, similarities(kind, 1024)[None], temperature, upstream=upstream_of(1024)
    )
    expected_ranks, expected_gradient = float64_pairs(kind, 1024, temperature)
    assert (ranks[0] - expected_ranks).abs().max() <= 2e-6 * 1024
    assert (gradient[0] - expected_gradient).norm() <= 1e-5 * expected_gradient.norm()


@pytest.mark.parametrize("temperature", [0.005, 0.05, 0.5], ids=lambda t: f"tau{t}")
@pytest.mark.parametrize("kind", ["random", "clustered", "tied", "all-tied"])
def test_the_grid_is_far_tighter_on_float64(kind, temperature):
    ranks, gradient = ranks_and_gradient(
        "grid", similarities(kind, 1024).double()[None], temperature, upstream=upstream_of(1024).double()
    )
    expected_ranks, expected_gradient = float64_pairs(kind, 1024, temperature)
    assert (ranks[0] - expected_ranks).abs().max() <= 1e-10 * 1024
    assert (gradient[0] - expected_gradient).norm() <= 1e-9 * expected_gradient.norm()


@pytest.mark.parametrize("temperature", [1e-3, 1e-4], ids=lambda t: f"tau{t}")
def test_the_grid_holds_its_accuracy_over_thousands_of_temperatures(temperature):
    """A range of 1.6 is 1,600 to 16,000 temperatures here; the second nearly fills the largest grid."""
    similarity = 0.8 * (2 * torch.rand(1, 1024) - 1)
    upstream = torch.randn(1, 1024)
    ranks, gradient = ranks_and_gradient("grid", similarity, temperature, upstream=upstream)
    expected_ranks, expected_gradient = ranks_and_gradient("dense", similarity.double(), temperature, upstream=upstream)
    assert (ranks - expected_ranks).abs().max() <= 1e-6 * 1024
    assert (gradient - expected_gradient).norm() <= 1e-5 * expected_gradient.norm()


@pytest.mark.parametrize("temperature", [1e-9, 1e-6, 1e6], ids=lambda t: f"tau{t}")
def test_the_grid_stays_finite_and_close_at_any_temperature(temperature):
    """Beyond the largest grid it loses accuracy between near neighbours only; nothing explodes."""
    similarity = torch.rand(3, 200)
    ranks, gradient = ranks_and_gradient("grid", similarity, temperature, upstream=torch.randn(3, 200))
    expected = torch.full((3, 200), 201 / 2) if temperature > 1 else similarity.argsort(1, True).argsort(1) + 1.0
    assert (ranks - expected).abs().max() <= 0.5
    assert gradient.isfinite().all()


# --- which kernel runs -------------------------------------------------------------------------------------


@every_kernel
def test_the_method_asked_for_is_the_one_that_runs(kernel, ran):
    soft_rank(torch.rand(3, 200), 0.05, method=kernel)
    approx_ndcg(torch.rand(3, 200), torch.ones(3, 200), method=kernel)
    assert ran == [kernel, kernel]


@pytest.mark.parametrize(
    ("queries", "documents", "ranked", "method"),
    [
        (1, 1, 1, "dense"),
        (2, 16, 16, "dense"),
        (64, 1024, 4, "dense"),
        (64, 1024, 8, "relevant"),
        (64, 4096, 2, "relevant"),
        (64, 1024, 1024, "grid"),
        (16, 4096, 4096, "grid"),
        (16, 4096, 512, "grid"),
    ],
    ids=lambda value: str(value),
)
def test_auto_takes_the_method_that_fits_the_size(queries, documents, ranked, method, ran):
    similarity = torch.rand(queries, documents)
    relevance = torch.zeros(queries, documents)
    relevance[:, :ranked] = 1
    soft_rank(similarity, 0.05, wanted=relevance > 0)
    assert ran == [method]
    approx_ndcg(similarity, relevance)  # ranks the relevant documents, and no others
    assert ran == [method, method]


@pytest.fixture
def ran(monkeypatch) -> list[str]:
    """The names of the kernels that ran, in order."""
    names: list[str] = []

    def spied(name, kernel):
        def run(*arguments):
            names.append(name)
            return kernel(*arguments)

        return run

    for name, kernel in KERNELS.items():
        assert choice.METHODS[name] is kernel
        monkeypatch.setitem(choice.METHODS, name, spied(name, kernel))
    return names


@pytest.mark.parametrize(
    ("spread", "size", "ranked", "method"),
    [
        (40, 1024, 256, "grid"),
        (1_000, 1024, 256, "grid"),
        (10_000, 1024, 256, "relevant"),  # 30,000 nodes
        (10_000, 1024, 512, "relevant"),
        (3_000, 4096, 4096, "grid"),
        (100_000, 4096, 256, "relevant"),
        (100_000, 2048, 1024, "relevant"),
        (100, 4096, 4, "relevant"),
    ],
)
def test_the_more_temperatures_similarities_range_over_the_more_ranked_documents_a_grid_needs(
    spread, size, ranked, method, ran
):
    similarity = spread * torch.rand(32, size)
    similarity[:, 0], similarity[:, 1] = 0, spread
    soft_rank(similarity, 1.0, wanted=torch.arange(size).expand(32, size) < ranked)
    assert ran == [method]


@pytest.mark.parametrize("outlier", [1e3, 1e6, 1e9])
def test_an_outlier_costs_a_grid_no_nodes(outlier, ran):
    similarity = 0.3 + 0.1 * torch.randn(8, 1024)
    similarity[:, 0] = outlier
    layout = grid._lay(similarity, 0.05)
    assert layout.nodes <= 16 * (layout.order + 20)
    soft_rank(similarity, 0.05)
    assert ran == ["grid"]


@pytest.mark.parametrize("spread", [10, 1e3, 1e5, 1e7])
@pytest.mark.parametrize("size", [64, 1024])
@pytest.mark.parametrize("kernel", ["relevant", "grid"])
def test_memory_is_bounded_whatever_the_range(kernel, size, spread, monkeypatch):
    """The nodes, or pairs, of the rows that are handled together; those of a single row may be more."""
    largest = [0]
    for owner, name in ((relevant._RelevantSums, "_sigmoids"), (grid, "_spread")):
        original = getattr(owner, name)

        def watched(*arguments, original=original):
            made = original(*arguments)
            largest.append(made.numel())
            return made

        monkeypatch.setattr(owner, name, watched)
    similarity = (spread * torch.rand(300, size)).requires_grad_()
    KERNELS[kernel](similarity, torch.arange(size).expand(300, size), 1.0, torch.ones(300, size)).sum().backward()
    row = size if kernel == "relevant" else grid.count_nodes(min(spread, 20 * size), torch.float32)
    assert 0 < max(largest) <= max({"relevant": 2**20, "grid": 2**18}[kernel], row)


# --- similarities of any range -----------------------------------------------------------------------------------


def wide(kind: str, size: int) -> tuple[Tensor, float]:
    """Float32 similarities of two queries, and a temperature that is small beside their range."""
    draws = torch.randn(2, size, generator=torch.Generator().manual_seed(size))
    if kind == "dot-products":  # of N(0, 1)^384
        return 384**0.5 * draws, 0.05
    if kind == "spread-100":
        return 100 * draws, 0.05
    if kind == "outlier":
        draws = 0.3 + 0.1 * draws
        draws[:, 0], draws[:, 1] = 1000, -1e6
        return draws, 0.05
    if kind == "far-apart":
        return draws.argsort(1).float() * 1.5, 0.05
    centres = 1000 * torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    near = centres.gather(1, torch.arange(size).remainder(8).expand(2, size))
    return near + 0.1 * draws, 0.05  # clusters


WIDE = ["dot-products", "spread-100", "outlier", "far-apart", "clusters"]


def sums_and_gradient(kernel, similarity, temperature, function, upstream):
    similarity = similarity.detach().requires_grad_()
    columns = torch.arange(similarity.shape[1]).expand(similarity.shape)
    sums = KERNELS[kernel](similarity, columns, temperature, torch.ones_like(similarity), function)
    return sums.detach().double(), torch.autograd.grad(sums, similarity, upstream.to(sums.dtype))[0].double()


@functools.cache
def wide_pairs(kind: str, size: int, function: str) -> tuple[Tensor, Tensor]:
    """Sums and gradient by ``dense_sum`` in float64."""
    similarity, temperature = wide(kind, size)
    return sums_and_gradient("dense", similarity.double(), temperature, function, upstream_of(2 * size).view(2, -1))


def check_wide(kernel, kind, size, function, *, tolerance):
    similarity, temperature = wide(kind, size)
    upstream = upstream_of(2 * size).view(2, -1)
    sums, gradient = sums_and_gradient(kernel, similarity, temperature, function, upstream)
    expected_sums, expected_gradient = wide_pairs(kind, size, function)
    assert (sums - expected_sums).abs().max() <= 1e-6 * max(size, expected_sums.max().item())
    # As above: a gradient that vanishes because everything is far apart is off by roundings of a slope.
    roundings = 2**-23 * upstream.norm() / (4 * temperature)
    assert (gradient - expected_gradient).norm() <= max(tolerance * expected_gradient.norm(), roundings)
    if kind != "far-apart" or function == "softplus":
        assert roundings < 1e-3 * expected_gradient.norm(), "the exception must not be the rule"


@pytest.mark.parametrize("function", ["sigmoid", "softplus"])
@pytest.mark.parametrize("size", [64, 1024])
@pytest.mark.parametrize("kind", WIDE)
@pytest.mark.parametrize("kernel", ["relevant", "grid"])
def test_similarities_of_any_range_have_the_sums_and_gradients_of_float64(kernel, kind, size, function):
    check_wide(kernel, kind, size, function, tolerance=1e-5)


@pytest.mark.parametrize("function", ["sigmoid", "softplus"])
@pytest.mark.parametrize("kind", WIDE)
def test_the_grid_is_far_tighter_on_float64_of_any_range(kind, function):
    similarity, temperature = wide(kind, 256)
    upstream = upstream_of(512).view(2, -1)
    sums, gradient = sums_and_gradient("grid", similarity.double(), temperature, function, upstream)
    expected_sums, expected_gradient = wide_pairs(kind, 256, function)
    assert (sums - expected_sums).abs().max() <= 1e-10 * max(256, expected_sums.max().item())
    steepest = upstream.norm() / (4 * temperature)
    assert (gradient - expected_gradient).norm() <= 1e-10 * max(steepest, expected_gradient.norm())


@pytest.fixture
def unread(monkeypatch) -> None:
    """Take the CPU for a device whose values the host does not read: assertions are then made at once."""
    monkeypatch.setattr(grid, "reads_back", lambda device: False)


@pytest.mark.parametrize("function", ["sigmoid", "softplus"])
@pytest.mark.parametrize(("kind", "size"), [(kind, 256) for kind in WIDE if kind != "far-apart"] + [("far-apart", 250)])
def test_where_the_range_is_not_read_the_grid_is_as_exact(kind, size, function, unread):
    check_wide("grid", kind, size, function, tolerance=1e-5)


@pytest.mark.parametrize("kind", ["dot-products", "outlier", "clusters"])
def test_where_the_range_is_not_read_a_thousand_documents_fit_too(kind, unread):
    check_wide("grid", kind, 1024, "sigmoid", tolerance=1e-5)


@pytest.mark.parametrize("kind", ["spread-100", "far-apart"])
def test_where_the_range_is_not_read_what_would_not_fit_is_refused(kind, unread):
    similarity, temperature = wide(kind, 1024)
    with pytest.raises(RuntimeError, match="range too widely for method='grid' on a GPU.* pass method='relevant'"):
        soft_rank(similarity, temperature, method="grid")


# --- softplus ----------------------------------------------------------------------------------------------


def softplus_sums(kernel: str, case: Example, temperature: float, dtype: torch.dtype = torch.float64):
    """The sums of the wanted documents, and the gradient of their product with ``upstream``."""
    similarity = case.similarity[None].to(dtype).requires_grad_()
    sums = KERNELS[kernel](similarity, case.columns, temperature, case.weights[None].to(dtype), "softplus")
    (gradient,) = torch.autograd.grad(sums, similarity, case.upstream[case.columns].to(dtype))
    return sums[0].detach().double(), gradient[0].double()


@pytest.mark.parametrize(("weighted", "few"), [(False, False), (True, True)], ids=["all", "weighted-few"])
@pytest.mark.parametrize("temperature", [0.005, 0.05, 0.5], ids=lambda t: f"tau{t}")
@pytest.mark.parametrize("size", [1, 2, 63, 64, 65, 300])
@every_kernel
def test_sums_of_softplus_are_those_of_the_definition(kernel, size, temperature, weighted, few):
    case = example(size, weighted=weighted, few=few)
    sums, gradient = softplus_sums(kernel, case, temperature)
    s, w = case.similarity.tolist(), case.weights.tolist()
    wanted = [j for j in range(size) if case.wanted[j]]
    expected_sums = [
        sum(w[k] * oracle.softplus((s[k] - s[j]) / temperature) for k in range(size) if k != j) for j in wanted
    ]
    expected_gradient = [0.0] * size
    for j in wanted:
        for k in range(size):
            if k != j:
                push = float(case.upstream[j]) * w[k] * oracle.sigmoid((s[k] - s[j]) / temperature) / temperature
                expected_gradient[k] += push
                expected_gradient[j] -= push
    largest = 2 / temperature
    assert (sums - torch.tensor(expected_sums, dtype=torch.float64)).abs().max() <= TOLERANCE[kernel] * size * largest
    error = (gradient - torch.tensor(expected_gradient, dtype=torch.float64)).norm()
    assert error <= TOLERANCE[kernel] * size / temperature
    assert size == 1 or gradient.norm() > 0.01 / temperature, "the line above would prove nothing"


@pytest.mark.parametrize("temperature", [0.005, 0.05, 0.5], ids=lambda t: f"tau{t}")
@pytest.mark.parametrize("kernel", ["relevant", "grid"])
def test_sums_of_softplus_in_float32_are_near_those_of_float64(kernel, temperature):
    case = example(1000, weighted=True)
    case = case._replace(similarity=case.similarity.float().double())
    sums, gradient = softplus_sums(kernel, case, temperature, torch.float32)
    expected_sums, expected_gradient = softplus_sums("dense", case, temperature)
    assert (sums - expected_sums).abs().max() <= 1e-6 * expected_sums.max()
    assert (gradient - expected_gradient).norm() <= 1e-6 * expected_gradient.norm()


@every_kernel
def test_gradcheck_of_softplus_holds_in_float64(kernel):
    torch.manual_seed(1)
    similarity = torch.rand(2, 9, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(2, 9, dtype=torch.float64) * 3
    columns = torch.tensor([[0, 3, 4], [8, 1, 1]])
    assert torch.autograd.gradcheck(
        lambda s: KERNELS[kernel](s, columns, 0.1, weights, "softplus"), similarity, rtol=1e-6, atol=1e-6
    )


# --- on a GPU ----------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("temperature", [0.005, 0.5], ids=lambda t: f"tau{t}")
@pytest.mark.parametrize("size", [65, 4096], ids=lambda d: f"D{d}")
@pytest.mark.parametrize("kind", ["random", "clustered", "tied"])
@pytest.mark.parametrize("kernel", ["grid", "relevant"])
def test_a_gpu_gives_the_ranks_and_gradients_of_float64_pairs(kernel, kind, size, temperature, cuda):
    similarity = similarities(kind, size)[None].to(cuda).requires_grad_()
    columns = torch.arange(size, device=cuda)[None]
    ranks = 1 + KERNELS[kernel](similarity, columns, temperature, torch.ones_like(similarity.detach()))
    (gradient,) = torch.autograd.grad(ranks, similarity, upstream_of(size).to(cuda))
    expected_ranks, expected_gradient = float64_pairs(kind, size, temperature)
    assert (ranks[0].detach().cpu() - expected_ranks).abs().max() <= 2e-6 * size
    roundings = 2**-23 * upstream_of(size).norm() / (4 * temperature)
    error = (gradient[0].cpu() - expected_gradient).norm()
    assert error <= max(1e-5 * expected_gradient.norm(), roundings)


@pytest.mark.gpu
@pytest.mark.parametrize("kernel", ["grid", "relevant"])
def test_a_gpu_kernel_never_waits_for_the_device(kernel, cuda):
    similarity = torch.rand(64, 512, device=cuda, requires_grad=True)
    columns = torch.arange(512, device=cuda).expand(64, 512)
    weights = torch.ones(64, 512, device=cuda)

    def step() -> None:
        KERNELS[kernel](similarity, columns, 0.05, weights).square().sum().backward()

    step()  # constants are built, and cached, on the first call
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert similarity.grad.norm() > 0


# --- sums that are small next to their parts -----------------------------------------------------------------------


def errors_of_grid(
    similarity: Tensor, columns: Tensor, weights: Tensor, function: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The grid's errors in the sums and the gradient at temperature 1, and the sums and the gradient of float64."""
    upstream = torch.rand(columns.shape, generator=torch.Generator().manual_seed(0)) - 0.5
    read = {}
    for kernel, dtype in ((dense_sum, torch.float64), (grid_sum, torch.float32)):
        x = similarity.to(dtype).requires_grad_()
        sums = kernel(x, columns, 1.0, weights.to(dtype), function)
        sums.backward(upstream.to(dtype))
        read[dtype] = sums.detach().double(), x.grad.double()
    sums, gradient = read[torch.float64]
    return read[torch.float32][0] - sums, read[torch.float32][1] - gradient, sums, gradient


def best_first(function: str) -> tuple[Tensor, Tensor, Tensor]:
    """Five documents 15 temperatures above 4,000 others, which alone count in sums of softplus."""
    similarity = 2 * torch.rand(2, 4005, generator=torch.Generator().manual_seed(1))
    similarity[:, :5] += 17
    weights = torch.ones_like(similarity)
    if function == "softplus":
        weights[:, :5] = 0
    return similarity, torch.arange(5).expand(2, 5), weights


@pytest.mark.parametrize("function", ["sigmoid", "softplus"])
def test_the_grid_sums_the_first_documents_of_long_lists_to_their_own_last_digits(function):
    wrong, wrong_gradient, sums, gradient = errors_of_grid(*best_first(function), function)
    assert (wrong.abs() <= 1e-5 * sums.clamp_max(1) + 1e-10).all()
    assert wrong_gradient.norm() <= 1e-5 * gradient.norm()


@pytest.mark.parametrize("gap", [10, 12, 14])
def test_the_grid_keeps_the_gradient_of_documents_far_apart(gap):
    """Its terms of a document with itself cancel but for float32 rounding, though far larger than the gradient."""
    similarity = gap * torch.randperm(300, generator=torch.Generator().manual_seed(3)).float()[None]
    columns, weights = torch.arange(300)[None], torch.ones(1, 300)
    _, wrong, _, gradient = errors_of_grid(similarity, columns, weights, "sigmoid")
    assert wrong.norm() <= 2e-8 * (300 / 12) ** 0.5  # the norm of 300 uniform numbers
    assert wrong.norm() <= 1e-2 * gradient.norm()
