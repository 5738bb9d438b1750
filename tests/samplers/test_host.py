"""Samplers within the trainer: epochs, resuming, and evaluation."""

from __future__ import annotations

import copy
import logging
import pickle
from collections import Counter

import pytest
import torch
from accelerate import skip_first_batches
from accelerate.data_loader import BatchSamplerShard, DataLoaderShard
from datasets import Dataset
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments

from st_rankloss import ANDCGLoss, RankingTrainer, recipes, samplers
from st_rankloss.relevance import Classes
from tests.models import word_model

WORDS = [f"w{i}" for i in range(60)]
TRAIN = Dataset.from_dict({"text": WORDS * 2, "label": [i % 5 for i in range(120)]})
BOTH = pytest.mark.parametrize("trainer_class", [SentenceTransformerTrainer, RankingTrainer])


class Noting(ANDCGLoss):
    """Notes of every batch whether it is one of training, and its labels."""

    def forward(self, features, labels):
        classes = labels if isinstance(labels, torch.Tensor) else next(iter(labels.values()))
        self.__dict__.setdefault("noted", []).append((self.model.training, classes.tolist()))
        return super().forward(features, labels)


def trainer_of(trainer_class, folder, evaluated=None, batch_sampler=None, **options):
    args = SentenceTransformerTrainingArguments(
        str(folder), **{
            "batch_sampler": batch_sampler or samplers.classes(4),
            "per_device_train_batch_size": 8, "num_train_epochs": 2, "use_cpu": True,
            "save_strategy": "no", "eval_strategy": "no" if evaluated is None else "epoch", "report_to": "none",
            "disable_tqdm": True, **options,
        }
    )  # fmt: skip
    model = word_model(WORDS)
    return trainer_class(
        model=model, args=args, train_dataset=TRAIN, eval_dataset=evaluated, loss=Noting(model, relevance=Classes())
    )


def evaluation_of(labels):
    return Dataset.from_dict({"text": [WORDS[i % 60] for i in range(len(labels))], "label": labels})


EVALUATED = {
    "one class": ([0] * 20, 8, "at least two labels with two rows each"),
    "a few rows": ([0, 1, 2], 8, "at least two labels with two rows each"),
    "a batch size of training that does not fit": ([0, 1] * 10, 6, "batch_size must be even, a multiple of 4"),
    "as in training": ([i % 4 for i in range(40)], 8, None),
    "one class larger than the others": ([0] * 30 + [1] * 4, 8, None),
    "rows that never take part in training": ([0, 1, 2] * 8 + [7, -1], 8, None),
}


@BOTH
@pytest.mark.parametrize("case", EVALUATED)
def test_an_evaluation_is_over_all_rows_whatever_they_are(tmp_path, case, trainer_class, caplog):
    labels, size, reason = EVALUATED[case]
    trainer = trainer_of(trainer_class, tmp_path, evaluation_of(labels), per_device_eval_batch_size=size)
    with caplog.at_level(logging.WARNING, logger="st_rankloss"):
        trainer.train()
    seen = [batch for training, batch in trainer.loss.noted if not training]
    evaluations = len(seen) // -(-len(labels) // size)
    assert evaluations == 2
    assert seen[: len(seen) // 2] == seen[len(seen) // 2 :]  # every time the same batches
    assert Counter(label for batch in seen for label in batch) == Counter(
        {c: 2 * n for c, n in Counter(labels).items()}
    )
    assert sum("eval_loss" in entry for entry in trainer.state.log_history) == 2
    assert ("evaluated in batches of any rows" in caplog.text) == (reason is not None)
    assert reason is None or reason in caplog.text
    assert "sit out" not in caplog.text


def test_an_evaluation_keeps_the_promise_where_it_can(tmp_path):
    trainer = trainer_of(RankingTrainer, tmp_path, evaluation_of(sorted(i % 4 for i in range(64))))
    trainer.evaluate()
    for _, batch in trainer.loss.noted:
        assert sorted(Counter(batch).values()) == [4, 4]


@BOTH
def test_dropping_the_last_batch_of_training_drops_no_row_of_an_evaluation(tmp_path, trainer_class):
    trainer = trainer_of(trainer_class, tmp_path, evaluation_of([0, 1, 2, 0, 1]), dataloader_drop_last=True)
    assert trainer.evaluate()["eval_loss"] >= 0
    assert [len(batch) for _, batch in trainer.loss.noted] == [5]


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_evaluate_all_rows_in_batches_of_one_size(tmp_path, processes):
    sampler = (
        trainer_of(RankingTrainer, tmp_path, evaluation_of([0] * 30 + [1] * 5)).get_eval_dataloader().batch_sampler
    )
    shards = [list(BatchSamplerShard(sampler, processes, rank, even_batches=True)) for rank in range(processes)]
    assert {row for shard in shards for batch in shard for row in batch} == set(range(35))
    assert len({tuple(map(len, shard)) for shard in shards}) == 1


@BOTH
def test_a_prediction_is_over_all_rows(tmp_path, trainer_class):
    loader = trainer_of(trainer_class, tmp_path).get_test_dataloader(evaluation_of([0] * 11))
    assert sorted(row for batch in loader.batch_sampler for row in batch) == list(range(11))


def test_several_evaluation_sets_each_have_all_their_rows(tmp_path):
    sets = {"one": evaluation_of([0] * 9), "other": evaluation_of([0, 1] * 7)}
    trainer = trainer_of(RankingTrainer, tmp_path, sets)
    trainer.evaluate()
    assert sum(len(batch) for _, batch in trainer.loss.noted) == 23


@BOTH
def test_a_training_set_of_one_class_is_still_an_error(tmp_path, trainer_class):
    trainer = trainer_of(trainer_class, tmp_path, evaluation_of([0, 1] * 10))
    trainer.train_dataset = evaluation_of([0] * 40)
    trainer.evaluate()
    with pytest.raises(ValueError, match="at least two labels with two rows each"):
        trainer.train()


def test_neighbours_do_not_encode_an_evaluation_set(tmp_path):
    model = word_model(WORDS)
    trainer = trainer_of(RankingTrainer, tmp_path, evaluation_of([0, 1] * 10), samplers.neighbours(model, "text"))
    model.encode = None
    assert len(list(trainer.get_eval_dataloader().batch_sampler)) == 3


# Epochs.


def loader_of(sampler, processes):
    shard = sampler if processes == 1 else BatchSamplerShard(sampler, processes, 0, even_batches=False)
    return DataLoaderShard(TRAIN.select_columns("label"), batch_sampler=shard)


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_accelerate_alone_hands_the_epoch_on(processes):
    sampler = samplers.classes(4)(TRAIN, 8, valid_label_columns=["label"])
    loader = loader_of(sampler, processes)
    loader.set_epoch(3)
    assert sampler.epoch == 3


def test_accelerate_alone_hands_the_epoch_on_when_it_skips_batches():
    sampler = samplers.classes(4)(TRAIN, 8, valid_label_columns=["label"])
    skipping = skip_first_batches(loader_of(sampler, 1), 2)
    skipping.set_epoch(3)
    assert sampler.epoch == 3


@pytest.mark.parametrize("processes", [2, 3])
def test_our_trainer_hands_the_epoch_on_when_several_processes_skip_batches(tmp_path, processes):
    sampler = samplers.classes(4)(TRAIN, 8, valid_label_columns=["label"])
    loader = loader_of(sampler, processes)
    trainer = trainer_of(RankingTrainer, tmp_path)
    trainer.callback_handler.train_dataloader = loader
    trainer.state.epoch = 3.5  # as read from the checkpoint
    trainer.callback_handler.on_epoch_begin(trainer.args, trainer.state, trainer.control)
    skip_first_batches(loader, 2).set_epoch(3)
    assert sampler.epoch == 3


@BOTH
def test_training_resumes_in_mid_epoch_with_the_batches_that_were_left(tmp_path, trainer_class):
    each = len(samplers.classes(4)(TRAIN, 8, valid_label_columns=["label"]))
    options = {"save_strategy": "steps", "save_steps": each + 4}
    whole = trainer_of(trainer_class, tmp_path, **options)
    whole.train()
    resumed = trainer_of(trainer_class, tmp_path, **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{each + 4}"))
    assert resumed.loss.noted == whole.loss.noted[each + 4 :]
    assert len(resumed.loss.noted) == each - 4
    assert whole.loss.noted[:each] != whole.loss.noted[each:]


# Copies.


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_of_neighbours_has_the_model(copied):
    model = word_model(WORDS)
    assert copied(samplers.neighbours(model)).model is model


def test_neighbours_of_saved_arguments_ask_for_the_model():
    saved = pickle.loads(pickle.dumps(samplers.neighbours(word_model(WORDS))))
    with pytest.raises(ValueError, match=r"needs the model in training, .* pass samplers.neighbours\(model\) again"):
        saved(TRAIN, 8)


@BOTH
@pytest.mark.parametrize("name", samplers.__all__)
def test_a_sampler_that_was_not_called_is_refused_with_the_call(tmp_path, trainer_class, name):
    needed = "model" if name == "neighbours" else ""
    trainer = trainer_of(trainer_class, tmp_path, batch_sampler=getattr(samplers, name))
    with pytest.raises(TypeError, match=rf"must be what samplers.{name} .*: call it: samplers.{name}\({needed}\)."):
        trainer.train()


@BOTH
def test_a_recipe_is_no_batch_sampler(tmp_path, trainer_class):
    trainer = trainer_of(trainer_class, tmp_path, batch_sampler=recipes.retrieval())
    with pytest.raises(TypeError, match="a recipe is neither .* recipe.batch_sampler as batch_sampler of the training"):
        trainer.train()
