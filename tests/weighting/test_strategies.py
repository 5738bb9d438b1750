"""Each weighting against plain loops, on random histories."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture

from st_rankloss.weighting import Curriculum, LossMixture, NeighbourAgreement, Seen, SelfPaced, grade_gaps
from st_rankloss.weighting.loss_mixture import _LEAST_VARIANCE, fit, lower_part
from st_rankloss.weighting.neighbours import agreement_of
from st_rankloss.weighting.rows import RowMeans

NAN = math.nan


def history(draw, rows, epochs, batches=4):
    """Row numbers and losses of each batch of each epoch, of which some are undefined."""
    return [
        [
            (
                draw.sample(range(rows), rows // 2),
                [NAN if draw.random() < 0.2 else draw.random() for _ in range(rows // 2)],
            )
            for _ in range(batches)
        ]
        for _ in range(epochs)
    ]


def averages_by_loops(epochs, rows, momentum):
    average = [NAN] * rows
    for batches in epochs:
        told = [[] for _ in range(rows)]
        for numbers, losses in batches:
            for row, loss in zip(numbers, losses, strict=True):
                if not math.isnan(loss):
                    told[row].append(loss)
        for row in range(rows):
            if told[row]:
                mean = sum(told[row]) / len(told[row])
                average[row] = mean if math.isnan(average[row]) else momentum * average[row] + (1 - momentum) * mean
    return average


def tell(weighting, batches):
    for numbers, losses in batches:
        weighting.see(Seen(torch.tensor(numbers), torch.tensor(losses), None, None))


@pytest.mark.parametrize("seed", range(20))
def test_the_history_of_a_row_is_the_moving_average_of_its_mean_loss_per_epoch(seed):
    draw = random.Random(seed)
    rows, momentum = draw.randrange(2, 12), draw.choice([0.0, 0.5, 0.9])
    epochs, means = history(draw, rows, 3), RowMeans(rows, momentum)
    for batches in epochs:
        for numbers, losses in batches:
            means.add(torch.tensor(numbers, dtype=torch.long), torch.tensor(losses))
        means.close()
    wanted = torch.tensor(averages_by_loops(epochs, rows, momentum))
    torch.testing.assert_close(means.average, wanted, equal_nan=True)


def test_the_history_of_a_vector_is_kept_by_dimension():
    means = RowMeans(3, shape=(2,))
    means.add(torch.tensor([0, 0, 2]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [NAN, 1.0]]))
    torch.testing.assert_close(means.close().average[0], torch.tensor([0.5, 0.5]))
    assert means.average[1:].isnan().all()


@pytest.mark.parametrize("seed", range(20))
def test_self_pacing_keeps_the_rows_of_smallest_loss(seed):
    draw = random.Random(seed)
    rows, progress = draw.randrange(4, 30), draw.random()
    weighting = SelfPaced(first=draw.uniform(0.1, 1), last=draw.uniform(0.1, 1), pace=draw.uniform(0.1, 1))
    weighting.prepare(rows)
    weighting.at(progress)
    epochs = history(draw, rows, 2, batches=1)
    for batches in epochs:
        tell(weighting, batches)
        weighting.end_epoch()
    losses = averages_by_loops(epochs, rows, 0.5)
    known = sorted((loss, row) for row, loss in enumerate(losses) if not math.isnan(loss))
    share = weighting.first + (weighting.last - weighting.first) * min(1, progress / weighting.pace)
    kept = {row for place, (_, row) in enumerate(known) if place < np.float32(share) * len(known)}
    wanted = [1.0 if math.isnan(losses[row]) or row in kept else 0.0 for row in range(rows)]
    assert weighting.of(torch.arange(rows)).tolist() == wanted


def agreement_by_loops(vectors, labels, k):
    found = []
    for row, own in enumerate(vectors):
        others = [other for other in range(len(vectors)) if other != row and not math.isnan(vectors[other][0])]
        others = [other for other in others if labels[other] != -1]
        if math.isnan(own[0]) or labels[row] == -1 or not others:
            found.append(NAN)
            continue
        cosine = {o: np.dot(own, vectors[o]) / np.linalg.norm(own) / np.linalg.norm(vectors[o]) for o in others}
        nearest = [labels[other] for other in sorted(others, key=lambda o: -cosine[o])[:k]]
        found.append(nearest.count(labels[row]) / max(nearest.count(label) for label in nearest))
    return found


@pytest.mark.parametrize("seed", range(20))
def test_agreement_is_the_share_of_the_class_among_neighbours_over_that_of_their_most_frequent_one(seed):
    draw = np.random.default_rng(seed)
    rows, k = int(draw.integers(2, 25)), int(draw.integers(1, 8))
    vectors, labels = draw.normal(size=(rows, 4)), draw.integers(-1, 3, rows)
    vectors[draw.random(rows) < 0.2] = NAN
    found = agreement_of(torch.tensor(vectors), torch.tensor(labels), k)
    wanted = torch.tensor(agreement_by_loops(vectors, labels.tolist(), k), dtype=found.dtype)
    torch.testing.assert_close(found, wanted, equal_nan=True)


def test_agreement_in_blocks_is_that_of_all_at_once(monkeypatch):
    vectors, labels = torch.randn(40, 5, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 3
    whole = agreement_of(vectors, labels, 5)
    monkeypatch.setattr("st_rankloss.weighting.neighbours._ENTRIES_AT_ONCE", 7 * 40)
    assert torch.equal(agreement_of(vectors, labels, 5), whole)


def test_rows_whose_neighbours_are_of_another_class_weigh_0():
    weighting = NeighbourAgreement(k=3)
    weighting.prepare(6)
    vectors = torch.eye(2).repeat_interleave(4, 0)[:5] + 0.01 * torch.arange(10).view(5, 2)
    weighting.see(Seen(torch.arange(5), torch.zeros(5), vectors, torch.tensor([7, 7, 7, 8, 7])))
    weighting.end_epoch()
    assert weighting.of(torch.arange(6)).tolist() == [1, 1, 1, 0, 1, 1]


def drawn_losses(seed, clean=80, wrong=40):
    draw = np.random.default_rng(seed)
    return np.concatenate([draw.normal(0.3, 0.1, clean), draw.normal(0.9, 0.15, wrong)])


@pytest.mark.parametrize("seed", range(5))
def test_the_mixture_is_that_of_scikit_learn(seed):
    losses = drawn_losses(seed)
    x = torch.tensor((losses - losses.min()) / (losses.max() - losses.min()))
    share = torch.stack([x < x.mean(), x >= x.mean()]).double()
    found = fit(x, torch.ones_like(x), share, steps=1000)
    start = fit(x, torch.ones_like(x), share, steps=1)
    other = GaussianMixture(
        2,
        max_iter=1000,
        tol=1e-12,
        reg_covar=_LEAST_VARIANCE,
        weights_init=start.priors.numpy(),
        means_init=start.means.numpy()[:, None],
        precisions_init=1 / start.variances.numpy()[:, None, None],
    ).fit(x.numpy()[:, None])
    assert other.converged_
    np.testing.assert_allclose(found.means.numpy(), other.means_[:, 0], rtol=1e-5)
    np.testing.assert_allclose(found.variances.numpy(), other.covariances_[:, 0, 0], rtol=1e-4)
    np.testing.assert_allclose(found.priors.numpy(), other.weights_, rtol=1e-5)
    np.testing.assert_allclose(found.shares(x).T.numpy(), other.predict_proba(x.numpy()[:, None]), atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_the_lower_part_falls_with_the_loss_whatever_its_scale(seed):
    losses = torch.tensor(drawn_losses(seed))
    found = lower_part(losses)
    assert (found[losses.argsort()].diff() <= 0).all()
    assert found[:80].mean() > 0.95
    assert found[80:].mean() < 0.1
    torch.testing.assert_close(lower_part(5 * losses - 3), found)


def test_equal_losses_are_all_in_the_lower_part():
    assert lower_part(torch.full((5,), 0.7)).tolist() == [1] * 5


def test_nothing_is_known_of_losses_that_are_unknown():
    assert lower_part(torch.full((3,), NAN)).isnan().all()


def test_the_mixture_waits_for_its_warmup():
    weighting = LossMixture(warmup=2)
    weighting.prepare(120)
    batch = list(range(120)), drawn_losses(0).tolist()
    weights = []
    for _ in range(2):
        tell(weighting, [batch])
        weighting.end_epoch()
        weights.append(weighting.of(torch.arange(120)))
    assert weights[0].tolist() == [1] * 120
    assert weights[1][:80].mean() > 0.9
    assert weights[1][80:].mean() < 0.1


@pytest.mark.parametrize("seed", range(20))
def test_a_curriculum_adds_rows_from_the_easiest_on(seed):
    draw = random.Random(seed)
    rows, progress = draw.randrange(2, 30), draw.random()
    difficulty = [draw.random() for _ in range(rows)]
    first, pace, power = draw.uniform(0.05, 1), draw.uniform(0.1, 1), draw.choice([0.5, 1.0, 2.0])
    weighting = Curriculum(difficulty, first=first, pace=pace, power=power)
    weighting.prepare(rows)
    weighting.at(progress)
    part = first + (1 - first) * min(1, progress / pace) ** power
    order = sorted(range(rows), key=difficulty.__getitem__)
    wanted = [float((order.index(row) + 1) / rows <= part) for row in range(rows)]
    assert weighting.of(torch.arange(rows)).tolist() == wanted


def test_a_curriculum_ends_with_all_rows():
    weighting = Curriculum([3, 3, None, NAN, 1, 10])
    weighting.prepare(6)
    weighting.at(0.5)
    assert weighting.of(torch.arange(6)).tolist() == [1] * 6


def test_a_curriculum_by_losses_sorts_rows_after_each_epoch():
    weighting = Curriculum(first=0.5)
    weighting.prepare(4)
    assert weighting.of(torch.arange(4)).tolist() == [1] * 4  # nothing is known yet
    tell(weighting, [([0, 1, 2, 3], [0.9, 0.1, 0.8, 0.2])])
    weighting.end_epoch()
    assert weighting.of(torch.arange(4)).tolist() == [0, 1, 0, 1]


def test_the_difficulty_by_grades_is_small_where_the_best_stands_out():
    assert grade_gaps([[3, 0], [3, 2, 0], [2, None, NAN]]) == [-3, -1, pytest.approx(NAN, nan_ok=True)]


@pytest.mark.parametrize("make", [SelfPaced, LossMixture, Curriculum, lambda: NeighbourAgreement(k=2)])
@pytest.mark.parametrize("seed", range(3))
def test_what_was_learned_is_restored_in_mid_epoch(make, seed):
    draw = random.Random(seed)
    epochs = history(draw, 10, 2)
    vectors = {row: torch.randn(3, generator=torch.Generator().manual_seed(row)) for row in range(10)}

    def train(weighting, batches):
        for numbers, losses in batches:
            seen = torch.stack([vectors[row] for row in numbers])
            weighting.see(Seen(torch.tensor(numbers), torch.tensor(losses), seen, torch.tensor(numbers) % 2))

    straight, resumed = make(), make()
    for weighting in (straight, resumed):
        weighting.prepare(10)
    train(straight, epochs[0])
    straight.end_epoch()
    train(straight, epochs[1][:2])
    resumed.restore({name: tensor.clone() for name, tensor in straight.state().items()})
    for weighting in (straight, resumed):
        train(weighting, epochs[1][2:])
        weighting.end_epoch()
    assert torch.equal(straight.weights, resumed.weights)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: SelfPaced(last=0), ValueError, r"last must be in \(0, 1\], got 0"),
        (lambda: SelfPaced(momentum=1.0), ValueError, "momentum must be below 1, got 1.0"),
        (lambda: LossMixture(least=1.5), ValueError, r"least must be in \[0, 1\], got 1.5"),
        (lambda: LossMixture(warmup=0), ValueError, "warmup must be an integer of at least 1, got 0"),
        (lambda: NeighbourAgreement(k=0), ValueError, "k must be an integer of at least 1, got 0"),
        (lambda: NeighbourAgreement(least="half"), TypeError, "least must be a number, got 'half'"),
        (lambda: Curriculum([1.0, 2.0]).prepare(3), ValueError, "one number for each of the 3 rows of the training"),
    ],
)
def test_a_wrong_setting_is_named(make, error, words):
    with pytest.raises(error, match=words):
        make()
