"""Answers kept on disk by content: what was asked once is never asked again."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from st_rankloss.functional.checks import check_at_least
from st_rankloss.judges.base import ask
from st_rankloss.labels import is_missing, plain

_KEYS_AT_ONCE = 500  # SQLite's oldest limit is 999 values per statement


class Cached:
    """A function of a list that keeps its answers in a file: a judge, a `LanguageModel`, or an order.

    The key is a hash of the function's identity and the item's content, so another model, prompt or scale, or a changed
    text, is asked for. Answers are stored after each chunk, as JSON in an SQLite database: a run that is killed at any
    moment loses at most one chunk, and the next one goes on from there. Several processes may share a file on a local
    disk. None is not stored: what stayed unjudged is asked again by the next run.

    Judges that see several documents at once depend on more than the pair: cache what they ask instead, as in
    ``OrderJudge(WrittenOrder(Cached(model, path)))``.

    Args:
        function: Items to one answer each; items are texts or tuples of texts, answers None, numbers, texts or lists.
        path: The file; made if missing, with its folder.
        identity: What determines the answers: a name and version. None takes ``function.identity``, which judges with
            the name of a model have; it cannot know about weights that change under one name.
        chunk: Items per call of ``function``, at least 1.

    Raises:
        TypeError: If ``function`` is a judge of lists.
        ValueError: If there is no identity, or the file is not such a database.

    Example:
        >>> import tempfile
        >>> def judge(pairs):
        ...     return [float(query in document) for query, document in pairs]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     cached = Cached(judge, f"{folder}/grades.sqlite", identity="contains, 1")
        ...     cached([("red", "red rose")]), cached.pending([("red", "red rose"), ("red", "sea")])
        ([1.0000], [('red', 'sea')])
    """

    def __init__(
        self,
        function: Callable[[list[Any]], Sequence[Any]],
        path: str | Path,
        *,
        identity: str | None = None,
        chunk: int = 64,
    ) -> None:
        if getattr(function, "listwise", False):
            raise TypeError(
                "function must not be a judge of lists, whose grades depend on the other documents; cache the function "
                f"that it asks, got {function!r}."
            )
        check_at_least(chunk, 1, "chunk")
        identity = getattr(function, "identity", None) if identity is None else identity
        if not isinstance(identity, str) or not identity:
            raise ValueError(
                f"identity must name the function and its version, such as 'my judge, 1', got {identity!r}."
            )
        self.function, self.path, self.identity, self.chunk = function, Path(path), identity, chunk
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"path must be in a folder that can be made, got {str(self.path)!r}: {error}") from error
        with self._open() as database:
            database.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT NOT NULL)")

    def __call__(self, items: Sequence[Any]) -> list[Any]:
        """Answer items, from the file where it has them; equal items are asked once.

        Args:
            items: Texts or tuples of texts.

        Returns:
            One answer per item.

        Raises:
            TypeError: If ``items`` is a single text.
            ValueError: If an item or an answer has no content in JSON, such as an image.
        """
        items = _listed(items)
        keys = [self._key(item) for item in items]
        answers = self._read(keys)
        missing = list({key: item for key, item in zip(keys, items, strict=True) if key not in answers}.items())
        for start in range(0, len(missing), self.chunk):
            chunk = missing[start : start + self.chunk]
            found = ask(self.function, [item for _, item in chunk])
            answers |= self._write({key: answer for (key, _), answer in zip(chunk, found, strict=True)})
        return [answers.get(key) for key in keys]

    def pending(self, items: Sequence[Any]) -> list[Any]:
        """Return the distinct items that the file has no answer for; nothing is asked.

        Args:
            items: Texts or tuples of texts.

        Returns:
            Those to ask, in order.
        """
        items = _listed(items)
        keys = [self._key(item) for item in items]
        known = self._read(keys)
        return list({key: item for key, item in zip(keys, items, strict=True) if key not in known}.values())

    def _key(self, item: Any) -> str:
        return hashlib.sha256(_to_json([self.identity, item], "an item").encode()).hexdigest()

    def _read(self, keys: Sequence[str]) -> dict[str, Any]:
        distinct = list(dict.fromkeys(keys))
        answers: dict[str, Any] = {}
        with self._open() as database:
            for start in range(0, len(distinct), _KEYS_AT_ONCE):
                some = distinct[start : start + _KEYS_AT_ONCE]
                marks = ",".join("?" * len(some))
                found = database.execute(f"SELECT key, answer FROM answers WHERE key IN ({marks})", some)
                answers |= {key: json.loads(answer) for key, answer in found}
        return answers

    def _write(self, answers: dict[str, Any]) -> dict[str, Any]:
        """Store the answers that are not missing, all or none; return them as they are read back."""
        texts = {
            key: _to_json(plain(answer), "an answer")
            for key, answer in answers.items()
            if not is_missing(plain(answer))
        }
        with self._open() as database:
            database.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?)", texts.items())
        return {key: json.loads(text) for key, text in texts.items()}

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Open the file for one transaction: no connection is shared by threads or forked processes."""
        try:
            with closing(sqlite3.connect(self.path, timeout=60)) as database, database:
                yield database
        except sqlite3.DatabaseError as error:
            raise ValueError(
                f"path must be a file of cached answers, writable, or a new one, got {str(self.path)!r}: {error}"
            ) from error


def _listed(items: Sequence[Any]) -> list[Any]:
    if isinstance(items, str | bytes):
        raise TypeError(f"items must be a list of texts or of tuples of texts, got the text {items!r:.80}.")
    return list(items)


def _to_json(value: Any, what: str) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{what} must be text, numbers or lists of them to be cached, got {value!r:.80}: {error}"
        ) from error
