"""What all benchmarks share: a batch, timing in turns, cases in processes of their own, and a file of results."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch import Tensor, nn

import st_rankloss
from eval.machine import hardware

CLASS_SIZE = 8
DIMENSIONS = 384

NO_MODEL = SentenceTransformer(modules=[nn.Identity()], device="cpu")
"""For losses that get embeddings."""

Loss = Callable[[list[Tensor], Tensor | None, float], Tensor]


def parser(doc: str | None, name: str, batches: list[int]) -> argparse.ArgumentParser:
    """Make a command line with the options of every benchmark."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--output", type=Path, default=Path("output") / name, help="folder for results")
    made.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    made.add_argument("--batches", type=int, nargs="+", default=batches, help="batch sizes")
    made.add_argument("--case", help=argparse.SUPPRESS)
    return made


def in_own_process(module: str, device: str, **case: Any) -> Any:
    """Run one case of a benchmark in a fresh process, and return the JSON that it prints last."""
    command = [sys.executable, "-m", module, "--device", device, "--case", json.dumps(case)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"case {case} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def machine_of(device: str) -> str:
    """Name the hardware and the versions that times depend on."""
    return f"{hardware(device)}; torch {torch.__version__}, st_rankloss {st_rankloss.__version__}"


def save(options: argparse.Namespace, **results: Any) -> str:
    """Write results as JSON, named as the folder; return the name of the machine."""
    machine = machine_of(options.device)
    options.output.mkdir(parents=True, exist_ok=True)
    content = json.dumps({"machine": machine, **results}, indent=1)
    (options.output / f"{options.output.name}.json").write_text(content, encoding="utf-8")
    return machine


def make_batch(batch: int, device: str) -> tuple[list[Tensor], Tensor]:
    """Make two columns of embeddings around class centres, with cosines like an encoder's."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(batch) // CLASS_SIZE
    centres = torch.randn(int(labels.max()) + 1, DIMENSIONS, generator=generator)[labels]
    common = torch.randn(DIMENSIONS, generator=generator)
    columns = [common + 0.6 * centres + 1.2 * torch.randn(batch, DIMENSIONS, generator=generator) for _ in range(2)]
    return [column.to(device).requires_grad_() for column in columns], labels.to(device)


def mnrl(embeddings: list[Tensor], labels: Tensor | None, temperature: float) -> Tensor:
    """Compute MultipleNegativesRankingLoss, which reads no labels."""
    loss = MultipleNegativesRankingLoss(NO_MODEL, scale=1 / temperature)
    value: Tensor = loss.compute_loss_from_embeddings(embeddings, labels)
    return value


def step(loss: Loss, embeddings: list[Tensor], labels: Tensor | None, temperature: float) -> None:
    """Run forward and backward once."""
    for column in embeddings:
        column.grad = None
    loss(embeddings, labels, temperature).backward()


def seconds_of(action: Callable[[], object], device: str) -> float:
    """Time one call, including what it leaves to run on the GPU."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    action()
    wait()
    return time.perf_counter() - start


def in_turns(actions: Mapping[str, Callable[[], object]], device: str, repeats: int) -> dict[str, list[float]]:
    """Time actions in turns, so that other load affects them alike; return their seconds, sorted."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for turn in range(repeats + 1):
        for name, action in actions.items():
            seconds = seconds_of(action, device)
            if turn:  # the first turn warms up
                times[name].append(seconds)
    return {name: sorted(values) for name, values in times.items()}


def medians(times: Mapping[str, list[float]]) -> dict[str, float]:
    """Return the median of each."""
    return {name: statistics.median(values) for name, values in times.items()}
