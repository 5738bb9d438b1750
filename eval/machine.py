"""The machine and software behind a result: hardware, package versions, the commit, and memory used."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
import subprocess
from functools import cache
from pathlib import Path

import torch

PACKAGES = ("st_rankloss", "torch", "sentence-transformers", "transformers", "datasets", "mteb", "numpy", "scipy")
PROCESS = Path("/proc/self")


@cache
def versions() -> dict[str, str]:
    """Return the versions that results depend on."""
    found = {package.replace("-", "_"): importlib.metadata.version(package) for package in PACKAGES}
    return found | {"python": platform.python_version()}


@cache
def commit() -> str:
    """Return the commit of this checkout, marked if files have changed; unknown without git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=10"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return "unknown"


def hardware(device: str) -> str:
    """Name the GPU, or the processor and the number of threads."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    name = names[0].split(":")[1].strip() if names else platform.processor()
    return f"{name}, {torch.get_num_threads()} threads"


class PeakMemory:
    """Peak memory since this object was made: the GPU's, or this process's, which only Linux reports.

    Args:
        device: ``cpu`` or ``cuda``.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.on_gpu = device == "cuda"
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats()
        self.before = torch.cuda.memory_allocated() if self.on_gpu else _resident_bytes("VmRSS")
        if not self.on_gpu:
            with contextlib.suppress(OSError):
                (PROCESS / "clear_refs").write_text("5", encoding="ascii")  # reset the peak

    def megabytes(self, *, added: bool = False) -> float | None:
        """Return the peak so far in MiB, in total or above the memory in use at the start; None if unknown."""
        peak = torch.cuda.max_memory_allocated() if self.on_gpu else _resident_bytes("VmHWM")
        if peak is None or self.before is None:
            return None
        return round((peak - self.before * added) / 2**20, 1)


def _resident_bytes(field: str) -> int | None:
    status = PROCESS / "status"
    lines = status.read_text(encoding="ascii").splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field)), None)
