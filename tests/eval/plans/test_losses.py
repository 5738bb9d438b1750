"""Losses of every kind of task: their settings, roles and labels."""

from __future__ import annotations

import pytest

from eval.plans.contenders import Problem
from eval.plans.losses import BINARY, contenders, find
from eval.training.encoders import make_encoder
from tests.eval.tiny import STATIC, TRAINED


@pytest.mark.parametrize("name", TRAINED)
def test_every_setting_makes_a_loss(world, name):
    data = world.data(name)
    model = make_encoder("static", [data], 0) if name in STATIC else make_encoder("clip", [data], 0)
    for contender in contenders(data.record).values():
        made = [contender.make(model, Problem(data), **setting) for setting in contender.settings]
        assert len(made) in (1, 3)
        assert len({repr(sorted(setting.items())) for setting in contender.settings}) == len(made)
    assert next(iter(contenders(data.record))) == "recipe"


@pytest.mark.parametrize("contender", BINARY, ids=lambda contender: contender.name)
@pytest.mark.parametrize("name", ["topics", "tree"])
def test_objectives_of_binary_labels_see_the_finest_class(world, name, contender):
    data = world.data(name)
    loss = contender.make(make_encoder("static", [data], 0), Problem(data), **contender.settings[0])
    paths = data.parts["train"].labels[:8]
    relevance = loss.relevance(paths, paths)
    finest = paths if paths.dim() == 1 else paths[:, -1]
    assert relevance.tolist() == [[float(a == b) for b in finest.tolist()] for a in finest.tolist()]


def test_heads_have_a_class_for_every_label(world):
    problems = [Problem(world.data(name)) for name in ("topics", "tree", "sets", "number")]
    assert [problem.classes for problem in problems] == [6, 6, 6 + 3, 1]


def test_a_loss_of_two_roles_is_usual_where_it_is_usual(world):
    assert find(world.records["topics"], "SupCon").role == "usual"
    assert find(world.records["search"], "SupCon").role == "family"
    assert find(world.records["number"], "RankNContrast").role == "usual"
    with pytest.raises(ValueError, match="loss for topics 'SupConn'; did you mean SupCon"):
        find(world.records["topics"], "SupConn")
