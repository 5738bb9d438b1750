"""Records as tasks of mteb: every metric against its definition, and whole evaluations."""

from __future__ import annotations

import math

import datasets
import mteb
import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict
from scipy.stats import kendalltau, spearmanr
from sentence_transformers import SentenceTransformer
from sklearn.linear_model import LinearRegression
from sklearn.metrics.pairwise import paired_cosine_distances

from eval.tasks.data import Collection, Data
from eval.tasks.files import read_rows
from eval.tasks.mteb_tasks import make_task
from eval.tasks.records import Record
from eval.tasks.standard import named_tasks, standard_tasks
from eval.tasks.values import probe_values
from st_rankloss import GradedInformationRetrievalEvaluator
from st_rankloss.mteb_tasks import named
from tests import oracle
from tests.eval.tiny import RECORDS, Fixed, path_relevance, write_rows
from tests.models import tiny_clip

SCORED = [name for name in RECORDS if name != "lines"]
OPTIONS = {"cache": None, "encode_kwargs": {"batch_size": 7, "show_progress_bar": False}, "co2_tracker": False}
OPTIONS["show_progress_bar"] = False


@pytest.fixture(scope="module")
def fixed():
    """A model whose embeddings are known: random by text."""
    return Fixed()


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A small model of images and texts."""
    return tiny_clip(tmp_path_factory.mktemp("clip"), ["red", "green", "blue", "dark", "bright"])


def score(task, module, **given):
    """Evaluate a model on a task: the scores of its only part."""
    model = module if isinstance(module, SentenceTransformer) else SentenceTransformer(modules=[module])
    (found,) = mteb.evaluate(named(model, "local/test", "1"), tasks=[task], **(OPTIONS | given)).task_results
    ((rows,),) = found.scores.values()
    return rows


def embedded(fixed, texts):
    """Normalised embeddings, as lists."""
    return torch.nn.functional.normalize(torch.stack([fixed.embed(text) for text in texts]), dim=1)


@pytest.mark.parametrize("name", SCORED)
@pytest.mark.parametrize("split", ["dev", "test"])
def test_the_mean_of_the_items_is_the_main_score(world, fixed, clip, name, split):
    data = world.data(name)
    task = make_task(data, split)
    scores = score(task, clip if data.record.modality == "image" else fixed)
    assert task.items.shape == (len(data.parts[split]),)
    assert np.isfinite(task.items).all()
    assert task.items.std() > 0
    assert task.items.mean() == pytest.approx(scores["main_score"], abs=1e-6)
    assert scores[data.record.main] == pytest.approx(np.mean([scores[m] for m in data.record.metrics]), abs=1e-6)


def test_pairs_are_scored_by_the_correlation_of_their_cosines(world, fixed):
    part = world.data("alike").parts["dev"]
    scores = score(make_task(world.data("alike"), "dev"), fixed)
    sides = (torch.stack([fixed.embed(text) for text in texts]).numpy() for texts in (part.first, part.second))
    cosines = 1 - paired_cosine_distances(*sides)  # as mteb computes them: the last digit decides about ties
    assert scores["cosine_spearman"] == pytest.approx(spearmanr(cosines, part.scores).statistic, abs=1e-6)


def test_pairs_are_scored_by_the_metric_that_their_record_names(world, fixed):
    part = world.data("alike").parts["dev"]
    data = Data(world.record("alike", metrics=["pearson"]), world.folder)
    cosines = (embedded(fixed, part.first) * embedded(fixed, part.second)).sum(1)
    expected = np.corrcoef(cosines, part.scores)[0, 1]
    assert abs(expected - spearmanr(cosines, part.scores).statistic) > 0.01
    task = make_task(data, "dev")
    try:
        score(task, fixed)
    except ValueError as error:
        assert "pearson" in str(error)  # noqa: PT017 - a metric that is not known may be refused, but not replaced
    else:
        assert task.items.mean() == pytest.approx(expected, abs=1e-6)


def retrieval_expected(fixed, part, judged_only):
    """The definitions in loops: nDCG@10 by grade; MRR and recall from grade 2 on."""
    found = {"ndcg_at_10": [], "mrr_at_10": [], "recall_at_100": []}
    for query, text in part.queries.items():
        documents = [d for d in part.corpus if not judged_only or d in part.qrels[query]]
        similarity = dict(
            zip(
                documents,
                (embedded(fixed, [part.corpus[d] for d in documents]) @ embedded(fixed, [text])[0]).tolist(),
                strict=True,
            )
        )
        ranking = sorted(documents, key=lambda d: -similarity[d])
        grades = [part.qrels[query].get(d, 0) for d in ranking]
        gains = [grade / math.log2(rank + 2) for rank, grade in enumerate(grades[:10])]
        ideal = sum(g / math.log2(r + 2) for r, g in enumerate(sorted(part.qrels[query].values(), reverse=True)[:10]))
        found["ndcg_at_10"].append(sum(gains) / ideal)
        hits = [grade >= 2 for grade in grades]
        found["mrr_at_10"].append(next((1 / (r + 1) for r, hit in enumerate(hits[:10]) if hit), 0.0))
        relevant = sum(grade >= 2 for grade in part.qrels[query].values())
        if relevant:
            found["recall_at_100"].append(sum(hits[:100]) / relevant)
    return {metric: float(np.mean(values)) for metric, values in found.items()}


@pytest.mark.parametrize("metric", ["ndcg_at_10", "mrr_at_10", "recall_at_100"])
@pytest.mark.parametrize("rerank", [False, True])
def test_searches_are_scored_by_grade(world, fixed, rerank, metric):
    data = Data(world.record("search", rerank=rerank, level=2), world.folder)
    expected = retrieval_expected(fixed, data.parts["test"], rerank)
    assert score(make_task(data, "test"), fixed)[metric] == pytest.approx(expected[metric], abs=2e-5)


def test_searches_are_scored_like_the_librarys_evaluator(world, fixed):
    data = world.data("search")
    part = data.parts["test"]
    task = make_task(data, "test")
    scores = score(task, fixed)
    evaluator = GradedInformationRetrievalEvaluator(part.queries, part.corpus, part.qrels, relevance_level=2)
    found = evaluator(SentenceTransformer(modules=[fixed]))
    assert {name.split("_", 1)[-1]: value for name, value in found.items()}["ndcg@10"] == pytest.approx(
        scores["ndcg_at_10"], abs=2e-5
    )


def test_the_tenth_document_counts_in_mrr_and_the_hundredth_in_recall(world):
    angles = torch.linspace(0, 1.5, 120)
    known = {f"text {i}": torch.stack([angle.cos(), angle.sin()]) for i, angle in enumerate(angles)}
    known |= {"first": torch.tensor([1.0, 0.0]), "second": torch.tensor([1.0, -0.001])}
    corpus = {f"d{i}": f"text {i}" for i in range(120)}  # in the order in which both queries find them
    data = Data(world.record("search", level=2, metrics=["mrr_at_10", "recall_at_100"]))
    qrels = {"p": {"d9": 2, "d99": 3, "d0": 1}, "q": {"d10": 2, "d100": 2, "d1": 1, "d50": 2}}
    data.parts = {"test": Collection({"p": "first", "q": "second"}, corpus, qrels)}
    task = make_task(data, "test")
    scores = score(task, Fixed(known, dim=2))
    assert scores["mrr_at_10"] == pytest.approx((1 / 10 + 0) / 2)
    assert scores["recall_at_100"] == pytest.approx((2 / 2 + 2 / 3) / 2)
    assert task.items.tolist() == pytest.approx([(1 / 10 + 1) / 2, (0 + 2 / 3) / 2])


@pytest.mark.parametrize("rerank", [False, True])
def test_fractional_grades_and_judged_documents_that_are_not_there_count_in_ndcg(world, fixed, rerank):
    """As the evaluator that ranks them says: the ideal ranking holds every judged document, found or not."""
    data = Data(world.record("search", level=0.3, rerank=rerank))
    corpus = {f"d{i}": f"text {i}" for i in range(20)}
    qrels = {"p": {"d3": 0.9, "d4": 0.1, "d5": 0.0, "gone": 0.9}, "q": {"d1": 0.25, "d2": 0.35}, "r": {"gone": 1.0}}
    data.parts = {"test": Collection({query: f"find {query}" for query in qrels}, corpus, qrels)}
    scores = score(make_task(data, "test"), fixed)
    expected = []
    for query, grades in qrels.items():
        own = fixed.embed(f"find {query}")
        documents = grades if rerank else corpus
        similarity = {
            d: float(torch.cosine_similarity(own, fixed.embed(corpus[d]), 0)) for d in documents if d != "gone"
        }
        gains = [grades.get(d, 0) for d in sorted(similarity, key=similarity.get, reverse=True)[:10]]
        ideal = sorted(grades.values(), reverse=True)
        dcg, best = (sum(gain / math.log2(i + 2) for i, gain in enumerate(row)) for row in (gains, ideal))
        expected.append(dcg / best)
    assert scores["ndcg_at_10"] == pytest.approx(np.mean(expected), abs=2e-5)
    assert scores["recall_at_100"] == pytest.approx((1 / 2 + 1 + 0) / 3)


@pytest.mark.parametrize("grades", [(1 / 3, 2**0.5, np.pi), (1e-9, 1.0, 1e7)])
def test_grades_without_an_exact_scale_in_integers_count_in_ndcg_too(world, fixed, grades):
    data = Data(world.record("search", level=1))
    corpus = {f"d{i}": f"text {i}" for i in range(20)}
    qrels = {"q": dict(zip(("d3", "d4", "d5"), grades, strict=True))}
    data.parts = {"test": Collection({"q": "find q"}, corpus, qrels)}
    similarity = [float(torch.cosine_similarity(fixed.embed("find q"), fixed.embed(t), 0)) for t in corpus.values()]
    expected = oracle.ndcg(similarity, [qrels["q"].get(d, 0.0) for d in corpus], k=10)
    assert score(make_task(data, "test"), fixed)["ndcg_at_10"] == pytest.approx(expected, abs=1e-6)


def test_a_query_without_a_document_of_the_level_counts_in_no_recall(world, fixed):
    data = Data(world.record("search", level=3, metrics=["recall_at_100"]), world.folder, 6)
    part = data.parts["dev"]
    first = next(iter(part.queries))
    part.qrels[first] = {d: min(g, 1) for d, g in part.qrels[first].items()}
    task = make_task(data, "dev")
    scores = score(task, fixed)
    assert scores["recall_at_100"] == pytest.approx(1.0)
    assert task.items.tolist() == [1.0] * 6


def test_captions_find_images_and_images_captions(world, clip):
    data = world.data("pictures")
    part = data.parts["test"]
    scores = score(make_task(data, "test"), clip)
    images, captions = (
        torch.nn.functional.normalize(clip.encode(x, convert_to_tensor=True), dim=1)
        for x in (part.inputs, part.captions)
    )
    relevance = [[path_relevance(a, b) for b in part.labels.tolist()] for a in part.labels.tolist()]
    ways = {"i2t": (images @ captions.T).tolist(), "t2i": (captions @ images.T).tolist()}
    means = {
        way: np.mean([oracle.ndcg(s, y, k=10) for s, y in zip(rows, relevance, strict=True)])
        for way, rows in ways.items()
    }
    assert scores["i2t_ndcg_at_10"] == pytest.approx(means["i2t"], abs=1e-4)
    assert scores["t2i_ndcg_at_10"] == pytest.approx(means["t2i"], abs=1e-4)
    assert scores["ndcg_at_10"] == pytest.approx((means["i2t"] + means["t2i"]) / 2, abs=1e-4)
    assert means["i2t"] != pytest.approx(means["t2i"], abs=1e-3)


def test_samples_are_probed_from_the_training_part(world, fixed):
    data = world.data("topics")
    scores = score(make_task(data, "test"), fixed)
    train, test = data.parts["train"], data.parts["test"]
    known, new = embedded(fixed, train.inputs), embedded(fixed, test.inputs)
    expected = probe_values(data.record, known, train.labels, new, test.labels)["accuracy"].mean()
    assert scores["accuracy"] == pytest.approx(expected)


def test_several_numbers_are_predicted_and_ranked_together(world, fixed):
    columns = {"input": "text", "labels": ["x", "y"]}
    data = Data(world.record("number", columns=columns), world.folder)
    task = make_task(data, "test")
    scores = score(task, fixed)
    assert task.items.shape == (len(data.parts["test"]),)
    parts = [data.parts[split] for split in ("train", "test")]
    known, new = (embedded(fixed, part.inputs) for part in parts)
    each = [
        probe_values(data.record, known, parts[0].labels[:, i], new, parts[1].labels[:, i])["probe_spearman"].mean()
        for i in range(2)
    ]
    assert scores["probe_spearman"] == pytest.approx(np.mean(each), abs=0.1)  # one ridge for both may choose otherwise


STANDARD = {
    "topics": {"topics.Classification": "accuracy", "topics.Clustering": "v_measure"},
    "tree": {"tree.Classification": "accuracy", "tree.Clustering": "v_measure"},
    "sets": {"sets.MultilabelClassification": "lrap"},
    "number": {"number.Regression": "kendalltau"},
    "marks": {"marks.ImageClassification": "accuracy", "marks.ImageClustering": "v_measure"},
}


@pytest.mark.parametrize("name", STANDARD)
def test_standard_tasks_of_samples_are_evaluated(world, fixed, clip, name):
    data = world.data(name)
    tasks = standard_tasks(data, "test")
    assert {task.metadata.name: task.metadata.main_score for task in tasks} == STANDARD[name]
    for task in tasks:
        scores = score(task, clip if name == "marks" else fixed)
        assert -1 <= scores["main_score"] <= 1
        assert scores["main_score"] == scores[task.metadata.main_score]
        task.load_data()
        labels = task.dataset["test"]["value" if name == "number" else "label"]
        assert len(labels) == len(data.parts["test"])


@pytest.mark.parametrize("name", ["alike", "search", "pictures"])
def test_other_records_have_no_standard_tasks(world, name):
    assert standard_tasks(world.data(name), "test") == []


def test_a_standard_regression_is_a_linear_one(world, fixed):
    data = world.data("number")
    (task,) = standard_tasks(data, "test")
    train, test = data.parts["train"], data.parts["test"]
    known, new = (np.stack([fixed.embed(text) for text in part.inputs]) for part in (train, test))
    predicted = LinearRegression().fit(known, train.labels).predict(new)
    assert score(task, fixed)["kendalltau"] == pytest.approx(kendalltau(predicted, test.labels).statistic, abs=1e-4)


def test_clusters_of_perfect_embeddings_are_the_classes(world):
    data = world.data("tree")
    directions = torch.eye(6)
    known = {
        text: directions[label]
        for part in data.parts.values()
        for text, label in zip(part.inputs, part.labels[:, 1].tolist(), strict=True)
    }
    classification, clustering = standard_tasks(data, "test")
    assert score(classification, Fixed(known))["accuracy"] == 1
    assert score(clustering, Fixed(known))["v_measure"] == pytest.approx(1)
    main = score(make_task(data, "test"), Fixed(known))
    assert main["map"] == pytest.approx(1)
    assert main["accuracy"] == 1


@pytest.mark.parametrize(("labels", "column"), [("sets", "colour"), ("numbers", "level")])
def test_standard_tasks_of_images_read_the_images(world, clip, tmp_path, labels, column):
    for split in ("train", "test"):
        rows = read_rows(world.folder / f"pictures/{split}.parquet")
        write_rows(tmp_path / f"{split}.parquet", [row | {"level": i % 5 + 0.1 * i} for i, row in enumerate(rows)])
    files = {split: f"{split}.parquet" for split in ("train", "test")}
    columns = {"input": "image", "labels": [column]}
    record = Record("marked", "samples", files, columns, ["ndcg_at_10"], labels, modality="image")
    (task,) = standard_tasks(Data(record, tmp_path), "test")
    assert math.isfinite(score(task, clip)["main_score"])


def test_unknown_names_have_close_ones():
    with pytest.raises(ValueError, match="'NFCorpuss'; did you mean .*NFCorpus") as error:
        named_tasks(["STS12", "NFCorpuss"])
    assert len(str(error.value)) < 1_000  # not the names of a thousand tasks


def test_known_names_are_found_without_a_network():
    names = ["STSBenchmark", "NFCorpus", "Banking77Classification", "SciFact"]
    assert [task.metadata.name for task in named_tasks(names)] == names
    several = [task.metadata.name for task in named_tasks(["NanoBEIR", "STS12"])]
    assert len(several) > 10
    assert all(name.startswith("Nano") for name in several[:-1])
    assert several[-1] == "STS12"


def test_a_task_of_the_hub_is_evaluated_once_its_rows_are_there(world, fixed, monkeypatch):
    part = world.data("alike").parts["test"]
    columns = {"sentence1": part.first, "sentence2": part.second, "score": part.scores}
    asked = []

    def answer(**given):
        asked.append(given["path"])
        return DatasetDict({"test": Dataset.from_dict(columns)})

    monkeypatch.setattr("mteb.abstasks.abstask.load_dataset", answer)
    monkeypatch.setattr(datasets, "load_dataset", answer)
    task = mteb.get_task("STSBenchmark", languages=["eng"])
    cosines = (embedded(fixed, part.first) * embedded(fixed, part.second)).sum(1)
    assert score(task, fixed)["main_score"] == pytest.approx(spearmanr(cosines, part.scores).statistic, abs=1e-6)
    assert asked == ["mteb/stsbenchmark-sts"]


def test_two_local_models_never_share_a_score(world, tmp_path):
    cache = mteb.ResultCache(tmp_path)
    task = make_task(world.data("topics"), "test")
    found = []
    for revision, dim in (("1", 6), ("2", 3), ("1", 6)):
        model = named(SentenceTransformer(modules=[Fixed(dim=dim)]), "local/model", revision)
        found.append(mteb.evaluate(model, tasks=[task], **(OPTIONS | {"cache": cache})).task_results[0].get_score())
    assert found[0] == pytest.approx(found[2], abs=1e-5)  # read from the cache, where it is rounded
    assert found[0] != pytest.approx(found[1], abs=1e-3)
    assert len(list((tmp_path / "results").glob("local__model/*/topics.json"))) == 2
