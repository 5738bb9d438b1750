"""Training: every loss of every kind of task."""

from __future__ import annotations

import pytest

from eval.plans.losses import contenders
from eval.tasks.records import Record
from eval.training.encoders import make_encoder
from eval.training.train import train
from tests.eval.tiny import RECORDS, STATIC, first_setting, weights


@pytest.fixture(scope="module")
def initial(world):
    """The untrained encoder of each record."""
    return {name: weights(make_encoder("static", [world.data(name)], 0)) for name in STATIC}


@pytest.mark.parametrize(
    ("name", "loss"), [(name, loss) for name in STATIC for loss in contenders(Record(name=name, **RECORDS[name]))]
)
def test_every_loss_trains(world, initial, name, loss):
    data = world.data(name)
    model = make_encoder("static", [data], 0)
    train(model, world.spec(name, loss, setting=first_setting(data.record, loss)), data)
    moved = [(value - initial[name][key]).abs().max() for key, value in model.named_parameters()]
    assert all(value.isfinite().all() for value in model.parameters())
    assert max(moved) > 1e-4
    assert not model.training


@pytest.mark.parametrize(("name", "loss"), [("pictures", "CLIP"), ("pictures", "A-NDCG"), ("marks", "SupCon")])
def test_losses_of_images_train(world, name, loss):
    data = world.data(name)
    before = weights(make_encoder("clip", [data], 0))
    model = make_encoder("clip", [data], 0)
    train(
        model,
        world.spec(name, loss, encoder="clip", learning_rate=1e-3, setting=first_setting(data.record, loss)),
        data,
    )
    assert any((value - before[key]).abs().max() > 1e-5 for key, value in model.named_parameters())
