"""Time and peak memory of the A-NDCG loss against the direct formula and against MNRL, from embeddings.

    python -m eval.performance --output output/performance [--device cuda]

Every contender gets the same embeddings, two columns of a batch in classes of eight, and is timed forward
and backward. Contenders of one batch size and temperature take turns in one process, so that what else the
machine does hits them alike; memory is measured in a process for each contender, above the embeddings.

    st_rankloss   ANDCGLoss(relevance=Classes()): every query ranks every document of the batch
    direct        the same formula as it is written, with autograd: a (batch, batch, batch) tensor
    MNRL          sentence-transformers' MultipleNegativesRankingLoss, a softmax cross-entropy
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch import Tensor, nn
from torch.nn import functional as F

import st_rankloss
from st_rankloss import ANDCGLoss
from st_rankloss.relevance import Classes

CLASS_SIZE = 8
DIMENSIONS = 384
DIRECT_BYTES = 8.5
"""Bytes that the direct formula needs for each of its batch³ entries, forward and backward, roughly."""

Loss = Callable[[list[Tensor], Tensor, float], Tensor]
Result = dict[str, Any]


def ours(embeddings: list[Tensor], labels: Tensor, temperature: float) -> Tensor:
    """Compute st_rankloss's A-NDCG."""
    loss = ANDCGLoss(nn.Identity(), Classes(), temperature=temperature)
    return loss.compute_loss_from_embeddings(embeddings, labels)  # type: ignore[return-value]


def direct(embeddings: list[Tensor], labels: Tensor, temperature: float) -> Tensor:
    """Compute A-NDCG as the formula reads."""
    queries, documents = (F.normalize(column, dim=-1) for column in embeddings)
    similarity = queries @ documents.T
    relevance = (labels[:, None] == labels).float()
    ahead = torch.sigmoid((similarity[:, None, :] - similarity[:, :, None]) / temperature)
    ranks = ahead.sum(-1) + 0.5
    dcg = (relevance / torch.log2(1 + ranks)).sum(-1)
    places = torch.arange(2, len(labels) + 2, device=labels.device)
    ideal = (relevance.sort(dim=-1, descending=True).values / torch.log2(places)).sum(-1)
    return (1 - dcg / ideal).mean()


def mnrl(embeddings: list[Tensor], labels: Tensor, temperature: float) -> Tensor:
    """Compute MultipleNegativesRankingLoss, which reads no labels."""
    loss = MultipleNegativesRankingLoss(nn.Identity(), scale=1 / temperature)
    value: Tensor = loss.compute_loss_from_embeddings(embeddings, labels)
    return value


CONTENDERS: dict[str, Loss] = {"st_rankloss": ours, "direct": direct, "MNRL": mnrl}


def make_batch(batch: int, device: str) -> tuple[list[Tensor], Tensor]:
    """Make two columns of embeddings around class centres, with cosines as an encoder has them."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(batch) // CLASS_SIZE
    centres = torch.randn(int(labels.max()) + 1, DIMENSIONS, generator=generator)[labels]
    common = torch.randn(DIMENSIONS, generator=generator)
    columns = [common + 0.6 * centres + 1.2 * torch.randn(batch, DIMENSIONS, generator=generator) for _ in range(2)]
    return [column.to(device).requires_grad_() for column in columns], labels.to(device)


def run_once(loss: Loss, embeddings: list[Tensor], labels: Tensor, temperature: float) -> float:
    """Run forward and backward once; return seconds."""
    for column in embeddings:
        column.grad = None
    synchronise(labels)
    start = time.perf_counter()
    loss(embeddings, labels, temperature).backward()
    synchronise(labels)
    return time.perf_counter() - start


def synchronise(tensor: Tensor) -> None:
    """Wait for the tensor's device."""
    if tensor.device.type == "cuda":
        torch.cuda.synchronize()


def measure_times(names: list[str], batch: int, temperature: float, device: str, repeats: int) -> Result:
    """Time the contenders in turns; return their seconds, sorted."""
    embeddings, labels = make_batch(batch, device)
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(repeats + 1):
        for name in names:
            seconds = run_once(CONTENDERS[name], embeddings, labels, temperature)
            if turn:  # the first turn warms up
                times[name].append(seconds)
    return {name: sorted(values) for name, values in times.items()}


def measure_memory(name: str, batch: int, temperature: float, device: str) -> float:
    """Return one contender's peak memory above the embeddings, in MB."""
    warm, warm_labels = make_batch(16, device)
    run_once(CONTENDERS[name], warm, warm_labels, temperature)
    embeddings, labels = make_batch(batch, device)
    for column in embeddings:
        column.grad = torch.zeros_like(column)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    else:
        before = resident_bytes("VmRSS")
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the peak so far
    run_once(CONTENDERS[name], embeddings, labels, temperature)
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else resident_bytes("VmHWM")
    return (peak - before) / 1e6


def resident_bytes(field: str) -> int:
    """Read this process's memory, ``VmRSS`` now or ``VmHWM`` at its peak, from Linux."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}: memory on a CPU is measured on Linux only.")


def in_own_process(options: argparse.Namespace, **case: Any) -> Any:
    """Run one case in a fresh process; return what it measured."""
    command = [sys.executable, __file__, "--device", options.device, "--repeats", str(options.repeats)]
    command += ["--case", json.dumps(case)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"case {case} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def run_case(options: argparse.Namespace) -> None:
    """Measure the case this process was started for, and print it as JSON."""
    case = json.loads(options.case)
    if "name" in case:
        result: Any = measure_memory(case["name"], case["batch"], case["temperature"], options.device)
    else:
        names = case["names"]
        result = measure_times(names, case["batch"], case["temperature"], options.device, options.repeats)
    print(json.dumps(result))


def available_bytes(device: str) -> int:
    """Return the memory that the direct formula may take."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def measure(options: argparse.Namespace) -> Iterator[Result]:
    """Measure every case, one record a contender."""
    for temperature in options.temperatures:
        for batch in options.batches:
            names = list(CONTENDERS)
            if DIRECT_BYTES * batch**3 > 0.8 * available_bytes(options.device):
                names.remove("direct")
            times = in_own_process(options, names=names, batch=batch, temperature=temperature)
            for name in names:
                memory = in_own_process(options, name=name, batch=batch, temperature=temperature)
                yield {
                    "contender": name,
                    "batch": batch,
                    "temperature": temperature,
                    "seconds": statistics.median(times[name]),
                    "fastest": times[name][0],
                    "slowest": times[name][-1],
                    "times MNRL": statistics.median(times[name]) / statistics.median(times["MNRL"]),
                    "megabytes": memory,
                }


def describe_machine(device: str) -> str:
    """Name the hardware and the versions behind the figures."""
    hardware = torch.cuda.get_device_name() if device == "cuda" else f"{cpu_name()}, {torch.get_num_threads()} threads"
    return f"{hardware}; torch {torch.__version__}, st_rankloss {st_rankloss.__version__}"


def cpu_name() -> str:
    """Return the processor's name."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0].split(":")[1].strip() if names else platform.processor()


def print_table(records: list[Result], machine: str) -> None:
    """Print the records with ratios against the competitors."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Forward + backward of the loss, {DIMENSIONS} dimensions\n{machine}")
    for heading in (
        "batch",
        "τ",
        "contender",
        "median",
        "fastest-slowest",
        "× MNRL's time",
        "direct is … × ours",
        "peak",
    ):
        table.add_column(heading, justify="right")
    by_case = {(r["batch"], r["temperature"], r["contender"]): r for r in records}
    for (batch, temperature, name), record in by_case.items():
        own = by_case[batch, temperature, "st_rankloss"]
        against = ""
        if name == "direct":
            time_ratio = record["seconds"] / own["seconds"]
            against = f"{time_ratio:.0f} × time, {record['megabytes'] / own['megabytes']:.0f} × memory"
        table.add_row(
            str(batch),
            f"{temperature:g}",
            name,
            f"{1000 * record['seconds']:.1f} ms",
            f"{1000 * record['fastest']:.1f}-{1000 * record['slowest']:.1f}",
            f"{record['times MNRL']:.2f}",
            against,
            f"{record['megabytes']:.0f} MB",
        )
    Console(width=140).print(table)


def plot(records: list[Result], path: Path, machine: str) -> None:
    """Draw time and memory over the batch size, both logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    for axes, field, label in zip(
        figure.subplots(1, 2), ("seconds", "megabytes"), ("seconds", "peak memory, MB"), strict=True
    ):
        for colour, name in enumerate(CONTENDERS):
            for style, temperature in zip(("o--", "s-"), sorted({r["temperature"] for r in records}), strict=False):
                line = [r for r in records if r["contender"] == name and r["temperature"] == temperature]
                x, y = [r["batch"] for r in line], [max(r[field], 1e-4) for r in line]
                axes.loglog(x, y, style, color=f"C{colour}", base=2, label=f"{name}, τ = {temperature:g}")
        axes.set(xlabel="batch", ylabel=label, yscale="log")
        axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    figure.suptitle(f"Loss, forward + backward ({machine})", fontsize=9)
    figure.savefig(path, dpi=130)


def main() -> None:
    """Measure, and write performance.json and performance.png."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("output/performance"), help="folder for results")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--batches", type=int, nargs="+", default=[256, 512, 1024, 2048, 4096, 8192])
    parser.add_argument("--temperatures", type=float, nargs="+", default=[0.01, 0.05])
    parser.add_argument("--repeats", type=int, default=5, help="timed turns of each contender")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        run_case(options)
        return
    machine = describe_machine(options.device)
    records: list[Result] = []
    for record in measure(options):
        records.append(record)
        print(f"{record['batch']:>6} τ={record['temperature']:<5g}{record['contender']:<12}{record['seconds']:.4f} s")
    options.output.mkdir(parents=True, exist_ok=True)
    results = {"machine": machine, "repeats": options.repeats, "records": records}
    (options.output / "performance.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    plot(records, options.output / "performance.png", machine)
    print_table(records, machine)


if __name__ == "__main__":
    main()
