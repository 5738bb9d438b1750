"""Which methods of `st_rankloss.kernels` a loss used."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from st_rankloss.kernels import METHODS


@contextlib.contextmanager
def used_methods() -> Iterator[set[str]]:
    """Return a set to which the names of the methods that run in the context are added."""
    used: set[str] = set()
    before = dict(METHODS)

    def noting(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **options: Any) -> Any:
            used.add(name)
            return method(*args, **options)

        return noted

    METHODS.update({name: noting(name, method) for name, method in before.items()})
    try:
        yield used
    finally:
        METHODS.update(before)
