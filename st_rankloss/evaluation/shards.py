"""Embeddings of a corpus on disk, in shards that are written once, resumed after a kill, and read block by block.

A folder holds ``manifest.json``, which says what the embeddings are of, and ``00000.npy``, ``00001.npy``, ...: rows of
documents, in descending order of their ids. A file appears under its name only when it is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal, overload

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from torch import Tensor
from tqdm.auto import tqdm

from st_rankloss._models import model_fingerprint
from st_rankloss.evaluation.embedding import Embedder
from st_rankloss.evaluation.settings import check_count

DTYPES = ("float32", "float16")
_FORMAT = 1


@dataclass(frozen=True)
class Shards:
    """Where the embeddings of a corpus are kept on disk: for evaluation, mining and `samplers.neighbours`.

    The first use encodes the corpus, shard by shard; later uses, also after a kill and by other functions, encode only
    the shards that are missing. Embeddings are kept as the model returns them, not normalised. A folder whose
    embeddings are of another model, corpus, prompt or dimension is refused: this is not for evaluation during training,
    in which the model changes. Several processes may use a folder at once. A kill may leave a file ``*.part``, which
    may be deleted. Search reads one chunk at a time, so memory does not grow with the embeddings: of
    `GradedInformationRetrievalEvaluator` and mining, only ids and texts stay.

    Disk: documents · dimensions · 4 bytes, or 2 as float16.

    Args:
        folder: The folder; it is made if needed.
        dtype: "float32", or "float16", which rounds to about three digits; None means what the folder has, or float32.
        shard_size: Documents per shard of a new folder, at least 1: what is lost at most if encoding is stopped.
        pool: Processes that encode, of ``model.start_multi_process_pool()``; None means this process.

    Raises:
        ValueError: If a setting breaks a rule above.

    Example:
        >>> from sentence_transformers.sentence_transformer.modules import StaticEmbedding
        >>> from tokenizers import Tokenizer, models, pre_tokenizers
        >>> from st_rankloss.mining import mine_graded_negatives
        >>> tokenizer = Tokenizer(models.WordLevel({"?": 0, "red": 1, "green": 2, "blue": 3}, unk_token="?"))
        >>> tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        >>> model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=torch.eye(4))])
        >>> corpus = {"a": "red", "b": "red green", "c": "blue", "d": "red red blue"}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     shards = Shards(folder, shard_size=3)
        ...     mined = mine_graded_negatives({"q": "red"}, corpus, {"q": {"a": 3}}, model, corpus_embeddings=shards)
        ...     stored = shards.read()
        >>> mined[0]["document_ids"], len(stored)
        (['a', 'd', 'b', 'c'], 4)
    """

    folder: str | os.PathLike[str]
    dtype: Literal["float32", "float16"] | None = None
    shard_size: int = 100_000
    pool: Any = None

    def __post_init__(self) -> None:
        if not isinstance(self.folder, str | os.PathLike) or not os.fspath(self.folder):
            raise ValueError(f"embeddings must be kept in Shards or the path of a folder, got {self.folder!r}.")
        if self.dtype not in (None, *DTYPES):
            raise ValueError(f"dtype must be None or one of {DTYPES}, got {self.dtype!r}.")
        check_count("shard_size", self.shard_size)

    @property
    def path(self) -> Path:
        """The folder."""
        return Path(self.folder)

    def embed(self, embedder: Embedder, corpus: Mapping[str, str], *, of_any_model: bool = False) -> StoredEmbeddings:
        """Return the embeddings of a corpus, after encoding what is missing.

        Time: a digest of the model and the corpus, and encoding. Memory: a shard.

        Args:
            embedder: Encodes the documents.
            corpus: Document id to text, at least one.
            of_any_model: Whether a folder without missing shards may be of any model, prompt and dimension.

        Returns:
            The embeddings, in the order of `storage_order`.

        Raises:
            ValueError: If the folder holds embeddings of something else or is not writable, a file is damaged, the
                corpus is empty, an id is not a string, a document is not a text, the model is not a SentenceTransformer
                of the backend "torch", or an embedding is not finite or leaves the range of float16.
        """
        if embedder.kind is not SentenceTransformer:
            raise ValueError(f"Shards keep vectors, which a {embedder.kind.__name__} does not make: leave them out.")
        if (backend := embedder.model.get_backend()) != "torch":
            raise ValueError(f"Shards cannot recognise a model of the backend {backend!r} again: leave them out.")
        order = storage_order(_checked(corpus))
        wanted = _describe(embedder, corpus, order)
        manifest = _read_manifest(self.path)
        size = self.shard_size if manifest is None else manifest.shard_size
        missing = [shard for shard, file in enumerate(_files(self.path, len(order), size)) if not file.exists()]
        if manifest is None:
            _check_empty(self.path)
        elif of_any_model and not missing:
            self._check_same(manifest, {name: wanted[name] for name in ("documents", "corpus")})
        else:
            self._check_same(manifest, wanted)
        if missing:
            _check_writable(self.path)
        for shard in tqdm(missing, desc="Shards", disable=not embedder.show_progress_bar or not missing):
            ids = order[shard * size : (shard + 1) * size]
            embeddings: Any = embedder.embed_documents({i: corpus[i] for i in ids}, pool=self.pool)
            rows = _rounded(embeddings, (self.dtype or "float32") if manifest is None else manifest.dtype)
            if manifest is None:
                manifest = Manifest(_FORMAT, rows.shape[1], str(rows.dtype), size, **wanted)
                if not _wrote_manifest(self.path, manifest):
                    return self.embed(embedder, corpus)  # another process did, perhaps for something else
            with _atomic(_file(self.path, shard)) as file:
                np.save(file, rows, allow_pickle=False)
        assert manifest is not None  # a corpus has a document
        return StoredEmbeddings(self.path, manifest)

    def read(self) -> StoredEmbeddings:
        """Return the embeddings as they are on disk, of whatever model and corpus.

        Returns:
            The embeddings; see its ``manifest``.

        Raises:
            ValueError: If there are none, a shard is missing, or a file is damaged.
        """
        manifest = _read_manifest(self.path)
        if manifest is None:
            raise ValueError(f"{self.path} must hold embeddings, but has no manifest.json: encode the corpus first.")
        return StoredEmbeddings(self.path, manifest)

    def _check_same(self, manifest: Manifest, wanted: Mapping[str, Any]) -> None:
        """Raise ValueError for embeddings of something else."""
        found = asdict(manifest)
        wanted = dict(wanted) | ({} if self.dtype is None else {"dtype": self.dtype})
        for name, value in wanted.items():
            if name != "model" and found[name] != value:  # a name may change with the folder that a model is in
                remedy = "; while a model trains, leave Shards out" if name == "fingerprint" else ""
                raise ValueError(
                    f"{self.path} must hold embeddings of the same {_MEANING.get(name, name)}, got {found[name]!r} on "
                    f"disk, of the model {manifest.model!r}, and {value!r} now: choose another folder, or delete it"
                    f"{remedy}."
                )


@dataclass(frozen=True)
class Manifest:
    """What embeddings on disk are of."""

    format: int
    dimensions: int
    dtype: str
    shard_size: int
    model: str
    fingerprint: str
    documents: int
    corpus: str
    corpus_prompt: str | None
    corpus_prompt_name: str | None
    truncate_dim: int | None
    precision: str


_MEANING = {"fingerprint": "model", "documents": "corpus"}


class StoredEmbeddings:
    """Rows of embeddings on disk, read when they are indexed.

    Args:
        folder: The folder.
        manifest: What it holds.

    Raises:
        ValueError: If a shard is missing or damaged.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.manifest = manifest
        self.shape = (manifest.documents, manifest.dimensions)
        self.files = _files(folder, manifest.documents, manifest.shard_size)
        for shard, file in enumerate(self.files):
            rows = min(manifest.shard_size, manifest.documents - shard * manifest.shard_size)
            _check_shard(file, (rows, manifest.dimensions), manifest.dtype)

    def __len__(self) -> int:
        return self.shape[0]

    @overload
    def __getitem__(self, rows: slice) -> Tensor: ...
    @overload
    def __getitem__(self, rows: Sequence[int]) -> Tensor: ...
    def __getitem__(self, rows: slice | Sequence[int]) -> Tensor:
        """Read rows: a slice, or a list in any order."""
        if not isinstance(rows, slice):
            places = [range(len(self))[row] for row in rows]  # raises IndexError
            return torch.cat([self[:0], *(self[place : place + 1] for place in places)])
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise ValueError(f"a slice of stored embeddings must have the step 1, got {step}.")
        found = torch.empty(max(0, stop - start), self.shape[1], dtype=getattr(torch, self.manifest.dtype))
        size = self.manifest.shard_size
        for shard in range(start // size, -(-stop // size) if stop > start else 0):
            first, last = max(start, shard * size), min(stop, (shard + 1) * size)
            # Opened for each block, so that pages that were read do not stay in memory.
            block = np.load(self.files[shard], mmap_mode="r")[first - shard * size : last - shard * size]
            found.numpy()[first - start : last - start] = block
        return found

    def chunks(self, size: int) -> Iterator[Tensor]:
        """Read all rows, some at a time."""
        return (self[start : start + size] for start in range(0, len(self), size))


def storage_order(corpus: Mapping[str, Any]) -> list[str]:
    """Return the ids of documents in the order of their rows: descending, so that tied documents rank as in trec_eval.

    Args:
        corpus: Document id to document.

    Returns:
        The ids.

    Example:
        >>> storage_order({"a": "red", "b": "green"})
        ['b', 'a']
    """
    return sorted(corpus, reverse=True)


def name_of(model: Any) -> str:
    """Return the name of the model that a model was made from, or else of its class."""
    return str(model.model_card_data.base_model or type(model).__name__)


def as_shards(value: Any) -> Shards | None:
    """Return shards for an argument that may be None, a path or `Shards`."""
    return value if value is None or isinstance(value, Shards) else Shards(value)


def _checked(corpus: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a corpus, or raise ValueError if it is empty or an id is not a string."""
    if not corpus:
        raise ValueError("corpus must have a document, got an empty one.")
    if wrong := next(((i,) for i in corpus if not isinstance(i, str)), None):
        raise ValueError(f"ids of corpus must be strings, got {wrong[0]!r}: write str(id).")
    return corpus


def _describe(embedder: Embedder, corpus: Mapping[str, Any], order: Sequence[str]) -> dict[str, Any]:
    """Return the entries of the manifest that the embeddings depend on."""
    return {
        "model": name_of(embedder.model),
        "fingerprint": model_fingerprint(embedder.model),
        "documents": len(order),
        "corpus": _digest(corpus, order),
        "corpus_prompt": embedder.corpus_prompt,
        "corpus_prompt_name": embedder.corpus_prompt_name,
        "truncate_dim": embedder.truncate_dim,
        "precision": embedder.precision,
    }


def _digest(corpus: Mapping[str, Any], order: Sequence[str]) -> str:
    """Return a digest of ids and texts, or raise ValueError for a document that is not a text."""
    digest = hashlib.blake2b(digest_size=16)
    ids = iter(order)
    while some := list(islice(ids, 10_000)):
        texts = [corpus[document_id] for document_id in some]
        for document_id, text in zip(some, texts, strict=True):
            if not isinstance(text, str):
                raise ValueError(
                    f"Shards recognise only texts when they come again, got {type(text).__name__} (id "
                    f"{document_id!r}): leave them out."
                )
        digest.update(json.dumps([some, texts]).encode())
    return digest.hexdigest()


def _file(folder: Path, shard: int) -> Path:
    return folder / f"{shard:05}.npy"


def _files(folder: Path, documents: int, size: int) -> list[Path]:
    return [_file(folder, shard) for shard in range(-(-documents // size))]


def _check_shard(file: Path, shape: tuple[int, int], dtype: str) -> None:
    if not file.exists():
        raise ValueError(f"{file.parent} must hold every shard, but {file.name} is missing: encode the corpus again.")
    try:
        rows: NDArray[Any] | None = np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError):
        rows = None
    if rows is None or rows.shape != shape or rows.dtype != dtype:
        got = "a damaged file" if rows is None else f"{rows.dtype} of shape {rows.shape}"
        raise ValueError(f"{file} must hold {dtype} of shape {shape}, got {got}: delete it, and it is encoded again.")


def _read_manifest(folder: Path) -> Manifest | None:
    """Read a manifest; return None if there is none, or raise ValueError if it is damaged."""
    file = folder / "manifest.json"
    if not file.exists():
        return None
    try:
        manifest = Manifest(**json.loads(file.read_text(encoding="utf-8")))
        counts = manifest.dimensions, manifest.shard_size, manifest.documents
        valid = manifest.format == _FORMAT and manifest.dtype in DTYPES and all(n >= 1 for n in counts)
    except (TypeError, ValueError):
        valid = False
    if not valid:
        raise ValueError(
            f"{file} must be a manifest of format {_FORMAT}, got a damaged or other one: choose another "
            "folder, or delete it."
        )
    return manifest


def _rounded(embeddings: Tensor, dtype: str) -> NDArray[Any]:
    """Return rows of a dtype, or raise ValueError for those that overflow or lose their digits to underflow."""
    exact = embeddings.detach().cpu()
    rows = exact.to(getattr(torch, dtype))
    lost = (exact - rows).abs_().amax(-1) > 2**-10 * exact.abs().amax(-1)
    if not torch.isfinite(rows).all() or lost.any():
        raise ValueError("dtype must be 'float32' for this model: some embeddings leave the range of float16.")
    found: NDArray[Any] = rows.numpy()
    return found


def _check_empty(folder: Path) -> None:
    """Raise ValueError for shards of unknown origin."""
    if stale := sorted(folder.glob("[0-9]*.npy")):
        raise ValueError(f"{folder} must be empty or have a manifest.json, got {stale[0].name}: choose another folder.")


def _check_writable(folder: Path) -> None:
    """Make the folder, or raise ValueError before anything is encoded in vain."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"{folder} must be a writable folder, got {error}: choose another folder.") from error


def _wrote_manifest(folder: Path, manifest: Manifest) -> bool:
    """Write a manifest, unless there is one: processes that start at once must not mix their shards."""
    try:
        with _atomic(folder / "manifest.json", _name_first) as file:
            file.write(json.dumps(asdict(manifest), indent=1).encode())
    except FileExistsError:
        return False
    return True


def _name_first(part: Path, path: Path) -> None:
    """Give a file its name, or raise FileExistsError if another file has it."""
    try:
        os.link(part, path)
    except OSError:
        if path.exists():
            raise FileExistsError(path) from None
        os.replace(part, path)  # on a file system without links
    else:
        part.unlink()


@contextmanager
def _atomic(path: Path, name: Callable[[Path, Path], None] = os.replace) -> Iterator[IO[bytes]]:
    """Open a file that gets its name when it is complete."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, suffix=".part", delete=False) as file:
        part = Path(file.name)
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            name(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
