"""RankingTrainer with `data.lists`, weights and streams that do not declare their features."""

from __future__ import annotations

import logging

import pytest
import torch
from datasets import Dataset, IterableDataset
from sentence_transformers import SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from st_rankloss import ANDCGLoss, RankingTrainer, ViewsCollator
from st_rankloss.data import lists
from st_rankloss.data.lists import samplers_of
from st_rankloss.relevance import MultiLabel
from tests.models import word_model

QUERIES = 6
DOCUMENTS = [[f"d{i}x{j}" for j in range(5)] for i in range(QUERIES)]
WORDS = [f"q{i}" for i in range(QUERIES)] + [document for row in DOCUMENTS for document in row]
COLUMNS = {
    "query": [f"q{i}" for i in range(QUERIES)],
    "documents": DOCUMENTS,
    "labels": [[3, 0, 1, 0, 1] for _ in range(QUERIES)],
}
DATASET = Dataset.from_dict(COLUMNS)


def trainer_of(folder, train_dataset, loss=ANDCGLoss, evaluation=None, **arguments):
    """A trainer, and the documents of each of its batches, with whether it was evaluating."""
    model, seen = word_model(WORDS), []
    options = {"per_device_train_batch_size": 3, "per_device_eval_batch_size": 3, "learning_rate": 0.1}
    options |= {"save_strategy": "no", "report_to": "none", "disable_tqdm": True, "use_cpu": True}
    args = SentenceTransformerTrainingArguments(str(folder), **options | arguments)
    trainer = RankingTrainer(
        model=model, args=args, train_dataset=train_dataset, eval_dataset=evaluation, loss=loss(model)
    )
    compute = trainer.compute_loss

    def watched(model, inputs, *rest, **more):
        if "documents_input_ids" in inputs:
            words = [WORDS[token - 2] for token in inputs["documents_input_ids"].tolist()]
            seen.append((not model.training, words))
        return compute(model, inputs, *rest, **more)

    trainer.compute_loss = watched
    return trainer, seen


def by_epoch(seen, *, evaluating=False):
    batches = [words for evaluated, words in seen if evaluated == evaluating]
    return [sorted(batches[i] + batches[i + 1]) for i in range(0, len(batches), 2)]


@pytest.mark.parametrize("streaming", [False, True])
def test_each_epoch_trains_on_other_documents_until_all_are_seen(tmp_path, streaming):
    dataset = lists(DATASET.to_iterable_dataset() if streaming else DATASET, most=3)
    length = {"max_steps": 4} if streaming else {"num_train_epochs": 2}
    trainer, seen = trainer_of(tmp_path, dataset, **length)
    trainer.train()
    first, second = by_epoch(seen)
    assert len(first) == len(second) == 3 * QUERIES
    assert set(first) & set(second) == {row[0] for row in DOCUMENTS}
    assert set(first) | set(second) == {document for row in DOCUMENTS for document in row}


def test_evaluation_keeps_its_documents(tmp_path):
    evaluation = lists(DATASET, most=3, seed=1)
    trainer, seen = trainer_of(
        tmp_path, lists(DATASET, most=3), evaluation=evaluation, num_train_epochs=3, eval_strategy="epoch"
    )
    trainer.train()
    found = by_epoch(seen, evaluating=True)
    assert len(found) == 3
    assert found[0] == found[1] == found[2] == sorted(d for row in evaluation for d in row["documents"])


@pytest.mark.parametrize("streaming", [False, True])
def test_training_and_evaluation_from_one_call_of_lists_are_refused(tmp_path, streaming):
    dataset = lists(DATASET.to_iterable_dataset() if streaming else DATASET, most=3)
    train, evaluation = (dataset.skip(3), dataset.take(3)) if streaming else dataset.train_test_split(2).values()
    with pytest.raises(ValueError, match="split the dataset first, then call data.lists"):
        trainer_of(tmp_path, train, evaluation=evaluation, max_steps=2)


def test_several_datasets_change_with_losses_of_their_own(tmp_path):
    model = word_model(WORDS)
    datasets = {"one": lists(DATASET, most=3), "two": lists(DATASET, most=2)}
    args = SentenceTransformerTrainingArguments(
        str(tmp_path), num_train_epochs=2, per_device_train_batch_size=3, report_to="none", use_cpu=True,
        save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    loss = {name: ANDCGLoss(model) for name in datasets}
    trainer = RankingTrainer(model=model, args=args, train_dataset=datasets, loss=loss)
    trainer.train()
    assert [int(s.epoch) for part in trainer.train_dataset.values() for s in samplers_of(part)] == [1, 1]


def parameters(trainer):
    trainer.train()
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


def test_losses_of_sentence_transformers_get_no_weights_and_say_so(tmp_path, caplog):
    weights = {"weight": [float(i) for i in range(QUERIES)], "document_weights": [[1.0] * 5] * QUERIES}
    options = {"loss": MultipleNegativesRankingLoss, "num_train_epochs": 1}
    with caplog.at_level(logging.WARNING):
        trainer, _ = trainer_of(tmp_path, Dataset.from_dict(COLUMNS | weights), **options)
    assert caplog.text.count("does not read weights: it ignores ['document_weights', 'weight']") == 1
    plain, _ = trainer_of(tmp_path, DATASET, **options)
    assert torch.equal(parameters(trainer), parameters(plain))


def test_rows_of_weight_0_are_not_trained_on(tmp_path):
    weights = [1.0, 0, 1, 0, 1, 0]
    trainer, _ = trainer_of(tmp_path, Dataset.from_dict(COLUMNS | {"weight": weights}), max_steps=1)
    before = trainer.model[0].embedding.weight.detach().clone()
    trainer.train()
    moved = (trainer.model[0].embedding.weight != before).any(1)
    assert [bool(moved[2 + i]) for i in range(QUERIES) if not weights[i]] == [False] * 3


def test_views_have_the_weight_of_their_sample():
    collator = ViewsCollator(word_model(WORDS).preprocess)
    batch = collator([{"text": "q1", "weight": 2.0}, {"text": "q2", "weight": 0.5}])
    assert batch["label"]["row_weights"].tolist() == [2, 0.5, 2, 0.5]


def undeclared(columns):
    rows = Dataset.from_dict(columns)
    return IterableDataset.from_generator(lambda: iter(rows))


def test_streams_without_features_train_as_those_with(tmp_path):
    found = [
        parameters(trainer_of(tmp_path, stream, max_steps=4)[0])
        for stream in (DATASET.to_iterable_dataset(), undeclared(COLUMNS))
    ]
    assert torch.equal(*found)


def test_streams_of_sets_are_read_alike_without_features(tmp_path):
    columns = {"text": COLUMNS["query"], "label": [[i % 3, 5] for i in range(QUERIES)]}
    found = [
        parameters(trainer_of(tmp_path, s, loss=lambda m: ANDCGLoss(m, relevance=MultiLabel()), max_steps=2)[0])
        for s in (Dataset.from_dict(columns).to_iterable_dataset(), undeclared(columns))
    ]
    assert torch.equal(*found)


def test_a_loss_of_pairs_is_told_of_lists_in_a_stream_without_features(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        trainer_of(tmp_path, undeclared(COLUMNS), loss=MultipleNegativesRankingLoss, max_steps=2)
    assert "reads pairs: it gets the best document of each list in 'documents'" in caplog.text


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "q1", "label": 0.5}, r"'label' must hold Value\('int64'\), as in the first row, got 0.5 in row 1"),
        ({"text": "q1"}, r"every row must have the columns \['text', 'label'\], got \['text'\] in row 1"),
    ],
)
def test_a_row_that_the_first_rows_features_would_change_is_refused(tmp_path, row, message):
    stream = IterableDataset.from_generator(lambda: iter([{"text": "q0", "label": 1}, row]))
    trainer, _ = trainer_of(tmp_path, stream, max_steps=2)
    with pytest.raises(ValueError, match=message):
        trainer.train()
