"""MTCNN's three face detector stages (torch, PReLU), scored on the 200 LFW faces and non-faces in scikit-image.

P-Net looks at 12 x 12, R-Net at 24 x 24 and O-Net at 48 x 48 pixels (Zhang et al. 2016, figure 2). The networks are
written here, because `facenet_pytorch` imports torchvision; its package gives the weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from openset.common import Inputs, OpenModel, Run, area_under_curve, package_folder, spread

_SIZE = {"pnet": 12, "rnet": 24, "onet": 48}
_THRESHOLD = 0.7  # from which MTCNN keeps a candidate


class _Columns(nn.Module):
    """Flatten (n, c, h, w) in the order w, h, c, in which the dense layers were trained."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, 3, 2, 1).flatten(1)


class Stage(nn.Module):
    """A trunk, then heads on its output: the last is the probability of (no face, face), the others are regressions."""

    def __init__(self, trunk: dict[str, nn.Module], heads: dict[str, nn.Module]) -> None:
        super().__init__()
        self._trunk, self._heads = tuple(trunk), tuple(heads)
        for name, module in {**trunk, **heads}.items():
            self.add_module(name, module)  # flat names, as in the weight files

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Score crops, float32, shape (batch, 3, size, size), values (pixel - 127.5) / 128."""
        for name in self._trunk:
            x = self.get_submodule(name)(x)
        *regressions, face = (self.get_submodule(name)(x) for name in self._heads)
        return (*regressions, face.softmax(1))


def _convolutions(pools: dict[int, int], *layers: tuple[int, int, int]) -> dict[str, nn.Module]:
    """Conv-PReLU layers (inputs, outputs, kernel), numbered from 1; pools: layer number to kernel, stride 2."""
    trunk: dict[str, nn.Module] = {}
    for i, (inputs, outputs, kernel) in enumerate(layers, 1):
        trunk |= {f"conv{i}": nn.Conv2d(inputs, outputs, kernel), f"prelu{i}": nn.PReLU(outputs)}
        if i in pools:
            trunk[f"pool{i}"] = nn.MaxPool2d(pools[i], 2, ceil_mode=True)
    return trunk


def pnet() -> Stage:
    """Build P-Net with random weights: fully convolutional; outputs box (n, 4, h, w) and face (n, 2, h, w)."""
    trunk = _convolutions({1: 2}, (3, 10, 3), (10, 16, 3), (16, 32, 3))
    return Stage(trunk, {"conv4_2": nn.Conv2d(32, 4, 1), "conv4_1": nn.Conv2d(32, 2, 1)})


def rnet() -> Stage:
    """Build R-Net with random weights; outputs box (n, 4) and face (n, 2)."""
    trunk = _convolutions({1: 3, 2: 3}, (3, 28, 3), (28, 48, 3), (48, 64, 2))
    trunk |= {"columns": _Columns(), "dense4": nn.Linear(576, 128), "prelu4": nn.PReLU(128)}
    return Stage(trunk, {"dense5_2": nn.Linear(128, 4), "dense5_1": nn.Linear(128, 2)})


def onet() -> Stage:
    """Build O-Net with random weights; outputs box (n, 4), landmarks (n, 10) and face (n, 2)."""
    trunk = _convolutions({1: 3, 2: 3, 3: 2}, (3, 32, 3), (32, 64, 3), (64, 64, 3), (64, 128, 2))
    trunk |= {"columns": _Columns(), "dense5": nn.Linear(1152, 256), "prelu5": nn.PReLU(256)}
    return Stage(trunk, {"dense6_2": nn.Linear(256, 4), "dense6_3": nn.Linear(256, 10), "dense6_1": nn.Linear(256, 2)})


@cache
def _crops(size: int) -> NDArray[np.float32]:
    """Scale the LFW subset, 100 faces and then 100 others, to `size`; shape (200, 3, size, size)."""
    grey = torch.from_numpy(np.load(package_folder("skimage") / "data" / "lfw_subset.npy")).float()
    mode = "area" if size < grey.shape[-1] else "bilinear"
    colour = nn.functional.interpolate(255 * grey[:, None].repeat(1, 3, 1, 1), size=(size, size), mode=mode)
    scaled: NDArray[np.float32] = ((colour - 127.5) / 128).numpy()
    return scaled


def _calibrates() -> NDArray[np.bool_]:
    """Mark every fifth crop: these calibrate, the others score."""
    mark: NDArray[np.bool_] = np.arange(200) % 5 == 0
    return mark


def _calibration(size: int, count: int = 40) -> Iterator[Inputs]:
    crops = _crops(size)[_calibrates()]
    for i in spread(count, len(crops), "crops"):
        yield {"x": crops[i : i + 1]}


def _validation(size: int, count: int = 80) -> list[Inputs]:
    """Give crops that do not calibrate, mirrored: inputs that no other set holds."""
    crops = np.ascontiguousarray(_crops(size)[~_calibrates()][..., ::-1])
    return [{"x": crops[i : i + 1]} for i in spread(count, len(crops), "crops")]


def _evaluate(size: int, run: Run) -> dict[str, float]:
    """Accuracy at MTCNN's threshold, and area under the ROC curve."""
    crops, label = _crops(size)[~_calibrates()], (np.arange(200) < 100)[~_calibrates()].astype(np.int64)
    score = np.array([run({"x": crops[i : i + 1]})[-1].reshape(-1)[1] for i in range(len(crops))])
    return {
        "accuracy": float(((score > _THRESHOLD) == label).mean()),
        "auc": area_under_curve(score, label),
        "n": len(label),
    }


def load(stage: str = "rnet") -> OpenModel:
    """Load `pnet`, `rnet` or `onet` with the weights of the `facenet_pytorch` package."""
    size = _SIZE[stage]
    model = {"pnet": pnet, "rnet": rnet, "onet": onet}[stage]()
    model.load_state_dict(torch.load(package_folder("facenet_pytorch") / "data" / f"{stage}.pt", weights_only=True))
    return OpenModel(
        f"mtcnn_{stage}",
        model.eval(),
        {"x": _crops(size)[:1]},
        partial(_evaluate, size),
        partial(_calibration, size),
        partial(_validation, size),
    )
