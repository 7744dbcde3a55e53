"""How well generated LR images match those of a camera, without ground truth."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from torch import Tensor

from usrdu_basicsr.degradation.blur_kernel import equal_band
from usrdu_basicsr.degradation.noise import ROUNDING, VISIBLE, noise_of
from usrdu_basicsr.degradation.patch_spectra import PATCH, PatchSpectra
from usrdu_basicsr.degradation.restoration_score import LOWEST, restoration_score
from usrdu_basicsr.ops.spectrum import frequency_radius

MAX_LEVEL_ERROR, MAX_CORRELATION_ERROR, MAX_BRIGHTNESS_ERROR = 0.1, 0.1, 0.25
MAX_SPECTRAL_DISTANCE = 1.5  # dB
MAX_COLOR_SHIFT = 2.0  # gray levels
MIN_CHANGE = 0.5  # gray levels; rounding alone is 0.29


@dataclass(frozen=True)
class Fidelity:
    """Comparison of generated with real LR images.

    Attributes:
        score: Overall score, see `restoration_score`.
        real_noise: Noise level of the real images, gray levels, mean of the channels.
        generated_noise: That of the generated ones.
        level_error: Largest difference of the noise levels of a channel, relative to the real one or 1 gray level.
        correlation_error: Largest difference of the autocorrelations of the noise at 7x7 lags.
        brightness_error: Root mean square of the differences of the noise levels by brightness, relative to the real
            one or 1 gray level; None if no brightness was measured in both.
        noise_divergence: Kullback-Leibler divergence between Gaussians of these levels, mean over brightness, nats
            (the AKLD of Yue et al., "Dual Adversarial Network", ECCV 2020, without pairs); None as above.
        spectral_distance: Root mean square of the differences of the average power spectra, dB.
        color_shift: Largest difference of the mean of a channel between generated images and bicubically downsampled HR
            images, gray levels; None without HR images.
        change: Root mean square difference of noise-free generated images from bicubically downsampled HR images, gray
            levels; None if they are unknown.
    """

    score: float
    real_noise: float
    generated_noise: float
    level_error: float
    correlation_error: float
    brightness_error: float | None
    noise_divergence: float | None
    spectral_distance: float
    color_shift: float | None
    change: float | None = None

    def numbers(self) -> dict[str, float]:
        """All known numbers by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def findings(self) -> Iterator[str]:
        """Sentences that say what differs."""
        if self.change is not None and self.change < MIN_CHANGE and self.spectral_distance > MAX_SPECTRAL_DISTANCE:
            yield "Generated means are still bicubically downsampled HR images, unlike the camera's images."
        if self.level_error > MAX_LEVEL_ERROR and max(self.real_noise, self.generated_noise) > VISIBLE:
            if self.real_noise < VISIBLE / 2:
                yield f'The camera has no visible noise; generated images have {self.generated_noise:.1f} gray levels.'
            elif self.generated_noise < 0.2 * self.real_noise:
                yield 'No noise is generated.'
            else:
                yield f"Generated noise is {self.generated_noise / self.real_noise:.2g} times the camera's."
        if self.correlation_error > MAX_CORRELATION_ERROR and self.real_noise > VISIBLE:
            yield f'The correlation of the noise differs by up to {self.correlation_error:.2f}.'
        if (self.brightness_error or 0) > MAX_BRIGHTNESS_ERROR and self.real_noise > VISIBLE:
            yield f'The noise depends otherwise on the brightness: {self.brightness_error:.0%}.'
        if self.spectral_distance > MAX_SPECTRAL_DISTANCE:
            yield f'Blur or texture differ: the spectra by {self.spectral_distance:.1f} dB.'
        if self.color_shift is not None and self.color_shift > MAX_COLOR_SHIFT:
            yield f'Colours are shifted by up to {self.color_shift:.1f} gray levels.'


def compare(
    real: PatchSpectra, generated: PatchSpectra, color_shift: float | None = None, change: float | None = None
) -> Fidelity:
    """Compare spectra of generated with those of real LR images, which may show other scenes.

    `color_shift` and `change` are those of the result.

    Raises:
        InputError: If all patches of one of them are black or white.
    """
    noise, generated_noise = noise_of(real, 'real LR images'), noise_of(generated, 'generated LR images')
    real_curve, generated_curve = (each.curve.mean(1).clamp(min=ROUNDING) for each in (noise, generated_noise))
    measured = ~(real_curve + generated_curve).isnan()
    real_curve, generated_curve = real_curve[measured], generated_curve[measured]
    levels, generated_levels = real_curve.sqrt(), generated_curve.sqrt()
    brightness_error = (generated_levels - levels) / levels.clamp(min=VISIBLE)
    ratio = generated_curve / real_curve
    power, generated_power = (each.power.mean((0, 1)) for each in (real, generated))
    return Fidelity(
        score=restoration_score(power, noise.spectrum(PATCH), generated_power, generated_noise.spectrum(PATCH)),
        real_noise=float(noise.variance.sqrt().mean()),
        generated_noise=float(generated_noise.variance.sqrt().mean()),
        level_error=noise.level_error(generated_noise),
        correlation_error=noise.correlation_error(generated_noise),
        brightness_error=float(brightness_error.square().mean().sqrt()) if len(ratio) else None,
        noise_divergence=float((ratio - 1 - ratio.log()).mean() / 2) if len(ratio) else None,
        spectral_distance=_spectral_distance(power, generated_power),
        color_shift=color_shift,
        change=change,
    )


def _spectral_distance(real: Tensor, generated: Tensor) -> float:
    """Root mean square difference of average spectra in dB, apart from a factor, as scenes differ in contrast."""
    ratio = (generated + ROUNDING) / (real + ROUNDING)
    ratio = ratio / ratio[equal_band(PATCH)].mean()
    used = ratio[frequency_radius(PATCH) > LOWEST]
    return float((10 * used.log10()).square().mean().sqrt())
