"""Compile every Triton kernel for a GPU that need not exist, as a script, which prints the names of those compiled.

The interpreter knows no types; a compiler does. It runs in a process of its own, since in that of the tests Triton's
functions are interpreted.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
import triton
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from st_rankloss.kernels import triton_sum

TYPES = {torch.float32: "*fp32", torch.float64: "*fp64", torch.int32: "*i32", torch.int64: "*i64", torch.uint8: "*u8"}


def type_of(argument: Any) -> str:
    """Return the type of an argument as Triton spells it."""
    if isinstance(argument, Tensor):
        return TYPES[argument.dtype]
    return "fp32" if isinstance(argument, float) else "i32"


def compile_for(target: GPUTarget, kernel: Any, arguments: tuple[Any, ...], sizes: dict[str, int]) -> None:
    """Compile a kernel for the types of its arguments."""
    types = {name: type_of(argument) for name, argument in zip(kernel.arg_names, arguments, strict=False)}
    try:
        source = ASTSource(kernel, signature=types | dict.fromkeys(sizes, "constexpr"), constexprs=sizes)
    except TypeError:  # before Triton 3.3
        source = ASTSource(kernel, signature=types, constants=sizes)
    assert triton.compile(source, target=target).asm["cubin"]


def main() -> None:
    """Compile what the sums and gradients of a block launch."""
    seen = set()

    def launch(kernel: Any, grid: tuple[int, ...], *arguments: Any, **sizes: int) -> None:
        key = (kernel.__name__, *map(type_of, arguments), *sizes.items())
        if key not in seen:
            seen.add(key)
            compile_for(GPUTarget("cuda", 80, 32), kernel, arguments, sizes)
            sys.stdout.write(f"{kernel.__name__}\n")

    triton_sum._launch = launch
    with FakeTensorMode():
        for dtype, order in ((torch.float32, 1), (torch.float32, 0), (torch.float64, 1)):
            similarity = torch.empty(2, 2000, dtype=dtype, requires_grad=True)
            columns, listed = torch.arange(2000).expand(2, 2000), torch.empty(2, 2000, dtype=torch.bool)
            weights = similarity.detach()
            triton_sum._TritonSum.apply(similarity, columns, 0.05, weights, order, listed).sum().backward()


if __name__ == "__main__":
    main()
