"""Parts as tasks of mteb: every kind against arithmetic, scipy and scikit-learn."""

from __future__ import annotations

import logging

import mteb
import numpy as np
import pytest
import pytrec_eval
import torch
from datasets import ClassLabel, Dataset, Features, List, Value
from datasets import Image as Pictures
from PIL import Image
from scipy.stats import kendalltau, spearmanr
from sklearn.linear_model import LinearRegression

from st_rankloss import GradedInformationRetrievalEvaluator
from st_rankloss.data import Part, captions
from st_rankloss.mteb_tasks import MOST_GRADE, mteb_task, named, whole_grades
from st_rankloss.relevance import Classes, Numeric
from tests import oracle
from tests.models import tiny_clip, tiny_cross_encoder, tiny_multi_vector, tiny_splade, word_model

WORDS = [f"w{i}" for i in range(60)]
COLOURS = ["red", "green", "blue", "white"]


@pytest.fixture(scope="module")
def model():
    """Random embeddings of words."""
    return word_model(WORDS)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Random embeddings of images and texts."""
    return tiny_clip(tmp_path_factory.mktemp("clip"), [*COLOURS, "dark"])


def evaluate(model, task, **given):
    """The scores of a model on a task, by subset."""
    options = {"cache": None, "encode_kwargs": {"batch_size": 8, "show_progress_bar": False}, "co2_tracker": False}
    options["show_progress_bar"] = False
    (found,) = mteb.evaluate(named(model, "local/model", "1"), tasks=[task], **(options | given)).task_results
    (rows,) = found.scores.values()
    return {row["hf_subset"]: row for row in rows}


def score(model, task):
    """The scores of a model on a task without subsets."""
    (found,) = evaluate(model, task).values()
    return found


def search_part(grades, seed=0, documents=30, queries=6, **given):
    """A corpus of words, and ten documents of random grades for each query."""
    rng = np.random.default_rng(seed)
    corpus = {f"d{i}": WORDS[i] for i in range(documents)}
    texts = {f"q{i}": WORDS[documents + i] for i in range(queries)}
    qrels = {q: {f"d{d}": float(rng.choice(grades)) for d in rng.choice(documents, 10, replace=False)} for q in texts}
    rows = Dataset.from_dict({"query": list(texts.values())})
    return Part("retrieval", rows, queries=texts, corpus=corpus, qrels=qrels, **given)


def rankings(model, part, judged_only=False):
    """Documents of each query, best first, with their similarity."""
    texts = torch.nn.functional.normalize(model.encode(list(part.corpus.values()), convert_to_tensor=True), dim=1)
    own = torch.nn.functional.normalize(model.encode(list(part.queries.values()), convert_to_tensor=True), dim=1)
    found = {}
    for query, row in zip(part.queries, (own @ texts.T).tolist(), strict=True):
        kept = dict(zip(part.corpus, row, strict=True))
        found[query] = {d: s for d, s in kept.items() if not judged_only or d in part.qrels[query]}
    return found


def by_pytrec(part, run, scale=1, level=1):
    """Mean scores by pytrec_eval, of grades times ``scale``."""
    whole = {q: {d: round(g * scale) for d, g in judged.items()} for q, judged in part.qrels.items()}
    kinds = {"ndcg_cut_10": "ndcg_at_10", "map_cut_100": "map_at_100", "recall_10": "recall_at_10"}
    kinds |= {"P_5": "precision_at_5", "success_3": "hit_rate_at_3"}
    graded = pytrec_eval.RelevanceEvaluator(whole, {"ndcg_cut_10"}).evaluate(run)
    level = round(level * scale)
    binary = pytrec_eval.RelevanceEvaluator(whole, set(kinds) - {"ndcg_cut_10"}, relevance_level=level).evaluate(run)
    rows = [graded[q] | binary[q] for q in run]
    return {ours: np.mean([row[theirs] for row in rows]) for theirs, ours in kinds.items()}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", ["retrieval", "reranking"])
@pytest.mark.parametrize("level", [1, 3])
def test_whole_grades_are_scored_exactly_like_pytrec_eval(model, kind, level, seed):
    part = search_part([0, 1, 2, 3, 4], seed)
    found = score(model, mteb_task(part, "Mine", kind=kind, relevance_level=level))
    run = rankings(model, part, kind == "reranking")
    for metric, value in by_pytrec(part, run, level=level).items():
        assert found[metric] == pytest.approx(value, abs=1e-12), metric
    assert found["main_score"] == found["ndcg_at_10"]


@pytest.mark.parametrize("level", [0.3, 0.75])
def test_fractions_are_scored_like_the_same_grades_in_integers_from_the_same_level_on(model, level):
    part = search_part([0, 0.1, 0.25, 0.3, 0.75, 1])
    found = score(model, mteb_task(part, "Mine", relevance_level=level))
    for metric, value in by_pytrec(part, rankings(model, part), scale=20, level=level).items():
        assert found[metric] == pytest.approx(value, abs=1e-12), metric
    assert not [name for name in found if name.startswith("nauc_")]


def test_grades_without_an_exact_scale_are_scored_by_grade_too(model):
    part = search_part([0, 1 / 3, 2**0.5, np.pi])
    with pytest.raises(ValueError, match="grades must be whole"):
        whole_grades(part.qrels, "mine")
    found = score(model, mteb_task(part, "Mine"))
    values = []
    for query, similarity in rankings(model, part).items():
        grades = [part.qrels[query].get(d, 0.0) for d in part.corpus]
        values.append(oracle.ndcg(list(similarity.values()), grades, k=10))
    assert found["ndcg_at_10"] == pytest.approx(np.mean(values), abs=1e-9)
    binary = {q: {d: float(g >= 1) for d, g in grades.items()} for q, grades in part.qrels.items()}
    whole = Part("retrieval", part.dataset, part.queries, part.corpus, binary)
    assert found["map_at_100"] == pytest.approx(by_pytrec(whole, rankings(model, part))["map_at_100"], abs=1e-12)


def test_standard_grades_keep_everything_that_mteb_reports(model):
    part = search_part([0, 1, 2])
    found = score(model, mteb_task(part, "Mine"))
    assert {"nauc_ndcg_at_10_max", "nauc_mrr_at_10_std", "accuracy"} <= set(found)
    assert found["accuracy"] == found["recall_at_1"]


def test_a_level_that_no_grade_reaches_is_logged(model, caplog):
    part = search_part([0.2, 0.5])
    with caplog.at_level(logging.WARNING):
        task = mteb_task(part, "Mine")
    assert "no document has a grade of 1 or above (relevance_level)" in caplog.text
    assert "highest grade is 0.5" in caplog.text
    found = score(model, task)
    assert found["mrr_at_10"] == 0 < found["ndcg_at_10"]


def test_a_query_without_judgements_is_left_out_and_counted(model, caplog):
    part = search_part([1, 2])
    fewer = Part("retrieval", part.dataset, part.queries, part.corpus, {q: part.qrels[q] for q in ("q0", "q1")})
    with caplog.at_level(logging.WARNING):
        found = score(model, mteb_task(fewer, "Mine"))
    assert "4 of 6 queries have no judgements" in caplog.text
    run = {q: row for q, row in rankings(model, part).items() if q in ("q0", "q1")}
    assert found["ndcg_at_10"] == pytest.approx(by_pytrec(fewer, run)["ndcg_at_10"], abs=1e-12)


def test_lists_without_ids_are_a_corpus_of_their_documents(model):
    rows = {
        "query": ["w40", "w41", "w40"],
        "documents": [["w1", "w2"], ["w2", "w3"], ["w4"]],
        "labels": [[2, 0], [1, None], [1]],
    }
    found = score(model, mteb_task(Part("retrieval", Dataset.from_dict(rows)), "Mine"))
    texts = {"a": "w40", "b": "w41"}
    corpus = {word: word for word in ("w1", "w2", "w3", "w4")}
    qrels = {"a": {"w1": 2.0, "w2": 0.0, "w4": 1.0}, "b": {"w2": 1.0}}
    part = Part("retrieval", Dataset.from_dict(rows), texts, corpus, qrels)
    assert found["ndcg_at_10"] == pytest.approx(by_pytrec(part, rankings(model, part))["ndcg_at_10"], abs=1e-12)


def test_scored_pairs_are_correlated_with_their_cosines(model, caplog):
    labels = [0.5, 4.0, None, 2.5, 3.0, 1.0]
    rows = {"sentence1": WORDS[:6], "sentence2": WORDS[10:16], "label": labels}
    with caplog.at_level(logging.WARNING):
        task = mteb_task(Part("sts", Dataset.from_dict(rows)), "Mine")
    assert "1 of 6 rows have no label" in caplog.text
    found = score(model, task)
    cosines = torch.cosine_similarity(*(torch.tensor(model.encode(rows[s])) for s in ("sentence1", "sentence2")))
    kept = [i for i, label in enumerate(labels) if label is not None]
    assert found["cosine_spearman"] == pytest.approx(spearmanr(cosines[kept], [labels[i] for i in kept]).statistic)


def test_classes_are_predicted_from_the_training_part():
    model = word_model(["cat", "dog", "tulip", "rose"])
    train = Part("classification", Dataset.from_dict({"text": ["cat", "tulip"] * 8, "label": ["animal", "plant"] * 8}))
    texts, labels = ["cat", "cat", "tulip", "tulip", "cat"], ["animal", "animal", "plant", "plant", "plant"]
    test = Part("classification", Dataset.from_dict({"text": texts, "label": labels}))
    found = score(model, mteb_task(test, "Mine", train=train))
    assert found["accuracy"] == found["main_score"] == pytest.approx(4 / 5)
    assert found["recall"] == pytest.approx((1 + 2 / 3) / 2)


def test_sets_of_labels_are_predicted_by_neighbours():
    model = word_model(["cat", "dog", "tulip", "rose"])
    rows = {"text": ["cat", "tulip"] * 6, "label": [["animal", "pet"], ["plant"]] * 6}
    train = Part("multi_label", Dataset.from_dict(rows))
    test = Part("multi_label", Dataset.from_dict({"text": ["cat", "tulip"], "label": [["pet", "animal"], ["pet"]]}))
    found = score(model, mteb_task(test, "Mine", train=train))
    # Of the labels of the test part, animal and pet, the first row has both, and nothing is said of the second.
    assert found["accuracy"] == pytest.approx(1 / 2)
    assert found["lrap"] == pytest.approx((1 + 1 / 2) / 2)


def test_declared_ids_of_sets_are_not_a_multi_hot(model):
    features = Features({"text": Value("string"), "label": List(ClassLabel(names=["a", "b", "c"]))})
    rows = Dataset.from_dict({"text": WORDS[:4], "label": [[0, 1], [1, 0], [0, 1], [1, 0]]}, features=features)
    task = mteb_task(Part("multi_label", rows), "Mine", train=Part("multi_label", rows))
    task.load_data()
    assert task.dataset["test"]["label"][:] == [[0, 1]] * 4


def test_numbers_are_predicted_by_a_linear_regression(model):
    rng = np.random.default_rng(0)
    columns = [{"text": WORDS[i : i + 30], "label": rng.normal(size=30).tolist()} for i in (0, 30)]
    train, test = (Part("regression", Dataset.from_dict(rows)) for rows in columns)
    found = score(model, mteb_task(test, "Mine", train=train))
    fit = LinearRegression().fit(model.encode(columns[0]["text"]), columns[0]["label"])
    predicted = fit.predict(model.encode(columns[1]["text"]))
    assert found["kendalltau"] == pytest.approx(kendalltau(columns[1]["label"], predicted).statistic, abs=1e-6)
    assert found["mae"] == pytest.approx(np.abs(predicted - columns[1]["label"]).mean(), rel=1e-4)


def test_classes_that_are_apart_are_clustered_perfectly_and_levels_one_by_one():
    model = word_model(["cat", "tulip"])
    texts = ["cat", "tulip"] * 20
    part = Part("classification", Dataset.from_dict({"text": texts, "label": ["a", "b"] * 20}))
    assert score(model, mteb_task(part, "Mine", kind="clustering"))["v_measure"] == pytest.approx(1)
    paths = [["-1", "x"], ["-1", "y"], ["-1", "x"], ["-1"]] * 10
    tree = Part("hierarchy", Dataset.from_dict({"text": texts, "label": paths}))
    found = score(model, mteb_task(tree, "Mine"))
    assert found["v_measures"]["Level 0"] == pytest.approx([1.0] * 10)
    assert found["v_measures"]["Level 1"] == pytest.approx([1.0] * 10)  # the rows that end above it do not count


def pictures(count=6):
    """Images of random colours."""
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)) for _ in range(count)]


def image_search(clip, images, captions, grades):
    """NDCG@10 of both directions, by definition."""
    embedded = [
        torch.nn.functional.normalize(clip.encode(x, convert_to_tensor=True), dim=1) for x in (images, captions)
    ]
    similarity = embedded[0] @ embedded[1].T
    ways = {"i2t": (similarity, grades), "t2i": (similarity.T, np.transpose(grades))}
    return {
        way: np.mean([oracle.ndcg(s, y, k=10) for s, y in zip(rows.tolist(), np.asarray(truth).tolist(), strict=True)])
        for way, (rows, truth) in ways.items()
    }


CAPTIONS = ["red", "green", "blue", "dark blue", "white", "dark red"]
REPEATED = ["red", "green", "blue", "red", "white", "red"]


@pytest.mark.parametrize(
    ("labels", "relevance", "grade"),
    [
        (None, None, lambda i, j: i == j),
        (list("aabbca"), None, lambda i, j: "aabbca"[i] == "aabbca"[j]),
        ([3, 1, 3, 2, 2, 3], Classes(), lambda i, j: [3, 1, 3, 2, 2, 3][i] == [3, 1, 3, 2, 2, 3][j]),
    ],
)
def test_images_and_texts_find_each_other(clip, labels, relevance, grade):
    images = pictures()
    rows = {"image": images, "caption": CAPTIONS} | ({} if labels is None else {"label": labels})
    part = Part("image_text", Dataset.from_dict(rows))
    grades = [[float(grade(i, j)) for j in range(6)] for i in range(6)]
    expected = image_search(clip, images, CAPTIONS, grades)
    found = evaluate(clip, mteb_task(part, "Mine", relevance=relevance))
    assert {way: row["ndcg_at_10"] for way, row in found.items()} == pytest.approx(expected, abs=1e-5)
    assert expected["i2t"] != pytest.approx(expected["t2i"], abs=1e-3)
    for way, value in expected.items():
        single = evaluate(clip, mteb_task(part, "Mine", kind=way, relevance=relevance))
        assert single[way]["ndcg_at_10"] == pytest.approx(value, abs=1e-5)


def test_images_of_the_same_text_are_all_found_by_it(clip):
    part = Part("image_text", Dataset.from_dict({"image": pictures(), "caption": REPEATED}))
    task = mteb_task(part, "Mine")
    assert task.grades["t2i"]["c0"] == {"i0": 1.0, "i3": 1.0, "i5": 1.0}
    assert task.grades["i2t"]["i3"] == {"c3": 1.0, "c0": 1.0, "c5": 1.0}
    assert task.grades["i2t"]["i4"] == {"c4": 1.0}


def test_distances_of_numbers_grade_images_and_texts(clip):
    images, labels = pictures(), [0.0, 1.5, 2.0, 7.0, 0.1, 3.3]
    relevance = Numeric()
    part = Part("image_text", Dataset.from_dict({"image": images, "caption": CAPTIONS, "label": labels}))
    numbers = torch.tensor(labels, dtype=torch.float64)
    expected = image_search(clip, images, CAPTIONS, relevance(numbers, numbers).tolist())
    found = evaluate(clip, mteb_task(part, "Mine", relevance=relevance))
    assert {way: row["ndcg_at_10"] for way, row in found.items()} == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("labels", [None, list("aabbca"), [0.0, 1.5, 2.0, 7.0, 0.1, 3.3]], ids=["none", "a", "numbers"])
def test_images_are_graded_in_blocks(labels, monkeypatch):
    rows = {"image": pictures(), "caption": REPEATED} | ({} if labels is None else {"label": labels})
    part = Part("image_text", Dataset.from_dict(rows))
    whole = mteb_task(part, "Mine").grades
    monkeypatch.setattr(captions, "_ROWS", 4)
    assert [tuple(grades.shape) for _, grades in captions.grade_captions(part.dataset)] == [(4, 6), (2, 6)]
    for way, grades in mteb_task(part, "Mine").grades.items():
        assert {query: list(found.items()) for query, found in grades.items()} == {
            query: list(found.items()) for query, found in whole[way].items()
        }


def test_images_are_classified(clip):
    images = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")] * 8
    part = Part("classification", Dataset.from_dict({"image": images, "label": ["r", "b"] * 8}))
    task = mteb_task(part, "Mine", train=part)
    assert task.metadata.type == "ImageClassification"
    assert score(clip, task)["accuracy"] == 1


@pytest.mark.parametrize("make", [tiny_multi_vector, tiny_cross_encoder])
def test_models_that_mteb_cannot_read_are_refused_with_what_evaluates_them(make, tmp_path):
    model = make(tmp_path, WORDS)
    with pytest.raises(TypeError, match=f"got a {type(model).__name__}; evaluate other kinds with Graded"):
        named(model, "me/a", "1")


def test_a_sparse_encoder_is_named_and_searches_as_the_evaluator_does(tmp_path):
    model, part = tiny_splade(tmp_path, WORDS), search_part([0, 1, 2])
    options = {"cache": None, "encode_kwargs": {"show_progress_bar": False}, "co2_tracker": False}
    found = mteb.evaluate(named(model, "me/sparse", "1"), tasks=[mteb_task(part, "Mine")], **options)
    ours = GradedInformationRetrievalEvaluator(part.queries, part.corpus, part.qrels)(model)["dot_ndcg@10"]
    assert found.task_results[0].get_score() == pytest.approx(ours, abs=1e-6)


def test_results_of_named_models_and_changed_data_are_kept_apart(tmp_path):
    cache = mteb.ResultCache(tmp_path)
    first, second = word_model(WORDS), word_model(WORDS[::-1])
    part, other = search_part([0, 1, 2]), search_part([0, 1, 2], seed=1)
    options = {"cache": cache, "encode_kwargs": {"show_progress_bar": False}, "co2_tracker": False}

    def main(model, name, part):
        found = mteb.evaluate(named(model, name, "1"), tasks=[mteb_task(part, "Mine")], **options)
        return found.task_results[0].get_score()

    values = [main(first, "me/a", part), main(second, "me/b", part), main(first, "me/a", other)]
    assert len(set(values)) == 3
    assert main(second, "me/b", part) == pytest.approx(values[1], abs=1e-6)
    assert (tmp_path / "results" / "me__b" / "1" / "Mine.json").exists()


def test_grades_are_scaled_to_the_smallest_integers():
    assert whole_grades({"q": {"a": 3.0, "b": 0.0}}, "mine") == {"q": {"a": 3, "b": 0}}
    assert whole_grades({"q": {"a": 0.999999, "b": 1.0}}, "mine") == {"q": {"a": 999_999, "b": MOST_GRADE}}
    assert whole_grades({"q": {}}, "mine") == {"q": {}}
    for wrong in (0.1 + 0.2, 1e7, 1e-9):
        with pytest.raises(ValueError, match=f"mine: grades must be whole numbers .* got {wrong!r}: round"):
            whole_grades({"q": {"a": 1.0, "b": wrong}}, "mine")


def class_part(labels=("a", "b")):
    return Part("classification", Dataset.from_dict({"text": ["w1", "w2"], "label": list(labels)}))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"part": class_part()}, r"'classification' learns from a training part .* pass train=parts\['train'\]"),
        ({"part": class_part(), "train": search_part([1])}, "learns from .* got 'retrieval'"),
        ({"part": class_part(), "train": class_part(), "split": "train"}, "another split than 'train'"),
        ({"part": class_part(), "kind": "sts"}, "kind for a part of the task 'classification' must be one of"),
        ({"part": class_part([None, -1]), "kind": "clustering"}, "rows with a label, got none in 2 rows"),
        ({"part": Part("self_supervised", Dataset.from_dict({"text": ["a"]}))}, "got a part of the task 'self_superv"),
        ({"part": search_part([1]), "main_score": "ndcg@10"}, "main_score must be one of .*ndcg_at_10"),
        ({"part": search_part([1]), "name": "a/b"}, "name must be a file name"),
        ({"part": search_part([1]), "relevance_level": 0}, "relevance_level must be a finite number above 0, got 0"),
        ({"part": Part("classification", class_part().dataset.to_iterable_dataset())}, "streaming"),
        (
            {"part": Part("regression", Dataset.from_dict({"text": ["a"], "label": [[1.0, 2.0]]})), "train": "itself"},
            "column 'label' must hold one number per row, got .* in row 0",
        ),
        (
            {"part": Part("sts", Dataset.from_dict({"sentence1": ["a"], "sentence2": ["b"], "label": [1.0]}))},
            "scores that differ",
        ),
    ],
)
def test_what_mteb_cannot_score_is_refused_by_name(given, message):
    given = {"name": "Mine"} | given
    if given.get("train") == "itself":
        given["train"] = given["part"]
    with pytest.raises(ValueError, match=message):
        mteb_task(**given)


def test_numpy_grades_are_scaled_like_others():
    grades = {"q": {"a": np.float64(0.5), "b": np.float32(2)}}
    assert whole_grades(grades, "mine") == {"q": {"a": 1, "b": 4}}


@pytest.mark.parametrize("task", ["classification", "sts"])
def test_missing_texts_are_refused_by_their_row(task):
    rows = {"text": ["red", None], "label": ["a", "b"]}
    if task == "sts":
        rows = {"sentence1": ["red", None], "sentence2": ["a", "b"], "label": [0.5, 0.1]}
    part = Part(task, Dataset.from_dict(rows))
    with pytest.raises(ValueError, match=r"each of '(text|sentence1)' must be a text, got None \(NoneType\) for row 1"):
        mteb_task(part, "Mine", train=part)


def test_parts_and_levels_of_other_types_are_refused():
    part = Part("sts", Dataset.from_dict({"sentence1": ["a", "b"], "sentence2": ["c", "d"], "label": [0.5, 0.1]}))
    with pytest.raises(ValueError, match=r"takes one part, got dict: pass parts\['test'\]"):
        mteb_task({"test": part}, "Mine")
    with pytest.raises(ValueError, match="relevance_level must be a finite number above 0, got '1'"):
        mteb_task(part, "Mine", relevance_level="1")


def test_images_that_change_change_the_revision_of_a_task(tmp_path):
    path = tmp_path / "1.png"
    found = []
    for colour in ("red", "red", "blue"):
        Image.new("RGB", (4, 4), colour).save(path)
        part = Part(
            "image_text", Dataset.from_dict({"image": [str(path)], "caption": ["a"]}).cast_column("image", Pictures())
        )
        found.append(mteb_task(part, "Mine").metadata.dataset["revision"])
    assert found[0] == found[1] != found[2]
