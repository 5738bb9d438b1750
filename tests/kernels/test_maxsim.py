"""MaxSim against its definition in plain loops, and against autograd of sentence-transformers' own function."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from sentence_transformers.multi_vector_encoder.scoring import colbert_scores, mean_colbert_scores
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from st_rankloss.functional import approx_ndcg
from st_rankloss.kernels import maxsim as kernel
from st_rankloss.kernels.maxsim import NO_TOKENS, MaxSimGradient, maxsim
from st_rankloss.losses.blocks import sum_over_blocks
from st_rankloss.losses.comparisons import compare_by
from st_rankloss.losses.tokens import concatenate, pack_tokens, unpack_tokens, widen
from st_rankloss.objectives import ApproxNDCG, SoftmaxCrossEntropy

SIZES = [1, 2, 63, 64, 65]


def tokens(rows, width, seed, dim=5, share=0.7, dtype=torch.float64):
    """Random token embeddings, and which count: any number of each row, also none."""
    draw = torch.Generator().manual_seed(seed)
    vectors = torch.randn(rows, width, dim, generator=draw, dtype=dtype)
    return vectors, torch.rand(rows, width, generator=draw) < share


def both(queries, documents, lengths=(3, 4), **options):
    """Tokens of queries and documents, then their masks."""
    columns = [tokens(n, w, seed, **options) for n, w, seed in zip((queries, documents), lengths, (0, 1), strict=True)]
    return [column[0] for column in columns] + [column[1] for column in columns]


def by_loops(queries, documents, query_mask, document_mask):
    """The definition: scores, and the gradient of their weighted sum as a function of the weights."""
    count, total = len(queries), len(documents)
    scores = [[0.0] * total for _ in range(count)]
    winners = []
    for q, d in itertools.product(range(count), range(total)):
        places = [t for t in range(documents.shape[1]) if document_mask[d, t]]
        if not places:
            scores[q][d] = -1e9
            continue
        for s in range(queries.shape[1]):
            if query_mask[q, s]:
                dots = [(queries[q, s] * documents[d, t]).sum().item() for t in places]
                scores[q][d] += max(dots)
                winners.append((q, d, s, places[dots.index(max(dots))]))

    def gradient(weights):
        of_queries, of_documents = torch.zeros_like(queries), torch.zeros_like(documents)
        for q, d, s, t in winners:
            of_queries[q, s] += weights[q, d] * documents[d, t]
            of_documents[d, t] += weights[q, d] * queries[q, s]
        return of_queries, of_documents

    return queries.new_tensor(scores), gradient


def weights_like(scores):
    return torch.randn(scores.shape, generator=torch.Generator().manual_seed(5), dtype=scores.dtype)


def assert_equal(found, wanted):
    for mine, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_scores_and_gradients_are_those_of_plain_loops(seed):
    draw = torch.Generator().manual_seed(seed)
    rows, total, length, width = torch.randint(1, 6, (4,), generator=draw).tolist()
    inputs = both(rows, total, (length, width), share=seed / 20)
    scores, best = maxsim(*inputs)
    wanted, gradient = by_loops(*inputs)
    torch.testing.assert_close(scores, wanted, rtol=1e-12, atol=1e-12)
    weights = weights_like(scores)
    assert_equal(MaxSimGradient(*inputs, best)(weights), gradient(weights))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("what", ["queries", "documents", "query tokens", "document tokens"])
def test_any_size_is_as_in_sentence_transformers(what, size):
    names = ("queries", "documents", "query tokens", "document tokens")
    rows, total, length, width = (size if name == what else 3 for name in names)
    queries, documents, query_mask, document_mask = both(rows, total, (length, width), dtype=torch.float32)
    leaves = [queries.clone().requires_grad_(), documents.clone().requires_grad_()]
    wanted = colbert_scores(
        leaves[0], leaves[1][:, None], queries_mask=query_mask, documents_mask=document_mask[:, None]
    )
    scores, best = maxsim(queries, documents, query_mask, document_mask)
    torch.testing.assert_close(scores, wanted.detach(), rtol=1e-5, atol=1e-5)
    weights = weights_like(scores)
    gradient = torch.autograd.grad((wanted * weights).sum(), leaves)
    found = MaxSimGradient(queries, documents, query_mask, document_mask, best)(weights)
    for mine, other in zip(found, gradient, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)


def test_a_document_without_tokens_comes_last_and_gets_no_gradient():
    queries, documents, query_mask, document_mask = both(3, 4, share=1.0)
    document_mask[1] = False
    scores, best = maxsim(queries, documents, query_mask, document_mask)
    assert scores[:, 1].eq(NO_TOKENS).all()
    assert scores[:, [0, 2, 3]].min() > NO_TOKENS
    of_queries, of_documents = MaxSimGradient(queries, documents, query_mask, document_mask, best)(
        torch.tensor([0.0, 1.0, 0.0, 0.0]).double().expand(3, 4)
    )
    assert of_queries.eq(0).all()
    assert of_documents.eq(0).all()


def test_a_query_without_tokens_scores_zero_and_gives_no_gradient():
    queries, documents, query_mask, document_mask = both(3, 4, share=1.0)
    query_mask[2] = False
    scores, best = maxsim(queries, documents, query_mask, document_mask)
    assert scores[2].eq(0).all()
    weights = torch.zeros_like(scores)
    weights[2] = 1
    found = MaxSimGradient(queries, documents, query_mask, document_mask, best)(weights)
    assert all(gradient.eq(0).all() for gradient in found)


def test_the_mean_over_tokens_is_that_of_sentence_transformers_even_where_there_is_none():
    queries, documents, query_mask, document_mask = both(3, 4, share=0.6, dtype=torch.float32)
    query_mask[1] = document_mask[2] = False
    wanted = mean_colbert_scores(
        queries, documents[:, None], queries_mask=query_mask, documents_mask=document_mask[:, None]
    )
    columns = packed(queries, documents, query_mask, document_mask)
    for backwards in (False, True):
        rows, others = columns[::-1] if backwards else columns
        block = compare_by(mean_colbert_scores).block(rows, others, backwards=backwards, with_grad=False)
        torch.testing.assert_close(block.similarity.T if backwards else block.similarity, wanted)


def test_the_gradient_of_a_tie_goes_to_one_of_the_equal_tokens():
    queries, query_mask = torch.ones(1, 1, 2, dtype=torch.float64), torch.ones(1, 1, dtype=torch.bool)
    documents, document_mask = torch.ones(1, 3, 2, dtype=torch.float64), torch.tensor([[False, True, True]])
    scores, best = maxsim(queries, documents, query_mask, document_mask)
    assert scores.item() == 2
    of_queries, of_documents = MaxSimGradient(queries, documents, query_mask, document_mask, best)(
        torch.ones(1, 1, dtype=torch.float64)
    )
    assert of_queries[0, 0].tolist() == [1, 1]
    assert sorted(of_documents[0].tolist()) == [[0, 0], [0, 0], [1, 1]]
    assert of_documents[0, 0].eq(0).all()


def test_a_masked_token_never_wins_even_if_all_others_are_far_below_it():
    queries, documents = torch.ones(1, 1, 1), torch.tensor([[[1e6], [-1e6]]])
    scores, best = maxsim(queries, documents, torch.ones(1, 1, dtype=torch.bool), torch.tensor([[False, True]]))
    assert scores.item() == -1e6
    assert best.item() == 1


@pytest.mark.parametrize("cells", [1, 20, 49, 1000])
def test_pieces_of_documents_change_nothing(cells, monkeypatch):
    inputs = both(4, 13)
    scores, best = maxsim(*inputs)
    monkeypatch.setitem(kernel._CELLS, "cpu", cells)
    in_pieces, places = maxsim(*inputs)
    torch.testing.assert_close(in_pieces, scores, rtol=1e-12, atol=1e-12)
    weights = weights_like(scores)
    assert_equal(MaxSimGradient(*inputs, places)(weights), MaxSimGradient(*inputs, best)(weights))


def test_one_gradient_serves_several_weightings():
    inputs = both(4, 6)
    scores, best = maxsim(*inputs)
    gradient, (_, by_definition) = MaxSimGradient(*inputs, best), by_loops(*inputs)
    for weights in (weights_like(scores), torch.ones_like(scores), -weights_like(scores)):
        assert_equal(gradient(weights), by_definition(weights))


# --- blocks of packed tokens -----------------------------------------------------------------------------------------


def packed(queries, documents, query_mask, document_mask):
    return [pack_tokens(queries, query_mask), pack_tokens(documents, document_mask)]


def relevance_of(count, total):
    grades = torch.randint(0, 3, (count, total), generator=torch.Generator().manual_seed(2)).double()
    grades[:, 0], grades[:, 1] = 2, 0
    return grades


def test_packing_and_unpacking_give_the_same_tokens_in_every_precision():
    vectors, mask = tokens(4, 5, seed=0)
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        found, counts = unpack_tokens(pack_tokens(vectors.to(dtype), mask))
        assert torch.equal(found[mask], vectors.to(dtype)[mask])
        assert found[~mask].eq(0).all()
        assert torch.equal(counts, mask)


def test_values_of_tokens_that_do_not_count_change_nothing_even_if_they_are_not_finite():
    inputs = both(4, 6, share=0.8)
    inputs[3][:, 0] = True  # no document without tokens
    grades, found = relevance_of(4, 6), []
    for noise in (1.0, math.nan, math.inf):
        leaves = [
            x.masked_fill(~m[..., None], noise).requires_grad_() for x, m in zip(inputs[:2], inputs[2:], strict=True)
        ]
        sums = sum_over_blocks(
            *packed(*leaves, *inputs[2:]), lambda rows: grades[rows], ApproxNDCG(), mean_colbert_scores
        )
        found.append((sums.parts.detach(), *torch.autograd.grad(sums.parts.sum(), leaves)))
    assert_equal(found[1], found[0])
    assert_equal(found[2], found[0])


def test_columns_of_any_width_are_concatenated_row_by_row():
    narrow, wide = pack_tokens(*tokens(2, 3, seed=0)), pack_tokens(*tokens(3, 5, seed=1))
    joined = concatenate([narrow, wide])
    assert joined.shape == (5, 5, 6)
    assert torch.equal(joined[:2, :3], narrow)
    assert torch.equal(joined[2:], wide)
    assert joined[:2, 3:].eq(0).all()
    vectors = torch.randn(4, 2)
    assert torch.equal(concatenate([vectors[:1], vectors[1:]]), vectors)


@pytest.mark.parametrize("similarity_fct", [colbert_scores, mean_colbert_scores], ids=lambda f: f.__name__)
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("more", [(0, 1), (3, 0), (2, 7)])
def test_the_width_of_padding_changes_nothing(more, backwards, similarity_fct):
    columns = packed(*both(4, 6, share=0.8))
    columns[1][:, 0, -1] = 1  # no document without tokens
    grades = relevance_of(4, 6)
    found = []
    for padding in ((0, 0), more):
        leaves = [widen(x, x.shape[1] + n).requires_grad_() for x, n in zip(columns, padding, strict=True)]
        sums = sum_over_blocks(*leaves, lambda rows: grades[rows], ApproxNDCG(), similarity_fct, backwards=False)
        if backwards:
            sums = sum_over_blocks(
                *leaves[::-1], lambda rows: grades.T[rows], ApproxNDCG(), similarity_fct, backwards=True
            )
        gradients = torch.autograd.grad(sums.parts.sum(), leaves)
        found.append((sums.parts.detach(), *[g[:, : x.shape[1]] for g, x in zip(gradients, columns, strict=True)]))
        assert all(g[:, x.shape[1] :].eq(0).all() for g, x in zip(gradients, columns, strict=True))
    assert_equal(found[1], found[0])
    assert found[0][1].abs().max() > 1e-3


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("objective", [ApproxNDCG(0.5), SoftmaxCrossEntropy(1.0)], ids=repr)
def test_the_loss_passes_gradcheck(objective, mean, backwards):
    columns = [x.requires_grad_() for x in packed(*both(3, 4, (2, 3), dim=2, share=0.8))]
    with torch.no_grad():
        columns[1][:, 0, -1] = 1
    grades = relevance_of(4, 3) if backwards else relevance_of(3, 4)

    def loss(query_vectors, document_vectors):
        both = [query_vectors, document_vectors]
        leaves = [torch.cat([v, x[..., -1:].detach()], -1) for v, x in zip(both, columns, strict=True)]
        return sum_over_blocks(
            *(leaves[::-1] if backwards else leaves),
            lambda rows: grades[rows],
            objective,
            mean_colbert_scores if mean else colbert_scores,
            block_size=2,
            backwards=backwards,
        ).parts

    assert torch.autograd.gradcheck(loss, [x[..., :-1].detach().requires_grad_() for x in columns], fast_mode=True)


@pytest.mark.parametrize("block_size", [1, 2, 5, 64])
@pytest.mark.parametrize("backwards", [False, True])
def test_the_size_of_blocks_changes_nothing(backwards, block_size):
    queries, documents, query_mask, document_mask = both(5, 7, share=0.8)
    document_mask[:, 0] = True
    leaves = [x.requires_grad_() for x in packed(queries, documents, query_mask, document_mask)]
    grades = relevance_of(7, 5) if backwards else relevance_of(5, 7)
    rows = leaves[::-1] if backwards else leaves

    scores, _ = by_loops(queries.detach(), documents.detach(), query_mask, document_mask)
    similarity = scores.T if backwards else scores
    sums = sum_over_blocks(
        *rows, lambda rows: grades[rows], ApproxNDCG(), colbert_scores, block_size=block_size, backwards=backwards
    )
    wanted = (1 - approx_ndcg(similarity, grades)).sum()
    assert sums.parts.item() == pytest.approx(wanted.item(), rel=1e-12)
    assert sums.defined.item() == len(grades)


class Largest(TorchDispatchMode):
    """Keeps the size of the largest tensor that any operation makes."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        sizes = [x.numel() for x in tree_iter(made) if isinstance(x, torch.Tensor)]
        self.numbers = max([self.numbers, *sizes])
        return made


@pytest.mark.parametrize("backwards", [False, True])
def test_similarities_of_all_tokens_never_exist_at_once(backwards, monkeypatch):
    monkeypatch.setitem(kernel._CELLS, "cpu", 2**12)
    rows, total, length, width, dim = 40, 50, 8, 10, 4
    columns = packed(*both(rows, total, (length, width), dim=dim, share=1.0, dtype=torch.float32))
    leaves = [x.requires_grad_() for x in (columns[::-1] if backwards else columns)]
    grades = relevance_of(len(leaves[0]), len(leaves[1]))
    with Largest() as seen:
        sums = sum_over_blocks(
            *leaves,
            lambda rows: grades[rows],
            SoftmaxCrossEntropy(),
            colbert_scores,
            block_size=10,
            backwards=backwards,
        )
        sums.parts.sum().backward()
    maxima = 10 * (rows * length if backwards else length * total)
    assert seen.numbers <= max(2**12, maxima, total * width * (dim + 2)) < rows * total * length * width / 20
    assert all(x.grad.abs().max() > 0 for x in leaves)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_computed_in_float32(dtype):
    columns = [x.to(dtype) for x in packed(*both(4, 6, share=0.8))]
    columns[1][:, 0, -1] = 1
    grades = relevance_of(4, 6)
    found = []
    for convert in (lambda x: x.clone(), lambda x: x.float()):
        leaves = [convert(x).requires_grad_() for x in columns]
        sums = sum_over_blocks(*leaves, lambda rows: grades[rows], ApproxNDCG(), mean_colbert_scores)
        assert sums.parts.dtype == torch.float32
        found.append((sums.parts.detach(), *torch.autograd.grad(sums.parts.sum(), leaves)))
    (half, *of_halves), (full, *of_floats) = found
    assert torch.equal(half, full)
    for mine, other in zip(of_halves, of_floats, strict=True):
        assert mine.dtype == dtype
        assert (mine.float() - other).abs().max() <= torch.finfo(dtype).eps * other.abs().max()


@pytest.mark.parametrize("scale", [1e-30, 1e15], ids=str)
def test_extreme_lengths_of_vectors_stay_finite(scale):
    columns = [x.float() for x in packed(*both(4, 6, share=0.8))]
    for column in columns:
        column[..., :-1] *= scale
    leaves = [x.requires_grad_() for x in columns]
    grades = relevance_of(4, 6)
    sums = sum_over_blocks(*leaves, lambda rows: grades[rows], ApproxNDCG(), colbert_scores)
    gradients = torch.autograd.grad(sums.parts.sum(), leaves)
    assert math.isfinite(sums.parts.item())
    assert all(gradient.isfinite().all() for gradient in gradients)
