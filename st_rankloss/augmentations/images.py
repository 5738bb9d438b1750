"""Views of a PIL image, of the same size. Pillow is imported on first use.

They keep the mode of an image; only palettes, single bits and 16 bits become RGB, RGBA or grey in `Jitter` and `Blur`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from st_rankloss._extras import require
from st_rankloss.augmentations.base import Augmentation


def _pillow(module: str) -> Any:
    return require(f"PIL.{module}", "image", purpose="augmentations of images")


def _blendable(image: Any) -> Any:
    """Return an image whose values can be averaged: neither places in a palette, nor bits, nor 16 bits."""
    if image.mode in ("P", "PA"):
        return image.convert("RGBA" if "transparency" in image.info or image.mode == "PA" else "RGB")
    if image.mode.startswith("I;16"):
        return image.convert("I").point(lambda value: value / 256).convert("L")
    return image.convert("L") if image.mode in ("1", "I", "F") else image


def _draw(low: float, high: float) -> float:
    return low + (high - low) * torch.rand(()).item()


@dataclass(frozen=True)
class Crop(Augmentation):
    """Crops a rectangle of the image and enlarges it to the original size.

    Its share of the area is drawn from [1 - strength, 1], at least one pixel; the aspect ratio is kept.

    Args:
        strength: Largest share of the area to cut off, in [0, 1].
    """

    def change(self, value: Any) -> Any:
        """Return the enlarged rectangle."""
        side = _draw(1 - self.strength, 1) ** 0.5
        size = [max(1, round(side * length)) for length in value.size]
        left, top = (int(torch.randint(length - part + 1, ())) for length, part in zip(value.size, size, strict=True))
        box = (left, top, left + size[0], top + size[1])
        return value.resize(value.size, _pillow("Image").Resampling.BILINEAR, box=box)


@dataclass(frozen=True)
class Flip(Augmentation):
    """Mirrors the image horizontally with probability ``strength``.

    Args:
        strength: The probability, in [0, 1].
    """

    def change(self, value: Any) -> Any:
        """Return the image or its mirror image."""
        mirrored = torch.rand(()).item() < self.strength
        return value.transpose(_pillow("Image").Transpose.FLIP_LEFT_RIGHT) if mirrored else value


@dataclass(frozen=True)
class Jitter(Augmentation):
    """Changes brightness, contrast and colour by factors drawn from [1 - strength, 1 + strength].

    Args:
        strength: Largest change, in [0, 1].
    """

    def change(self, value: Any) -> Any:
        """Return the changed image."""
        enhancers, value = _pillow("ImageEnhance"), _blendable(value)
        for enhance in (enhancers.Brightness, enhancers.Contrast, enhancers.Color):
            factor = _draw(1 - self.strength, 1 + self.strength)
            if enhance is not enhancers.Color or value.mode not in ("L", "LA"):  # grey has no colour to change
                value = enhance(value).enhance(factor)
        return value


@dataclass(frozen=True)
class Blur(Augmentation):
    """Blurs the image with a Gaussian of random radius, up to ``strength`` times an eighth of the shorter side.

    Args:
        strength: In [0, 1].
    """

    def change(self, value: Any) -> Any:
        """Return the blurred image."""
        radius = _draw(0, self.strength * min(value.size) / 8)
        return _blendable(value).filter(_pillow("ImageFilter").GaussianBlur(radius))
