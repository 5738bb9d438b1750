"""Training: every loss of every kind of task, and learning curves."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from eval.plans.losses import contenders
from eval.tasks.records import Record
from eval.training.encoders import make_encoder
from eval.training.run import run
from eval.training.train import Curve, train
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


@pytest.mark.parametrize(("steps", "expected"), [(8, [2, 4, 6, 8]), (10, [2, 5, 7, 10]), (2, [1, 2])])
def test_a_learning_curve_has_four_points_that_end_where_training_does(world, steps, expected):
    record = world.record("alike", steps=steps)
    line = run(world.spec("alike", "CoSENT", "test", setting={"scale": 5.0}, record=record))
    points = [step for step, _ in line.curve]
    assert points[-1] == steps
    assert len(points) == len(expected)
    assert all(abs(step - wanted) <= 1 for step, wanted in zip(points, expected, strict=True))


def test_the_last_point_of_a_learning_curve_is_the_trained_model(world):
    spec = world.spec("alike", "CoSENT", "test", setting={"scale": 5.0})
    dev = run(replace(spec, stage="dev")).scores["spearman"]
    assert run(spec).curve[-1] == (2, pytest.approx(dev, abs=1e-5))
    assert run(replace(spec, seed=1)).curve is None


@pytest.mark.parametrize("augmented", [False, True])
def test_a_learning_curve_does_not_change_what_is_learnt(world, augmented):
    name = "topics" if augmented else "lines"
    loss = "A-NDCG binary" if augmented else "A-NDCG"
    spec = world.spec(
        name, loss, "test", setting={"temperature": 0.1}, augmented=augmented, record=world.record(name, steps=6)
    )
    found = []
    for curve in (None, Curve(spec, world.data("alike" if name == "lines" else name))):
        model = make_encoder("static", [world.data(name)], 0)
        train(model, spec, world.data(name), curve)
        found.append(weights(model))
        assert curve is None or len(curve.points) >= 4
    assert all(torch.equal(found[0][key], found[1][key]) for key in found[0])
