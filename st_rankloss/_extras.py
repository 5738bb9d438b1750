"""Import optional dependencies on use, and name the extra that installs a missing one."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


def require(module: str, extra: str, *, purpose: str = "this") -> ModuleType:
    """Import an optional module, or name the extra of st_rankloss that installs it.

    Args:
        module: Name to import, such as ``"pytrec_eval"``.
        extra: The extra that installs it, such as ``"metrics"``.
        purpose: Completes "... is required for" in the message.

    Returns:
        The imported module.

    Raises:
        ImportError: If the module is missing or broken.

    Example:
        >>> require("json", "metrics").__name__
        'json'
        >>> require("absent", "metrics", purpose="scores")
        Traceback (most recent call last):
        ImportError: absent is required for scores; install it with: pip install 'st_rankloss[metrics]'
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{module} is required for {purpose}; install it with: pip install 'st_rankloss[{extra}]'"
        ) from error
