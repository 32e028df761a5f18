"""A folder of images as a stream of inputs.

preprocessing ::= key=value ("," key=value)*       size=224,crop=0.875,mean=127,std=128,layout=nchw
image --crop the middle--> --resize--> (pixel - mean) / std --layout--> array with a batch axis of 1
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from irc.errors import DataError, OptionError
from irc.types import Array

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_CHOICES = {
    "layout": ("nchw", "nhwc"),
    "color": ("rgb", "bgr", "gray"),
    "resample": ("bicubic", "bilinear", "nearest"),
    "dtype": ("float32", "uint8"),
}


@dataclass(frozen=True)
class Preprocess:
    """How to make an input of an image.

    size : height and width of the input
    crop : the share of the largest middle part of the right proportions that is used
    mean, std : in units of pixels, 0 to 255; one number, or one for each channel
    """

    size: tuple[int, int] = (0, 0)
    crop: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    layout: str = "nchw"
    color: str = "rgb"
    resample: str = "bicubic"
    dtype: str = "float32"

    def __call__(self, image: Any) -> Array:
        """The input that a PIL image makes: float32 or uint8, shape (1, C, H, W) or (1, H, W, C)."""
        from PIL import Image

        image = image.convert("L" if self.color == "gray" else "RGB")
        height, width = self.size
        across = min(image.width, image.height * width / height)
        box_width, box_height = (max(1, int(side * self.crop)) for side in (across, across * height / width))
        left, top = (image.width - box_width) // 2, (image.height - box_height) // 2
        image = image.crop((left, top, left + box_width, top + box_height))
        image = image.resize((width, height), Image.Resampling[self.resample.upper()])
        pixels = np.asarray(image, np.float32).reshape(height, width, -1)
        if self.color == "bgr":
            pixels = pixels[..., ::-1]
        made = (pixels - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        made = np.rint(made).clip(0, 255).astype(np.uint8) if self.dtype == "uint8" else made
        return np.ascontiguousarray(made.transpose(2, 0, 1) if self.layout == "nchw" else made)[None]


def parse_preprocess(text: str) -> Preprocess:
    """The preprocessing that the text describes.

    Raises
    ------
    OptionError : a key is unknown, a value does not fit, or there is no size.
    """
    made = Preprocess()
    known = [f.name for f in fields(Preprocess)]
    for part in filter(None, (p.strip() for p in text.split(","))):
        key, separator, value = (p.strip() for p in part.partition("="))
        if not separator or key not in known:
            raise OptionError(f"preprocess: '{part}' is not known; it takes {', '.join(f'{k}=…' for k in known)}")
        made = replace(made, **{key: _value(key, value)})
    if made.size == (0, 0):
        raise OptionError("preprocess needs the size of the model's input, such as size=224 or size=224x320")
    channels = 1 if made.color == "gray" else 3
    for key in ("mean", "std"):
        if len(getattr(made, key)) not in (1, channels):
            raise OptionError(f"preprocess: {key} must be one number, or one for each of {channels} channels")
    return made


def _value(key: str, text: str) -> Any:
    if key in _CHOICES:
        if text not in _CHOICES[key]:
            raise OptionError(f"preprocess: {key}={text} is not one of {', '.join(_CHOICES[key])}")
        return text
    readers: dict[str, tuple[Callable[[str], Any], Callable[[Any], bool], str]] = {
        "size": (_size, lambda v: min(v) > 0, "a height, or height x width, such as 224 or 224x320"),
        "crop": (float, lambda v: 0 < v <= 1, "a number above 0, at most 1"),
        "mean": (_numbers, lambda v: bool(np.isfinite(v).all()), "a number, or one a channel: 123.7:116.3:103.5"),
        "std": (_numbers, lambda v: bool(np.isfinite(v).all()) and 0 not in v, "not 0: a number, or one a channel"),
    }
    read, fits, wanted = readers[key]
    try:
        value = read(text)
    except ValueError:
        value = None
    if value is None or not fits(value):
        raise OptionError(f"preprocess: {key}={text} must be {wanted}")
    return value


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    return int(height), int(width or height)


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(":"))


class ImageFolder:
    """The images in a folder and the folders in it, in the order of their names, read one at a time."""

    def __init__(self, folder: Path, preprocess: Preprocess) -> None:
        try:
            import PIL  # noqa: F401  # to see whether it is there
        except ImportError:
            raise DataError("reading images needs Pillow; `pip install pillow`") from None
        self.preprocess = preprocess
        self.paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not self.paths:
            raise DataError(f"'{folder}' holds no image ({', '.join(sorted(SUFFIXES))})")

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[Array]:
        from PIL import Image

        for path in self.paths:
            try:
                with Image.open(path) as image:
                    yield self.preprocess(image)
            except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
                raise DataError(f"image '{path}' cannot be read: {error}") from None
