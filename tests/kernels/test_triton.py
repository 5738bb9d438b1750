"""The Triton kernels against every pair in float64: on a GPU if there is one, otherwise in Triton's interpreter."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from st_rankloss.functional.ndcg import approx_ndcg
from st_rankloss.functional.pairwise import mann_whitney
from st_rankloss.functional.ranks import soft_rank
from st_rankloss.kernels import choice
from st_rankloss.kernels.dense import dense_sum

pytest.importorskip("triton", reason="Triton is made for Linux only")
from st_rankloss.kernels import triton_grid, triton_relevant, triton_sum

pytestmark = pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")  # of lanes nobody reads
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(autouse=True)
def large_tiles(monkeypatch) -> None:
    """Use large tiles: the interpreter takes as long for a small one."""
    if DEVICE == "cpu":
        monkeypatch.setattr(triton_sum, "PAIRS", {terms: (64, 1024) for terms in triton_sum.PAIRS})
        monkeypatch.setattr(triton_sum, "PULLED", (64, 1024))


class Case(NamedTuple):
    """Queries, the documents to sum for, and the gradient of their sums."""

    similarity: Tensor
    listed: Tensor
    weights: Tensor
    upstream: Tensor
    temperature: float = 0.05
    kernel: str = "sigmoid"

    @property
    def columns(self) -> Tensor:
        return torch.arange(self.similarity.shape[1]).expand(self.similarity.shape)


def similarities(kind: str, size: int) -> Tensor:
    """Similarities of one query for a temperature of 0.05."""
    draws = torch.randn(1, size)
    if kind == "cosines":
        return 0.3 + 0.15 * draws
    if kind == "equal":
        return torch.full((1, size), 0.1)
    if kind == "tied":
        return torch.randint(-4, 5, (1, size)) / 4
    if kind == "clusters":
        return 1000 * torch.randn(1, 8)[:, torch.arange(size) % 8] + 0.1 * draws
    if kind == "outlier":
        draws = 0.3 + 0.15 * draws
        draws[0, 0] = 50
        return draws
    spread = {"79-temperatures": 79, "81-temperatures": 81, "1000-temperatures": 1e3, "million-temperatures": 1e6}[kind]
    draws = 0.05 * spread * torch.rand(1, size)
    draws[0, :2] = torch.tensor([0, 0.05 * spread])
    return draws


def case_of(kind: str, size: int, count: int, **settings: Any) -> Case:
    """A query of which ``count`` documents are listed; a fifth of all have no weight."""
    similarity = similarities(kind, size)
    listed = torch.rand(1, size).argsort(1) < count
    weights = (3 * torch.rand(1, size) - 0.6).clamp_min(0)
    return Case(similarity, listed, weights, torch.randn(1, size), **settings)


def computed(case: Case) -> tuple[Tensor, Tensor]:
    """Sums and gradient of the kernels, as float64 on the CPU."""
    similarity = case.similarity.to(DEVICE).requires_grad_()
    columns, weights, listed = (x.to(DEVICE) for x in (case.columns, case.weights, case.listed))
    weights = weights.to(similarity.dtype)
    sums = triton_sum.triton_sum(similarity, columns, case.temperature, weights, case.kernel, listed)
    (gradient,) = torch.autograd.grad(sums, similarity, case.upstream.to(DEVICE, sums.dtype))
    assert sums.dtype == gradient.dtype == case.similarity.dtype
    return sums.detach().double().cpu(), gradient.double().cpu()


def expected(case: Case) -> tuple[Tensor, Tensor]:
    """The same from all pairs in float64, a few documents at a time; unlisted documents have no sum and no gradient."""
    similarity = case.similarity.double().requires_grad_()
    sums, gradient = [], torch.zeros_like(similarity)
    for columns in torch.arange(similarity.shape[1]).split(512):
        columns = columns.expand(len(similarity), -1)
        some = dense_sum(similarity, columns, case.temperature, case.weights.double(), case.kernel)
        some = torch.where(case.listed.gather(1, columns), some, 0)
        gradient += torch.autograd.grad(some, similarity, case.upstream.double().gather(1, columns))[0]
        sums.append(some.detach())
    return torch.cat(sums, 1), gradient


def check(case: Case, *, of_sum: float = 3e-7, of_gradient: float = 1e-6) -> None:
    """Compare sums in units of the number of documents, or of the largest sum, and gradients in units of their norm."""
    (sums, gradient), (expected_sums, expected_gradient) = computed(case), expected(case)
    assert (sums - expected_sums).abs().max() <= of_sum * max(sums.shape[1], expected_sums.max().item())
    # A gradient that vanishes because all documents are far apart is off by roundings of a slope.
    roundings = 2**-23 * case.upstream.norm() / (4 * case.temperature)
    assert (gradient - expected_gradient).norm() <= max(of_gradient * expected_gradient.norm(), roundings)


def counts_of(size: int) -> list[int]:
    return sorted({1, 7, size // 2, size})


# --- the definition ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["sigmoid", "softplus"])
@pytest.mark.parametrize(
    ("size", "count"),
    [(size, count) for size in (1, 2, 63, 64, 65, 1000) for count in counts_of(size) if count <= size],
)
def test_sums_and_gradients_are_those_of_all_pairs(size, count, kernel):
    check(case_of("cosines", size, count, kernel=kernel))


@pytest.mark.parametrize("count", [7, 4097])
def test_thousands_of_documents_have_the_sums_and_gradients_of_all_pairs(count):
    check(case_of("cosines", 4097, count))


@pytest.mark.parametrize("kernel", ["sigmoid", "softplus"])
@pytest.mark.parametrize("count", [7, 200])
@pytest.mark.parametrize(
    "kind",
    [
        "equal",
        "tied",
        "clusters",
        "outlier",
        "79-temperatures",
        "81-temperatures",
        "1000-temperatures",
        "million-temperatures",
    ],
)
def test_similarities_of_any_range_have_the_sums_and_gradients_of_all_pairs(kind, count, kernel):
    check(case_of(kind, 200, count, kernel=kernel))


@pytest.mark.parametrize("count", [7, 150])
@pytest.mark.parametrize("temperature", [1e-6, 1e-3, 0.0666, 0.0667, 1.0, 1e6])
def test_any_temperature_has_the_sums_and_gradients_of_all_pairs(temperature, count):
    """Cells are a power of two wide: the widest and the narrowest in temperatures are among these."""
    check(case_of("cosines", 150, count, temperature=temperature))


@pytest.mark.parametrize("kernel", ["sigmoid", "softplus"])
@pytest.mark.parametrize("kind", ["cosines", "outlier", "81-temperatures"])
def test_float64_stays_float64(kind, kernel):
    case = case_of(kind, 100, 90, kernel=kernel)
    check(case._replace(similarity=case.similarity.double()), of_sum=1e-11, of_gradient=1e-10)


def test_a_query_without_listed_documents_has_no_sums_and_no_gradient():
    case = case_of("cosines", 130, 0)
    sums, gradient = computed(case)
    assert not sums.any()
    assert not gradient.any()


def test_documents_that_are_not_listed_need_no_similarity_of_their_own():
    """Callers give all of ``columns`` on a GPU, and only count some: their upstream gradient is not read."""
    case = case_of("cosines", 100, 30)
    upstream = torch.where(case.listed, case.upstream, torch.nan)
    for got, wanted in zip(computed(case._replace(upstream=upstream)), computed(case), strict=True):
        assert torch.equal(got, wanted)


def test_documents_in_any_order_and_listed_twice_are_summed_twice():
    case = case_of("cosines", 90, 90)
    columns = torch.tensor([[5, 80, 5, 0, 0, 3]])
    listed = torch.tensor([[True, True, True, False, True, False]])
    similarity = case.similarity.requires_grad_()
    results = []
    for compute in (dense_sum, triton_sum.triton_sum):
        inputs = [x.to(DEVICE) for x in (similarity, columns, case.weights, listed)]
        extra = [inputs[3]] if compute is triton_sum.triton_sum else []
        sums = compute(inputs[0], inputs[1], 0.05, inputs[2], "sigmoid", *extra)[:, listed[0]]
        results.append((sums, *torch.autograd.grad(sums.square().sum(), similarity)))
    torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-4)


def test_nothing_to_sum_gives_nothing():
    for shape in ((0, 5), (3, 0)):
        similarity = torch.rand(shape[0], 5, device=DEVICE, requires_grad=True)
        columns = torch.zeros(shape, dtype=torch.long, device=DEVICE)
        sums = triton_sum.triton_sum(similarity, columns, 0.1, torch.ones(shape[0], 5, device=DEVICE))
        assert sums.shape == shape
        assert not torch.autograd.grad(sums.sum(), similarity)[0].any()


@pytest.mark.parametrize("count", [9, 300])
def test_the_same_input_gives_the_same_bits(count, deterministic):
    case = case_of("cosines", 300, count)
    for got, wanted in zip(computed(case), computed(case), strict=True):
        assert torch.equal(got, wanted)


def test_a_query_does_not_depend_on_the_queries_beside_it():
    cases = [case_of("cosines", 200, 3), case_of("million-temperatures", 200, 200), case_of("tied", 200, 150)]
    together = Case(*(torch.cat(parts) for parts in list(zip(*cases, strict=True))[:4]))
    sums, gradient = computed(together)
    for query, case in enumerate(cases):
        alone, gradient_alone = computed(case)
        assert torch.equal(sums[query], alone[0])
        assert torch.equal(gradient[query], gradient_alone[0])


def test_a_second_derivative_is_refused_rather_than_wrong():
    similarity = torch.rand(1, 8, device=DEVICE, requires_grad=True)
    sums = triton_sum.triton_sum(similarity, torch.arange(8, device=DEVICE)[None], 0.1, torch.ones(1, 8, device=DEVICE))
    (gradient,) = torch.autograd.grad(sums.square().sum(), similarity, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


# --- what the device decides --------------------------------------------------------------------------------------


@pytest.fixture
def nodes(monkeypatch) -> list[list[int]]:
    """How many nodes each query had, forward and backward."""
    chosen = []
    original = triton_sum._nodes_for

    def watched(*arguments):
        made = original(*arguments)
        chosen.append(made.counts)
        return made

    monkeypatch.setattr(triton_sum, "_nodes_for", watched)
    return chosen


def test_the_device_takes_nodes_where_there_are_fewer_than_documents(nodes):
    kinds = {"cosines": 200, "outlier": 200, "equal": 200, "million-temperatures": 200, "tied": 3}
    cases = [case_of(kind, 200, count) for kind, count in kinds.items()]
    computed(Case(*(torch.cat(parts) for parts in list(zip(*cases, strict=True))[:4])))
    for cosines, outlier, equal, wide, few in (counts.tolist() for counts in nodes):
        assert 20 < cosines < 60
        assert 20 < outlier < 60  # two nodes for 1,000 temperatures
        assert equal == 2
        assert wide == few == 0
    assert len(nodes) == 2


def test_what_would_not_fit_is_summed_exactly(nodes, monkeypatch):
    monkeypatch.setattr(triton_sum, "MOST_NODES", 16)
    check(case_of("cosines", 200, 200))
    assert [counts.tolist() for counts in nodes] == [[0], [0]]


# --- the host -----------------------------------------------------------------------------------------------------


def test_the_host_never_waits_for_the_device(monkeypatch):
    """Tensors without data: reading any of their values raises."""
    launched = []
    monkeypatch.setattr(triton_sum, "_launch", lambda kernel, grid, *_, **__: launched.append((kernel, grid)))
    with FakeTensorMode():
        similarity, listed = torch.empty(1024, 4096, requires_grad=True), torch.empty(1024, 4096, dtype=torch.bool)
        columns = torch.arange(4096).expand(1024, 4096)
        sums = choice.sum_pairs(similarity, columns, 0.05, torch.empty(1024, 4096), "sigmoid", "triton", listed)
        sums.sum().backward()
        assert similarity.grad.shape == similarity.shape
    names = [kernel for kernel, _ in launched]
    forward = [triton_relevant.list_documents, triton_grid.mark_nodes, triton_grid.list_nodes]
    assert names[:6] == [
        *forward,
        triton_relevant.sum_exactly,
        triton_grid.sum_at_nodes,
        triton_grid.read_listed,
    ]
    assert names[6:] == [
        *forward,
        triton_grid.sum_at_nodes,
        triton_relevant.pull_documents,
        triton_relevant.push_listed,
    ]
    assert all(grid[0] == 1024 for _, grid in launched)


def test_auto_takes_triton_where_a_gpu_has_it(monkeypatch):
    cuda = torch.device("cuda")
    monkeypatch.setattr(choice, "has_triton", lambda device: device == cuda)
    assert choice.choose_method(64, 4096, 4096, cuda) == choice.choose_method(64, 4096, 2, cuda) == "triton"
    assert choice.choose_method(4, 8, 8, cuda) == "dense"
    assert choice.choose_method(64, 4096, 4096, torch.device("cpu")) == "grid"


def test_a_cpu_has_no_triton():
    assert not choice.has_triton(torch.device("cpu"))


def test_similarities_on_a_cpu_are_refused_by_name(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(
        ValueError, match="method='triton' needs similarity on a CUDA device, got cpu: pass method='auto'"
    ):
        soft_rank(torch.rand(2, 200), 0.05, method="triton")


# --- the compiler -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_kernel_compiles_for_a_gpu(tmp_path):
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path), "TRITON_INTERPRET": "0"}
    run = subprocess.run(
        [sys.executable, "-m", "tests.kernels.compile_triton"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env=environment,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    files = (Path(module.__file__) for module in (triton_grid, triton_relevant))
    kernels = {name for file in files for name in re.findall(r"@triton.jit\ndef (\w+)", file.read_text())}
    assert set(run.stdout.split()) == kernels
    assert len(kernels) == 8


# --- from the outside -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("function", [approx_ndcg, mann_whitney])
def test_objectives_have_the_values_and_gradients_of_the_definition(function, weighted):
    similarity = (0.3 + 0.15 * torch.randn(3, 120)).to(DEVICE).requires_grad_()
    relevance = torch.randint(0, 3, (3, 120)).float()
    relevance[0, 10:] = 0
    relevance[1, ::7] = torch.nan
    weights = torch.rand(3, 120).to(DEVICE) if weighted else None
    results = []
    for method in ("dense", "triton"):
        value = function(similarity, relevance.to(DEVICE), weights=weights, temperature=0.05, method=method)
        results.append((value, *torch.autograd.grad(value.sum(), similarity)))
    torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-6)


def test_soft_ranks_are_those_of_the_definition():
    similarity, wanted = torch.rand(2, 90).to(DEVICE), torch.rand(2, 90).to(DEVICE) < 0.3
    ranks = soft_rank(similarity, 0.05, wanted=wanted, method="triton")
    torch.testing.assert_close(ranks, soft_rank(similarity, 0.05, wanted=wanted, method="dense"), rtol=1e-5, atol=1e-5)
