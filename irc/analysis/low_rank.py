"""Low-rank approximations of weights: truncated singular values, and Tucker-2 of a convolution's kernel.

    W             ~  U_r (U_r^T W)                           U_r the first r left singular vectors of W S^(1/2)
    W[o, i, k]    ~  sum over a, b of U[o, a] G[a, b, k] V[b, i]

S is the mean of x x^T over what the weight multiplies, or the identity. U_r (U_r^T W) then has, of all matrices of
rank r, the least mean error |(W - W_r) x|^2: the squares of the singular values beyond r. It needs no inverse of S.

Sources: Eckart and Young 1936, "The approximation of one matrix by another of lower rank"; De Lathauwer, De Moor and
Vandewalle 2000, "A multilinear singular value decomposition" (HOSVD: the truncation bound) and "On the best rank-1 and
rank-(R1, ..., RN) approximation" (HOOI); Kim et al. 2016, "Compression of deep convolutional neural networks for fast
and low power mobile applications" (Tucker-2); Wang et al. 2024, "SVD-LLM" and Yuan et al. 2023, "ASVD" (S).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from irc.types import Array

_DAMPING = 1e-6  # of the largest second moment, where its root has to be inverted
_SWEEPS = 4


@dataclass(frozen=True)
class Spectrum:
    """Left singular vectors and singular values of a matrix, largest first.

    basis : float64, shape (rows, n);  values : float64, shape (n,), n the smaller side of the matrix
    """

    basis: Array
    values: Array

    @property
    def rank(self) -> int:
        """The largest rank there is."""
        return len(self.values)

    def tail(self, rank: int) -> float:
        """The part of the squared singular values that lies beyond `rank`."""
        total = float(self._squares.sum())
        return float(self._squares[rank:].sum()) / total if total > 0 else 0.0

    def rank_for(self, tail: float) -> int:
        """The smallest rank, at least 1, whose tail is at most `tail`."""
        beyond = np.cumsum(self._squares[::-1])[::-1]  # beyond[r] = what rank r leaves out
        return max(1, int((beyond > tail * beyond[0]).sum()))

    @property
    def _squares(self) -> Array:
        """The squared values, of the largest one: those of float64 weights may be too small or large themselves."""
        return np.square(self.values / (self.values[0] or 1.0))


def spectrum(matrix: Array) -> Spectrum:
    """The spectrum of a float matrix of shape (rows, columns)."""
    basis, values, _ = np.linalg.svd(np.asarray(matrix, np.float64), full_matrices=False)
    return Spectrum(basis, values)


def root(moment: Array) -> Array:
    """S^(1/2) of a symmetric, positive semidefinite S, shape (n, n)."""
    values, vectors = np.linalg.eigh(moment)
    return np.asarray((vectors * np.sqrt(values.clip(min=0))) @ vectors.T)


def shrunk(moment: Array, count: int) -> Array:
    """S, estimated from `count` inputs, moved towards the multiple of the identity of its trace.

    A few inputs span a few directions, and the others are not for that reason of no use. By how much S is moved is
    what makes the mean square error of the estimate least: near 1 for fewer inputs than S has strong directions, and
    little more than one part in `count` for many. Chen, Wiesel, Eldar and Hero 2010, "Shrinkage algorithms for MMSE
    covariance estimation", equation 23 (OAS).
    """
    size, trace, square = len(moment), float(np.trace(moment)), float(np.square(moment).sum())
    spread = (count + 1 - 2 / size) * (square - trace**2 / size)
    share = min(1.0, ((1 - 2 / size) * square + trace**2) / spread) if spread > 0 else 1.0
    return np.asarray((1 - share) * moment + share * trace / size * np.eye(size))


def damped(moment: Array) -> Array:
    """S with a small multiple of the identity added, so that it can be inverted."""
    largest = float(np.linalg.eigvalsh(moment)[-1])
    return np.asarray(moment + max(_DAMPING * largest, np.finfo(np.float64).tiny) * np.eye(len(moment)))


class Factors(NamedTuple):
    """W ~ last @ first, shapes (N, r) and (r, K)."""

    last: Array
    first: Array


def factors(weight: Array, basis: Array) -> Factors:
    """The weight, shape (N, K), projected on the span of `basis`, shape (N, r).

    Both factors take the square root of each direction's length, which for S = 1 is the singular value, so that
    neither needs a wider range of numbers than the other.
    """
    first = basis.T @ np.asarray(weight, np.float64)
    length = np.sqrt(np.linalg.norm(first, axis=1))
    length[length == 0] = 1.0
    return Factors(basis * length, first / length[:, None])


class Tucker(NamedTuple):
    """W ~ core times `last` over outputs times `first` over inputs: shapes (M, a), (a, b, *kernel), (b, C)."""

    last: Array
    core: Array
    first: Array


def unfolded(weight: Array, mode: int) -> Array:
    """The weight as a matrix whose rows run over axis `mode`."""
    return np.moveaxis(weight, mode, 0).reshape(weight.shape[mode], -1)


def times(weight: Array, matrix: Array, mode: int) -> Array:
    """The product of `matrix`, shape (n, weight.shape[mode]), with the weight over axis `mode`."""
    return np.moveaxis(np.tensordot(matrix, weight, (1, mode)), 0, mode)


def tucker(weight: Array, last: Array, first: Array, scale: Array | None = None) -> Tucker:
    """Tucker-2 factors of a weight of shape (M, C, *kernel).

    Parameters
    ----------
    last, first : where to start, with the ranks wanted: orthonormal columns, shapes (M, a) and (C, b), of HOSVD
    scale : S^(1/2), shape (C, C), invertible: the error over the inputs is weighed by it; None for the identity

    A rank that is the whole axis needs no factor: that side is the identity. Orthogonal iteration (HOOI) makes the
    error no larger than that of HOSVD.
    """
    wide = np.asarray(weight, np.float64)
    scaled = wide if scale is None else times(wide, scale, 1)
    outputs, inputs = last.shape[1], first.shape[1]
    whole = outputs == len(last), inputs == len(first)
    for _ in range(0 if any(whole) else _SWEEPS):
        last = spectrum(unfolded(times(scaled, first.T, 1), 0)).basis[:, :outputs]
        first = spectrum(unfolded(times(scaled, last.T, 0), 1)).basis[:, :inputs]
    if whole[0]:
        last = np.eye(len(last))
    if whole[1]:
        return Tucker(last, times(wide, last.T, 0), np.eye(len(first)))
    core = times(times(scaled, first.T, 1), last.T, 0)
    return Tucker(last, core, first.T if scale is None else np.linalg.solve(scale, first).T)
