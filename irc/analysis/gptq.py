"""Round weights one input at a time, each later weight making up for what the earlier ones lost.

    minimize  sum over samples of |(W_q - W) x|^2,   which needs of the data only  H = mean of x x^T

GPTQ: Frantar et al. 2022, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers",
section 3 (inputs of large second moment first; lazy updates in blocks; damping of the diagonal).
"""

from __future__ import annotations

import torch

from irc.analysis.saturation import SUM_LIMIT

_BLOCK = 64  # columns updated one by one before the rest is updated at once


def round_rows(
    rows: torch.Tensor,
    moment: torch.Tensor,
    scale: torch.Tensor,
    qmin: int,
    qmax: int,
    *,
    damping: float,
    together: torch.Tensor | None = None,
    zeros: torch.Tensor | None = None,
) -> torch.Tensor:
    """The integer codes of the rows.

    Parameters
    ----------
    rows : float, shape (G, N, K)
    moment : float, shape (G, K, K), the mean of x x^T over the patches of each group
    scale : float, shape (G, N, 1)
    qmin, qmax : smallest and largest code
    damping : added to the diagonal, as a share of its mean
    together : int64, shape (K,), the group of each input; codes of one sign in a group are kept from summing to
        more than `irc.analysis.saturation.SUM_LIMIT`
    zeros : bool, shape (G, N, K), where the code is 0 whatever the earlier ones lost; the later ones make up for it
        (Frantar and Alistarh 2023, "SparseGPT", section 3.4)

    Returns
    -------
    float64 codes, shape (G, N, K).

    Raises
    ------
    ValueError : the moments are not finite.
    """
    groups, _, inner = rows.shape
    moment = moment.double()
    if not bool(torch.isfinite(moment).all()):
        raise ValueError("the second moments are not finite")
    order = torch.argsort(moment.diagonal(dim1=1, dim2=2).sum(0), descending=True, stable=True)
    factor = _factor(moment, order, damping)
    left = rows.double()[:, :, order]
    codes = torch.zeros_like(left)
    pruned = None if zeros is None else zeros[:, :, order]
    sums = None if together is None else _Sums(rows.shape[:2], together[order])
    step = scale[:, :, 0].double()
    for start in range(0, inner, _BLOCK):
        stop = min(start + _BLOCK, inner)
        errors = torch.zeros(groups, rows.shape[1], stop - start, dtype=torch.double)
        for i in range(start, stop):
            code = torch.round(left[:, :, i] / step).clamp(qmin, qmax)
            if pruned is not None:
                code = code.masked_fill(pruned[:, :, i], 0)
            if sums is not None:
                code = sums.fit(i, code)
            codes[:, :, i] = code
            error = (left[:, :, i] - code * step) / factor[:, i, i, None]
            errors[:, :, i - start] = error
            left[:, :, i + 1 : stop] -= error[:, :, None] * factor[:, None, i, i + 1 : stop]
        left[:, :, stop:] -= errors @ factor[:, start:stop, stop:]
    return codes[:, :, torch.argsort(order)]


def _factor(moment: torch.Tensor, order: torch.Tensor, damping: float) -> torch.Tensor:
    """The upper Cholesky factor of the damped moment's inverse, shape (G, K, K), its inputs in that order."""
    diagonal = moment.diagonal(dim1=1, dim2=2)
    ridge = (damping * diagonal.mean(1, keepdim=True)).clamp_min(1e-12)
    damped = moment[:, order][:, :, order] + torch.diag_embed(ridge.expand_as(diagonal))
    factor: torch.Tensor = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True)
    return factor


class _Sums:
    """What the codes of each group sum to so far, those of each sign apart."""

    def __init__(self, shape: torch.Size, together: torch.Tensor) -> None:
        self.group = together.tolist()
        count = max(self.group, default=0) + 1
        self.positive = torch.zeros(*shape, count, dtype=torch.double)
        self.negative = torch.zeros(*shape, count, dtype=torch.double)

    def fit(self, i: int, code: torch.Tensor) -> torch.Tensor:
        """The nearest to the code of input i that its group has room for."""
        positive, negative = self.positive[:, :, self.group[i]], self.negative[:, :, self.group[i]]
        code = torch.minimum(torch.maximum(code, negative - SUM_LIMIT), SUM_LIMIT - positive)
        positive += code.clamp_min(0)
        negative -= code.clamp_max(0)
        return code
