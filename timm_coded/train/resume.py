"""Going on with a run: the newest whole checkpoint, whether it is of this run, and everything put back."""
import argparse
import textwrap
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .checkpoint import LAST, load, place_of
from .errors import UserError
from .replicas import Replica

# What may differ between the sessions of a run: where it runs, what it reads from and writes to, how it reports.
NOT_THE_RECIPE = {
    'config', 'data_dir', 'dataset_download', 'workers', 'validation_batch_size', 'skip_corrupt', 'initial_checkpoint',
    'grad_checkpointing', 'pack_lanes', 'device', 'replicas', 'xla_cache', 'replay', 'log_interval',
    'checkpoint_hist', 'recovery_interval', 'recovery_minutes', 'max_hours', 'allow_non_finite', 'output',
    'experiment', 'resume', 'override_resume', 'eval_only', 'log_tensorboard', 'log_wandb', 'profile', 'doctor',
}
THE_MODEL = {'model', 'num_classes', 'model_kwargs', 'num_active', 'scheme_source', 'energy_norm'}


def find_newest(folder: Path) -> tuple[Path, dict[str, Any], list[str]] | None:
    """The newest whole checkpoint of a run's folder.

    Returns:
        Its path, what it holds, and why newer ones were passed over; None if the folder has no checkpoint at all.

    Raises:
        UserError: there are checkpoints, and none is whole.
    """
    found = []
    for path in folder.glob('*.pth.tar'):
        place = place_of(path)
        if place:
            found.append((place, path))
        elif path.name == LAST:
            found.append(((-1, 0), path))  # the same as the newest epoch's; where only it is left, it serves
    passed_over: list[str] = []
    for _, path in sorted(found, reverse=True):
        try:
            return path, load(path), passed_over
        except UserError as error:
            passed_over.append(str(error))
    if passed_over:
        raise UserError(f'--resume auto finds no whole checkpoint in {folder}: {"; ".join(passed_over)}')
    return None


def check_agreement(replica: Replica, state: dict[str, Any] | None) -> None:
    """Raises `UserError` if replicas do not go on from the same place, as hosts do that do not share `--output`."""
    own = torch.tensor([state['epoch'], state['step']] if state else [-2, 0])
    everyones = replica.peers.gather(own)
    if (everyones != everyones[:1]).any():
        raise UserError(f'the replicas found different checkpoints (epoch, step): {everyones.tolist()}: --output must '
                        'be a folder that all hosts share')


def check_recipe(state: dict[str, Any], args: argparse.Namespace, model: nn.Module, path: Path) -> list[str]:
    """The differences between the run of the checkpoint and that of `args`; for `--eval-only`, between their models.

    Raises:
        UserError: there are some, and no `--override-resume`.
    """
    differences = []
    for key in [key for key in vars(args) if key in state['args'] and key not in NOT_THE_RECIPE]:
        value, saved = vars(args)[key], state['args'][key]
        if plain(saved) != plain(value) and (key in THE_MODEL or not args.eval_only):
            differences.append(f'--{key.replace("_", "-")} {shown(value)} is {shown(saved)} there')
    for name, words in model.state_dict().items():
        saved = state['state_dict'].get(name)
        if name.startswith('codewords_') and saved is not None and not torch.equal(words, saved):
            same_shape = words.shape == saved.shape
            other = f'{int((words != saved).any(1).sum())} other' if same_shape else 'another number of'
            differences.append(f'the coding scheme {name} has {other} codewords there')
    if differences and not args.override_resume:
        raise UserError(f'cannot resume {path}, of another run: {"; ".join(differences)}. Take its recipe (--config '
                        f'{path.parent / "args.yaml"}), or --override-resume to go on with this one all the same')
    return differences


def plain(value: Any) -> Any:
    """As YAML and the command line both give it: without tuples."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def shown(value: Any) -> str:
    if value is None:
        return 'not given'
    return ' '.join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def restore_model(model: nn.Module, weights: dict[str, torch.Tensor], path: Path, override: bool) -> list[str]:
    """Puts the weights into the model.

    Args:
        override: take what fits, and keep the model's own codewords; otherwise all must fit.

    Returns:
        Names of what the model has and the checkpoint had not for it.

    Raises:
        UserError: the weights are of another model.
    """
    own = model.state_dict()
    if override:
        weights = {name: value for name, value in weights.items()
                   if name in own and own[name].shape == value.shape and not name.startswith('codewords_')}
        if not weights:
            raise UserError(f'nothing in {path} fits this model; leave --resume out to start anew')
    try:
        left = model.load_state_dict(weights, strict=not override).missing_keys
    except RuntimeError as error:
        reason = textwrap.shorten(str(error), 500, placeholder=' ...')
        raise UserError(f'{path} does not fit the model, as its own was made with other arguments: {reason}') from error
    return [name for name in left if not name.startswith('codewords_')]


def restore_optimizer(optimizer: torch.optim.Optimizer, name: str, state: dict[str, Any], path: Path) -> None:
    """Restores what the optimizer has gathered; learning rate, momentum and so on stay as they were given to it.

    Raises:
        UserError: the checkpoint `state` is of another optimizer than `name`, or of other groups of parameters.
    """
    if state['args']['opt'] != name:
        raise UserError(f'cannot resume {path}: --opt {name} is {state["args"]["opt"]} there')
    groups = optimizer.state_dict()['param_groups']
    saved = state['optimizer']
    if [group['params'] for group in groups] != [group['params'] for group in saved['param_groups']]:
        raise UserError(f'cannot resume {path}: its optimizer has other parameter groups (another --weight-decay?)')
    optimizer.load_state_dict({'state': saved['state'], 'param_groups': groups})
