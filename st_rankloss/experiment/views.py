"""The views of unlabelled rows: those that are trained on, and the copies that search their originals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from st_rankloss.augmentations import Augmentation, Compose, Crop, CropWords, DropWords, Identity, Jitter
from st_rankloss.data import Part

TRAINED: Mapping[str, Sequence[Augmentation]] = {
    "text": (Identity(), DropWords(0.4), CropWords(0.6)),
    "image": (Identity(), Crop(0.4), Compose(Crop(0.4), Jitter(0.3))),
}

COPIES: Mapping[str, Augmentation] = {"text": DropWords(0.5), "image": Compose(Crop(0.75), Jitter(0.4))}


def views_of(part: Part) -> Sequence[Augmentation]:
    """Return the views in which rows of a part are trained; none for parts with labels.

    Args:
        part: The part.

    Returns:
        The views of the texts or images of a part for ``self_supervised``, else an empty sequence.

    Example:
        >>> from datasets import Dataset
        >>> views_of(Part("self_supervised", Dataset.from_dict({"text": ["a rose"]})))[1]
        DropWords(strength=0.4)
    """
    return TRAINED[part.input_columns[0]] if part.task == "self_supervised" else ()


def copy_of(part: Part) -> Augmentation:
    """Return what alters the copies of texts or images that search their originals.

    Args:
        part: A part for ``self_supervised``.

    Returns:
        The alteration.

    Example:
        >>> from datasets import Dataset
        >>> copy_of(Part("self_supervised", Dataset.from_dict({"text": ["a rose"]})))
        DropWords(strength=0.5)
    """
    return COPIES[part.input_columns[0]]
