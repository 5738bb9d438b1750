"""Whether one threshold serves all queries: every number against loops or scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sklearn.metrics import roc_auc_score

from eval.tasks.data import Data
from eval.tasks.reliability import opis, reliability
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
    found = reliability(SentenceTransformer(modules=[fixed]), data, "test")
    similarity, relevant = zip(*known_pairs(data, fixed), strict=True)
    assert found["auc"] == pytest.approx(roc_auc_score(relevant, similarity), abs=1e-6)
    assert ("opis" in found) == (name != "alike")


def test_captions_are_compared_with_images(world, tmp_path):
    model = tiny_clip(tmp_path, ["red", "green", "blue", "dark", "bright"])
    found = reliability(model, world.data("pictures"), "test")
    part = world.data("pictures").parts["test"]
    images, captions = (
        torch.nn.functional.normalize(model.encode(x, convert_to_tensor=True), dim=1)
        for x in (part.inputs, part.captions)
    )
    relevance = world.records["pictures"].relevance(part.labels, part.labels)
    relevant = relevance >= 0.5 * relevance.max()
    expected = roc_auc_score(relevant.flatten(), (captions @ images.T).flatten())
    assert found["auc"] == pytest.approx(expected, abs=1e-4)


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


def test_parts_are_as_large_as_what_was_compared(world):
    assert len(world.data("tree").parts["test"]) == SIZES["test"] <= 200


def test_judged_documents_alone_are_compared_where_they_are_reranked(world, fixed):
    plain, judged = (
        reliability(
            SentenceTransformer(modules=[fixed]), Data(world.record("search", rerank=rerank), world.folder), "test"
        )
        for rerank in (False, True)
    )
    assert plain["auc"] != judged["auc"]
