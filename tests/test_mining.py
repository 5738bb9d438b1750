"""Graded hard negatives, against a sort of each query's unjudged documents by loops, and sentence-transformers' own."""

from __future__ import annotations

import logging
import math
import random

import faiss
import numpy as np
import pytest
import sentence_transformers
import torch
from datasets import Dataset
from PIL import Image
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from sentence_transformers.util import SimilarityFunction, mine_hard_negatives

from st_rankloss import ANDCGLoss, GradedInformationRetrievalEvaluator, RankingCollator, RankingTrainer, mining
from st_rankloss.evaluation.search import SIMILARITIES, exact_search
from st_rankloss.mining import mine_graded_negatives, read_judgements
from st_rankloss.relevance import UNJUDGED, Lists, Qrels
from st_rankloss.teachers import Teacher
from tests.models import tiny_clip, tiny_multi_vector, tiny_splade, word_model, word_tokenizer
from tests.test_teachers import tiny_cross_encoder
from tests.test_trainer import arguments

WORDS = [f"w{i}" for i in range(20)]
DRAW = random.Random(1)
TEXTS = list(dict.fromkeys(" ".join(sorted(DRAW.sample(WORDS, 3))) for _ in range(40)))
CORPUS = {f"d{i}": text for i, text in enumerate(TEXTS)}
CORPUS |= {"copy5": TEXTS[5], "copy20": TEXTS[20], "copy5b": TEXTS[5]}
QUERIES = {f"q{i}": f"w{i} {DRAW.choice(WORDS)}" for i in range(12)}
# q10 has only documents that were judged irrelevant, q11 has none; some judge a copy, or both of two copies.
QRELS = {q: {d: DRAW.randrange(4) for d in DRAW.sample(list(CORPUS)[:40], 1 + i % 6)} for i, q in enumerate(QUERIES)}
QRELS["q10"] = dict.fromkeys(QRELS["q10"], 0)
QRELS["q2"] |= {"copy20": 2}
QRELS["q3"] |= {"d5": 0, "copy5b": 3}
del QRELS["q11"]


def mine(queries=QUERIES, corpus=CORPUS, qrels=QRELS, model=None, **options):
    return mine_graded_negatives(queries, corpus, qrels, model or word_model(WORDS), **options)


def mined_by_definition(model, query_id, num_negatives=3, range_min=0, range_max=None, scores=(None, None), margins=()):
    """A query's unjudged documents of distinct text, best first, first in the corpus first; then what may stay."""
    judged = QRELS.get(query_id, {})
    similarity_of = SimilarityFunction.to_similarity_fn(model.similarity_fn_name)
    query = torch.tensor(model.encode([QUERIES[query_id]])).double()

    def similarity(document_id):
        document = torch.tensor(model.encode([CORPUS[document_id]])).double()
        return float(np.float32(similarity_of(query, document).item()))

    seen = {CORPUS[d] for d in judged}
    candidates = []
    for document_id, text in CORPUS.items():
        if text not in seen:
            seen.add(text)
            candidates.append((-similarity(document_id), len(candidates), document_id))
    window = sorted(candidates)[range_min:range_max]
    highest = math.inf if scores[1] is None else scores[1]
    relevant = [similarity(d) for d, grade in judged.items() if grade > 0]
    for margin in margins if relevant else ():
        highest = min(highest, margin(min(relevant)))
    lowest = -math.inf if scores[0] is None else scores[0]
    return [d for score, _, d in window if lowest <= -score <= highest][:num_negatives]


def absolute(margin):
    return lambda score: score - margin


def relative(margin):
    return lambda score: score - margin * abs(score)


SETTINGS = {
    "nearest": ({}, {}),
    "one": ({"num_negatives": 1}, {"num_negatives": 1}),
    "ranks": ({"range_min": 4, "range_max": 9}, {"range_min": 4, "range_max": 9}),
    "ranks from": ({"range_min": 30}, {"range_min": 30}),
    "whole corpus": ({"num_negatives": 99}, {"num_negatives": 99}),
    "scores": ({"min_score": -0.1, "max_score": 0.2, "range_max": 40}, {"scores": (-0.1, 0.2), "range_max": 40}),
    "scores within ranks": ({"max_score": 0.3, "range_max": 8}, {"scores": (None, 0.3), "range_max": 8}),
    "ten candidates each": (
        {"num_negatives": 1, "max_score": 0.2},
        {"num_negatives": 1, "scores": (None, 0.2), "range_max": 10},
    ),
    "margin": ({"absolute_margin": 0.1, "range_max": 40}, {"margins": [absolute(0.1)], "range_max": 40}),
    "margin of 0": ({"absolute_margin": 0, "range_max": 9}, {"margins": [absolute(0)], "range_max": 9}),
    "share": ({"relative_margin": 0.4, "range_max": 40}, {"margins": [relative(0.4)], "range_max": 40}),
    "both margins and all": (
        {"absolute_margin": 0.05, "relative_margin": 0.3, "max_score": 0.3, "min_score": -0.5, "range_min": 2},
        {
            "margins": [absolute(0.05), relative(0.3)],
            "scores": (-0.5, 0.3),
            "range_min": 2,
            "range_max": 32,
        },
    ),
}


@pytest.mark.parametrize("similarity_fn_name", SIMILARITIES)
@pytest.mark.parametrize("name", SETTINGS)
def test_the_documents_are_those_of_the_definition(name, similarity_fn_name):
    options, definition = SETTINGS[name]
    model = word_model(WORDS)
    model.similarity_fn_name = similarity_fn_name
    expected_by_query = {query_id: mined_by_definition(model, query_id, **definition) for query_id in QUERIES}
    # A query without any document is an error, tested below.
    queries = {q: text for q, text in QUERIES.items() if q in QRELS or expected_by_query[q]}
    mined = mine(queries, model=model, **options)
    assert mined["query_id"][:] == list(queries)
    assert mined["query"][:] == list(queries.values())
    for row in mined:
        judged = QRELS.get(row["query_id"], {})
        expected = expected_by_query[row["query_id"]]
        assert row["document_ids"] == [*judged, *expected]
        assert row["documents"] == [CORPUS[d] for d in row["document_ids"]]
        assert row["labels"] == [*judged.values(), *[0.0] * len(expected)]


@pytest.mark.parametrize("name", SETTINGS)
def test_each_setting_leaves_something_out_and_something_in(name):
    """Or the test above would say little."""
    definition = SETTINGS[name][1]
    sizes = [len(mined_by_definition(word_model(WORDS), query_id, **definition)) for query_id in QUERIES]
    assert any(sizes)
    everything = [mined_by_definition(word_model(WORDS), query_id, 99) for query_id in QUERIES]
    if name != "whole corpus":
        assert sizes != [len(row) for row in everything]


def test_no_query_and_no_judgement_is_lost_even_if_nothing_is_mined():
    queries = {q: text for q, text in QUERIES.items() if q in QRELS}
    mined = mine(queries, max_score=-1.0)
    found = {row["query_id"]: dict(zip(row["document_ids"], row["labels"], strict=True)) for row in mined}
    assert found == QRELS


@pytest.mark.parametrize("name", ["nearest", "ranks", "margin", "share", "both margins and all"])
def test_faiss_agrees_with_exact_search(name):
    options, _ = SETTINGS[name]
    exact = mine(**options)
    assert mine(index="Flat", **options).to_dict() == exact.to_dict()
    assert mine(index=faiss.IndexFlatIP(16), **options).to_dict() == exact.to_dict()


ONE_EACH = {q: {f"d{3 * i}": 1} for i, q in enumerate(QUERIES)}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_negatives": 5, "range_min": 3, "range_max": 9},
        {"absolute_margin": 0.05, "range_max": 36},
        {"relative_margin": 0.1, "range_max": 36},
        {"max_score": 0.4, "min_score": -0.2, "range_max": 36},
    ],
    ids=str,
)
def test_with_one_positive_a_query_the_negatives_are_those_of_sentence_transformers(options):
    model = word_model(WORDS)
    pairs = {"query": list(QUERIES.values()), "document": [CORPUS[d] for row in ONE_EACH.values() for d in row]}
    theirs = mine_hard_negatives(
        Dataset.from_dict(pairs), model, corpus=TEXTS, output_format="labeled-pair", verbose=False, **options
    )
    expected = {query: [] for query in QUERIES.values()}
    for row in theirs:
        expected[row["query"]].append((row["document"], row["label"]))
    assert max(map(len, expected.values())) > 1
    mined = mine(qrels=ONE_EACH, **options)
    assert {row["query"]: list(zip(row["documents"], row["labels"], strict=True)) for row in mined} == expected


# A circle of documents, so that similarities can be read: "a40" is 40 degrees from the query "a0".

DEGREES = range(0, 100, 10)


def circle() -> SentenceTransformer:
    tokenizer = word_tokenizer(f"a{d}" for d in DEGREES)
    angles = torch.tensor([0.0, 0.0, *(math.radians(d) for d in DEGREES)], dtype=torch.float64)
    weights = torch.stack([angles.cos(), angles.sin()], dim=1).float()
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu")


def cos(degrees):
    return math.cos(math.radians(degrees))


AROUND = {f"a{d}": f"a{d}" for d in DEGREES if d}
JUDGED = {"a10": 3, "a30": 1, "a20": 0}  # what is left: 40, 50, 60, 70, 80, 90


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [40, 50, 60]),
        ({"num_negatives": 2, "range_min": 1}, [50, 60]),
        ({"num_negatives": 6}, [40, 50, 60, 70, 80, 90]),
        ({"max_score": cos(45)}, [50, 60, 70]),
        ({"max_score": cos(45), "range_max": 3}, [50, 60]),
        ({"max_score": cos(45), "range_min": 1}, [50, 60, 70]),
        ({"min_score": cos(55)}, [40, 50]),
        ({"absolute_margin": cos(30) - cos(55)}, [60, 70, 80]),  # from the least similar relevant one, not from 20
        ({"relative_margin": 1 - cos(65) / cos(30)}, [70, 80, 90]),
        ({"relative_margin": 1 - cos(65) / cos(30), "absolute_margin": cos(30) - cos(45)}, [70, 80, 90]),
        ({"relative_margin": 1 - cos(45) / cos(30), "absolute_margin": cos(30) - cos(65)}, [70, 80, 90]),
        ({"absolute_margin": 2}, []),
    ],
)
def test_ranks_scores_and_margins_mean_what_they_say(options, expected):
    row = mine({"q": "a0"}, AROUND, {"q": JUDGED}, circle(), **options)[0]
    assert row["document_ids"] == [*JUDGED, *(f"a{d}" for d in expected)]
    assert row["labels"] == [3, 1, 0, *[0] * len(expected)]


@pytest.mark.parametrize("limit", [{"max_score": 1.0}, {"min_score": 1.0}, {"absolute_margin": 0}], ids=str)
def test_a_score_that_is_the_limit_is_within_it(limit):
    corpus = {"relevant": "a0 a0", "same": "a0"}
    assert mine({"q": "a0"}, corpus, {"q": {"relevant": 1}}, circle(), **limit)[0]["document_ids"] == [*corpus]


def test_what_an_approximate_index_does_not_find_is_not_mined():
    mined = mine(index="IVF4,Flat", num_negatives=99)  # it looks into one cell of four
    for row in mined:
        assert len(set(row["document_ids"])) == len(row["document_ids"]) < len(TEXTS)
        judged = QRELS.get(row["query_id"], {})
        assert row["document_ids"][: len(judged)] == list(judged)


def test_margins_do_not_hold_for_queries_without_a_relevant_document():
    queries = {"unjudged": "a0", "irrelevant": "a0"}
    mined = mine(queries, AROUND, {"irrelevant": {"a10": 0}}, circle(), absolute_margin=2, num_negatives=2)
    assert mined["document_ids"][:] == [["a10", "a20"], ["a10", "a20", "a30"]]


def test_equal_similarities_come_in_the_order_of_the_corpus():
    texts = {"b": "a20 a40", "a": "a40 a20", "z": "a0", "y": "a30 a10"}
    for order in (["b", "a", "z", "y"], ["a", "y", "b", "z"]):
        corpus = {d: texts[d] for d in order}
        row = mine({"q": "a90"}, corpus, {}, circle(), num_negatives=4)[0]
        assert row["document_ids"] == sorted("ab", key=order.index) + ["y", "z"]


def test_a_copy_of_a_judged_document_is_not_mined_and_other_copies_count_once():
    corpus = {"one": "a10", "two": "a20", "again": "a10", "twice": "a20", "three": "a30"}
    row = mine({"q": "a0"}, corpus, {"q": {"again": 2}}, circle(), num_negatives=9)[0]
    assert row["document_ids"] == ["again", "two", "three"]
    row = mine({"q": "a0"}, corpus, {"q": {"again": 2, "one": 0}}, circle(), num_negatives=1, absolute_margin=0)[0]
    assert (row["document_ids"], row["labels"]) == (["again", "one", "two"], [2, 0, 0])


def test_the_judgements_of_one_query_do_not_change_what_another_finds():
    queries, many = {"q": "a0", "other": "a0"}, {f"a{d}": 1 for d in range(10, 70, 10)}
    mined = mine(queries, AROUND, {"other": many}, circle(), num_negatives=2)
    assert mined["document_ids"][:] == [["a10", "a20"], [*many, "a70", "a80"]]


def test_many_judgements_of_one_query_do_not_deepen_the_search_of_others(monkeypatch):
    depths = []

    def noted(queries, chunks, k, *args, **options):
        depths.append((len(queries), k))
        return exact_search(queries, chunks, k, *args, **options)

    monkeypatch.setattr(mining, "exact_search", noted)
    qrels = {"q0": dict.fromkeys(list(CORPUS)[:30], 1), "q1": dict.fromkeys(list(CORPUS)[3:8], 2), "q2": {"d0": 1}}
    mined = mine(qrels=qrels)
    assert depths == [(1, 3 + 30), (1, 3 + 5), (10, 3 + 1)]
    alone = {q: mine({q: text}, qrels={q: qrels[q]} if q in qrels else {}) for q, text in QUERIES.items()}
    assert mined.to_list() == [alone[q][0] for q in QUERIES]


def test_a_random_sample_is_of_the_candidates_in_their_order_and_by_the_seed():
    queries = {f"q{i}": "a0" for i in range(40)}
    options = {"num_negatives": 2, "range_min": 1, "range_max": 5, "sampling_strategy": "random"}
    samples = [mine(queries, AROUND, {}, circle(), seed=seed, **options)["document_ids"][:] for seed in (0, 0, 1)]
    assert samples[0] == samples[1] != samples[2]
    assert {document for row in samples[0] for document in row} == {"a20", "a30", "a40", "a50"}
    assert all(len(set(row)) == 2 and row == sorted(row) for row in samples[0])


def test_without_a_range_chance_has_ten_candidates_for_each_document():
    queries = {f"q{i}": "w0" for i in range(60)}
    mined = mine(queries, CORPUS, {}, num_negatives=1, sampling_strategy="random")
    nearest = mine({"q": "w0"}, CORPUS, {}, num_negatives=10)[0]["document_ids"]
    assert {row[0] for row in mined["document_ids"]} == set(nearest)


def test_a_sample_of_fewer_candidates_than_wanted_is_all_of_them():
    row = mine({"q": "a0"}, AROUND, {}, circle(), num_negatives=20, sampling_strategy="random")[0]
    assert row["document_ids"] == list(AROUND)


def test_queries_that_find_too_little_are_counted(caplog):
    with caplog.at_level(logging.WARNING):
        mine({"q": "a0", "p": "a90"}, AROUND, {"q": JUDGED}, circle(), num_negatives=7)
    assert "1 of 2 queries found fewer than 7 unjudged documents" in caplog.text
    caplog.clear()
    mine({"q": "a0"}, AROUND, {"q": JUDGED}, circle(), num_negatives=6)
    assert not caplog.records


def test_a_search_that_margins_cut_short_names_the_range(caplog):
    mine(absolute_margin=9.0, range_max=7)
    assert "fewer than 3 unjudged documents among the nearest 7: raise range_max to look further." in caplog.text


def test_prompts_are_put_before_queries_and_documents():
    plain = mine({"q": "w3 w1"}, {d: f"w7 {text}" for d, text in CORPUS.items()}, {}, num_negatives=5)
    assert mine({"q": "w1"}, CORPUS, {}, num_negatives=5)["document_ids"] != plain["document_ids"]
    given = mine({"q": "w1"}, CORPUS, {}, num_negatives=5, query_prompt="w3 ", corpus_prompt="w7 ")
    model = word_model(WORDS)
    model.prompts = {"ask": "w3 ", "tell": "w7 "}
    named = mine({"q": "w1"}, CORPUS, {}, model, num_negatives=5, query_prompt_name="ask", corpus_prompt_name="tell")
    assert plain["document_ids"][:] == given["document_ids"][:] == named["document_ids"][:]


# What an unjudged document is worth.


def split_labels(mined):
    """Labels of judged documents and of the others, which follow them."""
    for row in mined:
        judged = QRELS.get(row["query_id"], {})
        assert row["labels"][: len(judged)] == list(judged.values())
        yield row, row["documents"][len(judged) :], row["labels"][len(judged) :]


@pytest.mark.parametrize("value", [0, 0.5, 2])
def test_unjudged_documents_get_the_number_that_is_given(value):
    for _, documents, labels in split_labels(mine(unjudged=value)):
        assert labels == [value] * len(documents) != []


def test_unjudged_documents_may_stay_unjudged():
    for _, documents, labels in split_labels(mine(unjudged=UNJUDGED)):
        assert len(labels) == len(documents) > 0
        assert all(math.isnan(label) for label in labels)


def test_a_teacher_grades_unjudged_documents_and_only_them(tmp_path):
    teachers = [tiny_cross_encoder(tmp_path, WORDS), word_model(WORDS[::-1], 4)]
    for teacher in [*teachers, Teacher(teachers[0], temperature=3.0, power=2.0, top_grade=3)]:
        grades = teacher if isinstance(teacher, Teacher) else Teacher(teacher)
        seen = set()
        for row, documents, labels in split_labels(mine(unjudged=teacher)):
            assert labels == pytest.approx(grades.grade([row["query"]] * len(documents), documents), abs=1e-5)
            seen.update(labels)
        assert len(seen) > 3


# Training on what was mined.


def train(dataset, relevance, folder):
    """Train two steps; return how far the weights went and the losses."""
    model = word_model(WORDS)
    before = model[0].embedding.weight.detach().clone()
    args = arguments(folder, max_steps=2, per_device_train_batch_size=6)
    trainer = RankingTrainer(model=model, args=args, train_dataset=dataset, loss=ANDCGLoss(model, relevance=relevance))
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return (model[0].embedding.weight - before).abs().max().item(), [float(loss) for loss in losses]


@pytest.mark.parametrize(
    "relevance", [Lists(), Lists(off_diagonal=UNJUDGED), Qrels(QRELS), Qrels(QRELS, unjudged=UNJUDGED)], ids=repr
)
@pytest.mark.parametrize("unjudged", [0.0, UNJUDGED])
def test_what_was_mined_trains(relevance, unjudged, tmp_path):
    moved, losses = train(mine(unjudged=unjudged), relevance, tmp_path)
    assert moved > 1e-3
    assert len(losses) == 2
    assert all(0 < loss < 1 for loss in losses)


def test_lists_and_judgements_read_the_same_grades_of_what_was_mined():
    rows = list(mine())
    collate = RankingCollator(preprocess_fn=lambda texts, **_: {"input_ids": torch.zeros(len(texts), 1)})
    batch = collate(rows)
    sizes = [len(batch["query_input_ids"]), len(batch["documents_input_ids"])]
    flat = [(row["query_id"], document) for row in rows for document in row["document_ids"]]
    for relevance in (Lists(), Qrels(QRELS)):
        table = relevance(*relevance.pair(batch["label"], sizes)).tolist()
        for query_id, grades in zip(QUERIES, table, strict=True):
            for (owner, document_id), grade in zip(flat, grades, strict=True):
                own = isinstance(relevance, Qrels) or owner == query_id
                assert grade == (QRELS.get(query_id, {}).get(document_id, 0) if own else 0)


# Judgements out of a dataset.


def test_what_was_mined_reads_back_as_the_judgements_it_came_from():
    columns = ("query", "documents", "labels")
    ids = {"query_id_column": "query_id", "document_id_column": "document_ids"}
    queries, corpus, qrels = read_judgements(mine(unjudged=UNJUDGED), *columns, **ids)
    assert (queries, qrels) == (QUERIES, QRELS)
    assert corpus.items() <= CORPUS.items()
    teacher = Teacher(word_model(WORDS, 4), top_grade=3)
    _, _, graded = read_judgements(mine(unjudged=teacher), *columns, **ids)
    assert sum(map(len, graded.values())) == sum(map(len, QRELS.values())) + 3 * len(QUERIES)


def test_pairs_are_grouped_by_text_and_can_be_mined_and_evaluated():
    pairs = Dataset.from_dict({"question": ["a0", "a90", "a0"], "answer": ["a10", "a10", "a20"]})
    queries, corpus, qrels = read_judgements(pairs, "question", "answer")
    assert queries == {"q0": "a0", "q1": "a90"}
    assert corpus == {"d0": "a10", "d1": "a20"}
    assert qrels == {"q0": {"d0": 1, "d1": 1}, "q1": {"d0": 1}}
    mined = mine(queries, corpus | {"new": "a50"}, qrels, circle())
    assert mined["documents"][:] == [["a10", "a20", "a50"], ["a10", "a50", "a20"]]
    assert mined["labels"][:] == [[1, 1, 0], [1, 0, 0]]
    assert GradedInformationRetrievalEvaluator(queries, corpus, qrels, write_csv=False)(circle())


def test_missing_grades_leave_documents_unjudged():
    lists = Dataset.from_dict(
        {"query": ["x", "y"], "documents": [["r", "s", "t"], ["t"]], "labels": [[2.0, None, math.nan], [None]]}
    )
    queries, corpus, qrels = read_judgements(lists, "query", "documents", "labels")
    assert (queries, corpus) == ({"q0": "x", "q1": "y"}, {"d0": "r", "d1": "s", "d2": "t"})
    assert qrels == {"q0": {"d0": 2.0}}


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"d": ["r", "s"]}, {"label_column": "g"}, r"dataset must have the given columns, .* not \['g'\]"),
        ({"d": [["r"], []]}, {}, "each list in 'd' must hold a document, got an empty list in row 1"),
        ({"d": [["r"], ["s", "t"]], "g": [[1], [1]]}, {"label_column": "g"}, "1 grades and 2 ids for 2 documents .* 1"),
        ({"d": [["r"], ["s", "t"]], "g": [[1], [1]]}, {"document_id_column": "g"}, "2 grades and 1 ids .* in row 1"),
        ({"d": ["r", "r"], "g": [1, 2]}, {"label_column": "g"}, "row 1: .* one grade .* 1.0 and 2.0 .*'d0'"),
        ({"d": ["r", "s"], "g": [7, 7]}, {"document_id_column": "g"}, "'d' needs an id .* got 7 in row 1"),
        ({"d": ["r", "s"], "g": ["a", None]}, {"document_id_column": "g"}, "row 1: an id of 'd' must be .* got None"),
        ({"d": ["r", "s"], "g": [None, "a"]}, {"query_id_column": "g"}, "row 0: an id of 'q' must be .* got None"),
        ({"d": ["r", "s"], "g": [1.0, 2.0]}, {"document_id_column": "g"}, "row 0: .* got 1.0 .*; write 1"),
        ({"d": ["r", None]}, {}, "each of 'd' must be a text, got None .* for row 1"),
        ({"d": [{"title": "r"}, {"title": "s"}]}, {}, "each of 'd' must be a text, .* for row 0; join its fields"),
        ({"d": ["r", "s"], "g": ["1", "2"]}, {"label_column": "g"}, "row 0: a grade .* got '1' .*; convert it"),
        ({"d": ["r", "s"], "g": [1, -1]}, {"label_column": "g"}, "row 1: a grade .* got -1 .* document 'd1'"),
    ],
)  # fmt: skip
def test_wrong_datasets_are_refused_with_their_row(columns, options, message):
    with pytest.raises(ValueError, match=message):
        read_judgements(Dataset.from_dict({"q": ["x", "x"]} | columns), "q", "d", **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_negatives": 0}, "num_negatives must be an integer of at least 1, got 0"),
        ({"num_negatives": 2.0}, "num_negatives must be an integer of at least 1, got 2.0"),
        ({"num_negatives": None}, "num_negatives must be an integer of at least 1, got None"),
        ({"range_min": -1}, "range_min must be .* at least 0.* got -1"),
        ({"range_min": 2, "range_max": 4}, "range_max must be an integer of at least 5 or None, got 4"),
        ({"max_score": math.nan}, "max_score must be a finite number or None, got nan"),
        ({"min_score": -math.inf}, "min_score must be a finite number or None, got -inf"),
        ({"absolute_margin": -0.1}, "absolute_margin must be at least 0, got -0.1"),
        ({"relative_margin": -0.1}, "relative_margin must be at least 0, got -0.1"),
        ({"sampling_strategy": "best"}, "sampling_strategy must be one of 'top', 'random', got 'best'"),
        ({"seed": -1}, "seed must be .* got -1"),
        ({"batch_size": 0}, "batch_size must be .* got 0"),
        ({"unjudged": -1}, "unjudged must be at least 0 and finite, or NaN, got -1"),
        ({"unjudged": math.inf}, "unjudged must be .* got inf"),
        ({"queries": {}}, "queries must be a non-empty dict of id to text"),
        ({"corpus": {}}, "corpus must be a non-empty dict of id to text"),
        ({"corpus": ["a"]}, "corpus must be a non-empty dict of id to text, got list"),
        ({"qrels": ["q0"]}, "qrels must be a dict .* got list"),
        ({"qrels": {"q0": {"d1"}}}, "got set for 'q0'; .* write dict.fromkeys"),
        ({"qrels": {"q0": {"d1": "2"}}}, "got '2' .* for query 'q0', document 'd1'; convert it to a number"),
        ({"qrels": None}, "qrels must be a dict .* got NoneType"),
        ({"queries": {"q0": None}}, "each of 'queries' must be a text, got None .* for id 'q0'"),
        ({"queries": None}, "queries must be a non-empty dict of id to text, got NoneType"),
        ({"corpus": {"d0": {"title": "a", "text": "b"}}}, "of 'corpus' must be a text.* for id 'd0'; join its fields"),
        ({"corpus": {"d0": np.zeros(3)}}, "of 'corpus' must be a text, got array.* for id 'd0'"),
        ({"corpus": np.array(["w0"])}, "corpus must be a non-empty dict of id to text, got ndarray"),
        ({"corpus": {"d0": ["w0", "w1"]}}, r"of 'corpus' must be a text, got \['w0', 'w1'\] .* for id 'd0'"),
        ({"qrels": {"q77": {"d0": 1}}}, "qrels must name ids of queries, got the unknown 'q77'"),
        ({"qrels": {"q0": {"d77": 1}}}, "qrels must name ids of corpus, got the unknown 'd77'"),
        ({"qrels": {"q0": {"d1": -1}}}, "a grade in qrels must be .* got -1 .*query 'q0', document 'd1'"),
        ({"qrels": {"q0": {"d1": math.nan}}}, "got nan .* leave unjudged documents out"),
        ({"index": faiss.IndexFlatL2(16), "similarity": "dot"}, "index must use faiss.METRIC_INNER_PRODUCT"),
    ],
)
def test_bad_input_is_refused_before_anything_is_embedded(options, message, monkeypatch):
    model = word_model(WORDS)
    model.similarity_fn_name = options.pop("similarity", "cosine")
    for encode in ("encode_query", "encode_document"):
        monkeypatch.setattr(model, encode, lambda *args, **options: pytest.fail("the model ran"))
    with pytest.raises(ValueError, match=message):
        mine(model=model, **options)


def test_a_cross_encoder_is_refused_by_name():
    other = object.__new__(sentence_transformers.CrossEncoder)
    with pytest.raises(TypeError, match="got a CrossEncoder; a CrossEncoder can grade what another model mines"):
        mine_graded_negatives(QUERIES, CORPUS, QRELS, other)


def mined_by_loops(model, margin):
    """The nearest unjudged documents of distinct text, at least a margin below the least similar relevant one."""
    texts = {d: text for d, text in CORPUS.items() if not d.startswith("copy")}
    scores = model.similarity(model.encode_query(list(QUERIES.values())), model.encode_document(list(texts.values())))
    for (query_id, judged), row in zip(QRELS.items(), scores.tolist(), strict=False):
        similarity = {d: row[list(texts.values()).index(text)] for d, text in CORPUS.items()}
        relevant = [similarity[d] for d, grade in judged.items() if grade]
        highest = margin(min(relevant)) if relevant else math.inf
        seen = {CORPUS[d] for d in judged}
        nearest = sorted((d for d in texts if texts[d] not in seen), key=similarity.__getitem__, reverse=True)
        yield query_id, [*judged, *[d for d in nearest if similarity[d] <= highest][:3]]


MARGINS = {"none": ({}, lambda x: math.inf), "absolute": ({"absolute_margin": 0.05, "range_max": 40}, absolute(0.05)),
           "relative": ({"relative_margin": 0.01, "range_max": 40}, relative(0.01))}  # fmt: skip


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("make", [tiny_splade, tiny_multi_vector])
def test_sparse_and_multi_vector_models_mine_by_their_own_similarity(make, margin, tmp_path):
    torch.manual_seed(0)
    model, (options, definition) = make(tmp_path, WORDS), MARGINS[margin]
    queries = {q: text for q, text in QUERIES.items() if q in QRELS}
    mined = mine(queries, model=model, **options)
    expected = dict(mined_by_loops(model, definition))
    assert dict(zip(mined["query_id"], mined["document_ids"], strict=True)) == expected
    added = [len(row) - len(QRELS[query_id]) for query_id, row in expected.items()]
    assert max(added) == 3
    assert margin == "none" or min(added) < 3, "the margin leaves nothing out, so this test says little"


@pytest.mark.parametrize("make", [tiny_splade, tiny_multi_vector])
def test_an_index_for_another_kind_is_refused(make, tmp_path):
    with pytest.raises(ValueError, match=r"index must be None for a \w+Encoder \(searched exactly\), got 'Flat'"):
        mine(model=make(tmp_path, WORDS), index="Flat")


def test_what_is_no_teacher_is_refused():
    with pytest.raises(
        TypeError,
        match="unjudged must be a number, a judge or a Teacher; as a Teacher, model must be .* got 'zero'",
    ):
        mine(unjudged="zero")


def test_a_query_that_ends_up_without_any_document_is_an_error_that_names_the_row():
    with pytest.raises(ValueError, match="each query must have a document, got none for 'p' in row 1"):
        mine({"q": "a0", "p": "a0"}, AROUND, {"q": {"a10": 1}}, circle(), max_score=-1.0)


def test_embeddings_that_are_not_finite_are_refused():
    model = word_model(WORDS)
    with torch.no_grad():
        model[0].embedding.weight[2] = math.nan
    with pytest.raises(ValueError, match="document embeddings must be finite, got NaN or infinity for"):
        mine({"q": "w5"}, CORPUS, {}, model)


def test_images_are_mined_and_trained_on_as_texts_are(tmp_path):
    model = tiny_clip(tmp_path, ["red", "blue"])
    images = {f"d{i}": Image.new("RGB", (16, 16), colour) for i, colour in enumerate(["red", "blue", "black", "red"])}
    mined = mine({"q": "red", "p": "blue"}, images, {"q": {"d0": 2}, "p": {"d1": 1}}, model, num_negatives=9)
    assert [sorted(row) for row in mined["document_ids"]] == [sorted(images)] * 2  # copies of an image are not known
    args = arguments(tmp_path / "run", max_steps=1, per_device_train_batch_size=2)
    trainer = RankingTrainer(model=model, args=args, train_dataset=mined, loss=ANDCGLoss(model, relevance=Lists()))
    assert trainer.train().training_loss > 0
