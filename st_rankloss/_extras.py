"""Optional dependencies: imported where they are used, and named by the extra that installs them."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


def require(module: str, extra: str, *, purpose: str = "this") -> ModuleType:
    """Import an optional module, or say which extra of st_rankloss installs it.

    Args:
        module: Name to import, such as ``"pytrec_eval"``.
        extra: The extra that installs it, such as ``"eval"``.
        purpose: What needs it; completes "... is required for" in the message.

    Returns:
        The imported module.

    Raises:
        ImportError: If the module is missing, or present but broken.

    Example:
        >>> require("json", "eval").__name__
        'json'
        >>> require("absent", "eval", purpose="plots")
        Traceback (most recent call last):
        ImportError: absent is required for plots; install it with: pip install 'st_rankloss[eval]'
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{module} is required for {purpose}; install it with: pip install 'st_rankloss[{extra}]'"
        ) from error
