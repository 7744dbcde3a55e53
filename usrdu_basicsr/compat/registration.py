"""Put the classes of this package into BasicSR's registries, and patch BasicSR."""

from importlib import import_module

from usrdu_basicsr.utils.errors import InputError

# Every module that registers something when it is imported.
MODULES = (
    'archs.compact_arch',
    'archs.dsn_arch',
    'archs.kernel_dsn_arch',
    'archs.spandrel_arch',
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
# What the patches change, by module of BasicSR
PATCHED = {
    'utils.options': 'parse_options',
    'utils.file_client': 'LmdbBackend',
    'utils.dist_util': 'init_dist',
    'data.prefetch_dataloader': 'PrefetchDataLoader',
    'models.base_model': 'BaseModel',
}
_registering = False


def register() -> None:
    """Import `MODULES` and apply the patches; repeated calls have no effect.

    Raises:
        InputError: If the package `basicsr` is not BasicSR, but for example the older copy in another project. It is
            left unchanged.
    """
    # The check imports BasicSR, and the hook calls this function at the end of that import.
    global _registering
    if _registering:
        return
    _registering = True
    try:
        from usrdu_basicsr.compat import basicsr_patches, dist_patches

        basicsr_patches.apply_before_import()
        _check_basicsr()
        for module in MODULES:
            import_module(f'usrdu_basicsr.{module}')
        basicsr_patches.apply()
        dist_patches.apply()
    finally:
        _registering = False


def _check_basicsr() -> None:
    for module, name in PATCHED.items():
        try:
            is_missing = not hasattr(import_module(f'basicsr.{module}'), name)
        except ModuleNotFoundError as error:
            if not (error.name or '').startswith('basicsr.'):
                raise
            is_missing = True
        if is_missing:
            folder = import_module('basicsr').__path__[0]
            problem = f"package basicsr '{folder}': got no {module}.{name}, expected BasicSR 1.4.2"
            raise InputError(f'{problem}. Start Python in another folder, or remove the package from PYTHONPATH')
