"""Checks of images, by the content of their files."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from st_rankloss.data.contents import numbered
from st_rankloss.inspection.columns import Flat, Indices, Look
from st_rankloss.inspection.findings import Finding, check, in_conflict, repeated, report


def named_images(look: Look) -> Flat:
    """Return what findings show of the images of a part: their numbers, from 0."""
    rows = np.arange(len(look.images))
    return Flat("image", pa.chunked_array([[f"image {row}" for row in rows]]), rows)


def _numbers(look: Look) -> Indices:
    return np.array(numbered(look.images), dtype=np.int64)


@check("classification", "hierarchy", "multi_label", "regression", "self_supervised")
def repeated_images(look: Look) -> Iterator[Finding]:
    """Find images that occur again."""
    if look.images:
        again = repeated(_numbers(look))
        remedy = "Leave repetitions out: they count twice, and may be negatives of one another."
        what = "repeat an earlier one"
        yield from report(look, named_images(look), again, "duplicate rows", "warning", what, remedy, warn_above=0.001)


@check("classification", "hierarchy", "multi_label", "regression")
def conflicting_labels_of_images(look: Look) -> Iterator[Finding]:
    """Find equal images with different labels."""
    labels = look.label_keys()
    if look.images and labels is not None:
        conflict = in_conflict(_numbers(look), labels)
        remedy = "Decide on one label, or merge them into a set."
        what = "occur with different labels"
        yield from report(
            look, named_images(look), conflict, "conflicting labels", "warning", what, remedy, warn_above=0.001
        )


@check("image_text")
def captions_of_one_image(look: Look) -> Iterator[Finding]:
    """Find images with several captions, none of which says that they belong together."""
    if look.images and look.labels is None:
        again = repeated(_numbers(look))
        remedy = "In a batch with another caption of its image, a caption counts as irrelevant. Give the rows of each "
        remedy += "image a label of their own."
        what = "repeat an earlier one, with another caption"
        yield from report(look, named_images(look), again, "images with several captions", "note", what, remedy)
