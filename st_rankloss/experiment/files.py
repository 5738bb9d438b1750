"""Files that are either whole or absent, whenever the process is killed."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer


def write(path: Path, text: str) -> None:
    """Write a text file at once.

    Args:
        path: The file; its folder is made.
        text: The content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file at once, see `write`."""
    write(path, json.dumps(content, indent=2) + "\n")


def save_model(model: SentenceTransformer, path: Path) -> None:
    """Save a model at once.

    Args:
        model: The model, with its card.
        path: The folder; an older one is replaced.
    """
    part = path.with_name(path.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    model.save_pretrained(str(part))
    shutil.rmtree(path, ignore_errors=True)
    os.replace(part, path)
