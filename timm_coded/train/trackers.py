"""A run's metrics for TensorBoard and for Weights & Biases, where they are asked for; of the first replica only."""
import argparse
import json
import os
import uuid
from pathlib import Path

from .errors import UserError

PROJECT = 'timm_coded'  # of Weights & Biases
WANDB_FILE = 'wandb.json'  # in the run's folder: its id there, and the last epoch that was sent


def check_trackers(args: argparse.Namespace) -> None:
    """Raises `UserError` if a package that `--log-tensorboard` or `--log-wandb` needs is not installed."""
    if args.log_tensorboard:
        try:
            import torch.utils.tensorboard  # noqa: F401
        except ImportError:
            raise UserError("--log-tensorboard needs TensorBoard: pip install 'timm_coded[log]'") from None
    if args.log_wandb:
        try:
            from wandb import init  # noqa: F401  # of the package: a folder ./wandb, which its runs leave behind, imports as well
        except ImportError:
            raise UserError("--log-wandb needs wandb: pip install 'timm_coded[log]'") from None


def create_trackers(
        args: argparse.Namespace,
        folder: Path,
        resumed_epoch: int | None = None,
) -> list['Tracker']:
    """What `args` ask for, maybe nothing; `check_trackers` has found the packages.

    Args:
        args: of the run, `experiment` filled in.
        folder: of the run.
        resumed_epoch: the last epoch that stands in a resumed run; what was logged of later ones is void. None for a
            new run.

    Raises:
        UserError: Weights & Biases cannot be reached.
    """
    first_epoch = 0 if resumed_epoch is None else resumed_epoch + 1
    trackers: list[Tracker] = []
    if args.log_tensorboard:
        trackers.append(TensorBoardTracker(folder, first_epoch))
    if args.log_wandb:
        trackers.append(WandbTracker(args, folder, first_epoch))
    return trackers


class TensorBoardTracker:
    """Event files in the run's folder; epochs from `first_epoch` on that older files there have are void."""

    def __init__(self, folder: Path, first_epoch: int):
        from torch.utils.tensorboard import SummaryWriter
        self.writer = SummaryWriter(str(folder), purge_step=first_epoch)

    def log(self, epoch: int, metrics: dict[str, float]) -> None:
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, epoch)
        self.writer.flush()  # a run that is killed keeps its whole epochs

    def close(self) -> None:
        self.writer.close()


class WandbTracker:
    """A run of Weights & Biases with the name of ours; `WANDB_MODE` and its other variables hold.

    A resumed run goes on under its id. But W&B never takes a second value for a step (here: an epoch), so where epochs
    from `first_epoch` on were sent already, a new W&B run of the same name takes them.
    """

    def __init__(self, args: argparse.Namespace, folder: Path, first_epoch: int):
        import wandb
        self.file = folder / WANDB_FILE
        self.id = self.id_to_go_on_with(first_epoch) or uuid.uuid4().hex[:12]
        self.remember(first_epoch - 1)
        try:
            self.run = wandb.init(
                project=PROJECT,
                name=args.experiment,
                id=self.id,
                resume='allow',
                dir=str(folder),
                config=vars(args),
            )
        except wandb.Error as error:
            reason = ' '.join(str(error).split())
            raise UserError(f'--log-wandb: {reason} (set WANDB_MODE=offline to send it later)') from error

    def id_to_go_on_with(self, first_epoch: int) -> str | None:
        if not self.file.exists():
            return None
        state = json.loads(self.file.read_text())
        return state['id'] if state['epoch'] < first_epoch else None

    def remember(self, epoch: int) -> None:
        draft = self.file.with_name(f'{WANDB_FILE}.tmp')
        draft.write_text(json.dumps({'id': self.id, 'epoch': epoch}))
        os.replace(draft, self.file)

    def log(self, epoch: int, metrics: dict[str, float]) -> None:
        self.remember(epoch)  # first: what may have been sent counts as sent
        self.run.log(metrics, step=epoch)

    def close(self) -> None:
        """Sends what is left; without it, the package's own hooks do so at the end of the process."""
        self.run.finish()


Tracker = TensorBoardTracker | WandbTracker
