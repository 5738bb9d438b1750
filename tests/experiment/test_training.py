"""One training, killed and continued."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import TrainerCallback
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from st_rankloss import RankingTrainer
from st_rankloss.data import Part
from st_rankloss.experiment import training
from st_rankloss.experiment.candidates import candidates
from st_rankloss.experiment.training import COMPLETE, Plan, fit, last_checkpoint, remove_checkpoints, seconds_until
from tests.experiment.tiny import COLOURS, THINGS, part
from tests.models import tiny_clip, word_model

PLAN = Plan(steps=12, batch_size=8, learning_rate=0.05, seconds_between_checkpoints=0)
MODEL = word_model([*COLOURS, *THINGS])


def run(candidate, rows, folder, **changes):
    torch.manual_seed(1)
    model = copy.deepcopy(MODEL)
    curve = fit(
        model,
        candidate,
        rows,
        dict(candidate.defaults),
        Plan(**{**vars(PLAN), **changes}),
        folder,
        evaluate=lambda trained: {"norm": float(trained[0].embedding.weight.detach().norm())},
    )
    return model[0].embedding.weight.detach().clone(), curve


class Kill(TrainerCallback):
    """Stops the process in the middle of a step, as kill -9 does: nothing is cleaned up."""

    def __init__(self, step):
        self.step = step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise KeyboardInterrupt


def killed_trainer(step, *, callbacks, **options):
    return RankingTrainer(callbacks=[*callbacks, Kill(step)], **options)


@pytest.mark.parametrize(
    ("task", "step"), [("retrieval", 5), ("classification", 1), ("regression", 7), ("self_supervised", 7), ("sts", 11)]
)
def test_a_killed_training_ends_with_the_same_parameters(task, step, tmp_path, monkeypatch):
    for candidate in candidates(part(task), MODEL):
        rows = candidate.rows(part(task).dataset)
        weights, curve = run(candidate, rows, tmp_path / f"{candidate.name}-whole")
        assert not torch.equal(weights, MODEL[0].embedding.weight)
        with monkeypatch.context() as patched:
            patched.setattr(training, "RankingTrainer", partial(killed_trainer, step))
            with pytest.raises(KeyboardInterrupt):
                run(candidate, rows, tmp_path / candidate.name)
        found = last_checkpoint(tmp_path / candidate.name)
        assert found == tmp_path / candidate.name / f"checkpoint-{step}"
        again, curve_again = run(candidate, rows, tmp_path / candidate.name)
        assert torch.equal(weights, again), candidate.title
        assert curve == curve_again
        assert last_checkpoint(tmp_path / candidate.name) is not None  # a kill during the evaluation keeps it


def test_a_half_written_checkpoint_is_not_continued(tmp_path):
    for step, whole in ((2, True), (9, True), (10, False)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if whole:
            (folder / COMPLETE).touch()
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-9"
    assert last_checkpoint(tmp_path / "none") is None


def test_checkpoints_of_a_large_model_are_rarer(tmp_path, monkeypatch):
    clock = iter(range(0, 10_000, 5))  # a checkpoint takes five seconds
    monkeypatch.setattr(training.time, "monotonic", lambda: next(clock))
    callback = training._Checkpoints(torch.nn.Linear(1, 1), tmp_path, 1.0)
    state = SimpleNamespace(global_step=3, max_steps=9)
    (tmp_path / "checkpoint-3").mkdir()
    callback.on_step_end(None, state, SimpleNamespace())
    callback.on_save(None, state, None, model=torch.nn.Linear(1, 1))
    assert (tmp_path / "checkpoint-3" / "loss.safetensors").exists()
    assert callback.seconds == 20 * 5
    assert seconds_until(tmp_path / "checkpoint-3") == 3 * 5
    continued = training._Checkpoints(torch.nn.Linear(1, 1), tmp_path, 1.0, before=100.0)
    continued.on_save(None, state, None, model=torch.nn.Linear(1, 1))
    assert seconds_until(tmp_path / "checkpoint-3") == 100 + 5


def test_checkpoints_are_removed_and_the_files_of_loggers_stay(tmp_path, monkeypatch):
    candidate = candidates(part("sts"), MODEL)[1]

    class Writer(TrainerCallback):  # as that of tensorboard
        def on_train_begin(self, args, state, control, **kwargs):
            logs = Path(args.output_dir, "runs")
            logs.mkdir(parents=True)
            (logs / "events").touch()

    monkeypatch.setitem(INTEGRATION_TO_CALLBACK, "tensorboard", Writer)
    run(candidate, part("sts").dataset, tmp_path / "x", steps=2, report_to="tensorboard")
    assert last_checkpoint(tmp_path / "x")
    remove_checkpoints(tmp_path / "x")
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["runs"]
    assert (tmp_path / "x" / "runs" / "events").exists()


def test_a_curve_has_four_points_and_the_main_metric(tmp_path):
    candidate = candidates(part("sts"), MODEL)[1]
    weights, curve = run(candidate, part("sts").dataset, tmp_path / "x")
    assert [step for step, _ in curve] == [3, 6, 9, 12]
    assert curve[-1][1] == pytest.approx(float(weights.norm()))


def test_evaluating_does_not_change_the_training(tmp_path):
    candidate = candidates(part("self_supervised"), MODEL)[1]
    rows = part("self_supervised").dataset
    weights, _ = run(candidate, rows, tmp_path / "x")
    torch.manual_seed(1)
    model = copy.deepcopy(MODEL)
    fit(model, candidate, rows, dict(candidate.defaults), PLAN, tmp_path / "y")
    assert torch.equal(weights, model[0].embedding.weight)


@pytest.mark.parametrize("task", ["image_text", "self_supervised"])
def test_images_are_trained_with_both_losses(task, tmp_path):
    given = part("image_text", 16)
    if task == "self_supervised":
        given = Part(task, given.dataset.select_columns("image"))
    for candidate in candidates(given):
        model = tiny_clip(tmp_path / candidate.name, [*COLOURS, *THINGS])
        before = [x.detach().clone() for x in model.parameters()]
        plan = Plan(steps=2, batch_size=8, learning_rate=1e-3)
        fit(model, candidate, candidate.rows(given.dataset), dict(candidate.defaults), plan, tmp_path / "x")
        assert any(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
