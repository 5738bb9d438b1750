"""Many runs in worker processes, each on one core; and how long they will take."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from eval.plans.tuning import Tuning
from eval.results import ResultsFile, Run, Spec
from eval.training.run import one_thread, run

TEXTS_PER_SECOND = {"static": 4_000, "static-minilm": 3_000, "clip": 1_500, "minilm": 40, "minilm-2": 120, "bert": 400}
"""Training speed on one core: an estimate for runs whose task and encoder have no results yet."""


@dataclass
class Executor:
    """Runs specs in worker processes, and adds each run to the file when it ends.

    Args:
        results: The file; runs that it has are not repeated.
        jobs: Number of worker processes.
        console: Where progress is shown.
    """

    results: ResultsFile
    jobs: int = 1
    console: Console = field(default_factory=Console)

    def run_all(self, specs: Sequence[Spec]) -> None:
        """Run every spec that the file does not have."""
        self._loop(((spec, None) for spec in specs), len(specs), lambda token, run: None)

    def tune_all(self, tunings: Sequence[Tuning]) -> None:
        """Run every loss's trials."""

        def ask() -> Iterator[tuple[Spec, Any]]:
            for tuning in tunings:
                tuning.recall(self.results.has)
                while tuning.left:
                    spec, trial = tuning.ask()
                    yield spec, (tuning, trial)

        self._loop(ask(), sum(tuning.left for tuning in tunings), lambda token, run: token[0].tell(token[1], run))

    def _loop(self, asked: Iterator[tuple[Spec, Any]], total: int, tell: Callable[[Any, Run], None]) -> None:
        context = multiprocessing.get_context("spawn")
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with (
            ProcessPoolExecutor(self.jobs, mp_context=context, initializer=one_thread) as pool,
            Progress(*columns, console=self.console) as progress,
        ):
            bar = progress.add_task("runs", total=total)
            running: dict[Future[Run], Any] = {}

            def collect() -> None:
                for future in wait(running, return_when=FIRST_COMPLETED)[0]:
                    spec, token = running.pop(future)
                    error = future.exception()
                    found = future.result() if error is None else Run.failure(spec, error)
                    self.results.add(found)
                    tell(token, found)
                    if not found.ok:
                        text = f"failed: {found.task} {found.loss}: {found.error}"
                        self.console.print(text, style="red", markup=False)
                    progress.advance(bar)

            for spec, token in asked:
                if not self.results.has(spec.key) and (same := self.results.of_another_protocol(spec)):
                    self.results.add(same)
                if self.results.has(spec.key):
                    tell(token, self.results.runs[spec.key])
                    progress.advance(bar)
                    continue
                running[pool.submit(run, spec)] = spec, token
                progress.update(bar, description=spec.title[:70])
                if len(running) >= self.jobs:
                    collect()
            while running:
                collect()


def estimate_seconds(specs: Iterable[Spec], runs: Mapping[str, Run], jobs: int) -> float:
    """Estimate the duration of runs: from results of the same task and encoder, or else from the encoder."""
    known: dict[tuple[str, str], list[float]] = {}
    for done in runs.values():
        if done.ok:
            known.setdefault((done.task, done.encoder), []).append(sum(done.seconds.values()))
    total = 0.0
    for spec in specs:
        if spec.key in runs and runs[spec.key].ok:
            continue
        seconds = known.get((spec.record.name, spec.encoder))
        texts = spec.trained.steps * spec.trained.batch_size * (1 + spec.trained.documents) / 2
        total += float(np.mean(seconds)) if seconds else 3 + texts / TEXTS_PER_SECOND.get(spec.encoder, 40)
    return total / jobs
