"""The section `path`: the checkpoints that a run starts from."""

from usrdu_basicsr.options.schema.paths import Checkpoint, InitialCheckpoint, State
from usrdu_basicsr.options.schema.section import Section


class TestPathOptions(Section):
    """Checkpoint of a test."""

    pretrain_network_g: InitialCheckpoint | None = None
    """Checkpoint of `network_g`."""
    param_key_g: str | None = 'params_ema'
    """Weights to test: the average `params_ema`, as in validation, or `params`, the only ones without an average."""
    strict_load_g: bool = True
    """Require that the checkpoint has exactly the weights of the network."""
    resume_state: State | None = None
    """Training state (`*.state`) to resume a training from; `--auto_resume` finds the newest one."""


class PathOptions(TestPathOptions):
    """Checkpoints that a training starts from."""

    param_key_g: str = 'params'
    """Weights to load from that checkpoint: `params`, or `params_ema` for averaged weights."""
    pretrain_network_d: InitialCheckpoint | None = None
    """Checkpoint of `network_d`."""
    param_key_d: str = 'params'
    """Weights to load from that checkpoint."""
    strict_load_d: bool = True
    """Require that the checkpoint has exactly the weights of the discriminator."""
    ignore_resume_networks: list[str] | str | None = None
    """Networks that keep their `pretrain_network_*` when a training is resumed, such as `network_g`."""


class SRNPathOptions(PathOptions):
    """Checkpoints that a training of stage 2 starts from."""

    pretrain_network_dsn: Checkpoint | None = None
    """Checkpoint of `network_dsn`."""
    param_key_dsn: str = 'params_ema'
    """Weights to load from that checkpoint; `params` if it has no averaged weights."""
