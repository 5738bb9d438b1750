"""Search of sparse vectors against plain loops over dictionaries. ``RANKLOSS_CASES=20000`` tries more cases."""

from __future__ import annotations

import math
import os
import random
import tracemalloc

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from st_rankloss.evaluation import search, sparse
from st_rankloss.evaluation.search import SIMILARITIES, exact_search
from st_rankloss.evaluation.sparse import read_sparse

CASES = int(os.environ.get("RANKLOSS_CASES", "800"))


def compared(query, document, similarity_fn_name):
    """The definition, of two dicts of dimension to value."""
    if similarity_fn_name in ("dot", "cosine"):
        dot = math.fsum(value * document.get(place, 0.0) for place, value in query.items())
        if similarity_fn_name == "dot":
            return dot
        norms = [math.sqrt(math.fsum(x * x for x in row.values())) for row in (query, document)]
        return dot / (norms[0] * norms[1]) if all(norms) else 0.0
    gaps = [abs(query.get(place, 0.0) - document.get(place, 0.0)) for place in {*query, *document}]
    return -math.fsum(gaps) if similarity_fn_name == "manhattan" else -math.sqrt(math.fsum(x * x for x in gaps))


def ranked(queries, documents, k, compare):
    """Every document of each query by (score in float32, lower number first)."""
    scores = [[float(np.float32(compare(query, document))) for document in documents] for query in queries]
    order = [sorted(range(len(row)), key=lambda number: (-row[number], number))[:k] for row in scores]
    return [[row[number] for number in best] for row, best in zip(scores, order, strict=True)], order


def rows_of(vectors, dim):
    """The dicts as rows of scipy."""
    dense = np.zeros((len(vectors), dim), np.float32)
    for row, vector in enumerate(vectors):
        for place, value in vector.items():
            dense[row, place] = value
    return csr_array(dense)


def drawn(draw, dim):
    """A vector of few small integers, so that ties are many and exact; some are empty."""
    return {place: float(draw.randint(1, 2)) for place in draw.sample(range(dim), draw.randint(0, min(3, dim)))}


def random_rows(size, dim, density, seed=0):
    """Rows of scipy with random entries."""
    generator = np.random.default_rng(seed)
    return csr_array(generator.random((size, dim), np.float32) * (generator.random((size, dim)) < density))


@pytest.mark.parametrize("similarity_fn_name", SIMILARITIES)
def test_sparse_search_equals_plain_loops_in_any_blocks(similarity_fn_name, monkeypatch):
    draw = random.Random(7)
    for _ in range(CASES // len(SIMILARITIES)):
        dim, size, chunk = draw.randint(1, 6), draw.randint(1, 12), draw.randint(1, 13)
        monkeypatch.setattr(search, "_BLOCK_ELEMENTS", draw.randint(1, 40))
        monkeypatch.setattr(sparse, "_BLOCK_ENTRIES", draw.randint(1, 40))
        queries, documents = ([drawn(draw, dim) for _ in range(n)] for n in (draw.randint(1, 4), size))
        k = draw.randint(1, size + 2)
        rows = rows_of(documents, dim)
        chunks = [rows[start : start + chunk] for start in range(0, size, chunk)]
        scores, numbers = exact_search(rows_of(queries, dim), chunks, k, similarity_fn_name)
        expected = ranked(queries, documents, k, lambda q, d: compared(q, d, similarity_fn_name))
        assert numbers.tolist() == expected[1]
        assert scores.tolist() == pytest.approx(np.array(expected[0]), rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("similarity_fn_name", SIMILARITIES)
def test_sparse_search_equals_that_of_the_same_vectors_when_dense(similarity_fn_name):
    corpus, queries = random_rows(400, 50, 0.2), random_rows(9, 50, 0.2, seed=1)
    scores, numbers = exact_search(queries, [corpus[:150], corpus[150:]], 60, similarity_fn_name)
    dense = [torch.from_numpy(rows.toarray()) for rows in (queries, corpus)]
    expected = exact_search(dense[0], [dense[1]], 60, similarity_fn_name)
    assert numbers.tolist() == expected[1].tolist()
    np.testing.assert_allclose(scores, expected[0], rtol=1e-6)


@pytest.mark.parametrize("similarity_fn_name", SIMILARITIES)
def test_equal_sparse_vectors_tie_wherever_they_stand(similarity_fn_name):
    corpus = random_rows(20, 300, 0.1)
    copies = csr_array(np.tile(corpus.toarray(), (31, 1)))
    chunks = [copies[:7], copies[7:300], copies[300:]]
    scores, numbers = exact_search(corpus[:5], chunks, 31, similarity_fn_name)
    assert (numbers == numbers[:, :1] + 20 * np.arange(31)).all()
    if similarity_fn_name in ("euclidean", "manhattan"):
        assert not scores.any()  # a distance by norms and a product would not be 0


def test_a_corpus_that_would_not_fit_as_dense_vectors_is_searched():
    """20,000 documents of 100,000 dimensions: 16 GB as a dense matrix in float64."""
    generator = np.random.default_rng(0)
    size, dim, active = 20_000, 100_000, 40
    places = generator.integers(0, dim, (size, active)).astype(np.int32)
    ends = np.arange(size + 1) * active
    corpus = csr_array((np.ones(size * active, np.float32), places.ravel(), ends), shape=(size, dim))
    tracemalloc.start()
    scores, numbers = exact_search(corpus[[17, 19_999]], [corpus[:9_000], corpus[9_000:]], 3, "cosine")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert numbers[:, 0].tolist() == [17, 19_999]
    assert scores[:, 0].tolist() == [1.0, 1.0]
    assert peak < 100 * 2**20


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_sparse_tensor_keeps_its_entries(dtype):
    dense = torch.tensor([[0.0, 1.5, 0.0], [0.0, 0.0, 0.0], [-2.0, 0.0, 0.25]], dtype=dtype)
    assert read_sparse(dense.to_sparse()).toarray().tolist() == dense.tolist()
