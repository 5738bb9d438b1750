"""Labels from a frozen teacher: its embeddings or its scores, computed once into a column of the dataset.

A frozen teacher gives the same labels in every epoch, so compute them once before training:

- `add_embeddings` adds a teacher's embeddings for ``relevance.Vectors(threshold, power)``;
- `add_scores` adds grades of (query, document) pairs or lists for ``relevance.Pairs()`` and ``relevance.Lists()``.

Save the result with ``dataset.save_to_disk``. For a column computed elsewhere, just name it ``label``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset, concatenate_datasets
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder, MultiVectorEncoder, SentenceTransformer, SparseEncoder
from sentence_transformers.util import mean_maxsim_pairwise, pairwise_cos_sim
from torch import Tensor

from st_rankloss._models import EMBEDDERS, check_encoder, kind_of
from st_rankloss.evaluation.settings import check_count
from st_rankloss.functional.checks import check_finite, check_temperature
from st_rankloss.judgements import check_inputs
from st_rankloss.judges.base import Judge, JudgeTeacher, is_judge
from st_rankloss.labels import LABEL_COLUMNS

Model: TypeAlias = "CrossEncoder | SentenceTransformer | SparseEncoder | MultiVectorEncoder"
"""The kinds of models that score pairs."""

_PAIRS_AT_ONCE = 2**16  # pairs of embeddings per computation


def sharpen(scores: Tensor, *, threshold: float = 0.0, power: float = 1.0, temperature: float | None = None) -> Tensor:
    """Map a teacher's scores to grades in [0, 1].

    grade = max(0, (p - threshold) / (1 - threshold)) ** power, where p is the score itself, a cosine or a
    probability, or σ(score / temperature) if a temperature is given, for the logits of a cross-encoder. Logits have no
    fixed range: about -12 to 12 for models trained with a binary cross-entropy. Raise ``threshold`` or ``power`` if a
    teacher gives every document some relevance, which would make every order good; raise ``temperature`` if its
    probabilities are all near 0 or 1 and no longer separate good from better.

    Args:
        scores: Any shape, floating: in [-1, 1] without a temperature, finite with one.
        threshold: Largest probability or cosine with grade 0, in [0, 1).
        power: Exponent, above 0; above 1 sharpens.
        temperature: Above 0, in units of the scores; None leaves scores unchanged.

    Returns:
        Grades with the shape and type of the scores. Order is kept; scores up to the threshold become 0.

    Raises:
        ValueError: If a setting or a score is out of its range.

    Example:
        >>> sharpen(torch.tensor([0.2, 0.6, 1.0]), threshold=0.2, power=2.0)
        tensor([0.0000, 0.2500, 1.0000])
        >>> sharpen(torch.tensor([-9.0, 0.0, 9.0]), temperature=2.0)
        tensor([0.0110, 0.5000, 0.9890])
    """
    _check_sharpening(threshold, power, temperature)
    check_finite(scores, "scores")
    if temperature is not None:
        scores = torch.sigmoid(scores / temperature)
    elif scores.numel() and scores.abs().max() > 1 + 1e-5:  # rounding may push a cosine above 1
        worst = scores.flatten()[scores.abs().argmax()].item()
        raise ValueError(
            f"scores must be in [-1, 1] without a temperature, got {worst!r}; for logits give temperature=1.0 or more."
        )
    return ((scores - threshold) / (1 - threshold)).clamp(0, 1).pow(power)


def _check_sharpening(threshold: float, power: float, temperature: float | None) -> None:
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold must be in [0, 1), got {threshold!r}.")
    check_temperature(power, "power")
    if temperature is not None:
        check_temperature(temperature)


@dataclass(frozen=True)
class Teacher:
    """A frozen model that grades (query, document) pairs: its sharpened score times the highest grade.

    Args:
        model: A CrossEncoder with one output, whose logits go through the sigmoid regardless of its saved activation;
            a SentenceTransformer or a SparseEncoder, whose score is the cosine of the query and document embeddings;
            or a MultiVectorEncoder, whose score is the mean over the query's tokens of the largest cosine with a token
            of the document (-1 if that has none).
        threshold: See `sharpen`.
        power: See `sharpen`.
        temperature: See `sharpen`. None means 1 for a CrossEncoder; it must be None for the others.
        top_grade: Grade of a perfect score, above 0: usually the highest grade of the judgements.
        batch_size: Pairs or texts per batch, at least 1.
        show_progress_bar: Whether to show progress over the batches.

    Raises:
        TypeError: If ``model`` is none of these.
        ValueError: If a number is out of its range, or a CrossEncoder has several outputs.

    Example:
        ::

            teacher = Teacher(CrossEncoder("cross-encoder/ms-marco-MiniLM-L6-v2"), temperature=4.0, top_grade=3)
            teacher.grade(["what is red", "what is red"], ["a colour", "a sea"])
    """

    model: Model
    threshold: float = 0.0
    power: float = 1.0
    temperature: float | None = None
    top_grade: float = 1.0
    batch_size: int = 32
    show_progress_bar: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.model, (CrossEncoder, *EMBEDDERS)):
            kinds = " or a ".join(kind.__name__ for kind in (CrossEncoder, *EMBEDDERS))
            raise TypeError(f"model must be a {kinds}, got {self.model!r}.")
        _check_sharpening(self.threshold, self.power, self.temperature)
        check_temperature(self.top_grade, "top_grade")
        check_count("batch_size", self.batch_size)
        if not isinstance(self.model, CrossEncoder):
            if self.temperature is not None:
                kind = kind_of(self.model).__name__
                raise ValueError(
                    f"temperature must be None for a {kind}, whose cosines need no sigmoid, got {self.temperature!r}."
                )
        elif self.model.num_labels != 1:
            raise ValueError(f"model must be a CrossEncoder with one output, got {self.model.num_labels}.")

    @property
    def text_only(self) -> bool:
        """Whether inputs must be texts."""
        return list(self.model.modalities) == ["text"]

    def grade(self, queries: Sequence[Any], documents: Sequence[Any]) -> list[float]:
        """Grade pairs.

        Args:
            queries: The query of each pair; equal texts are embedded once.
            documents: The document of each pair.

        Returns:
            Grades in [0, ``top_grade``], one per pair.

        Raises:
            ValueError: If queries and documents differ in number, or a score is not finite.
        """
        if len(queries) != len(documents):
            raise ValueError(f"each query needs one document, got {len(queries)} and {len(documents)}.")
        if not queries:
            return []
        if isinstance(self.model, CrossEncoder):
            scores, temperature = self._predict(queries, documents), self.temperature or 1.0
        else:
            scores, temperature = self._compare(queries, documents), None
        grades = sharpen(scores, threshold=self.threshold, power=self.power, temperature=temperature)
        return (grades * self.top_grade).tolist()

    def _predict(self, queries: Sequence[Any], documents: Sequence[Any]) -> Tensor:
        """Compute logits; the sigmoid is applied with the temperature."""
        logits: Tensor = self.model.predict(
            list(zip(queries, documents, strict=True)), activation_fn=torch.nn.Identity(), **self._options()
        )
        return logits.float().cpu()

    def _compare(self, queries: Sequence[Any], documents: Sequence[Any]) -> Tensor:
        """Compute cosines, of tokens if each has a vector."""
        query, query_rows = self._embed(self.model.encode_query, queries)
        document, document_rows = self._embed(self.model.encode_document, documents)
        pairs = zip(query_rows.split(_PAIRS_AT_ONCE), document_rows.split(_PAIRS_AT_ONCE), strict=True)
        if isinstance(query, Tensor):
            return torch.cat(
                [pairwise_cos_sim(query.index_select(0, q), document.index_select(0, d)) for q, d in pairs]
            )
        scores = [mean_maxsim_pairwise([query[i] for i in q], [document[i] for i in d]) for q, d in pairs]
        return torch.cat(scores).clamp(min=-1)  # a document without tokens scores far below

    def _embed(self, encode: Callable[..., Any], inputs: Sequence[Any]) -> tuple[Any, Tensor]:
        """Embed each distinct text once; return the embeddings, and the index of each input's."""
        place: dict[Any, int] = {}
        rows = [place.setdefault(x if isinstance(x, str) else id(x), len(place)) for x in inputs]
        distinct = {row: x for row, x in zip(rows, inputs, strict=True)}
        embeddings = encode(list(distinct.values()), **self._options())
        if not isinstance(embeddings, Tensor):
            return [torch.as_tensor(tokens) for tokens in embeddings], torch.tensor(rows)
        return embeddings.float().cpu(), torch.tensor(rows)

    def _options(self) -> dict[str, Any]:
        options = {"batch_size": self.batch_size, "show_progress_bar": self.show_progress_bar}
        if isinstance(self.model, MultiVectorEncoder):
            return options | {"convert_to_numpy": True, "normalize_embeddings": True}
        return options | {"convert_to_tensor": True}


def as_teacher(teacher: Teacher | Model | Judge) -> Teacher | JudgeTeacher:
    """Return a teacher unchanged, a model as a `Teacher` with default settings, and a judge as a `JudgeTeacher`."""
    if isinstance(teacher, Teacher | JudgeTeacher):
        return teacher
    return JudgeTeacher(teacher) if is_judge(teacher) else Teacher(teacher)


def add_embeddings(
    dataset: Dataset,
    model: SentenceTransformer,
    columns: Sequence[str],
    *,
    label_column: str = "label",
    batch_size: int = 32,
    show_progress_bar: bool = False,
) -> Dataset:
    """Add a frozen model's embeddings as labels, for ``relevance.Vectors(threshold, power)``.

    With one column, each row gets one vector, shape ``(dimensions,)``, from ``model.encode``. With more, it gets one
    per column, ``(columns, dimensions)``: the first from ``model.encode_query``, the others from
    ``model.encode_document``, with the model's own prompts.

    Time: one encoding pass. Memory: rows × columns × dimensions × 4 bytes, about twice that during computation.

    Args:
        dataset: Has a column for each name in ``columns``, with one text (or image, ...) per row.
        model: The teacher; its dimensions may differ from the student's.
        columns: The input columns, all of them, in the dataset's order.
        label_column: Name of the new column.
        batch_size: Inputs encoded at a time, at least 1.
        show_progress_bar: Whether to show progress over the batches.

    Returns:
        The dataset with the new float32 column, without a format.

    Raises:
        TypeError: If ``dataset`` is not a `datasets.Dataset`, ``model`` not a SentenceTransformer, or a column holds
            lists.
        ValueError: If a column is missing or out of order, there are labels already, an input is not a text (nor
            anything else that the model encodes), or an embedding is not finite.

    Example:
        >>> from sentence_transformers.sentence_transformer.modules import StaticEmbedding
        >>> from tokenizers import Tokenizer, models, pre_tokenizers
        >>> tokenizer = Tokenizer(models.WordLevel({"?": 0, "red": 1, "green": 2}, unk_token="?"))
        >>> tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        >>> teacher = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=torch.eye(3))])
        >>> dataset = Dataset.from_dict({"query": ["red"], "document": ["red green"]})
        >>> add_embeddings(dataset, teacher, ["query", "document"])["label"][0]
        [[0.0000, 1.0000, 0.0000], [0.0000, 0.5000, 0.5000]]
    """
    _check_columns(dataset, columns, 1, label_column)
    check_encoder(model, (SentenceTransformer,), "add_embeddings", "use add_scores for the scores of other kinds")
    check_count("batch_size", batch_size)
    encoders = [model.encode] if len(columns) == 1 else [model.encode_query] + [model.encode_document] * len(columns)
    vectors = []
    for name, encode in zip(columns, encoders, strict=False):
        inputs = _read(dataset, name)
        if any(isinstance(entry, list) for entry in inputs):
            raise TypeError(
                f"each row of {name!r} must be one text, got a list in a row; for lists of documents use add_scores."
            )
        check_inputs(enumerate(inputs), name, "row", text_only=list(model.modalities) == ["text"])
        encoded = encode(inputs, batch_size=batch_size, show_progress_bar=show_progress_bar, convert_to_tensor=True)
        vectors.append(encoded.float().cpu().numpy())
        wrong = np.flatnonzero(~np.isfinite(vectors[-1]).all(axis=1))
        if len(wrong):
            raise ValueError(f"embeddings must be finite, got NaN or infinity for {name!r} in row {wrong[0]}.")
    stacked = vectors[0] if len(columns) == 1 else np.stack(vectors, axis=1)
    return _add_column(dataset, label_column, _as_arrow(stacked))


def add_scores(
    dataset: Dataset,
    teacher: Teacher | Model | Judge,
    columns: Sequence[str],
    *,
    label_column: str = "label",
) -> Dataset:
    """Add a teacher's grades of each row's documents as labels, for ``relevance.Pairs()`` or ``relevance.Lists()``.

    One column of documents gives one number per row, for Pairs(). Several columns give one number each, and a column of
    lists of any length gives one per document, for Lists().

    Time: one prediction per pair. Memory: all pairs and their grades.

    Args:
        dataset: Has a column of queries and one or more of documents.
        teacher: The model that grades, a `Teacher` that also defines how scores become grades, or a judge, any function
            of (query, document) pairs; what it leaves unjudged is NaN, see `judges`.
        columns: The column of queries, then those of documents, all of them, in the dataset's order.
        label_column: Name of the new column.

    Returns:
        The dataset with the new float32 column, without a format.

    Raises:
        TypeError: If ``dataset`` is not a `datasets.Dataset`, or ``teacher`` not a model or a judge.
        ValueError: If a column is missing or out of order, there are labels already, a list of documents is empty or
            is not the only column of documents, the model cannot encode an input, or a
            score is not finite.

    Example:
        ::

            teacher = Teacher(CrossEncoder("cross-encoder/ms-marco-MiniLM-L6-v2"), temperature=4.0)
            dataset = add_scores(dataset, teacher, ["query", "documents"])
            loss = ANDCGLoss(model, relevance=Lists())
    """
    teacher = as_teacher(teacher)
    _check_columns(dataset, columns, 2, label_column)
    queries, *documents = (_read(dataset, name) for name in columns)
    lists, grouped = _group(documents, columns)
    text_only = teacher.text_only
    check_inputs(enumerate(queries), columns[0], "row", text_only=text_only)
    for name, column in zip(columns[1:], [grouped] if lists else documents, strict=True):
        rows = ((row, entry) for row, value in enumerate(column) for entry in (value if lists else [value]))
        check_inputs(rows, name, "row", text_only=text_only)
    owners = [query for query, row in zip(queries, grouped, strict=True) for _ in row]
    grades = iter(teacher.grade(owners, [document for row in grouped for document in row]))
    labels: list[Any] = [[next(grades) for _ in row] for row in grouped]
    kind = pa.list_(pa.float32())
    if not lists and len(documents) == 1:
        labels, kind = [label for (label,) in labels], pa.float32()
    return _add_column(dataset, label_column, pa.array(labels, kind))


def _group(documents: list[list[Any]], columns: Sequence[str]) -> tuple[bool, list[list[Any]]]:
    """Return whether the documents come in lists, and the documents of each row."""
    lists = any(isinstance(entry, list) for column in documents for entry in column)
    if not lists:
        return False, [list(row) for row in zip(*documents, strict=True)]
    if len(documents) > 1:
        raise ValueError(f"a column of lists must be the only column of documents, got {list(columns[1:])}.")
    for row, entry in enumerate(documents[0]):
        if not entry:
            raise ValueError(f"each list in {columns[1]!r} must hold a document, got {entry!r} in row {row}.")
    return True, documents[0]


def _read(dataset: Dataset, column: str) -> list[Any]:
    return list(dataset.with_format(None)[column][:])


def _check_columns(dataset: Dataset, columns: Sequence[str], least: int, label_column: str) -> None:
    """Raise unless the columns exist in the collator's order, and there are no labels yet."""
    if not isinstance(dataset, Dataset):
        raise TypeError(f"dataset must be a datasets.Dataset, got {type(dataset).__name__}.")
    if not len(dataset):
        raise ValueError("dataset must have at least one row, got none.")
    names = dataset.column_names
    if isinstance(columns, str) or len(columns) < least or any(name not in names for name in columns):
        raise ValueError(f"columns must be a list of at least {least} of {names}, got {columns!r}.")
    if list(columns) != [name for name in names if name in columns]:
        raise ValueError(f"columns must be in the dataset's order, {names}, got {list(columns)}.")
    label_columns = LABEL_COLUMNS if label_column in LABEL_COLUMNS else (label_column,)
    taken = [name for name in names if name in label_columns]
    if taken:
        raise ValueError(
            f"dataset must not have labels yet, or training could read the wrong ones, got {taken}; "
            "remove them with dataset.remove_columns."
        )


def _as_arrow(vectors: NDArray[np.float32]) -> Any:
    """Wrap rows of vectors without copying: datasets would convert them number by number."""
    array = pa.array(vectors.ravel())
    for size in reversed(vectors.shape[1:]):
        array = pa.FixedSizeListArray.from_arrays(array, size)
    return array


def _add_column(dataset: Dataset, name: str, array: Any) -> Dataset:
    return concatenate_datasets([dataset.with_format(None), Dataset(pa.table({name: array}))], axis=1)
