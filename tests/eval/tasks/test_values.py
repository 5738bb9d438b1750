"""Values per query, sample or pair, against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge
from sklearn.metrics import average_precision_score, label_ranking_average_precision_score

from eval.tasks.records import Record
from eval.tasks.values import evenly, mean_items, probe_values, ranking_values, spearman_items
from tests import oracle
from tests.eval.tiny import path_relevance


def samples(labels, columns=1, metrics=("ndcg_at_10",)):
    """A record of samples."""
    return Record("mine", "samples", "", {"input": "text", "labels": ["label"] * columns}, metrics, labels)


def random_ranking(shape, high, seed=0):
    """Normalised embeddings, and labels."""
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.nn.functional.normalize(torch.randn(shape[0], 5, generator=generator), dim=1)
    return embeddings, torch.randint(0, high, shape, generator=generator)


def without(values, i):
    """A list without one place."""
    return [x for j, x in enumerate(values) if j != i]


def jaccard(a, b):
    """Shared labels over all labels; of two empty sets there are none."""
    either = sum(x or y for x, y in zip(a, b, strict=True))
    return sum(x and y for x, y in zip(a, b, strict=True)) / either if either else 0.0


def same(a, b):
    """Whether two classes are one."""
    return float(a == b)


@pytest.mark.parametrize(
    ("labels", "shape", "high", "relation"),
    [("classes", (40,), 5, same), ("classes", (40, 2), 3, path_relevance), ("sets", (40, 6), 2, jaccard)],
)
def test_samples_rank_all_others_by_graded_relevance(labels, shape, high, relation):
    embeddings, given = random_ranking(shape, high)
    record = samples(labels, columns=1 if labels == "sets" else len(shape))
    chosen = torch.tensor([0, 3, 17, 39])
    found = ranking_values(record, embeddings, given.float() if labels == "sets" else given, chosen)
    similarity, rows = (embeddings @ embeddings.T).tolist(), given.tolist()
    for k in (10, 100):
        expected = [
            oracle.ndcg(without(similarity[i], i), without([relation(rows[i], row) for row in rows], i), k=k)
            for i in chosen.tolist()
        ]
        assert found[f"ndcg_at_{k}"].tolist() == pytest.approx(expected, abs=1e-5)
    assert ("map" in found) == (labels == "classes")


def test_nearer_numbers_are_more_relevant():
    embeddings, _ = random_ranking((30,), 2)
    numbers = torch.randn(30, generator=torch.Generator().manual_seed(1))
    found = ranking_values(samples("numbers"), embeddings, numbers, torch.arange(30))["ndcg_at_10"]
    width = 0.25 * float(numbers.double().std(correction=0))
    for i, value in enumerate(found.tolist()):
        near = [math.exp(-(((x - float(numbers[i])) / width) ** 2) / 2) for x in numbers.tolist()]
        similarity = (embeddings @ embeddings[i]).tolist()
        assert value == pytest.approx(oracle.ndcg(without(similarity, i), without(near, i), k=10), abs=1e-4)


@pytest.mark.parametrize("levels", [1, 2])
def test_average_precision_of_neighbours_leaves_the_sample_itself_out(levels):
    embeddings, given = random_ranking((50, 2), 3)
    given[0] = 9  # alone in its class
    record = samples("classes", columns=levels)
    chosen = torch.tensor([0, 1, 20, 49])
    found = ranking_values(record, embeddings, given if levels == 2 else given[:, 1], chosen)["map"]
    similarity, finest = (embeddings @ embeddings.T).tolist(), given[:, 1].tolist()
    assert math.isnan(found[0])
    for value, i in zip(found[1:], [1, 20, 49], strict=True):
        ranking = sorted((j for j in range(50) if j != i), key=lambda j: -similarity[i][j])
        hits = [finest[j] == finest[i] for j in ranking]
        precisions = [sum(hits[: r + 1]) / (r + 1) for r, hit in enumerate(hits) if hit]
        assert value == pytest.approx(sum(precisions) / len(precisions), abs=1e-6)
        truth = [finest[j] == finest[i] for j in range(50) if j != i]
        assert value == pytest.approx(average_precision_score(truth, without(similarity[i], i)), abs=1e-6)


def test_queries_beyond_one_block_are_ranked_like_the_first():
    embeddings, given = random_ranking((300,), 20)
    record, chosen = samples("classes"), torch.arange(300)
    whole = ranking_values(record, embeddings, given, chosen)
    apart = [ranking_values(record, embeddings, given, rows) for rows in chosen.split(50)]
    for metric, values in whole.items():
        np.testing.assert_allclose(values, np.concatenate([part[metric] for part in apart]), atol=1e-6)


@pytest.mark.parametrize(("count", "most"), [(0, 5), (1, 5), (5, 5), (7, 3), (5_000, 5_000), (49_999, 500)])
def test_places_are_evenly_spaced(count, most):
    found = evenly(count, most).tolist()
    assert len(found) == len(set(found)) == min(count, most)
    assert found == sorted(found)
    if found:
        assert found[0] == 0
        assert found[-1] == (count - 1 if most > 1 else 0)
        steps = np.diff(found)
        assert not len(steps) or steps.max() - steps.min() <= 1


def test_places_of_very_many_rows_exist():
    places = evenly(16_777_220, 20_000)  # whose last place float32 rounds up
    assert (places[0], places[-1]) == (0, 16_777_219)
    assert evenly(0, 5).tolist() == []


def test_the_nearest_training_samples_vote_for_a_class():
    known, classes = random_ranking((40, 2), 4)
    new, truth = random_ranking((30, 2), 4, seed=1)
    found = probe_values(samples("classes", columns=2), known, classes, new, truth)["accuracy"]
    undecided = 0
    for value, row, wanted in zip(found, new @ known.T, truth[:, 1].tolist(), strict=True):
        nearest = row.argsort(descending=True)[:10]
        votes = [(classes[nearest, 1] == c).sum().item() for c in range(4)]
        if votes.count(max(votes)) > 1:
            undecided += 1
            continue
        assert value == (votes.index(max(votes)) == wanted)
    assert undecided < 15


def test_the_nearest_training_samples_vote_for_labels_by_similarity():
    known, sets = random_ranking((40, 6), 2)
    new, truth = random_ranking((12, 6), 2, seed=1)
    found = probe_values(samples("sets"), known, sets.float(), new, truth.float())["lrap"]
    for value, row, wanted in zip(found, new @ known.T, truth.tolist(), strict=True):
        nearest = row.argsort(descending=True)[:20].tolist()
        votes = [sum(max(float(row[j]), 0) * sets[j, label].item() for j in nearest) for label in range(6)]
        relevant = [label for label in range(6) if wanted[label]]
        shares = [
            sum(votes[b] >= votes[a] for b in relevant) / sum(vote >= votes[a] for vote in votes) for a in relevant
        ]
        expected = sum(shares) / len(shares) if relevant else 1.0
        assert value == pytest.approx(expected, abs=1e-6)
        assert value == pytest.approx(label_ranking_average_precision_score([wanted], [votes]), abs=1e-6)


def test_a_ridge_regression_predicts_numbers():
    generator = torch.Generator().manual_seed(0)
    known, new = torch.randn(60, 5, generator=generator), torch.randn(25, 5, generator=generator)
    weights = torch.randn(5, generator=generator)
    numbers = known @ weights + 0.5 * torch.randn(60, generator=generator)
    truth = new @ weights + 0.5 * torch.randn(25, generator=generator)
    found = probe_values(samples("numbers"), known, numbers, new, truth)["probe_spearman"]
    assert found.shape == (25,)

    def left_out(alpha):
        """The squared error of each sample for a ridge that has not seen it."""
        rows = [torch.arange(60) != i for i in range(60)]
        fits = [Ridge(alpha).fit(known[row].numpy(), numbers[row].numpy()) for row in rows]
        return sum((f.predict(known[i : i + 1].numpy())[0] - float(numbers[i])) ** 2 for i, f in enumerate(fits))

    best = min((10.0**e for e in range(-2, 5)), key=left_out)
    predicted = Ridge(best).fit(known.numpy(), numbers.numpy()).predict(new.numpy())
    assert found.mean() == pytest.approx(spearmanr(predicted, truth).statistic, abs=1e-6)


@pytest.mark.parametrize("ties", [False, True])
def test_spearman_is_the_mean_of_its_items(ties):
    draw = np.random.default_rng(0)
    a = draw.normal(size=200)
    b = 0.5 * a + draw.normal(size=200)
    if ties:
        b = b.round()
    items = spearman_items(a, b)
    assert items.shape == (200,)
    assert items.mean() == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)


def test_the_spread_of_spearmans_items_is_its_error():
    draw = np.random.default_rng(0)

    def pair(count):
        a = draw.normal(size=count)
        return a, 0.5 * a + draw.normal(size=count)

    spread = np.std([spearmanr(*pair(300)).statistic for _ in range(400)])
    errors = [spearman_items(*pair(300)).std() / np.sqrt(300) for _ in range(50)]
    assert np.mean(errors) == pytest.approx(spread, rel=0.15)


def test_spearman_of_constants_is_zero():
    assert spearman_items([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]).tolist() == [0, 0, 0]


def test_an_undefined_item_counts_as_its_metrics_mean():
    values = {"a": np.array([0.0, np.nan, 1.0]), "b": np.array([1.0, 0.5, np.nan]), "c": np.zeros(3)}
    assert mean_items(values, ["a", "b"]).tolist() == [0.5, 0.5, 0.875]
    assert mean_items(values, ["a", "b"]).mean() == pytest.approx((0.5 + 0.75) / 2)
    with pytest.raises(ValueError, match="unknown metric 'd'"):
        mean_items(values, ["a", "d"])
