"""Whether one threshold serves all queries: every number against loops or scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sklearn.metrics import roc_auc_score

from eval.tasks.data import Data
from eval.tasks.reliability import by_grade, describe_similarities, histogram, opis
from tests import oracle
from tests.eval.tiny import RECORDS, SIZES, Fixed
from tests.models import tiny_clip

TEXTS = [name for name in RECORDS if name not in ("lines", "pictures", "marks")]


@pytest.fixture(scope="module")
def fixed():
    """A model whose embeddings are known: random by text."""
    return Fixed()


def unit(fixed, text):
    """The normalised embedding of a text."""
    return torch.nn.functional.normalize(fixed.embed(text), dim=0)


def known_pairs(data, fixed, split="test"):
    """Similarity and whether it is relevant, of every pair that is judged, in loops."""
    record, part = data.record, data.parts[split]
    if record.kind == "pairs":
        rows = zip(part.first, part.second, part.scores, strict=True)
        return [(float(unit(fixed, a) @ unit(fixed, b)), score >= record.relevant_from) for a, b, score in rows]
    if record.kind == "retrieval":
        judged = {d for grades in part.qrels.values() for d in grades}
        return [
            (float(unit(fixed, text) @ unit(fixed, part.corpus[d])), part.qrels[query].get(d, 0) >= record.level)
            for query, text in part.queries.items()
            for d in (part.qrels[query] if record.rerank else part.corpus)
            if record.rerank or d in judged or len(part.corpus) <= 2_000
        ]
    relevance = record.relevance(part.labels, part.labels)
    away = relevance.clone().fill_diagonal_(0)
    least = max(0.5 * float(away.max()), 1e-6)
    return [
        (float(unit(fixed, a) @ unit(fixed, b)), bool(relevance[i, j] >= least))
        for i, a in enumerate(part.inputs)
        for j, b in enumerate(part.inputs)
        if i != j
    ]


@pytest.mark.parametrize("name", TEXTS)
def test_auc_is_that_of_all_judged_pairs(world, fixed, name):
    data = world.data(name)
    found = describe_similarities(SentenceTransformer(modules=[fixed]), data, "test", {"before": 0.5})["scores"]
    similarity, relevant = zip(*known_pairs(data, fixed), strict=True)
    assert found["auc"] == pytest.approx(roc_auc_score(relevant, similarity), abs=1e-6)
    assert found["before"] == 0.5
    assert ("opis" in found) == (name != "alike")


@pytest.mark.parametrize("name", TEXTS)
def test_a_histogram_counts_every_judged_pair_once(world, fixed, name):
    data = world.data(name)
    found = describe_similarities(SentenceTransformer(modules=[fixed]), data, "test", {})["histogram"]
    pairs = known_pairs(data, fixed)
    assert sum(found["relevant"]) == sum(relevant for _, relevant in pairs)
    assert sum(found["irrelevant"]) == sum(not relevant for _, relevant in pairs)


def test_a_histogram_has_bins_from_opposite_to_equal():
    similarity = torch.tensor([[-1.0, -0.96, 0.02, 0.98], [1.0, 0.02, 0.03, -0.96]])
    relevant = torch.tensor([[False, True, True, True], [True, False, True, False]])
    found = histogram(similarity, relevant, torch.ones_like(relevant))
    assert len(found["edges"]) == len(found["relevant"]) + 1 == len(found["irrelevant"]) + 1 == 41
    assert (found["edges"][0], found["edges"][20], found["edges"][-1]) == (-1, 0, 1)
    assert {i: n for i, n in enumerate(found["relevant"]) if n} == {0: 1, 20: 2, 39: 2}
    assert {i: n for i, n in enumerate(found["irrelevant"]) if n} == {0: 2, 20: 1}


def test_a_histogram_counts_what_rounding_leaves_outside_of_it():
    above = torch.tensor([[1.0000002, -1.0000002]])
    found = histogram(above, torch.tensor([[True, True]]), torch.tensor([[True, True]]))
    assert sum(found["relevant"]) == 2


def test_captions_are_described_against_images(world, tmp_path):
    model = tiny_clip(tmp_path, ["red", "green", "blue", "dark", "bright"])
    found = describe_similarities(model, world.data("pictures"), "test", {})
    part = world.data("pictures").parts["test"]
    images, captions = (
        torch.nn.functional.normalize(model.encode(x, convert_to_tensor=True), dim=1)
        for x in (part.inputs, part.captions)
    )
    relevance = world.records["pictures"].relevance(part.labels, part.labels)
    relevant = relevance >= 0.5 * relevance.max()
    expected = roc_auc_score(relevant.flatten(), (captions @ images.T).flatten())
    assert found["scores"]["auc"] == pytest.approx(expected, abs=1e-4)
    assert sum(found["histogram"]["relevant"]) == relevant.sum()


def opis_in_loops(similarity, relevant, known):
    """The definition: variance over queries of the harmonic mean of both rates, averaged over thresholds."""
    away = [
        s
        for row, r, k in zip(similarity, relevant, known, strict=True)
        for s, x, y in zip(row, r, k, strict=True)
        if y and not x
    ]
    found = []
    for share in np.linspace(0.9, 0.999, 20):
        threshold, utilities = np.quantile(np.float32(away), share), []
        for row, r, k in zip(similarity, relevant, known, strict=True):
            good = [s for s, x in zip(row, r, strict=True) if x]
            bad = [s for s, x, y in zip(row, r, k, strict=True) if y and not x]
            if good and bad:
                sensitivity = sum(s >= threshold for s in good) / len(good)
                specificity = sum(s < threshold for s in bad) / len(bad)
                both = sensitivity + specificity
                utilities.append(2 * sensitivity * specificity / both if both else 0.0)
        found.append(np.var(utilities))
    return np.mean(found)


def test_opis_is_the_variance_of_what_a_threshold_is_worth():
    generator = torch.Generator().manual_seed(0)
    similarity = torch.randn(6, 50, generator=generator).div(4) + torch.arange(6)[:, None] / 20
    relevant = torch.rand(6, 50, generator=generator) < 0.2
    known = torch.rand(6, 50, generator=generator) < 0.9
    relevant[4] = False  # has nothing to find
    relevant &= known
    found = opis(similarity, relevant, known)
    assert found == pytest.approx(opis_in_loops(similarity.tolist(), relevant.tolist(), known.tolist()), abs=1e-6)
    assert found > 0.001


def test_opis_is_zero_where_all_queries_are_alike():
    row = torch.randn(50, generator=torch.Generator().manual_seed(0))
    similarity = torch.stack([row[torch.randperm(50, generator=torch.Generator().manual_seed(i))] for i in range(5)])
    relevant = similarity > row.sort().values[40]
    assert opis(similarity, relevant, torch.ones_like(relevant)) == pytest.approx(0, abs=1e-12)
    shifted = similarity + torch.arange(5)[:, None]
    assert opis(shifted, relevant, torch.ones_like(relevant)) > 0.01


def test_opis_of_relevant_documents_alone_is_zero():
    assert opis(torch.rand(2, 3), torch.ones(2, 3, dtype=torch.bool), torch.ones(2, 3, dtype=torch.bool)) == 0


def test_ndcg_by_grade_takes_all_lower_grades_for_irrelevant(world, fixed):
    data = world.data("search")
    part = data.parts["test"]
    found = describe_similarities(SentenceTransformer(modules=[fixed]), data, "test", {})["by_grade"]
    assert list(found) == ["1", "3"]
    for grade, value in found.items():
        expected = []
        for query, text in part.queries.items():
            similarity = [float(unit(fixed, text) @ unit(fixed, d)) for d in part.corpus.values()]
            relevance = [float(part.qrels[query].get(d, 0) >= int(grade)) for d in part.corpus]
            if any(relevance):
                expected.append(oracle.ndcg(similarity, relevance, k=10))
        assert value == pytest.approx(np.mean(expected), abs=1e-4)


@pytest.mark.parametrize(
    ("grades", "count"),
    [([0.0, 1.0], None), ([0.0, 1.0, 2.0], 2), ([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6], None), ([0.0], None)],
)
def test_grades_are_distinguished_if_they_are_few(grades, count):
    relevance = torch.tensor([grades * 2, [math.nan] * 2 * len(grades)])
    found = by_grade(torch.rand(relevance.shape), relevance)
    assert (found and len(found)) == count


def test_parts_are_as_large_as_what_was_described(world):
    assert len(world.data("tree").parts["test"]) == SIZES["test"] <= 200


def test_judged_documents_alone_are_described_where_they_are_reranked(world, fixed):
    plain, judged = (
        describe_similarities(
            SentenceTransformer(modules=[fixed]), Data(world.record("search", rerank=rerank), world.folder), "test", {}
        )
        for rerank in (False, True)
    )
    assert plain["scores"]["auc"] != judged["scores"]["auc"]
    assert sum(plain["histogram"]["relevant"]) == sum(judged["histogram"]["relevant"])
