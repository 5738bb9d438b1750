"""Propensities of positions: the estimate against plain loops, simulated users and expectation-maximisation."""

from __future__ import annotations

import itertools
import logging
import math

import numpy as np
import pytest

from st_rankloss.data import estimate_propensities, propensities, read_clicks


def simulate(draw, documents, sessions, examination, shuffling=2.0):
    """Clicks of sessions in which lists are shown in a noisy order, one impression per row."""
    size = len(examination)
    attraction = np.sort(draw.beta(1, 3, (documents, size)))[:, ::-1]
    utility = -np.arange(size) / shuffling + draw.gumbel(size=(sessions, documents, size))
    shown = np.argsort(-utility, -1)
    lists = np.arange(documents)[:, None]
    clicked = draw.random(shown.shape) < examination * attraction[lists, shown]
    key = lists * size + shown
    position = np.broadcast_to(np.arange(size) + 1.0, shown.shape)
    return key.ravel(), position.ravel(), clicked.ravel().astype(float)


def expectation_maximisation(documents, positions, clicks, steps):
    """Wang et al. (2018) without features: clicks are single events of examination and attraction."""
    place, key = positions.astype(int) - 1, documents
    theta, gamma = np.full(place.max() + 1, 0.5), np.full(key.max() + 1, 0.5)
    for _ in range(steps):
        t, g = theta[place], gamma[key]
        neither = np.maximum(1 - t * g, 1e-12)
        examined, attracted = (np.where(clicks > 0, 1, x * (1 - y) / neither) for x, y in ((t, g), (g, t)))
        theta = np.bincount(place, examined) / np.bincount(place)
        gamma = np.bincount(key, attracted) / np.bincount(key)
    return theta / theta[0]


def plain_step(rows, theta):
    """One step in plain loops, from the definition."""
    clicks, seen = {}, {}
    for document, position, click, impressions in rows:
        clicks[document] = clicks.get(document, 0) + click
        seen[document] = seen.get(document, 0) + impressions * theta[position]
    gamma = {document: clicks[document] / seen[document] for document in clicks}
    found, expected = dict.fromkeys(theta, 0.0), dict.fromkeys(theta, 0.0)
    for document, position, click, impressions in rows:
        found[position] += click
        expected[position] += impressions * gamma[document]
    first = found[min(theta)] / expected[min(theta)]
    return {position: found[position] / expected[position] / first for position in theta}


def likelihood(rows, theta):
    """Log likelihood of Poisson counts, at the best attraction of each document, up to a constant."""
    total = 0.0
    for _, group in itertools.groupby(sorted(rows), lambda row: row[0]):
        own = list(group)
        clicked = sum(row[2] for row in own)
        gamma = clicked / sum(impressions * theta[position] for _, position, _, impressions in own)
        for _, position, click, impressions in own:
            mean = impressions * theta[position] * gamma
            total += (click * math.log(mean) if click else 0.0) - mean
    return total


def random_rows(draw, documents=12, positions=4, rows=60):
    found = []
    for _ in range(rows):
        impressions = int(draw.integers(1, 9))
        click = int(draw.integers(0, impressions + 1))
        found.append((int(draw.integers(documents)), float(draw.integers(positions) + 1), click, impressions))
    return found


@pytest.mark.parametrize("seed", range(20))
def test_steps_equal_plain_loops_and_likelihood_never_falls(seed):
    rows = random_rows(np.random.default_rng(seed))
    cells, places = propensities._read(*zip(*rows, strict=True))
    theta = dict.fromkeys(places.tolist(), 1.0)
    before = likelihood(rows, theta)
    for _ in range(30):
        wanted = plain_step(rows, theta)
        got = propensities._step(cells, np.array([*theta.values()]))
        assert got == pytest.approx([*wanted.values()], rel=1e-12)
        theta, after = wanted, likelihood(rows, wanted)
        assert after >= before - 1e-9
        before = after
    assert before > likelihood(rows, dict.fromkeys(theta, 1.0)) + 1e-3


@pytest.mark.parametrize("seed", range(20))
def test_expected_clicks_give_the_propensities_back(seed):
    draw = np.random.default_rng(seed)
    size = int(draw.integers(1, 8))
    examination = np.concatenate([[1], draw.uniform(0.02, 1.5, size - 1)])
    documents = np.repeat(np.arange(30), size)
    positions = np.tile(np.arange(size), 30)
    impressions = draw.integers(0, 100, len(documents)) + (documents == 0)
    clicks = impressions * examination[positions] * draw.uniform(0, 0.6, 30)[documents]
    found = estimate_propensities(documents, positions + 1, clicks, impressions)
    assert list(found) == [*range(1, size + 1)]
    assert [*found.values()] == pytest.approx(examination, rel=1e-4)


@pytest.mark.parametrize("eta", [0.5, 1.0, 2.0])
def test_propensities_of_simulated_users_are_recovered(eta):
    examination = np.arange(1, 11) ** -eta
    log = simulate(np.random.default_rng(0), 500, 60, examination)
    assert [*estimate_propensities(*log).values()] == pytest.approx(examination, abs=0.03)


def test_documents_that_are_shown_twice_suffice_where_single_events_mislead():
    examination = 1 / np.arange(1, 6)
    documents, positions, clicks = simulate(np.random.default_rng(1), 8_000, 2, examination, shuffling=5.0)
    found = [*estimate_propensities(documents, positions, clicks).values()]
    assert found == pytest.approx(examination, abs=0.04)
    misled = expectation_maximisation(documents, positions, clicks, 100)
    assert misled[1] > examination[1] + 0.1


def test_documents_that_are_shown_often_agree_with_expectation_maximisation():
    documents, positions, clicks = simulate(np.random.default_rng(2), 40, 500, 1 / np.arange(1, 6))
    wanted = expectation_maximisation(documents, positions, clicks, 200)
    assert [*estimate_propensities(documents, positions, clicks).values()] == pytest.approx(wanted, abs=0.015)


def test_sums_and_single_events_have_the_same_estimate_in_any_order():
    draw = np.random.default_rng(3)
    documents, positions, clicks = simulate(draw, 20, 30, 1 / np.arange(1, 4))
    keys, rows = np.unique(np.stack([documents, positions]), axis=1, return_inverse=True)
    summed = estimate_propensities(*keys, np.bincount(rows, clicks), np.bincount(rows))
    order = draw.permutation(len(clicks))
    single = estimate_propensities(documents[order], positions[order], clicks[order])
    assert single == pytest.approx(summed)


def test_a_document_at_one_position_or_without_impressions_has_no_influence():
    rows = [("a", 1, 4, 9), ("a", 2, 1, 9), ("b", 1, 3, 5), ("b", 2, 2, 7)]
    more = [*rows, ("c", 2, 5, 5), ("d", 1, 0, 100), ("d", 2, 0, 1), ("e", 3, 0, 0)]
    wanted = estimate_propensities(*zip(*rows, strict=True))
    assert estimate_propensities(*zip(*more, strict=True)) == pytest.approx(wanted)


def test_clicks_on_documents_at_one_position_do_not_slow_the_estimate(caplog):
    rows = [("a", 1, 4, 9), ("a", 2, 1, 9), ("b", 1, 3, 5), ("b", 2, 2, 7), ("b", 3, 1, 8)]
    theta = {1: 1.0, 2: 1.0, 3: 1.0}
    for _ in range(500):
        theta = plain_step(rows, theta)
    more = [*rows, ("c", 2, 10**6, 10**6), ("c", 2, 1, 1), ("d", 3, 10**5, 10**6), ("e", 1, 0, 100), ("e", 2, 0, 1)]
    assert estimate_propensities(*zip(*more, strict=True)) == pytest.approx(theta, rel=1e-5)
    assert "not settled" not in caplog.text


def test_a_single_position_has_the_propensity_1():
    assert estimate_propensities(["a", "b"], [3, 3], [1, 0]) == {3.0: 1.0}


def determined(rows):
    """By trying every set of positions: one could be scaled up unless a document shown in it was clicked outside."""
    places = sorted({row[1] for row in rows})
    for size in range(1, len(places)):
        for chosen in itertools.combinations(places, size):
            shown = {row[0] for row in rows if row[1] in chosen}
            if not any(row[0] in shown and row[2] > 0 and row[1] not in chosen for row in rows):
                return False
    return True


def test_logs_are_refused_exactly_where_the_maximum_is_not_single():
    draw = np.random.default_rng(4)
    answers = []
    for _ in range(300):
        rows = random_rows(draw, documents=6, positions=4, rows=10)
        answers.append(determined(rows))
        if answers[-1]:
            estimate_propensities(*zip(*rows, strict=True))
        else:
            with pytest.raises(ValueError, match=r"shuffle results .* or assume a propensity, such as eta"):
                estimate_propensities(*zip(*rows, strict=True))
    assert 30 < sum(answers) < 270


def test_positions_apart_are_named():
    with pytest.raises(ValueError, match=r"between position 1 and 3, 4: shuffle"):
        estimate_propensities([0, 0, 1, 1], [1, 2, 3, 4], [1, 1, 1, 1], [2, 2, 2, 2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1], [1], [0, 1]), r"positions must have one number per document, got \(1,\) for 2 documents"),
        (([0, 1], [1, 0], [0, 1]), r"positions must be numbers of at least 1, got 0 in row 1"),
        (([0, 1], [1, math.nan], [0, 1]), r"positions must be numbers of at least 1, got nan in row 1"),
        (([0, 1], [1, 2], [-1, 1]), r"clicks must be numbers of at least 0, got -1 in row 0"),
        (([0, 1], [1, 2], [0, 3], [2, 2]), r"impressions must be numbers of at least the clicks, got 2 in row 1"),
        (([0], [1], [0], [0]), r"the log must have an impression, got none"),
        (([], [], []), r"the log must have an impression, got none"),
    ],
)
def test_wrong_numbers_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        estimate_propensities(*arguments)


def test_an_estimate_that_does_not_settle_is_logged(monkeypatch, caplog):
    monkeypatch.setattr(propensities, "STEPS", 1)
    with caplog.at_level(logging.WARNING):
        estimate_propensities([0, 0, 1, 1], [1, 2, 1, 2], [3, 1, 1, 1], [5, 5, 9, 2])
    assert "have not settled after 1 steps" in caplog.text


# In the reader of click logs


def log_of(documents, positions, clicks):
    keys = [f"d{int(key)}" for key in documents]
    return {"query": [f"q{int(key) // 5}" for key in documents], "doc": keys, "clicks": clicks, "position": positions}


def rates(part):
    return {key: grade for row in part.dataset for key, grade in zip(row["documents"], row["labels"], strict=True)}


def test_a_log_is_corrected_by_its_own_propensities():
    documents, positions, clicks = simulate(np.random.default_rng(5), 40, 200, 1 / np.arange(1, 6))
    log = log_of(documents, positions, clicks)
    part = read_clicks(log, propensities="estimate")
    found = estimate_propensities(documents, positions, clicks)
    given = read_clicks(log, propensities=found)
    assert rates(part) == pytest.approx(rates(given))
    assert rates(part) == pytest.approx(rates(read_clicks(log, eta=1)), abs=0.1)
    assert rates(part) != pytest.approx(rates(read_clicks(log, eta=0)), abs=0.1)
    assert any(f"examination is estimated: 1: 1, 2: {found[2]:.3g}, 3" in note for note in part.notes)


def test_given_propensities_equal_those_of_eta():
    log = log_of(*simulate(np.random.default_rng(6), 10, 10, 1 / np.arange(1, 6)))
    given = read_clicks(log, propensities={position: position**-0.7 for position in range(1, 6)})
    wanted = read_clicks(log, eta=0.7)
    assert given.dataset[:] == wanted.dataset[:]


def test_propensities_may_be_numbers_of_numpy():
    log = {"query": ["q", "q"], "doc": ["a", "b"], "clicks": [1, 1], "position": [1, 4]}
    given = read_clicks(log, propensities={np.int64(1): np.float32(1), np.int64(4): np.float32(0.25)})
    assert given.dataset[:] == read_clicks(log, propensities={1: 1.0, 4: 0.25}).dataset[:]


def test_a_click_of_one_impression_counts_inversely_to_its_propensity():
    log = {"query": ["q", "q"], "doc": ["a", "b"], "clicks": [1, 1], "position": [1, 4]}
    found = rates(read_clicks(log, propensities={1: 1.0, 4: 0.25}, smoothing=1e-9))
    assert found == pytest.approx({"a": 1 / 1.0, "b": 1 / 0.25})


@pytest.mark.parametrize(
    ("changes", "given", "message"),
    [
        ({}, {1: 1.0}, r"number above 0 for every position of the log, got None for position 2: add it"),
        ({}, {1: 1.0, 2: 0.0}, r"got 0.0 for position 2: add it"),
        ({}, {1: 1.0, 2: "x"}, r"got 'x' for position 2: add it"),
        ({}, {"1": 1.0, "2": 0.5}, r"propensities must have numbers as keys, got '1': write {1: 1.0, 2: 0.5}"),
        ({}, "auto", r"propensities must be a mapping, 'estimate' or None, got 'auto'"),
        ({}, "estimate", r"the dict: positions must be connected by documents .* between position 1 and 2"),
        ({"position": None}, "estimate", r"propensities need a column of positions, got none: name it as position="),
    ],
)
def test_propensities_that_do_not_fit_the_log_are_refused(changes, given, message):
    log = {"query": ["q", "q"], "doc": ["a", "b"], "clicks": [1, 1], "position": [1, 2]} | changes
    log = {name: values for name, values in log.items() if values is not None}
    with pytest.raises(ValueError, match=message):
        read_clicks(log, propensities=given)
