"""Weakened copies of a text or an image: the views of self-supervised and augmented training.

Each is a function of one value, with a ``strength`` in [0, 1] that `ViewsCollator` turns into relevance: 0 leaves the
value unchanged, 1 keeps nothing of it. They draw from torch's global generator, which is seeded by the trainer and, in
each worker, by the DataLoader. Any other function of one value also works.
"""

from __future__ import annotations

from st_rankloss.augmentations.base import Augmentation, Compose, Identity
from st_rankloss.augmentations.images import Blur, Crop, Flip, Jitter
from st_rankloss.augmentations.text import CropWords, DropWords, ShuffleWords

__all__ = [
    "Augmentation",
    "Blur",
    "Compose",
    "Crop",
    "CropWords",
    "DropWords",
    "Flip",
    "Identity",
    "Jitter",
    "ShuffleWords",
]
