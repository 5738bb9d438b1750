"""Exact and faiss search against a sort of the full similarity matrix."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers.util import SimilarityFunction

from st_rankloss.evaluation import search
from st_rankloss.evaluation.search import SIMILARITIES, check_index, exact_search, faiss_search

DIM = 8


def sorted_by_definition(queries, documents, k, similarity_fn_name):
    """Sort by (similarity, lower number first), in float64 through sentence-transformers' own functions."""
    similarity = SimilarityFunction.to_similarity_fn(similarity_fn_name)(queries.double(), documents.double())
    scores = similarity.numpy().astype(np.float32)
    numbers = np.broadcast_to(np.arange(len(documents)), scores.shape)
    order = np.lexsort((numbers, -scores))[:, :k]
    return np.take_along_axis(scores, order, -1), order


@given(
    seed=st.integers(0, 10_000),
    size=st.integers(1, 40),
    k=st.integers(1, 50),
    chunk=st.integers(1, 45),
    block=st.integers(1, 500),
    similarity_fn_name=st.sampled_from(SIMILARITIES),
)
def test_exact_search_equals_a_full_sort(seed, size, k, chunk, block, similarity_fn_name):
    """Corners of a cube tie often, and exactly, by any similarity; any chunk and block gives the same answer."""
    generator = torch.Generator().manual_seed(seed)
    documents = 2 * torch.randint(0, 2, (size, 4), generator=generator).float() - 1
    queries = 2 * torch.randint(0, 2, (5, 4), generator=generator).float() - 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "_BLOCK_ELEMENTS", block)
        scores, numbers = exact_search(queries, documents.split(chunk), k, similarity_fn_name)
    expected_scores, expected_numbers = sorted_by_definition(queries, documents, k, similarity_fn_name)
    assert numbers.tolist() == expected_numbers.tolist()
    np.testing.assert_allclose(scores, expected_scores, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("similarity_fn_name", SIMILARITIES)
@pytest.mark.parametrize("sizes", [(2020,), (999, 1, 1020), (7,) * 288 + (4,)], ids=["whole", "uneven", "7s"])
def test_equal_embeddings_tie_wherever_they_stand(sizes, similarity_fn_name):
    """A matrix product may give copies of a document different last bits, by their place and chunk size."""
    documents = torch.randn(20, 384)
    queries = torch.cat([documents[:5], torch.randn(5, 384)])  # distance 0 is where products cancel
    copies = documents.repeat(101, 1)
    _, numbers = exact_search(queries, copies.split(sizes), 101, similarity_fn_name)
    assert (numbers == numbers[:, :1] + 20 * np.arange(101)).all()


def test_zero_and_minus_zero_tie():
    """-1e-60 rounds to -0.0 in float32, whose bits sort below those of 0.0."""
    scores, numbers = exact_search(torch.tensor([[1e-30]]), [torch.tensor([[-1e-30], [0.0], [1e-30]])], 3, "dot")
    assert scores.tolist() == [[0.0, 0.0, 0.0]]
    assert numbers.tolist() == [[0, 1, 2]]


def test_neighbouring_floats_are_told_apart_and_returned_as_they_are():
    values = np.array([-1.0, 1.0, -1e-45, 1e-45, -1e38, 1e38], dtype=np.float32)
    values = np.concatenate([values, np.nextafter(values, 0 * values), np.nextafter(values, 2 * values)])
    scores, numbers = exact_search(torch.ones(1, 1), torch.tensor(values)[:, None].split(4), 18, "dot")
    assert scores[0].tolist() == sorted(values.tolist(), reverse=True)
    assert values[numbers[0]].tolist() == scores[0].tolist()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_exact_search_takes_any_floating_dtype(dtype):
    documents, queries = torch.randn(30, DIM).to(dtype), torch.randn(4, DIM).to(dtype)
    _, numbers = exact_search(queries, documents.split(7), 5, "cosine")
    assert numbers.tolist() == sorted_by_definition(queries, documents, 5, "cosine")[1].tolist()


@pytest.mark.gpu
@pytest.mark.parametrize("similarity_fn_name", SIMILARITIES)
def test_search_on_cuda_equals_search_on_cpu(cuda, similarity_fn_name):
    documents, queries = torch.randn(500, DIM).repeat(2, 1), torch.randn(20, DIM)
    scores, numbers = exact_search(queries, documents.split(300), 40, similarity_fn_name)
    cuda_scores, cuda_numbers = exact_search(queries.to(cuda), documents.to(cuda).split(300), 40, similarity_fn_name)
    assert numbers.tolist() == cuda_numbers.tolist()
    np.testing.assert_allclose(scores, cuda_scores, rtol=1e-6)


INDEXES = {
    "factory string": lambda metric: "Flat",
    "HNSW string": lambda metric: "HNSW32",
    "trained on the spot": lambda metric: probing(faiss.index_factory(DIM, "IVF4,Flat", metric), 4),
    "flat object": lambda metric: faiss.IndexFlat(DIM, metric),
    "wrapped object": lambda metric: faiss.index_factory(DIM, "RR8,Flat", metric),
}


def probing(index, nprobe):
    index.nprobe = nprobe
    return index


@pytest.mark.parametrize("similarity_fn_name", ["cosine", "dot", "euclidean"])
@pytest.mark.parametrize("index", INDEXES.values(), ids=INDEXES)
def test_faiss_search_equals_exact_search(index, similarity_fn_name):
    """With as many probes as cells and few documents, every one of these indexes is exhaustive."""
    documents, queries = torch.randn(300, DIM), torch.randn(15, DIM)
    metric = faiss.METRIC_L2 if similarity_fn_name == "euclidean" else faiss.METRIC_INNER_PRODUCT
    scores, numbers = faiss_search(queries, documents.split(99), 20, similarity_fn_name, index(metric))
    exact_scores, exact_numbers = exact_search(queries, documents.split(99), 20, similarity_fn_name)
    assert numbers.tolist() == exact_numbers.tolist()
    np.testing.assert_allclose(scores, exact_scores, atol=2e-5)


def test_an_l2_index_ranks_by_cosine():
    documents, queries = torch.randn(300, DIM), torch.randn(15, DIM)
    scores, numbers = faiss_search(queries, [documents], 20, "cosine", faiss.IndexFlatL2(DIM))
    exact_scores, exact_numbers = exact_search(queries, [documents], 20, "cosine")
    assert numbers.tolist() == exact_numbers.tolist()
    np.testing.assert_allclose(scores, exact_scores, atol=1e-5)


def test_an_approximate_index_is_searched_as_it_is():
    """One probed cell of eight cannot find 300 documents: the rest is marked -1, after everything found."""
    index = faiss.index_factory(DIM, "IVF8,Flat", faiss.METRIC_INNER_PRODUCT)
    _, numbers = faiss_search(torch.randn(15, DIM), [torch.randn(400, DIM)], 300, "cosine", index)
    found = numbers >= 0
    assert found.any(axis=1).all()
    assert not found.all(axis=1).any()
    assert (np.sort(found, axis=1)[:, ::-1] == found).all()


def test_the_index_handed_in_stays_as_it_was():
    index = faiss.index_factory(DIM, "IVF4,Flat", faiss.METRIC_INNER_PRODUCT)
    _, numbers = faiss_search(torch.randn(3, DIM), [torch.randn(200, DIM)], 5, "cosine", index)
    assert (index.ntotal, index.is_trained) == (0, False)
    assert (numbers >= 0).any(), "the search found nothing, so the check above says nothing"


@pytest.mark.parametrize("similarity_fn_name", ["cosine", "dot", "euclidean"])
@pytest.mark.parametrize("metric", [faiss.METRIC_INNER_PRODUCT, faiss.METRIC_L2])
def test_check_index_knows_which_metric_gives_the_order(similarity_fn_name, metric):
    allowed = (similarity_fn_name, metric) not in [
        ("dot", faiss.METRIC_L2),
        ("euclidean", faiss.METRIC_INNER_PRODUCT),
    ]
    if allowed:
        check_index(faiss.IndexFlat(DIM, metric), similarity_fn_name)
    else:
        with pytest.raises(ValueError, match=f"index must use faiss.METRIC_.*{similarity_fn_name}"):
            check_index(faiss.IndexFlat(DIM, metric), similarity_fn_name)


def test_a_wrong_index_is_refused():
    filled = faiss.IndexFlatIP(DIM)
    filled.add(np.zeros((3, DIM), np.float32))
    with pytest.raises(ValueError, match=r"index must be empty .* 3 vectors; call index.reset\(\) first"):
        check_index(filled, "cosine")
    with pytest.raises(ValueError, match="index must be None for the similarity 'manhattan'"):
        check_index(faiss.IndexFlatIP(DIM), "manhattan")
    embeddings = torch.randn(3, DIM)
    with pytest.raises(ValueError, match="index must have the 8 dimensions of the embeddings, got 5"):
        faiss_search(embeddings, [embeddings], 1, "cosine", faiss.IndexFlatIP(5))
    with pytest.raises(ValueError, match="factory string that fits 8 dimensions, got 'nonsense'"):
        faiss_search(embeddings, [embeddings], 1, "cosine", "nonsense")


@pytest.mark.parametrize("index", ["IVF64,Flat", faiss.index_factory(DIM, "PCA4,IVF64,Flat")], ids=["string", "object"])
def test_an_index_of_more_clusters_than_documents_is_refused_before_encoding(index):
    with pytest.raises(ValueError, match=r"as many clusters as there are documents, 63, got 64: choose fewer, or"):
        check_index(index, "euclidean", 63)
    check_index(index, "euclidean", 64)


def test_an_index_that_cannot_learn_from_the_corpus_is_refused():
    embeddings = torch.randn(63, DIM)
    with pytest.raises(ValueError, match=r"too few documents, 63: choose one of fewer clusters, or 'HNSW32'.* faiss: "):
        faiss_search(embeddings, [embeddings], 1, "cosine", "PQ4")


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1.0, 1e25])
def test_faiss_normalises_vectors_of_any_length(scale):
    """Squares of 1e25 overflow in float32, those of 1e-30 vanish."""
    documents, queries = torch.randn(50, DIM), torch.randn(5, DIM)
    scores, numbers = faiss_search(queries, [(documents.double() * scale).float()], 10, "cosine", "Flat")
    tiny = min(scale / 1e-12, 1.0)  # as in torch, what is shorter than 1e-12 is not stretched to length 1
    lengths = documents.norm(dim=-1) if scale > 1e-15 else torch.ones(50)
    expected = (queries / queries.norm(dim=-1, keepdim=True)) @ (documents / lengths[:, None]).T * tiny
    np.testing.assert_allclose(scores, expected.topk(10).values.numpy(), rtol=1e-4, atol=1e-7 * tiny)
    assert numbers.tolist() == expected.topk(10).indices.tolist()
