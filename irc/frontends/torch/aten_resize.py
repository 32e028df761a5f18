"""Padding, and interpolation to another spatial size."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from irc.frontends.torch.emitter import Emitter, Number, dtype, rank, shape
from irc.frontends.torch.rules import Unsupported, rule
from irc.frontends.torch.symbols import Size
from irc.graph import Value

_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


@rule("aten.pad.default")
def pad(e: Emitter, x: Value, pad: Sequence[Size], mode: str = "constant", value: Number | None = None) -> Value:
    """ONNX Pad; torch's pads run from the last axis to the first, begin and end of each together."""
    pairs = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)][::-1]
    if all(p == (0, 0) for p in pairs):
        return x
    others = [0] * (rank(x) - len(pairs))
    before, after = [*others, *(p[0] for p in pairs)], [*others, *(p[1] for p in pairs)]
    if mode == "constant" and any(isinstance(p, int) and p < 0 for p in (*before, *after)):
        return _cropped(e, x, before, after, value)
    filler = e.scalar(value, dtype(x), "value") if mode == "constant" and value else None
    return e.emit("Pad", x, e.sizes([*before, *after], "pads"), filler, part="", type=e.out, mode=_MODES[mode])


def _cropped(e: Emitter, x: Value, before: Sequence[Size], after: Sequence[Size], value: Number | None) -> Value:
    """Padding of which some is negative: cut that off, then pad the rest."""
    begins, ends = e.static(before, "a crop"), e.static(after, "a crop")
    for axis, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        if begin < 0 or end < 0:
            x = e.slice(x, axis, max(-begin, 0), min(end, 0) or 2**63 - 1, part="crop")
    rest = [max(p, 0) for p in (*begins, *ends)]
    if not any(rest):
        return x
    filler = e.scalar(value, dtype(x), "value") if value else None
    return e.emit("Pad", x, rest, filler, part="", type=e.out)


@rule("aten.constant_pad_nd.default")
def constant_pad(e: Emitter, x: Value, pad_: Sequence[Size], value: Number = 0) -> Value:
    return pad(e, x, pad_, "constant", value)


@rule("aten.reflection_pad1d.default", "aten.reflection_pad2d.default", "aten.reflection_pad3d.default")
def reflection_pad(e: Emitter, x: Value, padding: Sequence[Size]) -> Value:
    return pad(e, x, padding, "reflect")


@rule("aten.replication_pad1d.default", "aten.replication_pad2d.default", "aten.replication_pad3d.default")
def replication_pad(e: Emitter, x: Value, padding: Sequence[Size]) -> Value:
    return pad(e, x, padding, "replicate")


def _resize(e: Emitter, x: Value, factors: Sequence[float] | None, **attributes: object) -> Value:
    """Resize of the spatial axes to the size that torch gives.

    By scales where they give exactly that size (static, or a size that is all whole multiples), else by sizes.
    """
    have, want = shape(x)[2:], e.out_shape[2:]
    ratios = []
    for k, (h, w) in enumerate(zip(have, want, strict=True)):
        if factors is not None:
            ratios.append(float(factors[k]))
        elif isinstance(h, int) and isinstance(w, int):
            ratios.append(w / h)
        else:
            ratios.append(math.nan)
    exact = all(
        not math.isnan(r) and (h == w if r == 1 else (r.is_integer() or _gives(h, w, r)))
        for h, w, r in zip(have, want, ratios, strict=True)
    )
    if exact:
        scales = e.constant(np.array([1, 1, *ratios], np.float32), "scales")
        return e.emit("Resize", x, None, scales, part="", type=e.out, **attributes)
    if factors is not None and any(
        not isinstance(h, int) or not isinstance(w, int) or w != h * r
        for h, w, r in zip(have, want, ratios, strict=True)
    ):
        raise Unsupported("interpolation by a factor that does not divide the sizes evenly")
    known = [d for d in e.out_shape if d is not None]
    if len(known) < rank(x):
        raise Unsupported("interpolation to a size that is not known")
    return e.emit("Resize", x, None, None, e.sizes(known, "sizes"), part="", type=e.out, **attributes)


def _gives(have: object, want: object, ratio: float) -> bool:
    """Whether floor(have * ratio) is the wanted size, whether a runtime computes that in float32 or in float64."""
    scale = np.float32(ratio)
    return isinstance(have, int) and all(math.floor(t(have) * t(scale)) == want for t in (np.float32, np.float64))


def _factors(scales: Sequence[float | None]) -> list[float] | None:
    given = [s for s in scales if s is not None]
    return given if given and len(given) == len(scales) else None


@rule("aten.upsample_nearest1d.vec", "aten.upsample_nearest2d.vec", "aten.upsample_nearest3d.vec")
def nearest(e: Emitter, x: Value, output_size: Sequence[Size] | None, factors: Sequence[float] | None) -> Value:
    return _resize(e, x, factors, mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric")


@rule("aten.upsample_nearest1d.default", "aten.upsample_nearest2d.default", "aten.upsample_nearest3d.default")
def nearest_to(e: Emitter, x: Value, output_size: Sequence[Size], *scales: float | None) -> Value:
    return nearest(e, x, output_size, _factors(scales))


def _coordinates(align_corners: bool) -> str:
    return "align_corners" if align_corners else "half_pixel"


@rule("aten.upsample_linear1d.vec", "aten.upsample_bilinear2d.vec", "aten.upsample_trilinear3d.vec")
def linear(
    e: Emitter, x: Value, output_size: Sequence[Size] | None, align_corners: bool, factors: Sequence[float] | None
) -> Value:
    return _resize(e, x, factors, mode="linear", coordinate_transformation_mode=_coordinates(align_corners))


@rule("aten.upsample_linear1d.default", "aten.upsample_bilinear2d.default", "aten.upsample_trilinear3d.default")
def linear_to(e: Emitter, x: Value, output_size: Sequence[Size], align_corners: bool, *scales: float | None) -> Value:
    return linear(e, x, output_size, align_corners, _factors(scales))


@rule("aten.upsample_bicubic2d.vec")
def bicubic(
    e: Emitter, x: Value, output_size: Sequence[Size] | None, align_corners: bool, factors: Sequence[float] | None
) -> Value:
    coordinates = _coordinates(align_corners)
    return _resize(e, x, factors, mode="cubic", cubic_coeff_a=-0.75, coordinate_transformation_mode=coordinates)


@rule("aten.upsample_bicubic2d.default")
def bicubic_to(e: Emitter, x: Value, output_size: Sequence[Size], align_corners: bool, *scales: float | None) -> Value:
    return bicubic(e, x, output_size, align_corners, _factors(scales))
