"""One training, which a killed process continues where it stopped."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.evaluation import SentenceEvaluator
from torch import nn
from transformers import PrinterCallback, ProgressCallback, TrainerCallback

from st_rankloss.diagnostics import RankingDiagnostics
from st_rankloss.experiment.candidates import Candidate, Setting
from st_rankloss.losses import RankingLoss
from st_rankloss.trainer import RankingTrainer

COMPLETE = "complete"
"""File that marks a whole checkpoint, with the seconds until it: a process may be killed while it writes one."""

SHARE = 20
"""A training waits at least so many times as long as a checkpoint takes before it saves the next one."""

CURVE = 4
"""Points of a learning curve."""


@dataclass(frozen=True)
class Plan:
    """The arguments of a training.

    Args:
        steps: Steps in all.
        batch_size: Rows per step.
        learning_rate: Peak learning rate.
        seed: Seed of the order.
        report_to: Loggers.
        seconds_between_checkpoints: Time after which the next step is saved.
    """

    steps: int
    batch_size: int
    learning_rate: float
    seed: int = 0
    report_to: str = "none"
    seconds_between_checkpoints: float = 30.0


def fit(
    model: SentenceTransformer,
    candidate: Candidate,
    rows: Any,
    setting: Setting,
    plan: Plan,
    folder: Path,
    *,
    evaluate: Callable[[SentenceTransformer], Mapping[str, float]] | None = None,
    name: str = "",
) -> list[tuple[int, float]]:
    """Train a model in place; continue from the last whole checkpoint in the folder, if there is one.

    The checkpoints stay, so that a process that is killed afterwards need not train again; see `remove_checkpoints`.

    Args:
        model: The model, as before training.
        candidate: The loss.
        rows: The training rows.
        setting: Settings of the loss.
        plan: The arguments.
        folder: Folder of the checkpoints, and of the files of loggers.
        evaluate: Maps the model to metrics, the main one first, for the learning curve; None evaluates nothing.
        name: Name for loggers.

    Returns:
        The learning curve: step and main metric.
    """
    loss = candidate.make(model, **setting)
    args = SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        run_name=name or None,
        max_steps=plan.steps,
        per_device_train_batch_size=plan.batch_size,
        learning_rate=plan.learning_rate,
        warmup_steps=0.1,
        seed=plan.seed,
        batch_sampler=candidate.batch_sampler,
        eval_strategy="steps" if evaluate else "no",
        eval_steps=1 / CURVE,
        logging_steps=1 / 20,
        save_strategy="no",
        save_total_limit=2,
        report_to=plan.report_to,
        disable_tqdm=not os.isatty(2),
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    checkpoint = last_checkpoint(folder)
    callbacks: list[TrainerCallback] = [
        _Checkpoints(loss, folder, plan.seconds_between_checkpoints, seconds_until(checkpoint))
    ]
    callbacks += [RankingDiagnostics(loss)] if isinstance(loss, RankingLoss) else []
    trainer = RankingTrainer(
        model=model,
        args=args,
        train_dataset=rows,
        loss=loss,
        callbacks=callbacks,
        data_collator=candidate.collator(model),
        evaluator=_Evaluator(evaluate) if evaluate else None,
    )
    trainer.remove_callback(PrinterCallback)
    if trainer.pop_callback(ProgressCallback):
        trainer.add_callback(_ProgressBar)
    if checkpoint is not None and (checkpoint / "loss.safetensors").exists():
        loss.load_state_dict(load_file(checkpoint / "loss.safetensors"), strict=False)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    model.eval()
    return [(log["step"], log["eval_main"]) for log in trainer.state.log_history if "eval_main" in log]


def last_checkpoint(folder: Path) -> Path | None:
    """Return the last whole checkpoint in a folder, or None.

    Args:
        folder: Folder of checkpoints; it may be missing.

    Returns:
        Its folder.
    """
    whole = [path.parent for path in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return max(whole, key=lambda path: int(path.name.split("-")[1]), default=None)


def seconds_until(checkpoint: Path | None) -> float:
    """Return how long a training took until a checkpoint, in all processes; 0 without one.

    Args:
        checkpoint: Folder of a whole checkpoint.

    Returns:
        The seconds.
    """
    return float((checkpoint / COMPLETE).read_text(encoding="utf-8") or 0) if checkpoint else 0.0


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints in a folder, and the trainer's folder ``eval``, in which nothing is written.

    Args:
        folder: The folder.
    """
    for path in (*folder.glob("checkpoint-*"), folder / "eval"):
        shutil.rmtree(path, ignore_errors=True)


def own_parameters(loss: nn.Module, model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters of a loss that are not those of its model.

    Args:
        loss: The loss.
        model: Its model.

    Returns:
        Parameters by name.
    """
    of_model = {id(parameter) for parameter in model.parameters()}
    return {name: x for name, x in loss.named_parameters() if id(x) not in of_model}


class _Checkpoints(TrainerCallback):
    """Saves a checkpoint from time to time, with the loss's own parameters, and marks it when it is whole."""

    def __init__(self, loss: nn.Module, folder: Path, seconds: float, before: float = 0.0) -> None:
        self.loss, self.folder, self.seconds, self.share = loss, folder, seconds, SHARE if seconds else 0.0
        self.saved = self.asked = time.monotonic()
        self.start = self.saved - before

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask for a checkpoint if the last one is old."""
        if time.monotonic() - self.saved >= self.seconds and state.global_step < state.max_steps:
            control.should_save = True
            self.asked = time.monotonic()

    def on_save(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Add the loss's own parameters, and mark the checkpoint."""
        folder = self.folder / f"checkpoint-{state.global_step}"
        own = {name: x.detach() for name, x in own_parameters(self.loss, model).items()}
        if own:
            save_file({name: x.contiguous() for name, x in own.items()}, folder / "loss.safetensors")
        self.saved = time.monotonic()
        (folder / COMPLETE).write_text(str(self.saved - self.start), encoding="utf-8")
        self.seconds = max(self.seconds, self.share * (self.saved - self.asked))


class _ProgressBar(ProgressCallback):
    """The trainer's progress bar, without the logs printed across it."""

    def on_log(self, *args: Any, **kwargs: Any) -> None:
        """Print nothing."""


class _Evaluator(SentenceEvaluator):
    """Reports metrics to the trainer, the main one also as ``main``."""

    def __init__(self, evaluate: Callable[[SentenceTransformer], Mapping[str, float]]) -> None:
        super().__init__()
        self.evaluate = evaluate

    def __call__(self, model: SentenceTransformer, *args: Any, **kwargs: Any) -> dict[str, float]:
        with torch.random.fork_rng():
            means = self.evaluate(model)
        return {**means, "main": next(iter(means.values()))}
