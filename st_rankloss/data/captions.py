"""How relevant captions are to images."""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter

from datasets import Dataset
from torch import Tensor

from st_rankloss.data.contents import number_contents
from st_rankloss.encoding import encode_labels
from st_rankloss.labels import LABEL_KINDS
from st_rankloss.relevance import Relevance, choose_relevance
from st_rankloss.relevance.matrix import map_labels

_ROWS = 256  # images graded at a time


def grade_captions(rows: Dataset, relevance: Relevance | None = None) -> Iterator[tuple[int, Tensor]]:
    """Grade the captions of all rows for the images, some images at a time.

    With labels, by the labels of the two rows. Without, a caption is relevant to its own image, wherever that occurs,
    and to images whose captions have the same text.

    Args:
        rows: Images in ``image``, texts in ``caption`` and, if any, labels in ``label``.
        relevance: How to read the labels; None chooses by their kind.

    Yields:
        tuple[int, Tensor]: The first row of a block of at most 256 images, and their grades, shape ``(block, rows)``:
            at least 0, NaN where a label is missing. Time and memory: O(rows) per image.

    Example:
        >>> rows = Dataset.from_dict({"image": ["1.png", "1.png", "2.png"], "caption": ["rose", "red rose", "sky"]})
        >>> [(start, grades.tolist()) for start, grades in grade_captions(rows)]
        [(0, [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])]
    """
    starts = range(0, len(rows), _ROWS)
    if "label" not in rows.column_names:
        codes = [number_contents(rows, name) for name in ("image", "caption")]
        for start in starts:
            same = [own[start : start + _ROWS, None] == own for own in codes]
            yield start, (same[0] | same[1]).float()
        return
    labels = list(rows["label"])
    described = encode_labels(labels, "label", reads=LABEL_KINDS if relevance is None else relevance.reads)
    chosen = choose_relevance(described, [len(labels)]) if relevance is None else relevance
    own, others = chosen.pair(described, [len(labels)] * 2)
    for start in starts:
        yield start, chosen(map_labels(itemgetter(slice(start, start + _ROWS)), own), others)
