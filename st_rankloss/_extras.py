"""Optional dependencies: imported where they are used, and named by the extra that installs them."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


def require(module: str, extra: str, *, purpose: str = "this") -> ModuleType:
    """Import an optional module, or say which extra of st_rankloss installs it.

    Args:
        module: Name to import, such as ``"pytrec_eval"``.
        extra: The extra that installs it, such as ``"metrics"``.
        purpose: What needs it; completes "... is required for" in the message.

    Returns:
        The imported module.

    Raises:
        ImportError: If the module is missing, or present but broken.

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
