"""What `RankingTrainer` hands to each loss: labels as its relevance reads them, or what a host loss gets anyway."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, List, Value
from sentence_transformers import SentenceTransformerTrainer
from sentence_transformers.sentence_transformer.losses import (
    BatchAllTripletLoss,
    CosineSimilarityLoss,
    MarginMSELoss,
    MatryoshkaLoss,
    MultipleNegativesRankingLoss,
)

from st_rankloss import ANDCGLoss, RankingCollator, RankingLoss, RankingTrainer, ViewsCollator, data, relevance
from st_rankloss.trainer.class_ids import form_of_sets
from tests.models import tiny_bert, word_model
from tests.test_trainer import arguments

WORDS = [f"w{i}" for i in range(60)]
TEXTS = [f"w{i}" for i in range(24)]


def trainer_of(dataset, make, folder, **options):
    model = word_model(WORDS)
    collator = options.pop("data_collator", None)
    options = {"max_steps": 1, "per_device_train_batch_size": 4, "learning_rate": 0.0} | options
    return RankingTrainer(
        model=model,
        args=arguments(folder, **options),
        train_dataset=dataset,
        loss=make(model),
        data_collator=None if collator is None else collator(model),
    )


def first_batch(trainer):
    return next(iter(trainer.get_train_dataloader()))


def first_relevance(trainer):
    """The relevance of the trainer's first batch, as its loss sees it."""
    features, labels = trainer.collect_features(first_batch(trainer))
    reads = trainer.loss.relevance
    return reads(*reads.pair(labels, [len(column["input_ids"]) for column in features]))


# Labels keep their meaning.


def test_lists_of_strings_are_levels_under_a_hierarchy(tmp_path):
    paths = [["animal", "cat"], ["animal", "dog"], ["plant", "oak"], ["plant", "elm"]]
    dataset = Dataset.from_dict({"text": TEXTS[:4], "label": paths})
    model = word_model(WORDS)
    loss = ANDCGLoss(model, relevance=relevance.Hierarchy())
    collate = RankingTrainer(model=model, args=arguments(tmp_path), train_dataset=dataset, loss=loss).data_collator
    label = collate(list(dataset))["label"]
    found = loss.relevance(*loss.relevance.pair(label, [4]))
    assert found.tolist() == [[2, 1, 0, 0], [1, 2, 0, 0], [0, 0, 2, 1], [0, 0, 1, 2]]


@pytest.mark.parametrize("name", ["Numeric", "Pairs", "Lists"])
def test_strings_are_not_taken_for_numbers(name, tmp_path):
    columns = {
        "Numeric": {"text": TEXTS[:4], "label": ["1.0", "1.1", "9.0", "0"]},
        "Pairs": {"a": TEXTS[:4], "b": TEXTS[4:8], "score": ["0.0", "5.0", "1.0", "2.0"]},
        "Lists": {"query": TEXTS[:4], "documents": [["w1", "w2"]] * 4, "labels": [["3", "0"]] * 4},
    }[name]
    trainer = trainer_of(
        Dataset.from_dict(columns), lambda m: ANDCGLoss(m, relevance=getattr(relevance, name)()), tmp_path
    )
    with pytest.raises(
        ValueError, match=r"column '(label|labels|score)' must hold .* in row 0 of the batch: cast the column"
    ):
        trainer.train()


def sets_of_ids(rows=960, classes=200):
    draw = np.random.default_rng(0)
    sets = [sorted(draw.choice(classes, size=draw.integers(1, 3), replace=False).tolist()) for _ in range(rows)]
    names = [f"c{i}" for i in range(classes)]
    features = Features({"text": Value("string"), "labels": List(ClassLabel(names=names))})
    return sets, Dataset.from_dict({"text": ["w1"] * rows, "labels": sets}, features=features)


def test_sets_of_class_ids_share_ids(tmp_path):
    sets, dataset = sets_of_ids(60, 8)
    trainer = trainer_of(dataset, lambda m: ANDCGLoss(m, relevance=relevance.MultiLabel()), tmp_path)
    rows = [7, 3, 12, 40]
    label = trainer.data_collator([dataset[i] for i in rows])["label"]
    multi_label = trainer.loss.relevance
    found = multi_label(*multi_label.pair(label, [4]))
    chosen = [set(sets[i]) for i in rows]
    expected = [[len(a & b) / len(a | b) for b in chosen] for a in chosen]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_timestamps_a_minute_apart_stay_apart(tmp_path):
    stamps = [1700000000.0, 1700000060.0, 1700003600.0, 1700000000.0]
    dataset = Dataset.from_dict({"text": TEXTS[:4], "label": stamps})
    trainer = trainer_of(
        dataset, lambda m: ANDCGLoss(m, relevance=relevance.Numeric("triangle", bandwidth=120.0)), tmp_path
    )
    assert sorted(first_relevance(trainer).flatten().tolist()) == [0.0] * 6 + [0.5] * 4 + [1.0] * 6


def test_a_kind_of_label_that_the_loss_does_not_read_is_refused_before_training(tmp_path):
    dataset = Dataset.from_dict({"text": TEXTS, "label": [["a"]] * 24})
    with pytest.raises(ValueError, match=r"label_kind must be 'auto' or one of \['path'\].* got 'multi_label'"):
        trainer_of(
            dataset,
            lambda m: ANDCGLoss(m, relevance=relevance.Hierarchy()),
            tmp_path,
            data_collator=lambda m: RankingCollator(m.preprocess, label_kind="multi_label"),
        )


@pytest.mark.parametrize(
    ("columns", "reads", "message"),
    [
        ({"a": TEXTS, "b": TEXTS, "score": [-0.5] * 24}, relevance.Pairs(), "finite grades of at least 0, got -0.5"),
        ({"text": TEXTS, "label": [float("inf")] * 24}, relevance.Numeric(), "finite numbers, got inf in row 0"),
        ({"text": TEXTS, "label": [[0, 2]] * 24, }, relevance.Hierarchy((1.0,)), "has 1 weights, but .* 2 levels"),
        ({"query": TEXTS, "documents": [["w1"]] * 24, "labels": [[-1]] * 24}, None, "at least 0, got -1 in row 0"),
        ({"query": TEXTS, "document": TEXTS, "qid": ["q"] * 24}, None, "column 'qid' looks like ids"),
        ({"query": TEXTS, "document": TEXTS, "relevance": [1.0] * 24}, None, "rename the column: 'label' for labels"),
        ({"query": TEXTS, "document": TEXTS, "weights": [[1.0]] * 24}, None, "'document_weights' for weights"),
        ({"query": TEXTS, "document": TEXTS, "weight": [[1.0, 2.0]] * 24}, None, "must hold one weight per row, got"),
    ],
)  # fmt: skip
def test_labels_are_checked_in_the_collator_where_they_are_still_on_the_cpu(columns, reads, message, tmp_path):
    trainer = trainer_of(Dataset.from_dict(columns), lambda m: ANDCGLoss(m, relevance=reads), tmp_path)
    with pytest.raises(ValueError, match=message):
        first_batch(trainer)


# Streaming.


def streamed(rows=40):
    def text(i):
        return f"{WORDS[i % 60]} {WORDS[i * 7 % 60]}"

    dataset = Dataset.from_list(
        [
            {
                "query": text(i),
                "query_id": f"q{i}",
                "documents": [text(i + 1), text(i + 2), text(i + 3)],
                "document_ids": [f"d{i}", f"n{i}", f"m{i}"],
            }
            for i in range(rows)
        ]
    )
    return dataset.to_iterable_dataset(), relevance.Qrels({f"q{i}": {f"m{i}": 3, f"d{i}": 1} for i in range(rows)})


def test_streamed_lists_arrive_whole(tmp_path):
    dataset, qrels = streamed()
    trainer = trainer_of(dataset, lambda m: ANDCGLoss(m, relevance=qrels), tmp_path)
    features, labels = trainer.collect_features(first_batch(trainer))
    found = qrels(*qrels.pair(labels, [4, len(features[1]["offsets"])]))
    expected = torch.zeros(4, 12)
    for row in range(4):
        expected[row, 3 * row : 3 * row + 3] = torch.tensor([1.0, 0.0, 3.0])
    assert torch.equal(found, expected)


@pytest.mark.parametrize("reads", ["qrels", "lists"])
def test_lists_that_a_dispatcher_has_cut_are_refused(reads, tmp_path):
    dataset, qrels = streamed()
    model = tiny_bert(tmp_path / "model", WORDS)
    reads = qrels if reads == "qrels" else relevance.Lists()
    if reads is not qrels:
        dataset = dataset.remove_columns(["query_id", "document_ids"])
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments(tmp_path, max_steps=1, per_device_train_batch_size=4),
        train_dataset=dataset,
        loss=ANDCGLoss(model, relevance=reads),
        data_collator=RankingCollator(model.preprocess),
    )
    # accelerate 1.3 refuses such a batch itself, since its dispatcher cannot join the strings in it
    cut = "hold 12 documents, but 4 arrived: .* train with RankingTrainer|Can only concatenate tensors"
    with pytest.raises((ValueError, TypeError), match=cut):
        trainer.train()


@pytest.mark.parametrize("streaming", [True, False])
def test_dispatched_batches_are_refused(streaming, tmp_path):
    dataset, qrels = streamed()
    dataset = dataset if streaming else Dataset.from_list([*dataset])
    with pytest.raises(ValueError, match="dispatch_batches must not be True: accelerate would truncate every column"):
        trainer_of(
            dataset, lambda m: ANDCGLoss(m, relevance=qrels), tmp_path, accelerator_config={"dispatch_batches": True}
        )


# Losses of the host.


LISTS = Dataset.from_list(
    [{"query": f"w{i}", "documents": [f"w{i + 24}", f"w{i}", f"w{i + 30}"], "labels": [0, 3, 1]} for i in range(24)]
)


@pytest.mark.parametrize("wrap", [False, True], ids=["plain", "in_matryoshka"])
def test_the_usual_loss_on_lists_is_one_line_and_gets_the_best_document(wrap, tmp_path, caplog):
    def make(model):
        loss = MultipleNegativesRankingLoss(model)
        return MatryoshkaLoss(model, loss, [16]) if wrap else loss

    with caplog.at_level(logging.WARNING, "st_rankloss.trainer"):
        trainer = trainer_of(LISTS, make, tmp_path, logging_steps=1)
    assert caplog.text.count("it gets the best document of each list in 'documents'") == 1
    trainer.train()
    pairs = LISTS.map(lambda row: {"positive": row["documents"][1]}, remove_columns=["documents", "labels"])
    by_columns = trainer_of(pairs, make, tmp_path, logging_steps=1)
    by_columns.train()
    assert trainer.state.log_history[0]["loss"] == by_columns.state.log_history[0]["loss"]


def test_ids_beside_lists_are_left_out_for_a_loss_of_the_host(tmp_path):
    with_ids = LISTS.add_column("query_id", [f"q{i}" for i in range(24)])
    with_ids = with_ids.add_column("document_ids", [["a", "b", "c"]] * 24)
    features, labels = trainer_of(with_ids, MultipleNegativesRankingLoss, tmp_path).collect_features(
        first_batch(trainer_of(with_ids, MultipleNegativesRankingLoss, tmp_path))
    )
    assert [len(column["offsets"]) for column in features] == [4, 4]
    assert labels is None


def test_a_list_without_a_relevant_document_has_no_positive(tmp_path):
    rows = [row | {"labels": [0, 0, 0]} for row in LISTS]
    trainer = trainer_of(Dataset.from_list(rows), MultipleNegativesRankingLoss, tmp_path)
    with pytest.raises(ValueError, match=r"column 'labels' must hold a relevant document in each list"):
        first_batch(trainer)


@pytest.mark.parametrize("make", [CosineSimilarityLoss, BatchAllTripletLoss, MarginMSELoss])
def test_other_losses_of_the_host_refuse_lists_before_the_first_step(make, tmp_path):
    with pytest.raises(ValueError, match=f"{make.__name__} does not read lists of documents, got .*'documents'"):
        trainer_of(LISTS, make, tmp_path)


def test_string_classes_for_a_loss_of_the_host_are_refused_with_the_remedy(tmp_path):
    dataset = Dataset.from_dict({"text": TEXTS, "label": ["a", "b"] * 12})
    trainer = trainer_of(dataset, BatchAllTripletLoss, tmp_path)
    with pytest.raises(ValueError, match=r"number the classes with dataset.class_encode_column\('label'\)"):
        first_batch(trainer)


def test_wide_labels_reach_a_loss_of_the_host_beside_ours(tmp_path):
    margins = Dataset.from_dict({"q": TEXTS, "p": TEXTS[::-1], "n1": TEXTS, "n2": TEXTS, "label": [[0.5, 0.25]] * 24})
    classes = Dataset.from_dict({"text": TEXTS, "label": ["a", "b"] * 12})
    model = word_model(WORDS)
    trainer = RankingTrainer(
        model=model,
        args=arguments(tmp_path, max_steps=4, per_device_train_batch_size=4),
        train_dataset={"margins": margins, "classes": classes},
        loss={"margins": MarginMSELoss(model), "classes": ANDCGLoss(model, relevance=relevance.Classes())},
    )
    trainer.train()
    assert trainer.state.global_step == 4


def test_views_are_refused_for_a_loss_of_the_host(tmp_path):
    dataset = Dataset.from_dict({"text": TEXTS})
    with pytest.raises(ValueError, match="ViewsCollator makes views for a RankingLoss, got MultipleNegatives"):
        trainer_of(
            dataset,
            MultipleNegativesRankingLoss,
            tmp_path,
            data_collator=lambda m: ViewsCollator(m.preprocess),
        )


def test_datasets_of_one_loss_that_declare_labels_differently_are_refused(tmp_path):
    _, declared = sets_of_ids(24, 4)
    plain = Dataset.from_dict({"text": TEXTS, "labels": [[0, 1]] * 24})
    model = word_model(WORDS)
    with pytest.raises(ValueError, match="must declare their labels alike"):
        RankingTrainer(
            model=model,
            args=arguments(tmp_path),
            train_dataset={"a": declared, "b": plain},
            loss=RankingLoss(model, relevance=relevance.MultiLabel()),
        )


@pytest.mark.parametrize("make", [ANDCGLoss, lambda m: RankingLoss(m, relevance=relevance.Pairs())])
def test_the_row_of_a_wrong_score_is_that_of_the_batch(make, tmp_path):
    scores = [0.5] * 20 + [-1.0] + [0.5] * 3
    dataset = Dataset.from_dict({"sentence1": TEXTS, "sentence2": TEXTS[::-1], "score": scores})
    trainer = trainer_of(dataset, make, tmp_path)
    rows = [dataset[i] for i in (3, 20)]
    message = "column 'score' must hold finite grades of at least 0, got -1.0 in row 1 of the batch: use None for"
    with pytest.raises(ValueError, match=message):
        trainer.data_collator(rows)


def test_ids_that_occur_in_no_judgements_are_named_before_the_first_step(tmp_path):
    columns = {"query": TEXTS, "query_id": [f"q{i}" for i in range(24)]}
    columns |= {"documents": [["w1"]] * 24, "document_ids": [["d"]] * 24}
    judged = relevance.Qrels({"topic-1": {"d": 1}})
    trainer = trainer_of(Dataset.from_dict(columns), lambda m: ANDCGLoss(m, relevance=judged), tmp_path)
    with pytest.warns(
        UserWarning, match="None of the query ids of this batch, such as 'q3', are in .*such as 'topic-1'"
    ):
        trainer.data_collator([trainer.train_dataset[3]])


@pytest.mark.parametrize("form", ["dataset", "stream", "transform"])
def test_lists_of_class_ids_are_told_from_multi_hots_once_for_a_dataset(form, tmp_path):
    ids = [[0], [1], [0], [1], [2], [3], [2], [3], [0], [1], [2], [5]]
    rows = Dataset.from_dict({"text": [f"w{n}" for n in range(12)], "label": ids})
    shown = {
        "dataset": rows,
        "stream": rows.to_iterable_dataset(),
        "transform": rows.with_transform(lambda batch: batch),
    }
    trainer = trainer_of(shown[form], lambda m: ANDCGLoss(m, relevance=relevance.MultiLabel()), tmp_path, max_steps=1)
    hot = trainer.data_collator([rows[n] for n in range(4)])["label"]["label"]
    assert torch.equal(hot @ hot.T, torch.tensor([[1.0, 0, 1, 0], [0, 1, 0, 1]] * 2))
    hots = Dataset.from_dict({"text": ["w1", "w2"], "label": [[0, 1], [1, 1]]})
    with pytest.raises(ValueError, match="label sets of one form, got class ids in one and multi-hot lists in another"):
        trainer.evaluate(hots)
    trainer = trainer_of(hots, lambda m: ANDCGLoss(m, relevance=relevance.MultiLabel()), tmp_path, max_steps=1)
    assert trainer.data_collator([hots[0], hots[1]])["label"]["label"].tolist() == [[0, 1], [1, 1]]


def test_classes_with_names_are_no_grades(tmp_path):
    names = ClassLabel(names=["entailment", "neutral", "contradiction"])
    rows = Dataset.from_dict({"sentence1": ["w1", "w2"], "sentence2": ["w3", "w4"], "label": [0, 2]})
    with pytest.raises(ValueError, match="column 'label' must hold grades, got classes, 'entailment', 'neutral'"):
        trainer_of(rows.cast_column("label", names), lambda m: ANDCGLoss(m, relevance=relevance.Pairs()), tmp_path)
    grades = rows.cast_column("label", ClassLabel(names=["0", "1", "2"]))
    trainer_of(grades, lambda m: ANDCGLoss(m, relevance=relevance.Pairs()), tmp_path)


@pytest.mark.parametrize("several", [False, True])
def test_parts_in_the_place_of_datasets_are_refused(several, tmp_path):
    parts = data.read({"text": ["w1", "w2"], "label": [0, 1]})
    with pytest.raises(TypeError, match=r"the trainer needs datasets, got what data.read returns: pass its parts'"):
        trainer_of(parts if several else parts["train"], lambda m: ANDCGLoss(m), tmp_path)


@pytest.mark.parametrize(
    ("labels", "form"),
    [
        ([[0], [1], [5]], "ids"),
        ([[0], [1, 0], []], "ids"),
        ([[0, 1, 1], [0, 0, 0]], "multi-hot"),
        ([[1, 1], None, [0, 1]], "multi-hot"),
        ([[0], [1]], None),
        ([[0, 1], [1, 0]], None),
        ([[0.5, 1.0], [0.0, 1.0]], None),
        ([["a"], ["b", "c"]], None),
        ([3, 4], None),
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_the_form_of_label_sets(labels, form, streaming):
    rows = Dataset.from_dict({"label": labels})
    assert form_of_sets(rows.to_iterable_dataset() if streaming else rows, "label") == form
    assert form_of_sets(rows.to_iterable_dataset() if streaming else rows, "other") is None


def test_multi_hots_of_several_lengths_are_refused():
    with pytest.raises(ValueError, match="multi-hot lists of one length, .* got lists of 0 and 1 of 0 and of 3 places"):
        form_of_sets(Dataset.from_dict({"label": [[0, 1, 1], [], [1, 0, 0]]}), "label")
