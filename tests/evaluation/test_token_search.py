"""Search by MaxSim against plain loops over tokens, and the similarities of sentence-transformers."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from sentence_transformers.util import SimilarityFunction

from st_rankloss.evaluation import search, tokens
from st_rankloss.evaluation.search import exact_search
from st_rankloss.evaluation.tokens import SIMILARITIES
from tests.evaluation.test_sparse_search import CASES, ranked

every_similarity = pytest.mark.parametrize("similarity_fn_name", SIMILARITIES)


def compared(query, document, similarity_fn_name):
    """The definition, of lists of tokens."""
    best = [max(sum(a * b for a, b in zip(x, y, strict=True)) for y in document) for x in query if document]
    score = math.fsum(best) if document else -1e9
    return score / max(1, len(query)) if similarity_fn_name == "meanmaxsim" else score


def drawn(draw, dim, most):
    """A list of tokens of small integers, so that ties are many and exact; some have none."""
    return [[float(draw.randint(-1, 1)) for _ in range(dim)] for _ in range(draw.randint(0, most))]


def tensors(inputs, dim):
    return [torch.tensor(rows).reshape(-1, dim) for rows in inputs]


@every_similarity
def test_token_search_equals_plain_loops_in_any_blocks(similarity_fn_name, monkeypatch):
    draw = random.Random(11)
    for _ in range(CASES // len(SIMILARITIES)):
        dim, size, chunk = draw.randint(1, 3), draw.randint(1, 10), draw.randint(1, 11)
        monkeypatch.setattr(search, "_BLOCK_ELEMENTS", draw.randint(1, 40))
        monkeypatch.setattr(tokens, "_BLOCK_TOKENS", draw.randint(1, 20))
        queries = [drawn(draw, dim, 3) for _ in range(draw.randint(1, 4))]
        documents = [drawn(draw, dim, 5) for _ in range(size)]
        k = draw.randint(1, size + 2)
        chunks = [tensors(documents[start : start + chunk], dim) for start in range(0, size, chunk)]
        scores, numbers = exact_search(tensors(queries, dim), chunks, k, similarity_fn_name)
        expected = ranked(queries, documents, k, lambda q, d: compared(q, d, similarity_fn_name))
        assert numbers.tolist() == expected[1]
        assert scores.tolist() == pytest.approx(np.array(expected[0]), rel=1e-6)


def random_tokens(sizes, dim=16, dtype=torch.float32):
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(size, dim, generator=generator).to(dtype) for size in sizes]


@every_similarity
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_scores_are_those_of_sentence_transformers(dtype, similarity_fn_name):
    queries, documents = random_tokens([4, 1, 9, 2], dtype=dtype), random_tokens([7, 30, 1, 0, 12, 7], dtype=dtype)
    scores, numbers = exact_search(queries, [documents[:4], documents[4:]], 6, similarity_fn_name)
    similarity = SimilarityFunction.to_similarity_fn(similarity_fn_name)
    theirs = similarity([rows.double() for rows in queries], [rows.double() for rows in documents]).numpy()
    np.testing.assert_allclose(scores, np.take_along_axis(theirs, numbers, -1), rtol=1e-6)
    assert (np.diff(scores, axis=1) <= 0).all()
    assert (numbers[:, -1] == 3).all(), "the document without tokens must rank last"


@every_similarity
def test_equal_documents_tie_wherever_they_stand(similarity_fn_name):
    """Between longer and shorter ones, in blocks of other widths: the padding and the products differ."""
    own, others = random_tokens([12] * 8, dim=128), random_tokens(range(1, 60), dim=128)
    documents = [rows for other in others for rows in (*own, other)]
    copies = [number for number in range(len(documents)) if number % 9 == 0]
    queries = [own[0], *random_tokens([32, 5], dim=128)]
    chunks = [documents[:10], documents[10:301], documents[301:]]
    scores, numbers = exact_search(queries, chunks, len(documents), similarity_fn_name)
    for row_scores, row_numbers in zip(scores, numbers, strict=True):
        found = np.isin(row_numbers, copies)
        assert row_numbers[found].tolist() == copies
        assert len(set(row_scores[found].tolist())) == 1


def test_only_a_block_of_tokens_is_compared_at_a_time(monkeypatch):
    """One long document must not widen the others, and one long query not lengthen the others' block."""
    shapes = []
    pad = tokens._pad

    def watched(rows):
        shapes.append(tuple(pad(rows).shape[:2]))
        return pad(rows)

    monkeypatch.setattr(tokens, "_pad", watched)
    monkeypatch.setattr(tokens, "_BLOCK_TOKENS", 64)
    documents = random_tokens([3, 500, 5, 0] + [8] * 20)
    exact_search(random_tokens([4, 300, 4]), [documents], 3, "maxsim")
    assert max(count * width for count, width in shapes if width < 500) <= 64
    assert (1, 500) in shapes
    assert len(shapes) == 3 * 4, "three blocks of queries, each against the same four of documents"


@pytest.mark.gpu
@every_similarity
def test_token_search_on_cuda_equals_that_on_cpu(cuda, similarity_fn_name):
    queries, documents = random_tokens([4, 1, 9, 2]), random_tokens([7, 30, 1, 0, 12, 7] * 50)
    scores, numbers = exact_search(queries, [documents], 40, similarity_fn_name)
    moved = exact_search([rows.to(cuda) for rows in queries], [documents], 40, similarity_fn_name)
    assert numbers.tolist() == moved[1].tolist()
    np.testing.assert_allclose(scores, moved[0], rtol=1e-6)
