"""Patch BasicSR and put the classes of this package into its registries."""

from importlib import import_module

# Every module that registers something when it is imported.
MODULES = (
    'archs.dsn_arch',
    'losses.uncertainty_loss',
    'losses.low_frequency_loss',
    'metrics.laplace_nll_metric',
    'metrics.perceptual_metrics',
    'data.hr_image_dataset',
    'data.uncertainty_paired_dataset',
    'data.unpaired_dataset',
    'models.dsn_model',
    'models.srn_model',
)
_registering = False


def register() -> None:
    """Apply the patches and import `MODULES`; repeated calls have no effect."""
    # The patches import BasicSR, and the hook calls this function at the end of that import.
    global _registering
    if _registering:
        return
    _registering = True
    try:
        from usrdu_basicsr.compat import basicsr_patches, dist_patches

        basicsr_patches.apply()
        dist_patches.apply()
        for module in MODULES:
            import_module(f'usrdu_basicsr.{module}')
    finally:
        _registering = False
