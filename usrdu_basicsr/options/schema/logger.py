"""The section `logger`."""

from usrdu_basicsr.options.schema.rules import Rule, differs, has
from usrdu_basicsr.options.schema.section import Iterations, PositiveInteger, Section


class WandbOptions(Section):
    """Weights & Biases."""

    project: str | None = None
    """Name of the project; `~` disables the logger."""
    resume_id: str | None = None
    """Run to resume."""


class LoggerOptions(Section):
    """Logs and checkpoints of a training."""

    print_freq: Iterations
    """Number of iterations between log lines."""
    save_checkpoint_freq: Iterations
    """Number of iterations between checkpoints."""
    use_tb_logger: bool
    """Write TensorBoard logs."""
    keep_checkpoints: PositiveInteger | None = None
    """Number of newest checkpoints to keep, in addition to the best one; `~` keeps all."""
    wandb: WandbOptions | None = None
    """Weights & Biases logger."""
    combinations = (
        Rule(
            ('wandb', 'project'),
            (has('wandb', 'project'), differs('use_tb_logger', values=(True,))),
            'requires use_tb_logger: true',
        ),
    )
