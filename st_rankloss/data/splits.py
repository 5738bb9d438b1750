"""Names of parts in names of files: train, dev and test, as people write them."""

from __future__ import annotations

import re
from pathlib import Path

from st_rankloss.judgements import few

_WORDS = {
    "train": ("train", "training", "trn"),
    "dev": ("dev", "development", "val", "valid", "validation", "trial"),
    "test": ("test", "testing", "tst", "heldout"),
}
_PARTS = {word: part for part, words in _WORDS.items() for word in words}


def part_of(name: str) -> str | None:
    """Return the part that a name speaks of.

    Args:
        name: Name of a file or of a split.

    Returns:
        "train", "dev" or "test"; None if it names none or more than one.

    Example:
        >>> part_of("qrels_validation.tsv"), part_of("corpus.jsonl")
        ('dev', None)
    """
    found = {_PARTS[word] for word in re.split(r"[^a-z]+", name.lower()) if word in _PARTS}
    return found.pop() if len(found) == 1 else None


def by_part(paths: list[Path]) -> dict[str, Path]:
    """Name files by the part that they hold.

    Args:
        paths: The files.

    Returns:
        Files by part: train, dev and test; a single file that names none is the train part.

    Raises:
        ValueError: If two files are the same part, or several name none.
    """
    found: dict[str, Path] = {}
    for path in paths:
        part = "train" if len(paths) == 1 and part_of(path.name) is None else part_of(path.name)
        if part is None or part in found:
            names = sorted(path.name for path in paths)
            raise ValueError(
                f"files must be named after train, dev or test, one each, got {few(names)}: rename {path.name}, or "
                "join them into one file."
            )
        found[part] = path
    return dict(sorted(found.items(), key=lambda item: list(_WORDS).index(item[0])))
