"""Upscale NumPy images of any size and type with a trained SR network."""

import logging
import math
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from usrdu_basicsr.inference.load_network import load_generator, probe, size_multiple
from usrdu_basicsr.inference.pixels import check_image, resize, scaled_size, to_image_array
from usrdu_basicsr.inference.strength import check_strength, with_strength
from usrdu_basicsr.inference.tiles import upscale_rows
from usrdu_basicsr.utils.device import pick_device
from usrdu_basicsr.utils.errors import InputError, first_line
from usrdu_basicsr.utils.images import to_float
from usrdu_basicsr.utils.memory import free_memory, is_out_of_memory
from usrdu_basicsr.utils.precision import Precision

logger = logging.getLogger(__name__)
OVERLAP = 32  # input pixels; pixels farther away have hardly any influence on the output
MIN_TILE = 32
MAX_CPU_TILE = 256  # larger tiles exceed the caches and are slower
MAX_GPU_TILE = 1024  # features of larger ones exceed the 32-bit indices of some kernels
MAX_OUTSCALE = 10_000


class Upscaler:
    """Upscaler of NumPy images.

    Args:
        network: SR network for RGB images, on its device. It is modified for the precision.
        precision: Numeric precision of the network; None for float32.
        tile: Maximum side of a tile in input pixels; None to choose it for each image by the free memory, 0 for whole
            images. It is halved when memory runs out.
        overlap: Input pixels in which neighbouring tiles are blended, about a quarter of a tile at most.
        self_ensemble: Average over eight flips and transpositions of the image, which takes eight times as long.
        outscale: Scale of the result, to which the output of the network is resized; None for the network's scale.
        strength: Interpolates between bicubic upscaling, 0, and the network, 1.

    Attributes:
        scale: Scale of the network.
        outscale: Scale of the result.

    Raises:
        InputError: If the network is not for RGB images, or a tile, overlap, outscale or strength is invalid.
    """

    def __init__(
        self,
        network: nn.Module,
        precision: Precision | None = None,
        tile: int | None = None,
        overlap: int = OVERLAP,
        self_ensemble: bool = False,
        outscale: float | None = None,
        strength: float = 1,
    ) -> None:
        check_strength(strength)
        if tile is not None and tile != 0 and tile < MIN_TILE:
            raise InputError(f'tile: got {tile}, expected at least {MIN_TILE} pixels, or 0 for whole images')
        if overlap < 0:
            raise InputError(f'overlap: got {overlap}, expected at least 0 pixels')
        if outscale is not None and not 0 < outscale <= MAX_OUTSCALE:  # also true for NaN
            raise InputError(f'outscale: got {outscale}, expected a number above 0 and up to {MAX_OUTSCALE}')
        self.device = next(network.parameters()).device
        self.precision = precision or Precision('fp32', self.device)
        self.precision.prepare(network)
        self.network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.multiple = size_multiple(network)
        self.tile = tile
        self.overlap = overlap
        self.run = with_self_ensemble(self._run_network) if self_ensemble else self._run_network
        self.scale, self.bytes_per_pixel = probe(self._run_network, network, self.device)
        if strength < 1:
            self.run = with_strength(self.run, self.scale, strength)
        self.outscale = outscale or self.scale
        self._max_tile = math.inf  # tile size after memory ran out

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Upscale an image.

        Args:
            image: `(H, W)` or `(H, W, 1)` gray, `(H, W, 3)` BGR, or `(H, W, 4)` BGR and alpha; uint8, uint16, or
                floating point in [0, 1].

        Returns:
            `(H * s, W * s)` with the channels and the data type of the image (float32 for floating point). Gray is
            upscaled as colour and converted back; alpha is resized.

        Raises:
            InputError: If the image has another shape or data type, or does not fit into memory.
        """
        check_image(image)
        pixels = image if image.ndim == 3 else image[..., None]
        size = scaled_size(pixels.shape[:2], self.outscale)
        self._check_memory(pixels, size)
        result = resize(self._upscale(pixels[..., :3]), size)
        if pixels.shape[2] == 4:
            alpha = np.ascontiguousarray(pixels[..., 3:]).astype(result.dtype, copy=False)
            result = np.concatenate([result, resize(alpha, size)], axis=2)
        return result if image.ndim == 3 else result[..., 0]

    def _check_memory(self, pixels: np.ndarray, size: tuple[int, int]) -> None:
        """Refuse a result larger than the free memory, for which an overcommitting system would kill the process."""
        largest = max(math.prod(size), math.prod(pixels.shape[:2]) * self.scale**2)
        needed, free = largest * pixels.shape[2] * pixels.itemsize, free_memory(torch.device('cpu'))
        if free is not None and needed > free:
            problem = f'needs {needed / 1e9:.1f} GB of memory, but {free / 1e9:.1f} GB are free'
            raise InputError(f'the upscaled image of {size[1]}x{size[0]} pixels {problem}. Choose a smaller outscale')

    def _upscale(self, pixels: np.ndarray) -> np.ndarray:
        """Upscale `(H, W, 1 or 3)` by the scale of the network."""
        height, width, channels = pixels.shape
        shape = (height * self.scale, width * self.scale, channels)
        try:
            output = np.empty(shape, pixels.dtype if pixels.dtype.kind == 'u' else np.float32)
        except MemoryError as error:
            raise InputError(
                f'the upscaled image of {shape[1]}x{shape[0]} pixels does not fit into memory. Free memory'
            ) from error
        tile = self._choose_tile(pixels, output.nbytes)
        while True:
            try:
                self._fill(output, pixels, tile)
                return output
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = first_line(error)  # the exception itself would keep the tensors of the failed pass alive
            if tile <= MIN_TILE:
                raise InputError(f'out of memory with the smallest tile of {tile} pixels ({reason}). Free memory')
            self._max_tile = tile = max(tile // 2, MIN_TILE)
            logger.warning('Out of memory: retrying with tiles of %d pixels', tile)
            if self.device.type == 'cuda':
                torch.cuda.empty_cache()

    def _choose_tile(self, pixels: np.ndarray, output_bytes: int) -> int:
        """Side of the tiles for an image; its longer side if it is processed as a whole."""
        whole, on_cpu = max(pixels.shape[:2]), self.device.type == 'cpu'
        tile: float = self.tile or whole
        if self.tile is None:
            free = free_memory(self.device)
            tile = MAX_CPU_TILE if on_cpu or free is None else MAX_GPU_TILE
            if free is not None:
                free -= output_bytes if on_cpu else 0  # allocated, but not used yet
                tile = min(tile, max(math.sqrt(max(free, 0) / 2 / self.bytes_per_pixel), MIN_TILE))
        return int(min(tile, whole, self._max_tile))

    def _fill(self, output: np.ndarray, pixels: np.ndarray, tile: int) -> None:
        """Upscale an image in tiles into `output`. Tile coordinates are in units of `multiple` pixels."""
        unit = self.multiple
        if unit > 1:
            pixels = np.pad(pixels, [(0, -side % unit) for side in pixels.shape[:2]] + [(0, 0)], mode='edge')

        def run(rows: slice, columns: slice) -> Tensor:
            part = pixels[rows.start * unit : rows.stop * unit, columns.start * unit : columns.stop * unit]
            x = torch.from_numpy(to_float(part[..., ::-1])).permute(2, 0, 1)[None]  # (1, C, h, w), RGB
            return self.run(x.to(self.device).expand(-1, 3, -1, -1))[0]

        overlap = -(-min(self.overlap, tile // 4) // unit)
        tile = max(-(-tile // unit), 2 * overlap + 1)
        size = (pixels.shape[0] // unit, pixels.shape[1] // unit)
        start = 0
        with torch.inference_mode():
            for rows in upscale_rows(run, size, unit * self.scale, tile, overlap):
                rows = rows[:, : output.shape[0] - start, : output.shape[1]]
                output[start : start + rows.shape[1]] = to_image_array(rows, output)
                start += rows.shape[1]

    def _run_network(self, x: Tensor) -> Tensor:
        return self.precision.run(self.network, x.contiguous(memory_format=torch.channels_last))


def with_self_ensemble(run: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Average `run` over the eight flips and transpositions of its input, each undone (https://arxiv.org/abs/1707.02921)."""

    def run_all(x: Tensor) -> Tensor:
        total = x.new_zeros(())
        for vertical, horizontal, transpose in product((False, True), repeat=3):
            flipped = [-2] * vertical + [-1] * horizontal
            y = run((x.mT if transpose else x).flip(flipped)).flip(flipped)
            total = total + (y.mT if transpose else y)
        return total / 8

    return run_all


def load_upscaler(
    path: str | Path,
    device: str | None = None,
    precision: str = 'fp32',
    tile: int | None = None,
    self_ensemble: bool = False,
    outscale: float | None = None,
    strength: float = 1,
) -> Upscaler:
    """Load an `Upscaler` from a checkpoint.

    Args:
        path: `net_g_*.pth` of stage 2, a published SR file, or another RRDBNet or SRVGGNetCompact.
        device: `cpu`, `cuda`, `cuda:1`, ...; None for the GPU if there is one.
        precision: `fp32`, `tf32`, `bf16` or `fp16`, see `usrdu_basicsr.utils.precision`.
        tile: Maximum side of a tile in input pixels, see `Upscaler`.
        self_ensemble: Average over eight flips and transpositions, see `Upscaler`.
        outscale: Scale of the result; None for the network's scale.
        strength: Interpolates between bicubic upscaling, 0, and the network, 1.

    Raises:
        InputNotFoundError: If the file does not exist.
        InputError: If the file is corrupt or of an unknown architecture, or a setting is invalid.
    """
    torch_device = pick_device(device)
    network = load_generator(path, torch_device)
    numeric = Precision(precision, torch_device)
    return Upscaler(network, numeric, tile, self_ensemble=self_ensemble, outscale=outscale, strength=strength)
