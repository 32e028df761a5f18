"""Round weights one input at a time, each later weight making up for what the earlier ones lost.

    minimize  sum over samples of |(W_q - W) x|^2,   which needs of the data only  H = mean of x x^T

GPTQ: Frantar et al. 2022, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers",
section 3 (inputs of large second moment first; lazy updates in blocks; damping of the diagonal).
"""

from __future__ import annotations

import torch

_BLOCK = 64  # columns updated one by one before the rest is updated at once
_PAIR = 128  # what two neighbouring codes of one sign may sum to, see irc.analysis.saturation


def round_rows(
    rows: torch.Tensor, moment: torch.Tensor, scale: torch.Tensor, qmin: int, qmax: int, *, pairs: bool, damping: float
) -> torch.Tensor:
    """The integer codes of the rows.

    Parameters
    ----------
    rows : float, shape (G, N, K)
    moment : float, shape (G, K, K), the mean of x x^T over the patches of each group
    scale : float, shape (G, N, 1)
    qmin, qmax : smallest and largest code
    pairs : keep neighbours 2k and 2k + 1 of one sign from summing to more than 128
    damping : added to the diagonal, as a share of its mean

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
    diagonal = moment.diagonal(dim1=1, dim2=2)
    order = torch.argsort(diagonal.sum(0), descending=True, stable=True)
    ridge = (damping * diagonal.mean(1, keepdim=True)).clamp_min(1e-12)
    moment = moment[:, order][:, :, order] + torch.diag_embed(ridge.expand(groups, inner))
    factor = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(moment)), upper=True)
    left = rows.double()[:, :, order]
    codes = torch.zeros_like(left)
    place = {int(k): i for i, k in enumerate(order)}
    step = scale[:, :, 0].double()
    for start in range(0, inner, _BLOCK):
        stop = min(start + _BLOCK, inner)
        errors = torch.zeros(groups, rows.shape[1], stop - start, dtype=torch.double)
        for i in range(start, stop):
            code = torch.round(left[:, :, i] / step).clamp(qmin, qmax)
            neighbour = place.get(int(order[i]) ^ 1, inner)
            if pairs and neighbour < i:
                code = _fit_beside(code, codes[:, :, neighbour])
            codes[:, :, i] = code
            error = (left[:, :, i] - code * step) / factor[:, i, i, None]
            errors[:, :, i - start] = error
            left[:, :, i + 1 : stop] -= error[:, :, None] * factor[:, None, i, i + 1 : stop]
        left[:, :, stop:] -= errors @ factor[:, start:stop, stop:]
    return codes[:, :, torch.argsort(order)]


def _fit_beside(code: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The code nearest to `code` that does not sum to more than `_PAIR` with its neighbour of the same sign."""
    return torch.minimum(torch.maximum(code, -_PAIR - other.clamp_max(0)), _PAIR - other.clamp_min(0))
