"""Pruned inner products against a sort of all of them in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from st_rankloss.evaluation import products
from st_rankloss.evaluation.search import exact_search
from tests.evaluation.test_search import sorted_by_definition

SCALES = (1e-30, 1e-3, 1.0, 1e6)


def ordered(documents, query, order):
    """Documents whose similarity to a query rises, so that each may be among the best when it comes, or falls."""
    similarity = documents @ query
    return documents[similarity.argsort(descending=order == "falling")] if order != "random" else documents


@given(
    seed=st.integers(0, 10_000),
    size=st.integers(1, 300),
    k=st.integers(1, 320),
    chunk=st.integers(1, 310),
    scale=st.sampled_from(SCALES),
    order=st.sampled_from(["random", "rising", "falling"]),
    similarity_fn_name=st.sampled_from(["cosine", "dot"]),
    blocks=st.tuples(st.integers(1, 6), st.integers(1, 70), st.integers(1, 9)),
    most=st.sampled_from([0.0, 1 / 32, 1.0]),
)
def test_pruning_changes_no_result(seed, size, k, chunk, scale, order, similarity_fn_name, blocks, most):
    """Neighbouring similarities, a thousandth of float32's error apart, and copies, which tie."""
    generator = torch.Generator().manual_seed(seed)
    queries = torch.randn(5, 24, generator=generator)
    centre = torch.randn(24, generator=generator)
    documents = centre + 10.0 ** -torch.randint(0, 9, (size, 1), generator=generator) * torch.randn(
        size, 24, generator=generator
    )
    documents = ordered(torch.cat([documents, documents[: size // 2]]), queries[0], order) * scale
    with pytest.MonkeyPatch.context() as patch:
        for name, value in zip(("_ROWS", "_DOCUMENTS", "_PAIRS"), blocks, strict=True):
            patch.setattr(products, name, value)
        patch.setattr(products, "_MOST", most)
        scores, numbers = exact_search(queries, documents.split(chunk), k, similarity_fn_name)
        patch.setattr("st_rankloss.evaluation.search.can_prune", lambda *_: False)
        expected_scores, expected = exact_search(queries, documents.split(chunk), k, similarity_fn_name)
    assert numbers.tolist() == expected.tolist()
    assert scores.tolist() == expected_scores.tolist()


def test_similarities_that_float32_products_confuse_are_told_apart(monkeypatch):
    """Long parts at right angles to the query make errors larger than the differences of the similarities."""
    monkeypatch.setattr(products, "_DOCUMENTS", 64)
    monkeypatch.setattr(products, "_MOST", 1.0)
    generator = torch.Generator().manual_seed(0)
    query = torch.zeros(256)
    query[::2] = torch.randn(128, generator=generator)
    across = torch.randn(1000, 256, generator=generator).double()
    across -= (across @ query.double())[:, None] * query / query.double().square().sum()
    along = 1e-4 * torch.rand(1000, 1, generator=generator)
    documents = (10_000 * across + (1 + along) * query).float()
    _, numbers = exact_search(query[None], [documents], 10, "dot")
    assert numbers.tolist() == sorted_by_definition(query[None], documents, 10, "dot")[1].tolist()


def test_many_documents_in_blocks_of_the_usual_size_equal_a_full_sort():
    documents, queries = torch.randn(9_000, 16), torch.randn(600, 16)
    _, numbers = exact_search(queries, documents.split(5_000), 10, "cosine")
    assert numbers.tolist() == sorted_by_definition(queries, documents, 10, "cosine")[1].tolist()


def test_few_pairs_are_computed_in_float64(monkeypatch):
    """The first block has to be; afterwards a few in a thousand may be among the best."""
    computed = []
    vecdot = torch.linalg.vecdot
    monkeypatch.setattr(torch.linalg, "vecdot", lambda a, b: computed.append(len(a)) or vecdot(a, b))
    exact_search(torch.randn(100, 16), torch.randn(20_000, 16).split(10_000), 10, "cosine")
    assert 0 < sum(computed) < 0.01 * 100 * 18_000


@pytest.mark.parametrize("case", ["precision", "size", "autocast"])
def test_what_makes_float32_products_coarse_does_not_change_the_result(case, request):
    scale = 1e18 if case == "size" else 1.0
    documents, queries = torch.randn(6_000, 64) * scale, torch.randn(20, 64) * scale
    if case == "precision":
        request.addfinalizer(lambda: torch.set_float32_matmul_precision("highest"))
        torch.set_float32_matmul_precision("medium")
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=case == "autocast"):
        _, numbers = exact_search(queries, [documents], 10, "dot")
    expected = (queries.double() @ documents.double().T).float().sort(descending=True, stable=True).indices[:, :10]
    assert numbers.tolist() == expected.tolist()


@given(seed=st.integers(0, 10_000), size=st.integers(1, 60), chunk=st.integers(1, 60))
def test_numbers_of_the_caller_decide_ties_and_are_returned(seed, size, chunk):
    generator = torch.Generator().manual_seed(seed)
    documents = torch.randint(0, 2, (size, 3), generator=generator).float()
    own = torch.randperm(1000, generator=generator)[:size]
    queries = torch.eye(3)
    _, numbers = exact_search(queries, documents.split(chunk), 20, "dot", numbers=own.tolist())
    in_order = own.argsort()
    places = sorted_by_definition(queries, documents[in_order], 20, "dot")[1]
    assert numbers.tolist() == own[in_order][places].tolist()


def test_a_precision_set_under_the_name_of_a_backend_changes_no_result(monkeypatch):
    queries, documents = torch.randn(3, 8), torch.randn(50, 8)
    expected = exact_search(queries, [documents], 4, "cosine")

    def mixed():
        raise RuntimeError("mix of the legacy and new APIs")  # as torch does after torch.backends.fp32_precision = ...

    monkeypatch.setattr(torch, "get_float32_matmul_precision", mixed)
    found = exact_search(queries, [documents], 4, "cosine")
    assert found[1].tolist() == expected[1].tolist()
    assert found[0].tolist() == expected[0].tolist()
