"""Best linear filter between images."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

TAPS = 11
PIXELS = 4096  # of an image that are fitted, at most
RIDGE = 1e-6  # relative to the mean of the diagonal; images may lack frequencies


def fit_filter(pairs: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Filter that turns inputs into outputs with the least squares error, the same for all channels.

    Args:
        pairs: Inputs and outputs, `(1, C, H, W)` each; images smaller than the filter are ignored.

    Returns:
        `(TAPS, TAPS)` in correlation order; a single 1 if no image is large enough.
    """
    normal = torch.zeros(TAPS**2, TAPS**2, dtype=torch.float64)
    right = torch.zeros(TAPS**2, dtype=torch.float64)
    margin = TAPS // 2
    for x, y in pairs:
        if min(x.shape[2:]) < TAPS:
            continue
        windows = F.unfold(x.transpose(0, 1), TAPS).transpose(1, 2).flatten(0, 1)  # (C * pixels, TAPS²)
        targets = y[0, :, margin:-margin, margin:-margin].flatten()
        step = -(-len(targets) // PIXELS)
        windows, targets = windows[::step].double(), targets[::step].double()
        normal += windows.T @ windows
        right += windows.T @ targets
    if not normal.any():
        return F.pad(torch.ones(1, 1), (margin,) * 4)
    normal += RIDGE * normal.diagonal().mean() * torch.eye(TAPS**2, dtype=torch.float64)
    return torch.linalg.solve(normal, right).reshape(TAPS, TAPS).float()


def apply_filter(x: Tensor, taps: Tensor) -> Tensor:
    """Correlate each channel of `(N, C, H, W)` with `taps` `(k, k)`; borders are repeated."""
    padded = F.pad(x, (len(taps) // 2,) * 4, mode='replicate')
    return F.conv2d(padded.flatten(0, 1)[:, None], taps[None, None].to(x)).unflatten(0, x.shape[:2])[:, :, 0]
