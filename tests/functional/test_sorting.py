"""Soft permutations: what they are of, and Batcher's network."""

from __future__ import annotations

import itertools

import pytest
import torch

from st_rankloss.functional import network_sort, neural_sort, sinkhorn, sorting
from tests import oracle_family as oracle


@pytest.mark.parametrize("wires", range(1, 14))
def test_the_network_sorts_every_input_of_zeros_and_ones(wires):
    """And so, by the zero-one principle, every input."""
    for bits in itertools.product((0, 1), repeat=wires):
        values = list(bits)
        for first, second, _ in sorting._batcher(wires):
            for a, b in zip(first, second, strict=True):
                values[a], values[b] = max(values[a], values[b]), min(values[a], values[b])
        assert values == sorted(bits, reverse=True)


@pytest.mark.parametrize("documents", [1, 2, 3, 5, 8, 13])
@pytest.mark.parametrize("sort", [neural_sort, network_sort], ids=["neural", "network"])
def test_a_soft_permutation_nears_the_permutation(sort, documents):
    torch.manual_seed(documents)
    similarity = torch.rand(3, documents, dtype=torch.float64)
    judged = torch.rand(3, documents) < 0.7
    judged[:, 0] = True
    found = sort(similarity, judged, 1e-5)
    for row in range(3):
        places = judged[row].nonzero()[:, 0]
        order = places[similarity[row, places].argsort(descending=True)]
        wanted = torch.zeros(documents, documents, dtype=torch.float64)
        wanted[torch.arange(len(order)), order] = 1
        torch.testing.assert_close(found[row], wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize("temperature", [0.01, 0.3, 10.0])
def test_the_network_is_that_of_the_loops_and_doubly_stochastic(temperature):
    torch.manual_seed(0)
    similarity = torch.rand(1, 11, dtype=torch.float64)
    found = network_sort(similarity, torch.ones(1, 11, dtype=torch.bool), temperature)[0]
    wanted = torch.tensor(oracle.network_sort(similarity[0].tolist(), temperature), dtype=torch.float64)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(found.sum(0), torch.ones(11, dtype=torch.float64))
    torch.testing.assert_close(found.sum(1), torch.ones(11, dtype=torch.float64))


def test_the_networks_indices_made_without_autograd_serve_training_too():
    sorting._layers_on.cache_clear()
    judged = torch.ones(1, 6, dtype=torch.bool)
    with torch.inference_mode():
        network_sort(torch.rand(1, 6), judged, 0.1)
    similarity = torch.rand(1, 6, requires_grad=True)
    network_sort(similarity, judged, 0.1)[0, 0, 0].backward()
    assert similarity.grad.norm() > 0


def test_sinkhorn_makes_columns_sum_to_1_and_leaves_zeros():
    torch.manual_seed(0)
    matrix = torch.rand(1, 5, 5, dtype=torch.float64)
    matrix[0, 4], matrix[0, :, 4] = 0, 0
    found = sinkhorn(matrix, 200)[0]
    torch.testing.assert_close(found.sum(0), torch.tensor([1.0, 1, 1, 1, 0], dtype=torch.float64))
    torch.testing.assert_close(found.sum(1), torch.tensor([1.0, 1, 1, 1, 0], dtype=torch.float64))
