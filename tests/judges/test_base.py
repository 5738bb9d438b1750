"""Judges in the place of teachers: labels of a dataset, grades of what was mined, and a step of training on them."""

from __future__ import annotations

import logging
import math
from decimal import Decimal

import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image
from torch import nn

from st_rankloss import ANDCGLoss, RankingTrainer
from st_rankloss.judges import Cached, JudgeTeacher, LanguageModel, ListJudge, LLMJudge
from st_rankloss.mining import mine_graded_negatives, read_judgements
from st_rankloss.relevance import Lists
from st_rankloss.teachers import add_scores
from tests.judges.models import letter_tokenizer, tiny_gpt2
from tests.models import word_model
from tests.test_trainer import arguments

WORDS = [f"w{i}" for i in range(12)]
CORPUS = {f"d{i}": f"w{i} w{(i * 5 + 1) % 12}" for i in range(12)}
QUERIES = {f"q{i}": f"w{i} w{i + 1}" for i in range(6)}
QRELS = {"q0": {"d0": 3, "d5": 0}, "q1": {"d1": 2}}


def shared_words(pairs):
    """Grade by the number of shared words; documents of w7 cannot be judged."""
    return [None if "w7" in d.split() else len(set(q.split()) & set(d.split())) for q, d in pairs]


def expected(query, document):
    return math.nan if "w7" in document.split() else len(set(query.split()) & set(document.split()))


@pytest.mark.parametrize("documents", [["good", "bad"], ["documents"]])
def test_a_judge_labels_a_dataset_as_a_teacher_does(documents, caplog):
    columns = {"good": ["w0 w7", "w1 w2"], "bad": ["w0", "w3"], "documents": [["w0 w7", "w0"], ["w1 w2"]]}
    dataset = Dataset.from_dict({"query": ["w0", "w1 w2"]} | {name: columns[name] for name in documents})
    with caplog.at_level(logging.WARNING, "st_rankloss"):
        labels = add_scores(dataset, shared_words, ["query", *documents])["label"][:]
    rows = [[math.nan, 1], [2, 0]] if len(documents) == 2 else [[math.nan, 1], [2]]
    np.testing.assert_equal(labels, rows)
    assert f"the judge left 1 of {sum(map(len, rows))} pairs unjudged" in caplog.text


def test_a_judge_grades_what_was_mined_and_only_that():
    mined = mine_graded_negatives(QUERIES, CORPUS, QRELS, word_model(WORDS), num_negatives=4, unjudged=shared_words)
    assert sum(len(row["documents"]) for row in mined) == 6 * 4 + 3
    for row in mined:
        judged = list(QRELS.get(row["query_id"], {}).values())
        added = [expected(row["query"], document) for document in row["documents"][len(judged) :]]
        np.testing.assert_equal(row["labels"], [*judged, *added])
    graded = [label for row in mined for label in row["labels"]]
    assert any(map(math.isnan, graded))
    assert {0, 1} <= set(graded)
    _, _, qrels = read_judgements(mined, "query", "documents", "labels", document_id_column="document_ids")
    assert sum(map(len, qrels.values())) == sum(not math.isnan(label) for label in graded)


def test_mined_grades_of_a_cached_judge_train(tmp_path):
    calls = []
    judge = Cached(lambda pairs: calls.append(len(pairs)) or shared_words(pairs), tmp_path / "a.sqlite", identity="1")
    model = word_model(WORDS)
    before = model[0].embedding.weight.detach().clone()
    mined = [mine_graded_negatives(QUERIES, CORPUS, QRELS, model, num_negatives=4, unjudged=judge) for _ in range(2)]
    np.testing.assert_equal(mined[0]["labels"][:], mined[1]["labels"][:])
    unjudged = sum(math.isnan(label) for row in mined[0] for label in row["labels"])
    assert calls == [24, unjudged], "the second time, only what stayed unjudged is asked"
    args = arguments(tmp_path / "run", max_steps=1, per_device_train_batch_size=6)
    loss = ANDCGLoss(model, relevance=Lists())
    result = RankingTrainer(model=model, args=args, train_dataset=mined[0], loss=loss).train()
    assert 0 < result.training_loss < 1
    assert (model[0].embedding.weight - before).abs().max() > 1e-4


def test_language_models_label_datasets():
    model = LanguageModel(tiny_gpt2(), letter_tokenizer())
    judge = LLMJudge(model, "{query}/{document}")
    dataset = Dataset.from_dict({"query": ["w0", "w1"], "documents": [["a", "b"], ["c"]]})
    labels = add_scores(dataset, judge, ["query", "documents"])["label"][:]
    grades = judge([("w0", "a"), ("w0", "b"), ("w1", "c")])
    assert [*labels[0], *labels[1]] == pytest.approx(grades, abs=1e-5)
    listed = ListJudge(lambda prompts: ["[1]: 3\n[2]: 1" if "[2]" in p.split("w0")[-1] else "[1]: 2" for p in prompts],
                       "{query}{documents}")  # fmt: skip
    assert add_scores(dataset, listed, ["query", "documents"])["label"][:] == [[3, 1], [2]]


def test_a_judge_of_images_is_a_function_that_gets_them():
    images = [Image.new("RGB", (2, 2), colour) for colour in ("red", "blue")]
    dataset = Dataset.from_dict({"query": ["red", "red"], "image": images})

    def judge(pairs):
        return [2.0 if image.getpixel((0, 0)) == (255, 0, 0) else 0.0 for _, image in pairs]

    assert add_scores(dataset, judge, ["query", "image"])["label"][:] == [2, 0]


@pytest.mark.parametrize("grade", [2, 2.0, np.float32(2), np.int64(2), torch.tensor(2.0), Decimal(2)])
def test_grades_of_all_numeric_types_are_read(grade):
    assert JudgeTeacher(lambda pairs: [grade]).grade(["q"], ["d"]) == [2.0]


def test_grades_may_come_as_an_array():
    assert JudgeTeacher(lambda pairs: np.array([1.0, 2.0])).grade(["q", "q"], ["d", "e"]) == [1, 2]
    assert JudgeTeacher(lambda pairs: pytest.fail("asked")).grade([], []) == []


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([-1, 1], "a judge's grade must be a number of at least 0 .* got -1 for query 'q' and document 'd'"),
        ([1, math.inf], "got inf for query 'r' and document 'e'"),
        (["2", 1], "got '2' for query 'q'"),
        ([[1], 1], r"got \[1\] for query 'q'"),
        (np.ones((2, 2)), r"got array\(\[1., 1.\]\) for query 'q'"),
        (torch.ones(2, 2), r"got tensor\(\[1., 1.\]\) for query 'q'"),
        ([10**400, 1], "got 10+ for query 'q'"),
        ({1.0, 2.0}, "a judge must return a list with one answer per item, got {1.0, 2.0}"),
        ([1], "a judge must return one answer per item, got 1 for 2 items"),
        (None, "a judge must return a list with one answer per item, got None"),
        ("12", "a judge must return a list with one answer per item, got '12'"),
    ],
)
def test_wrong_answers_are_refused(answer, message):
    with pytest.raises(ValueError, match=message):
        JudgeTeacher(lambda pairs: answer).grade(["q", "r"], ["d", "e"])


def test_a_judge_of_a_single_pair_is_told_how_to_grade_several():
    with pytest.raises(TypeError, match=r"a function of one list of .* pass lambda pairs: \[grade\(query, document\)"):
        JudgeTeacher(lambda query, document: 1.0).grade(["q"], ["d"])


def test_what_is_no_judge_is_refused():
    with pytest.raises(ValueError, match="each query needs one document, got 1 and 2"):
        JudgeTeacher(shared_words).grade(["q"], ["d", "e"])
    dataset = Dataset.from_dict({"query": ["w0"], "document": ["w1"]})
    for wrong in ("judge", nn.Linear(1, 1), LLMJudge, None):
        with pytest.raises(TypeError, match="judge must be a callable of"):
            JudgeTeacher(wrong)
        with pytest.raises(TypeError, match="model must be a CrossEncoder or a"):
            add_scores(dataset, wrong, ["query", "document"])
