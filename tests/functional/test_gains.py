"""Gains and discounts against their definitions."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from st_rankloss.functional.gains import discount, exponential_gain, gains_of, linear_gain
from tests import oracle

NAN = math.nan


def test_the_linear_gain_is_the_relevance():
    relevance = torch.tensor([[3.0, 0.5, 0.0]])
    assert torch.equal(linear_gain(relevance), relevance)
    assert torch.equal(gains_of(relevance, "linear"), relevance)


@given(st.lists(st.floats(0, 60), min_size=1, max_size=10))
def test_the_exponential_gain_is_two_to_the_grade_minus_one_over_two_to_the_highest(relevance):
    gains = exponential_gain(torch.tensor(relevance, dtype=torch.float64))
    expected = [oracle.gain_of(y, "exponential") / 2 ** max(relevance) for y in relevance]
    assert gains.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_the_exponential_gain_is_scaled_for_each_query_by_itself():
    gains = exponential_gain(torch.tensor([[1.0, 0.0], [3.0, 1.0]]))
    assert gains.tolist() == [[1 / 2, 0], [7 / 8, 1 / 8]]


@pytest.mark.parametrize("top", [31, 32, 100, 128, 1024, 60_000], ids=lambda y: f"grade{y}")
def test_the_exponential_gain_never_overflows_and_keeps_the_ratios_of_the_top(top):
    """In float32 2^128 is infinite, and above 2^24 a - 1 vanishes: 2^y - 1 over 2^(y-1) - 1 is then 2."""
    gains = exponential_gain(torch.tensor([float(top), top - 1.0, top - 2.0, 0.0]))
    assert gains.tolist() == [1, 1 / 2, 1 / 4, 0]


def test_small_grades_beside_large_ones_keep_their_digits():
    """2^(y-m) - 2^-m as a difference would lose them: at y = 1e-3, 2^y - 1 is 7e-4."""
    gains = exponential_gain(torch.tensor([20.0, 1e-3, 1.0]))
    assert (gains * 2**20).tolist() == pytest.approx([2**20 - 1, 2**1e-3 - 1, 1], rel=1e-5)


@pytest.mark.parametrize("gain", ["linear", "exponential", torch.square], ids=["linear", "exponential", "own"])
def test_an_unjudged_document_gains_nothing_and_scales_nothing(gain):
    gains = gains_of(torch.tensor([2.0, NAN, 1.0, 0.0]), gain)
    assert gains[1] == 0
    assert torch.equal(gains[[0, 2, 3]], gains_of(torch.tensor([2.0, 1.0, 0.0]), gain))
    assert gains[0] > gains[2] > 0


@pytest.mark.parametrize("gain", ["linear", "exponential"])
def test_no_grade_gains_nothing(gain):
    assert gains_of(torch.zeros(2, 3), gain).tolist() == [[0.0] * 3] * 2
    assert gains_of(torch.full((2, 3), NAN), gain).tolist() == [[0.0] * 3] * 2
    assert gains_of(torch.zeros(2, 0), gain).shape == (2, 0)


def test_a_gain_of_your_own_gets_the_relevance():
    gains = gains_of(torch.tensor([0.0, 1.0, 3.0]), lambda relevance: relevance**2 / 9)
    assert gains.tolist() == pytest.approx([0, 1 / 9, 1])


def test_the_discount_is_one_over_the_binary_logarithm_of_one_plus_the_rank():
    ranks = torch.tensor([1.0, 1.5, 2.0, 3.0, 7.0, 1000.0, math.inf], dtype=torch.float64)
    expected = [1, 1 / math.log2(2.5), 1 / math.log2(3), 1 / 2, 1 / 3, 1 / math.log2(1001), 0]
    assert discount(ranks).tolist() == pytest.approx(expected, rel=1e-14)
    assert discount(ranks).tolist() == pytest.approx([oracle.discount(r) for r in ranks.tolist()])
