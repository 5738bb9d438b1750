"""Scores of a model on a part, against the definitions in plain loops."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

import datasets
import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image
from scipy.stats import pearsonr, rankdata, spearmanr

from st_rankloss import functional
from st_rankloss.augmentations import Identity
from st_rankloss.data import Part
from st_rankloss.data import captions as captions_module
from st_rankloss.experiment import scores as scores_module
from st_rankloss.experiment import views
from st_rankloss.experiment.scores import correlation_items, score
from st_rankloss.functional.checks import NotFiniteError
from tests.experiment.tiny import COLOURS, THINGS, part
from tests.models import tiny_clip, word_model

MODEL = word_model([*COLOURS, *THINGS])


def cosines(first, second):
    a, b = (
        torch.nn.functional.normalize(MODEL.encode(x, convert_to_tensor=True).double(), dim=1) for x in (first, second)
    )
    return (a @ b.T).tolist()


def ndcg(similarity, grades, k=10):
    """The definition, of distinct similarities."""
    order = sorted(range(len(grades)), key=lambda i: -similarity[i])

    def dcg(gains):
        return sum(gain / math.log2(rank + 2) for rank, gain in enumerate(gains[:k]))

    ideal = dcg(sorted(grades, reverse=True))
    return dcg([grades[i] for i in order]) / ideal if ideal else math.nan


@pytest.mark.parametrize(
    ("task", "relevance"),
    [
        ("classification", lambda a, b: float(a == b)),
        ("hierarchy", lambda a, b: float(a[0] == b[0]) + (a == b)),
        ("multi_label", lambda a, b: len({*a} & {*b}) / len({*a} | {*b})),
    ],
)
def test_each_row_searches_the_other_rows(task, relevance):
    given = part(task, 24)
    texts, labels = given.dataset["text"][:], given.dataset["label"][:]
    assert len(set(texts)) == 24
    similarity = cosines(texts, texts)
    scores = score(MODEL, given)
    for i, value in enumerate(scores.values["ndcg@10"]):
        others = [j for j in range(24) if j != i]
        expected = ndcg([similarity[i][j] for j in others], [relevance(labels[i], labels[j]) for j in others])
        assert value == pytest.approx(expected, abs=1e-6)
    best = max((j for j in range(24) if j != 0), key=lambda j: similarity[0][j])
    assert scores.found[0][0].startswith(texts[best])


def test_neighbours_of_the_training_part_vote():
    train, test = part("classification", 48), part("classification", 16, seed=9)
    similarity = cosines(test.dataset["text"][:], train.dataset["text"][:])
    hits = []
    for i, row in enumerate(similarity):
        nearest = sorted(range(48), key=lambda j: -row[j])[:10]
        votes = [train.dataset["label"][j] for j in nearest]
        hits.append(float(max(votes, key=lambda v: (votes.count(v), -votes.index(v))) == test.dataset["label"][i]))
    assert score(MODEL, test, train).values["accuracy of neighbours"].tolist() == hits
    assert 0 < np.mean(hits) < 1


def test_numbers_are_predicted_by_the_mean_of_neighbours():
    train, test = part("regression", 48), part("regression", 16, seed=9)
    similarity = cosines(test.dataset["text"][:], train.dataset["text"][:])
    predicted = [
        np.mean([train.dataset["label"][j] for j in sorted(range(48), key=lambda j: -row[j])[:10]])
        for row in similarity
    ]
    expected = spearmanr(predicted, test.dataset["label"][:]).statistic
    assert score(MODEL, test, train).means["spearman of neighbours"] == pytest.approx(expected)


def test_correlations_of_pairs_are_those_of_scipy():
    given = part("sts")
    similarity = [row[i] for i, row in enumerate(cosines(given.dataset["sentence1"][:], given.dataset["sentence2"][:]))]
    means = score(MODEL, given).means
    truth = given.dataset["label"][:]
    assert means["spearman"] == pytest.approx(spearmanr(similarity, truth).statistic, abs=1e-5)
    assert means["pearson"] == pytest.approx(pearsonr(similarity, truth).statistic, abs=1e-5)


def test_a_pair_without_a_score_is_left_out():
    given = part("sts")
    labels = given.dataset["label"][:]
    some = given.dataset.remove_columns("label").add_column("label", [None, *labels[1:]])
    rest = given.dataset.select(range(1, len(labels)))
    with_gap = score(MODEL, Part("sts", some))
    assert math.isnan(with_gap.values["spearman"][0])
    assert with_gap.means["spearman"] == pytest.approx(score(MODEL, Part("sts", rest)).means["spearman"])


def test_searches_are_scored_by_grades_and_show_what_they_found():
    given = part("retrieval")
    similarity = cosines(list(given.queries.values()), list(given.corpus.values()))
    scores = score(MODEL, given)
    assert list(scores.values) == ["ndcg@10", "mrr@10", "recall@100"]
    assert scores.means["recall@100"] == 1  # the corpus has 40 documents
    row, query = similarity[3], list(given.queries)[3]
    place = scores.items.index(given.queries[query])
    best = max(range(40), key=lambda j: row[j])
    assert scores.found[place][0] == f"{given.qrels[query].get(f'd{best}', 0):g}  {given.corpus[f'd{best}']}"


def test_embeddings_are_kept_for_searches_alone(tmp_path):
    plain, kept = (score(MODEL, part("retrieval"), corpus_embeddings=folder) for folder in (None, tmp_path))
    assert (tmp_path / "manifest.json").exists()
    assert plain.means == kept.means
    with pytest.raises(ValueError, match="only documents of retrieval have embeddings to keep, got data for sts"):
        score(MODEL, part("sts"), corpus_embeddings=tmp_path)


def test_the_lowest_grade_above_0_counts_as_relevant():
    given = part("retrieval")
    halved = replace(given, qrels={q: {d: g / 8 for d, g in row.items()} for q, row in given.qrels.items()})
    assert score(MODEL, halved).means == pytest.approx(score(MODEL, given).means)


def test_a_shortened_copy_searches_its_original():
    scores = score(MODEL, part("self_supervised", 12))
    assert 0 < scores.means["ndcg@10"] <= 1
    assert all(set(copy.split()) <= {*COLOURS, *THINGS} for copy in scores.items)
    again = score(MODEL, part("self_supervised", 12))
    assert scores.means == again.means


def in_plain_loops(queries, documents, wanted, own):
    """The nDCG@10 of queries that search documents for equal inputs."""
    similarity = [[float(q @ d) for d in documents] for q in queries]
    grades = [[float(q == d) for d in own] for q in wanted]
    return [ndcg(row, grade) for row, grade in zip(similarity, grades, strict=True)]


@pytest.mark.parametrize("task", ["image_text", "self_supervised"])
def test_searches_run_in_blocks_of_queries(task, monkeypatch):
    rows, blocks = [f"{i % 23} {i % 7}" for i in range(170)], []
    draw = np.random.default_rng(0)
    points = {text: torch.tensor(draw.standard_normal(5), dtype=torch.float32) for text in rows}

    def encode(inputs):
        found = [points[text] for text in inputs]
        return torch.stack([point + i % 3 * 1e-3 for i, point in enumerate(found)])  # no ties

    def counted(similarity, grades, k):
        blocks.append(len(similarity))
        return functional.ndcg(similarity, grades, k=k)

    monkeypatch.setattr(scores_module, "_ROWS", 64)
    monkeypatch.setattr(captions_module, "_ROWS", 64)
    monkeypatch.setattr(scores_module, "ndcg", counted)
    monkeypatch.setitem(views.COPIES, "text", Identity())
    columns = {"image": rows, "caption": rows} if task == "image_text" else {"text": rows}
    found = scores_module._SCORERS[task](encode, Part(task, Dataset.from_dict(columns)), None)
    vectors = torch.nn.functional.normalize(encode(rows), dim=1)
    assert found.values["ndcg@10"] == pytest.approx(in_plain_loops(vectors, vectors, rows, rows), abs=1e-6)
    assert set(blocks) == {64, 170 - 2 * 64}


@pytest.mark.parametrize("task", ["sts", "classification", "retrieval", "image_text", "self_supervised"])
def test_embeddings_that_are_not_finite_are_refused_as_such(task, tmp_path):
    words = [*COLOURS, *THINGS]
    model = tiny_clip(tmp_path, words) if task == "image_text" else word_model(words)
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, math.nan)
    with pytest.raises(NotFiniteError, match="must be finite, got NaN or infinity"):
        score(model, part(task, 12))


def coloured(count, **columns):
    images = [Image.new("RGB", (2, 2), (9 * i, 90, 0)) for i in range(count)]
    return Dataset.from_dict({"image": images, **columns})


class ByColour(torch.nn.Module):
    """Stands for a model of images, and keeps how many it was given at a time."""

    given: ClassVar[list[int]] = []

    def encode(self, inputs, **options):
        self.given.append(len(inputs))
        return torch.tensor([[*image.getpixel((0, 0))] for image in inputs], dtype=torch.float32)


@pytest.mark.parametrize("task", ["classification", "self_supervised"])
def test_each_image_is_decoded_once_to_encode_it_and_in_slices(task, monkeypatch):
    decoded, decode = [], datasets.Image.decode_example
    monkeypatch.setattr(
        datasets.Image, "decode_example", lambda *args, **named: (decoded.append(1), decode(*args, **named))[1]
    )
    monkeypatch.setattr(scores_module, "_SLICE", 4)
    given = [
        Part(task, coloured(n, **({"label": [*"ab"] * (n // 2)} if task == "classification" else {}))) for n in (10, 8)
    ]
    scores = score(ByColour(), *given)
    assert len(decoded) == (18 if task == "classification" else 20)  # each again to make its copy
    assert max(ByColour.given) == 4
    assert scores.items[3].startswith("image 3")


def test_altered_copies_of_images_search_their_originals():
    images = [Image.fromarray(np.random.default_rng(i).integers(0, 256, (8, 8, 3), dtype=np.uint8)) for i in range(30)]
    images.append(images[0].copy())

    class ByPixels(torch.nn.Module):
        seen: ClassVar[list[torch.Tensor]] = []

        def encode(self, inputs, **options):
            self.seen.append(torch.tensor(np.stack([np.asarray(x, dtype=np.float32).ravel() - 128 for x in inputs])))
            return self.seen[-1]

    found = score(ByPixels(), Part("self_supervised", Dataset.from_dict({"image": images})))
    copies, originals = (torch.nn.functional.normalize(x.double(), dim=1) for x in ByPixels.seen)
    assert not any(torch.equal(*pair) for pair in zip(*ByPixels.seen, strict=True))
    grades = torch.tensor([[float(i % 30 == j % 30) for j in range(31)] for i in range(31)])  # the last is the first
    wanted = functional.ndcg(copies @ originals.T, grades.double(), k=10)
    assert found.values["ndcg@10"] == pytest.approx(wanted.numpy(), abs=1e-5)
    assert 0.1 < found.means["ndcg@10"] < 1


def test_captions_with_labels_are_found_by_their_labels(tmp_path):
    model, given = tiny_clip(tmp_path, [*COLOURS, *THINGS]), part("image_text", 12)
    vectors = [model.encode(given.dataset[name][:], convert_to_tensor=True) for name in ("image", "caption")]
    images, texts = (torch.nn.functional.normalize(x, dim=1) for x in vectors)
    paths = [["a", "b"], ["a", "c"], ["d", "e"]] * 4
    shared = torch.tensor([[(a[0] == b[0]) / 2 + (a == b) / 2 for b in paths] for a in paths])
    labelled = Part("image_text", given.dataset.add_column("label", paths), labels="hierarchy")
    for similarity, metric in ((images @ texts.T, "image to caption"), (texts @ images.T, "caption to image")):
        wanted = functional.ndcg(similarity, shared, k=10)
        assert score(model, labelled).values[metric] == pytest.approx(wanted.numpy(), abs=1e-6)
    numbers = Part("image_text", given.dataset.add_column("label", [0.5] * 12), labels="regression")
    assert score(model, numbers).means == score(model, given).means  # the recipe leaves numbers out


def test_a_broken_image_and_a_model_without_images_are_named(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(5)]
    for path in paths:
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 30, 3), dtype=np.uint8)).save(path)
    rows = Dataset.from_dict({"image": [*map(str, paths)]}).cast_column("image", datasets.Image())
    paths[3].write_bytes(paths[3].read_bytes()[:600])
    with pytest.raises(
        ValueError, match=r"must hold images that can be read, got .*truncated.* in row 3: save it again"
    ):
        score(ByColour(), Part("classification", rows.add_column("label", [*"aabbb"])))
    with pytest.raises(
        ValueError, match="the data holds images, and the model reads only text: name a model of images"
    ):
        score(MODEL, Part("self_supervised", rows))


def test_rows_without_a_class_neither_vote_nor_are_scored():
    texts = ["red rose", "red boat", "red sky", "blue sky", "blue boat", "blue hat"]
    train = Part("classification", Dataset.from_dict({"text": texts * 2, "label": [-1] * 6 + [0, 0, 0, 1, 1, 1]}))
    rows = {"text": ["red hat", "red tree", "blue tree"], "label": [0, 0, -1]}
    accuracy = score(MODEL, Part("classification", Dataset.from_dict(rows)), train).values["accuracy of neighbours"]
    assert np.isfinite(accuracy).tolist() == [True, True, False]
    none = Part("classification", Dataset.from_dict({"text": texts, "label": [-1] * 6}))
    assert [*score(MODEL, Part("classification", Dataset.from_dict(rows)), none).values] == ["ndcg@10"]


def test_a_part_with_nothing_to_rank_is_refused():
    rows = Dataset.from_dict({"text": ["red rose", "blue sky"], "label": ["a", "b"]})
    with pytest.raises(ValueError, match="undefined for all 2 items"):
        score(MODEL, Part("classification", rows))


def test_scoring_does_not_change_the_mode_of_a_model():
    MODEL.train()
    score(MODEL, part("sts"))
    assert MODEL.training


def test_a_correlation_is_the_mean_of_its_items_for_random_pairs():
    random = np.random.default_rng(0)
    for _ in range(200):
        a, b = random.normal(size=(2, random.integers(3, 30)))
        assert correlation_items(a, b).mean() == pytest.approx(pearsonr(a, b).statistic)
        assert correlation_items(rankdata(a), rankdata(b)).mean() == pytest.approx(spearmanr(a, b).statistic)
    assert correlation_items(np.ones(3), np.arange(3.0)).mean() == 0


def test_images_and_captions_search_each_other(tmp_path):
    model, given = tiny_clip(tmp_path, [*COLOURS, *THINGS]), part("image_text", 12)
    images, captions = given.dataset["image"][:], given.dataset["caption"][:]
    a, b = (torch.nn.functional.normalize(model.encode(x, convert_to_tensor=True), dim=1) for x in (images, captions))
    rows = (a @ b.T).tolist()
    colours = [image.getpixel((0, 0)) for image in images]
    grades = [[float(first == second) for second in colours] for first in colours]  # each of several captions
    scores = score(model, given)
    for i in range(12):
        there = ndcg(rows[i], grades[i])
        assert scores.values["image to caption"][i] == pytest.approx(there, abs=1e-6)
        # Images of a topic are equal, so a caption's search has ties, which share their places: it is bounded by them.
        assert 0 <= scores.values["caption to image"][i] <= 1
        both = (scores.values["image to caption"][i] + scores.values["caption to image"][i]) / 2
        assert scores.values["ndcg@10"][i] == pytest.approx(both)
