"""Records the time of every torch operator, what it moves, and the function of the package that called it.

torch's profiler records the time of an operator, but neither the size of its results nor, in backward, the function
that made it. So operators are timed as they are dispatched; backward's belong to the function of their forward.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import st_rankloss
from eval.bench.timing import seconds_of

PACKAGE = str(Path(st_rankloss.__file__).parent)
OUTSIDE = "outside the package"

KINDS = {
    "products": ("mm", "bmm", "addmm", "baddbmm", "mv", "dot"),
    "allocation": ("empty", "new_", "zeros", "ones", "full", "resize"),
    "masks": ("masked_", "where", "nonzero", "any", "all", "isnan", "isfinite", "logical_", "bitwise_"),
    "transforms": ("_fft", "fft"),
    "transcendental": (
        "exp",
        "sigmoid",
        "softplus",
        "log",
        "tanh",
        "erf",
        "special_",
        "pow",
        "_softmax",
        "_log_softmax",
    ),
    "indexed": ("gather", "scatter", "index", "sort", "searchsorted", "cumsum", "topk"),
}
"""The beginnings of operators' names, by kind; any other operator is a pass over memory."""


@dataclass(frozen=True)
class Operator:
    """An operator as a function of the package calls it."""

    name: str
    kind: str
    caller: str
    """File and function, such as ``kernels/grid.py:_read``."""


@dataclass
class Spent:
    """What the calls of an operator took together."""

    calls: int = 0
    seconds: float = 0.0
    bytes: int = 0
    """Read and written, if every tensor is moved once per call."""


@dataclass
class Recorder(TorchDispatchMode):
    """A context in which all operators are recorded.

    Args:
        device: ``cpu``, or ``cuda``, which then waits for every operator.
    """

    device: str = "cpu"
    spent: dict[Operator, Spent] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()
        self._callers: dict[int, str] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run and record an operator."""
        results: list[Any] = []
        seconds = seconds_of(lambda: results.append(func(*args, **(kwargs or {}))), self.device)
        if not func.is_view:
            moved = [x for x in tree_leaves((args, kwargs, results)) if isinstance(x, Tensor)]
            name = func.overloadpacket.__name__
            self._add(Operator(name, kind_of(name, results[0]), self._caller()), seconds, distinct_bytes(moved))
        return results[0]

    def _add(self, operator: Operator, seconds: float, moved: int) -> None:
        spent = self.spent.setdefault(operator, Spent())
        spent.calls += 1
        spent.seconds += seconds
        spent.bytes += moved

    def _caller(self) -> str:
        node = torch._C._current_autograd_node()
        if node is not None and node._sequence_nr() in self._callers:
            return self._callers[node._sequence_nr()]
        caller = innermost(sys._getframe())
        if node is None and torch.is_grad_enabled():
            # The node of an operator is numbered just before it is dispatched.
            self._callers.setdefault(torch.autograd._get_sequence_nr() - 1, caller)
        return caller


def innermost(frame: FrameType | None) -> str:
    """Name the innermost function of the package in a stack, as file and function."""
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(PACKAGE):
            return f"{path[len(PACKAGE) + 1 :]}:{frame.f_code.co_name}"
        frame = frame.f_back
    return OUTSIDE


def kind_of(name: str, result: object) -> str:
    """Return the kind of an operator: one that returns truth values is a mask's."""
    kinds = (kind for kind, names in KINDS.items() if name.startswith(names))
    kind = next(kinds, "passes")
    truths = isinstance(result, Tensor) and result.dtype == torch.bool
    return "masks" if truths and kind != "allocation" else kind


def distinct_bytes(tensors: list[Tensor]) -> int:
    """Return the size of tensors, each once; of expanded ones, what is stored."""
    sizes = {(x.data_ptr(), x.shape): min(x.numel() * x.element_size(), x.untyped_storage().nbytes()) for x in tensors}
    return sum(sizes.values())


def total_by(spent: dict[Operator, Spent], key: Callable[[Operator], str]) -> dict[str, Spent]:
    """Sum what operators took by a key, longest first."""
    totals: dict[str, Spent] = {}
    for operator, each in spent.items():
        total = totals.setdefault(key(operator), Spent())
        total.calls += each.calls
        total.seconds += each.seconds
        total.bytes += each.bytes
    return dict(sorted(totals.items(), key=lambda item: item[1].seconds, reverse=True))
