"""Trainers with a weighting: rows are recognised across epochs, wrong labels left out, and checkpoints complete."""

from __future__ import annotations

import random

import pytest
import torch
from datasets import Dataset
from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss

from st_rankloss import ANDCGLoss, RankingTrainer, ViewsCollator, data, relevance, samplers
from st_rankloss.augmentations import Identity
from st_rankloss.numbering import number_rows
from st_rankloss.weighting import Curriculum, LossMixture, NeighbourAgreement, SelfPaced, Weighting
from tests.models import word_model
from tests.test_trainer import arguments

COLOURS = ("red", "blue", "green", "pink")
THINGS = [f"w{i}" for i in range(16)]
TEXTS = [f"{colour} {thing}" for colour in COLOURS for thing in THINGS]
RIGHT = [COLOURS.index(text.split()[0]) for text in TEXTS]
WRONG = random.Random(0).sample(range(len(TEXTS)), 13)
FLIPPED = [(label + 1 + row % 3) % 4 if row in WRONG else label for row, label in enumerate(RIGHT)]


class Recording(Weighting):
    """Keeps what it was told."""

    def prepare(self, rows):
        super().prepare(rows)
        self.rows, self.epochs, self.progress = [], 0, []

    def see(self, batch):
        self.rows += batch.rows.tolist()

    def at(self, progress):
        self.progress.append(progress)

    def end_epoch(self):
        self.epochs += 1


def trainer_of(folder, weighting, dataset=None, labels=FLIPPED, collator=None, **options):
    torch.manual_seed(0)
    model = word_model([*COLOURS, *THINGS])
    dataset = Dataset.from_dict({"text": TEXTS, "label": labels}) if dataset is None else dataset
    options = {
        "max_steps": 12,
        "per_device_train_batch_size": 16,
        "learning_rate": 0.05,
        "batch_sampler": samplers.classes(),
        "seed": 3,
    } | options
    meaning = relevance.Views(relevance.Classes()) if collator else relevance.Classes()
    loss = ANDCGLoss(model, relevance=meaning, weighting=weighting)
    return RankingTrainer(
        model=model,
        args=arguments(folder, **options),
        train_dataset=dataset,
        loss=loss,
        data_collator=collator and collator(model.preprocess),
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_rows_are_told_by_their_place_in_the_dataset(tmp_path, workers):
    weighting = Recording()
    trainer = trainer_of(tmp_path, weighting, max_steps=8, dataloader_num_workers=workers)
    trainer.train()
    assert sorted(weighting.rows) == sorted(2 * [*range(64)])
    assert weighting.epochs == 2
    assert weighting.progress == [step / 8 for step in range(8)]


def test_the_number_of_a_row_is_that_of_its_text(tmp_path):
    trainer = trainer_of(tmp_path, Recording())
    batch = next(iter(trainer.get_train_dataloader()))
    labels = torch.tensor(FLIPPED)[batch["label"]["row_numbers"]]
    assert torch.equal(labels, batch["label"]["label"])


def test_datasets_keep_their_columns_and_callers_their_datasets(tmp_path):
    dataset = Dataset.from_dict({"text": TEXTS, "label": FLIPPED})
    trainer = trainer_of(tmp_path, Recording(), dataset)
    assert trainer.train_dataset.column_names == ["text", "label"]
    assert "_row_number" not in dataset[0]


@pytest.mark.parametrize("make", [LossMixture, lambda: NeighbourAgreement(k=10), lambda: SelfPaced(last=0.8, pace=0.3)])
def test_wrong_labels_lose_their_weight(tmp_path, make):
    weighting = make()
    trainer_of(tmp_path, weighting).train()
    weights = weighting.of(torch.arange(64))
    right = [row for row in range(64) if row not in WRONG]
    assert weights[WRONG].mean() < 0.2
    assert weights[right].mean() > 0.9


def test_views_of_a_row_share_its_number(tmp_path):
    weighting = Recording()
    views = lambda preprocess: ViewsCollator(preprocess, views=[Identity(), str.upper])  # noqa: E731
    trainer_of(tmp_path, weighting, max_steps=4, collator=views).train()
    assert sorted(weighting.rows) == sorted(2 * [*range(64)])


def test_lists_that_change_every_epoch_keep_their_numbers(tmp_path):
    rows = {"query": THINGS, "documents": [[f"red {t}", f"blue {t}", f"pink {t}"] for t in THINGS]}
    dataset = data.lists(Dataset.from_dict(rows | {"labels": [[2, 1, 0]] * 16}), most=2)
    weighting, model = Recording(), word_model([*COLOURS, *THINGS])
    RankingTrainer(
        model=model,
        args=arguments(tmp_path, max_steps=8, per_device_train_batch_size=4),
        train_dataset=dataset,
        loss=ANDCGLoss(model, weighting=weighting),
    ).train()
    assert sorted(weighting.rows) == sorted(2 * [*range(16)])


def test_datasets_that_share_a_loss_are_numbered_one_after_another(tmp_path):
    half = {
        name: Dataset.from_dict({"text": TEXTS[part], "label": FLIPPED[part]})
        for name, part in {"a": slice(0, 40), "b": slice(40, 64)}.items()
    }
    weighting = Recording()
    trainer_of(tmp_path, weighting, half, max_steps=5, batch_sampler="batch_sampler").train()
    assert len(weighting.weights) == 64
    assert sorted(set(weighting.rows)) == [*range(64)]
    assert type(half["a"]) is Dataset


@pytest.mark.parametrize(
    "make", [LossMixture, lambda: NeighbourAgreement(k=5), lambda: SelfPaced(last=0.6), Curriculum]
)
def test_training_resumed_in_mid_epoch_ends_as_if_it_had_not_stopped(tmp_path, make):
    options = {"save_strategy": "steps", "save_steps": 6}
    straight = trainer_of(tmp_path, make(), **options)
    straight.train()
    resumed = trainer_of(tmp_path, make(), **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))
    assert torch.equal(straight.loss.weighting.weights, resumed.loss.weighting.weights)
    for one, other in zip(straight.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_checkpoint_of_a_training_without_a_weighting_is_refused(tmp_path):
    options = {"save_strategy": "steps", "save_steps": 6}
    trainer_of(tmp_path, None, **options).train()
    with pytest.raises(ValueError, match="must hold what the weighting has learned, weighting0.safetensors, got"):
        trainer_of(tmp_path, SelfPaced(), **options).train(resume_from_checkpoint=True)


def test_a_stream_is_refused(tmp_path):
    stream = Dataset.from_dict({"text": TEXTS, "label": FLIPPED}).to_iterable_dataset()
    with pytest.raises(ValueError, match="a loss with a weighting needs a Dataset, whose rows have numbers, got a"):
        trainer_of(tmp_path, SelfPaced(), stream, max_steps=2, batch_sampler="batch_sampler")


def test_numbers_are_in_rows_but_not_in_slices_and_columns():
    numbered = number_rows(Dataset.from_dict({"text": ["a", "b", "c"]}), first=10)
    assert numbered[1] == {"text": "b", "_row_number": 11}
    assert numbered.__getitems__([2, 0]) == [{"text": "c", "_row_number": 12}, {"text": "a", "_row_number": 10}]
    assert numbered[:2] == {"text": ["a", "b"]}
    assert list(numbered["text"]) == ["a", "b", "c"]


@pytest.mark.parametrize("again", [None, Recording])
def test_the_data_of_a_trainer_serve_another(tmp_path, again):
    first = trainer_of(tmp_path, Recording(), max_steps=4)
    first.train()
    half = first.train_dataset.select(range(32, 64))
    assert half[0] == {"text": TEXTS[32], "label": FLIPPED[32]}
    weighting = again and again()
    trainer_of(tmp_path, weighting, half, max_steps=2).train()
    if weighting is not None:
        assert {*weighting.rows} == {*range(32)} - {16}  # which is alone in its class


@pytest.mark.parametrize(
    "make", [LossMixture, lambda: NeighbourAgreement(k=5), lambda: SelfPaced(last=0.6), Curriculum]
)
@pytest.mark.parametrize("strategy", ["steps", "epoch"])
def test_training_resumed_at_the_end_of_an_epoch_ends_as_if_it_had_not_stopped(tmp_path, make, strategy):
    options = {"save_strategy": strategy, "save_steps": 4}  # four batches are an epoch
    straight = trainer_of(tmp_path, make(), **options)
    straight.train()
    for step in (4, 8):
        resumed = trainer_of(tmp_path, make(), **options)
        resumed.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{step}"))
        assert torch.equal(straight.loss.weighting.weights, resumed.loss.weighting.weights)
        for one, other in zip(straight.model.parameters(), resumed.model.parameters(), strict=True):
            assert torch.equal(one, other)


def test_trials_of_a_search_save_what_their_weightings_learn(tmp_path):
    dataset = Dataset.from_dict({"text": TEXTS, "label": FLIPPED})
    trainer = RankingTrainer(
        model_init=lambda trial=None: word_model([*COLOURS, *THINGS]),
        args=arguments(tmp_path, max_steps=4, per_device_train_batch_size=16, save_strategy="epoch"),
        train_dataset=dataset,
        eval_dataset=dataset,
        loss=lambda model: ANDCGLoss(model, relevance=relevance.Classes(), weighting=SelfPaced()),
    )
    trainer.hyperparameter_search(
        hp_space=lambda trial: {"learning_rate": trial.suggest_float("learning_rate", 0.01, 0.1)}, n_trials=2
    )
    assert (tmp_path / "run-1" / "checkpoint-4" / "weighting0.safetensors").is_file()


def test_a_weighting_keeps_the_widest_vectors_of_a_matryoshka_loss(tmp_path):
    def train(wrap):
        torch.manual_seed(0)
        model = word_model([*COLOURS, *THINGS])
        loss = ANDCGLoss(model, relevance=relevance.Classes(), weighting=NeighbourAgreement(k=5))
        width = model.get_embedding_dimension()
        RankingTrainer(
            model=model,
            args=arguments(tmp_path, max_steps=4, per_device_train_batch_size=16, learning_rate=1e-9),
            train_dataset=Dataset.from_dict({"text": TEXTS, "label": FLIPPED}),
            loss=MatryoshkaLoss(model, loss, [width, width // 2]) if wrap else loss,
        ).train()
        return loss.weighting

    wrapped, plain = train(wrap=True), train(wrap=False)
    assert torch.equal(wrapped.weights, plain.weights)
    assert (plain.weights == 0).any()
    assert torch.allclose(wrapped.vectors.average, plain.vectors.average, atol=1e-5)
