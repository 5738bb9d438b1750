"""NeuralSort's soft permutations, and the odd-even network of GroCo."""

from __future__ import annotations

import itertools

import pytest
import torch

from st_rankloss.functional import groco, neural_sort, sinkhorn, sorting
from tests import oracle_family as oracle


@pytest.mark.parametrize("documents", [1, 2, 3, 5, 8, 13])
def test_a_soft_permutation_nears_the_permutation(documents):
    torch.manual_seed(documents)
    similarity = torch.rand(3, documents, dtype=torch.float64)
    judged = torch.rand(3, documents) < 0.7
    judged[:, 0] = True
    found = neural_sort(similarity, judged, 1e-5)
    for row in range(3):
        places = judged[row].nonzero()[:, 0]
        order = places[similarity[row, places].argsort(descending=True)]
        wanted = torch.zeros(documents, documents, dtype=torch.float64)
        wanted[torch.arange(len(order)), order] = 1
        torch.testing.assert_close(found[row], wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize("wires", [1, 2, 3, 5, 8, 9])
def test_the_network_sorts_every_input_of_zeros_and_ones(wires):
    """And so, by the zero-one principle, every input."""
    inputs = torch.tensor(list(itertools.product((0.0, 1.0), repeat=wires)), dtype=torch.float64)
    values = inputs
    swaps = sorting._odd_even_swaps(values, torch.ones_like(values, dtype=torch.bool), 1e-9)
    for layer, swap in enumerate(swaps):
        values = sorting._exchanged(values, swap, layer % 2)
    torch.testing.assert_close(values, inputs.sort(-1).values, atol=1e-6, rtol=0)


@pytest.mark.parametrize("temperature", [0.01, 0.3, 10.0])
def test_shares_from_the_last_layer_back_are_those_of_the_loops(temperature):
    torch.manual_seed(0)
    value = torch.rand(1, 11, dtype=torch.float64)
    swaps = sorting._odd_even_swaps(value, torch.ones(1, 11, dtype=torch.bool), temperature)
    shares = torch.eye(11, dtype=torch.float64)  # one row per rank: its share in each document
    for layer in reversed(range(11)):
        shares = sorting._exchanged(shares, swaps[layer], layer % 2)
    wanted = torch.tensor(oracle.odd_even_sort(value[0].tolist(), temperature), dtype=torch.float64)
    torch.testing.assert_close(shares.T, wanted)


def test_groco_moves_only_the_relevant_and_the_hardest_others():
    similarity = torch.tensor([0.9, 0.8, 0.1, 0.3, 0.5], requires_grad=True)
    groco(similarity, torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0]), negatives=2).backward()
    assert similarity.grad.ne(0).tolist() == [True, True, False, True, True]


@pytest.mark.parametrize("relevant", [[0], [0, 1, 2, 3, 4, 5, 6]])
def test_small_shares_in_the_own_group_keep_their_digits(relevant):
    similarity = torch.linspace(-0.9, 0.9, 8, dtype=torch.float64)  # the relevant documents are the lowest
    relevance = torch.zeros(8, dtype=torch.float64)
    relevance[relevant] = 1
    results = []
    for dtype in (torch.float32, torch.float64):
        point = similarity.to(dtype).requires_grad_()
        value = groco(point, relevance.to(dtype), temperature=0.005)
        results.append((value.detach().double(), torch.autograd.grad(value, point)[0].double()))
    torch.testing.assert_close(results[0], results[1], rtol=1e-3, atol=1e-4)
    assert results[1][0] > 1


def test_sinkhorn_makes_columns_sum_to_1_and_leaves_zeros():
    torch.manual_seed(0)
    matrix = torch.rand(1, 5, 5, dtype=torch.float64)
    matrix[0, 4], matrix[0, :, 4] = 0, 0
    found = sinkhorn(matrix, 200)[0]
    torch.testing.assert_close(found.sum(0), torch.tensor([1.0, 1, 1, 1, 0], dtype=torch.float64))
    torch.testing.assert_close(found.sum(1), torch.tensor([1.0, 1, 1, 1, 0], dtype=torch.float64))
