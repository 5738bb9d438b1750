"""Scoring: no cache, and no two models under one name."""

from __future__ import annotations

import torch

from eval.results import BEFORE
from eval.tasks.mteb_tasks import make_task
from eval.training.encoders import make_encoder
from eval.training.scoring import evaluate


def test_an_evaluation_uses_no_cache(world):
    spec = world.spec("alike", BEFORE)
    model = make_encoder("static", [world.data("alike")], 0)
    first = evaluate(model, spec, world.data("alike"), "dev")
    with torch.no_grad():
        model[0].embedding.weight.copy_(torch.randn_like(model[0].embedding.weight))
    assert evaluate(model, spec, world.data("alike"), "dev")["scores"] != first["scores"]
    assert make_task(world.data("alike"), "dev").items is None
