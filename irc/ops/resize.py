"""Resampling of axes: nearest, linear and cubic, all of ONNX's coordinate systems.

Along each axis Resize is linear in the data, so each axis gets a matrix of weights (output size x input size), built in
float64 from the definition; nearest gets a list of indices. That is exact and differentiable for every mode.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from irc.errors import GraphError
from irc.op import ChannelKind, Example, Op, Quant, QuantKind
from irc.ops.tensors import ints, sample, shape_input
from irc.types import Array, TensorType, Type


@dataclass(frozen=True)
class _Axis:
    """One axis to resize: sizes, output elements per input element, and the region of interest on it."""

    axis: int
    size: int
    resized: int
    scale: float
    start: float
    end: float


def _scaled(size: int, part: float, scale: float) -> int:
    """The output size of an axis, in float32 as onnxruntime has it: 10 * 0.7 is 7 there, and less in float64."""
    return math.floor(np.float32(size) * np.float32(part) * np.float32(scale))


@dataclass(frozen=True)
class Resize(Op):
    """x resampled to other sizes. ONNX Resize-19.

    Inputs: x; roi (starts..., ends...), scales, sizes, of which scales or sizes is given.
    mode : "nearest", "linear" or "cubic"; the other attributes as in ONNX
    """

    channels = ChannelKind.WINDOW
    since = 11

    antialias: int = 0
    axes: tuple[int, ...] | None = None
    coordinate_transformation_mode: str = "half_pixel"
    cubic_coeff_a: float = -0.75
    exclude_outside: int = 0
    extrapolation_value: float = 0.0
    keep_aspect_ratio_policy: str = "stretch"
    mode: str = "nearest"
    nearest_mode: str = "round_prefer_floor"

    @property
    def quant(self) -> Quant:
        return Quant(QuantKind.MOVEMENT if self.mode == "nearest" else QuantKind.ARITHMETIC)

    def infer(
        self, inputs: Sequence[Type | None], constants: Sequence[Array | None], outputs: int
    ) -> list[Type | None]:
        types = super().infer(inputs, constants, outputs)
        scales, x, made = constants[2] if len(constants) > 2 else None, inputs[0], types[0]
        crop = self.coordinate_transformation_mode == "tf_crop_and_resize"
        if scales is None or not scales.size or crop or not isinstance(x, TensorType) or x.shape is None:
            return types
        if not isinstance(made, TensorType) or made.shape is None:
            return types
        shape = list(made.shape)
        for axis, scale in zip(self.axes or range(len(shape)), scales.tolist(), strict=True):
            size = x.shape[axis]
            if isinstance(size, int):
                shape[axis] = _scaled(size, 1, scale)  # onnx multiplies in float64, which may come out one less
        return [TensorType(made.dtype, tuple(shape))]

    def run(
        self,
        x: torch.Tensor,
        roi: torch.Tensor | None = None,
        scales: torch.Tensor | None = None,
        sizes: torch.Tensor | None = None,
    ) -> torch.Tensor:
        plan = self._plan(x.shape, roi, scales, sizes)
        crop = self.coordinate_transformation_mode == "tf_crop_and_resize"
        outside: list[tuple[int, torch.Tensor]] = []
        work = x if self.mode == "nearest" or x.is_floating_point() else x.double()
        for a in plan:
            if a.size == a.resized and a.scale == 1 and not crop:
                continue
            places = self._places(a)
            if crop:
                outside.append((a.axis, (places < 0) | (places > a.size - 1)))
            work = self._resample(work, a, places)
        for axis, beyond in outside:
            shape = [1] * x.ndim
            shape[axis] = -1
            work = work.masked_fill(beyond.reshape(shape).to(x.device), self.extrapolation_value)
        return work if work.dtype == x.dtype else self._rounded(work, x.dtype)

    def _rounded(self, work: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Integers as onnxruntime makes them of the interpolated: cut, and saturated by the cubic overshoot."""
        limits = torch.iinfo(dtype)
        return work.clamp(limits.min, limits.max).to(dtype)

    def _plan(
        self,
        shape: Sequence[int],
        roi: torch.Tensor | None,
        scales: torch.Tensor | None,
        sizes: torch.Tensor | None,
    ) -> list[_Axis]:
        axes = [a % len(shape) for a in self.axes] if self.axes is not None else list(range(len(shape)))
        region = [] if roi is None else roi.double().tolist()
        starts, ends = (region[: len(axes)], region[len(axes) :]) if region else ([0.0] * len(axes), [1.0] * len(axes))
        if sizes is not None and sizes.numel():
            wanted = self._kept_aspect([shape[a] for a in axes], ints(sizes))
            factors = [w / shape[a] for w, a in zip(wanted, axes, strict=True)]
            if self.keep_aspect_ratio_policy != "stretch":
                pick = min if self.keep_aspect_ratio_policy == "not_larger" else max
                factors = [pick(n / shape[a] for n, a in zip(ints(sizes), axes, strict=True))] * len(axes)
        elif scales is not None and scales.numel():
            factors = [float(s) for s in scales.tolist()]
            crop = self.coordinate_transformation_mode == "tf_crop_and_resize"
            wanted = [
                _scaled(shape[a], e - b if crop else 1, f)
                for a, f, b, e in zip(axes, factors, starts, ends, strict=True)
            ]
        else:
            raise GraphError("Resize takes scales or sizes; this one has neither")
        return [
            _Axis(a, shape[a], w, f, b, e) for a, w, f, b, e in zip(axes, wanted, factors, starts, ends, strict=True)
        ]

    def _kept_aspect(self, shape: Sequence[int], wanted: Sequence[int]) -> list[int]:
        """The output sizes under `keep_aspect_ratio_policy`."""
        if self.keep_aspect_ratio_policy == "stretch":
            return list(wanted)
        pick = min if self.keep_aspect_ratio_policy == "not_larger" else max
        scale = pick(w / n for w, n in zip(wanted, shape, strict=True))
        return [math.floor(scale * n + 0.5) for n in shape]

    def _places(self, a: _Axis) -> torch.Tensor:
        """Where in the input each output element lies, float64."""
        k = torch.arange(a.resized, dtype=torch.float64)
        length = a.size * a.scale  # the output size before it was cut to an integer
        match self.coordinate_transformation_mode:
            case "half_pixel":
                return (k + 0.5) / a.scale - 0.5
            case "half_pixel_symmetric":
                shift = a.size / 2 * (1 - a.resized / length)
                return shift + (k + 0.5) / a.scale - 0.5
            case "pytorch_half_pixel":
                return (k + 0.5) / a.scale - 0.5 if a.resized > 1 else torch.zeros_like(k)
            case "align_corners":
                return k * (a.size - 1) / (length - 1) if length != 1 else torch.zeros_like(k)
            case "asymmetric":
                return k / a.scale
            case "tf_half_pixel_for_nn":
                return (k + 0.5) / a.scale
            case "tf_crop_and_resize":
                if a.resized > 1:
                    return a.start * (a.size - 1) + k * (a.end - a.start) * (a.size - 1) / (length - 1)
                return torch.full_like(k, 0.5 * (a.start + a.end) * (a.size - 1))
            case other:
                raise GraphError(f"Resize has no coordinate_transformation_mode {other!r}")

    def _resample(self, x: torch.Tensor, a: _Axis, places: torch.Tensor) -> torch.Tensor:
        if self.mode == "nearest":
            places = places.float()  # as in onnxruntime: 8 / 1.6 is 5 there, and a little less in float64
            return x.index_select(a.axis, self._nearest(places).clamp(0, a.size - 1).to(x.device))
        weights = self._weights(a, places).to(x)
        return torch.matmul(x.movedim(a.axis, -1), weights.mT).movedim(-1, a.axis)

    def _nearest(self, places: torch.Tensor) -> torch.Tensor:
        match self.nearest_mode:
            case "round_prefer_floor":
                return torch.ceil(places - 0.5).long()
            case "round_prefer_ceil":
                return torch.floor(places + 0.5).long()
            case "floor":
                return torch.floor(places).long()
            case "ceil":
                return torch.ceil(places).long()
            case other:
                raise GraphError(f"Resize has no nearest_mode {other!r}")

    def _weights(self, a: _Axis, places: torch.Tensor) -> torch.Tensor:
        """The weight of each input element in each output element, float64, shape (resized, size)."""
        shrink = min(a.scale, 1.0) if self.antialias else 1.0
        reach = math.ceil((2 if self.mode == "cubic" else 1) / shrink)
        first = torch.floor(places).long()[:, None] + torch.arange(1 - reach, reach + 1)
        distance = (first - places[:, None]).abs() * shrink
        weights = self._cubic(distance) if self.mode == "cubic" else (1 - distance).clamp(min=0)
        if self.exclude_outside:
            weights = torch.where((first < 0) | (first >= a.size), 0, weights)
        weights = weights / weights.sum(1, keepdim=True)
        made = torch.zeros(a.resized, a.size, dtype=torch.float64)
        return made.scatter_add_(1, first.clamp(0, a.size - 1), weights)  # the border repeats beyond the data

    def _cubic(self, d: torch.Tensor) -> torch.Tensor:
        """Keys' cubic convolution kernel at the distances d."""
        c = self.cubic_coeff_a
        near = ((c + 2) * d - (c + 3)) * d * d + 1
        far = ((d - 5) * d + 8) * d * c - 4 * c
        return torch.where(d <= 1, near, torch.where(d < 2, far, 0))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = sample(1, 2, 4, 5)
        up, down = np.array([1, 1, 2, 1.6], np.float32), np.array([1, 1, 0.6, 0.7], np.float32)
        for mode in ("nearest", "linear", "cubic"):
            for place in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"):
                yield Example(cls(mode=mode, coordinate_transformation_mode=place), (x, None, up))
                # not by scales that give no whole size: onnxruntime aligns the corners of the size it cut
                smaller = (None, shape_input(1, 2, 2, 3)) if place == "align_corners" else (down,)
                yield Example(cls(mode=mode, coordinate_transformation_mode=place), (x, None, *smaller))
        for nearest in ("round_prefer_ceil", "floor", "ceil"):
            yield Example(cls(nearest_mode=nearest), (x, None, up))
        yield Example(cls(mode="linear"), (x, None, None, shape_input(1, 2, 7, 3)))
        yield Example(cls(mode="linear"), (sample(1, 1, 10), None, np.array([1, 1, 0.7], np.float32)))
        yield Example(cls(mode="linear", antialias=1), (x, None, down))
        yield Example(cls(mode="cubic", antialias=1, exclude_outside=1), (x, None, down))
        yield Example(cls(mode="cubic", cubic_coeff_a=-0.5, exclude_outside=1), (x, None, up))
        yield Example(cls(mode="linear", axes=(2, 3)), (x, None, up[2:]))
        yield Example(cls(axes=(2, 3), keep_aspect_ratio_policy="not_larger"), (x, None, None, shape_input(7, 8)))
        yield Example(cls(axes=(2, 3), keep_aspect_ratio_policy="not_smaller"), (x, None, None, shape_input(7, 8)))
        yield cls._crop(x)

    @classmethod
    def _crop(cls, x: Array) -> Example:
        op = cls(mode="linear", coordinate_transformation_mode="tf_crop_and_resize", extrapolation_value=9.0)
        roi = np.array([0, 0, 0.2, -0.3, 1, 1, 0.8, 1.2], np.float32)
        return Example(op, (x, roi, None, shape_input(1, 2, 3, 4)))
