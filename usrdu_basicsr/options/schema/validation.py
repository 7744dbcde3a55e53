"""The section `val`: validation and test of both stages."""

from usrdu_basicsr.options.schema.components import DSNMetric, SRMetric
from usrdu_basicsr.options.schema.section import Iterations, Section


class TestValOptions(Section):
    """Test."""

    save_img: bool
    """Write the results as images."""
    suffix: str | None = None
    """Suffix of the names of the results; `~` for the name of the test."""
    val_freq: Iterations | None = None
    """Used in training only."""
    pbar: bool = False
    """Show a progress bar."""


class ValOptions(TestValOptions):
    """Validation during training."""

    val_freq: Iterations
    """Number of iterations between validations."""
    suffix: str | None = None
    """Used in tests only."""


class DSNTestValOptions(TestValOptions):
    """Test of stage 1."""

    metrics: dict[str, DSNMetric] | None = None
    """Metrics by name, which compare the mean with the real LR image."""


class DSNValOptions(ValOptions):
    """Validation of stage 1."""

    metrics: dict[str, DSNMetric] | None = None
    """Metrics by name, which compare the mean with the real LR image. The first one defines the best model."""


class SRNTestValOptions(TestValOptions):
    """Test of stage 2."""

    metrics: dict[str, SRMetric] | None = None
    """Metrics by name, which compare the result with the ground truth."""


class SRNValOptions(ValOptions):
    """Validation of stage 2."""

    metrics: dict[str, SRMetric] | None = None
    """Metrics by name, which compare the result with the ground truth. The first one defines the best model."""
