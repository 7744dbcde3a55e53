"""Upscale images of any size and kind with a trained network."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from usrdu_basicsr.inference.load_network import load_generator
from usrdu_basicsr.inference.pixels import as_pixels, check_image, resized, scaled_size
from usrdu_basicsr.inference.probe import probe, size_multiple
from usrdu_basicsr.inference.self_ensemble import with_self_ensemble
from usrdu_basicsr.inference.tiles import Span, enlarged_rows
from usrdu_basicsr.utils.device import pick_device
from usrdu_basicsr.utils.errors import InputError, first_line
from usrdu_basicsr.utils.images import to_float
from usrdu_basicsr.utils.memory import free_memory
from usrdu_basicsr.utils.precision import Precision

logger = logging.getLogger(__name__)
OVERLAP = 32  # pixels of the input that tiles share: what a network makes of a pixel hardly depends on more around it
LEAST_TILE = 32
MOST_OUTSCALE = 10_000
ON_CPU = ("can't allocate memory", 'could not create a primitive', 'could not create a memory')  # torch's, oneDNN's
CPU_TILE = 256  # more is slower: the caches do not hold it


class Upscaler:
    """Upscales NumPy images.

    Args:
        network: SR network for RGB images, on its device; it is changed for the precision.
        precision: That it computes in; float32 if None.
        tile: Largest side of the parts that the network sees at once, in pixels of the input. None: chosen by the free
            memory for each image. 0: the whole image. It is halved when memory runs out.
        overlap: Pixels of the input that tiles share, in which they fade into each other; a quarter of a tile at most.
        self_ensemble: Average over the image's eight flips and turns; takes eight times as long.
        outscale: Of the result, to which the network's is resized; None for the network's own scale.

    Attributes:
        scale: The network's.

    Raises:
        InputError: The network is not for RGB images; a tile or an outscale is impossible.
    """

    def __init__(
        self,
        network: nn.Module,
        precision: Precision | None = None,
        tile: int | None = None,
        overlap: int = OVERLAP,
        self_ensemble: bool = False,
        outscale: float | None = None,
    ) -> None:
        if tile is not None and tile != 0 and tile < LEAST_TILE:
            raise InputError(f'tile: got {tile}, expected at least {LEAST_TILE} pixels, or 0 for the whole image')
        if overlap < 0:
            raise InputError(f'overlap: got {overlap}, expected 0 or more pixels')
        if outscale is not None and not 0 < outscale <= MOST_OUTSCALE:  # nor not a number
            raise InputError(f'outscale: got {outscale}, expected a number from above 0 to {MOST_OUTSCALE}')
        self.device = next(network.parameters()).device
        self.precision = precision or Precision('fp32', self.device)
        self.precision.set_tf32()
        self.precision.prepare(network)
        self.network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.multiple = size_multiple(network)
        self.tile = tile
        self.overlap = overlap
        self.run = with_self_ensemble(self._run) if self_ensemble else self._run
        self.outscale = outscale
        self.scale, self.bytes_per_pixel = probe(self._run, network, self.device)
        self._most = math.inf  # what memory sufficed for

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Upscale an image.

        Args:
            image: `(H, W)` or `(H, W, 1)` gray, `(H, W, 3)` BGR, or `(H, W, 4)` BGR and alpha, as OpenCV has them;
                uint8, uint16, or floating point in [0, 1].

        Returns:
            `(H * s, W * s)`, with the channels and the type of the image (floating point: float32). Gray is upscaled as
            colour and turned to gray again, alpha is resized.

        Raises:
            InputError: The image is of another shape or type, or memory is too small for it.
        """
        check_image(image)
        pixels = image if image.ndim == 3 else image[..., None]
        height, width = scaled_size(pixels.shape[:2], self.outscale or self.scale)
        largest = max(height * width, pixels.shape[0] * pixels.shape[1] * self.scale**2)
        needed, free = largest * pixels.shape[2] * pixels.itemsize, free_memory(torch.device('cpu'))
        if free is not None and needed > free:  # a system may promise more than it has, and end the process later
            gigabytes = f'{needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free'
            raise InputError(
                f'the upscaled image of {width}x{height} pixels takes {gigabytes}: choose another outscale'
            )
        colours = resized(self._upscaled(pixels[..., :3]), (height, width))
        if pixels.shape[2] == 4:
            alpha = np.ascontiguousarray(pixels[..., 3]).astype(colours.dtype, copy=False)
            alpha = resized(alpha[..., None], (height, width))
            colours = np.concatenate([colours, alpha], axis=2)
        return colours if image.ndim == 3 else colours[..., 0]

    def _upscaled(self, pixels: np.ndarray) -> np.ndarray:
        """The network's result for `(H, W, 1 or 3)`."""
        height, width, channels = pixels.shape
        shape = (height * self.scale, width * self.scale, channels)
        try:
            output = np.empty(shape, pixels.dtype if pixels.dtype.kind == 'u' else np.float32)
        except MemoryError as error:
            raise InputError(f'the upscaled image of {shape[1]}x{shape[0]} pixels does not fit into memory') from error
        tile = self._tile_for(pixels, output.nbytes)
        while True:
            try:
                self._fill(output, pixels, tile)
                return output
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
                # not the error itself, which would keep the tensors of the failed pass
                reason = first_line(error)
            if tile <= LEAST_TILE:
                raise InputError(f'memory is too small for tiles of {tile} pixels ({reason}): free some')
            tile = max(tile // 2, LEAST_TILE)
            self._most = tile
            logger.warning('out of memory: going on with tiles of %d pixels', tile)
            if self.device.type == 'cuda':
                torch.cuda.empty_cache()

    def _tile_for(self, pixels: np.ndarray, output_bytes: int) -> int:
        """Side of the tiles for an image; of all of it, if it is to be one."""
        whole = max(pixels.shape[:2])
        if self.tile is not None:
            return int(min(self.tile or whole, whole, self._most))
        free = free_memory(self.device)
        most: float = CPU_TILE if self.device.type == 'cpu' or free is None else whole
        if free is not None:
            # what the result takes is not taken before it is written
            left = free - (output_bytes if self.device.type == 'cpu' else 0)
            most = min(most, math.sqrt(max(left, 0) / 2 / self.bytes_per_pixel))
        return int(min(max(most, LEAST_TILE), whole, self._most))

    def _fill(self, output: np.ndarray, pixels: np.ndarray, tile: int) -> None:
        """Upscale in tiles into an array."""
        unit, scale = self.multiple, self.scale
        padding = [(0, -side % unit) for side in pixels.shape[:2]]
        padded = np.pad(pixels, (*padding, (0, 0)), mode='edge') if any(end for _, end in padding) else pixels

        def run(rows: Span, columns: Span) -> Tensor:
            part = padded[rows.start * unit : rows.stop * unit, columns.start * unit : columns.stop * unit]
            x = torch.from_numpy(to_float(part[..., ::-1])).permute(2, 0, 1)[None]  # (1, C, h, w), RGB
            return self.run(x.to(self.device).expand(-1, 3, -1, -1))[0]

        overlap = min(self.overlap, tile // 4)
        size = (padded.shape[0] // unit, padded.shape[1] // unit)
        done = 0
        with torch.inference_mode():
            for rows in enlarged_rows(run, size, unit * scale, -(-tile // unit), overlap // unit):
                rows = rows[:, : output.shape[0] - done, : output.shape[1]]
                output[done : done + rows.shape[1]] = as_pixels(rows, output)
                done += rows.shape[1]

    def _run(self, x: Tensor) -> Tensor:
        return self.precision.run(self.network, x.contiguous(memory_format=torch.channels_last))


def load_upscaler(
    path: str | Path,
    device: str | None = None,
    precision: str = 'fp32',
    tile: int | None = None,
    self_ensemble: bool = False,
    outscale: float | None = None,
) -> Upscaler:
    """An `Upscaler` from a checkpoint: stage 2's `net_g_*.pth`, a published SR file, one of Real-ESRGAN's, ...

    Args:
        path: The file.
        device: `cpu`, `cuda`, `cuda:1`, ...; the GPU if there is one by default.
        precision: `fp32`, `tf32`, `bf16` or `fp16`, see `usrdu_basicsr.utils.precision`.
        tile: See `Upscaler`, as the others.

    Raises:
        InputNotFoundError: There is no such file.
        InputError: It is damaged or of an unknown architecture; a setting is impossible here.
    """
    where = pick_device(device)
    network = load_generator(path, where)
    return Upscaler(network, Precision(precision, where), tile, self_ensemble=self_ensemble, outscale=outscale)


def _is_out_of_memory(error: BaseException) -> bool:
    """Of a GPU, of NumPy, or of torch on a CPU, which has no class of its own for that."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(text in str(error) for text in ON_CPU)
