"""What a checkpoint tells of how its network came about."""
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Mapping

from timm_coded.codes import SOURCES
from timm_coded.train.args import parse_args
from timm_coded.train.checkpoint import BEST, load
from timm_coded.train.resume import NOT_THE_RECIPE, plain


@dataclass
class Source:
    """How a network came about.

    Attributes:
        file: name of the checkpoint.
        args: of the training, as its args.yaml has them; none where the file does not tell.
        epochs: that had ended, and `step` of the next one.
        row: of the summary, of the epoch that has the checkpoint's weights: none in mid-epoch.
        use_ema: the weights are the moving average.
        chosen: the checkpoint is the best of its run, chosen by the accuracy that is reported.
    """
    file: str
    args: dict[str, Any] = field(default_factory=dict)
    epochs: int = 0
    step: int = 0
    row: dict[str, float] = field(default_factory=dict)
    use_ema: bool = False
    chosen: bool = False

    @property
    def scheme_files(self) -> bool:
        """Whether the codewords came from files, which a recipe cannot name for others."""
        source = self.args.get('scheme_source')
        return source is not None and source not in SOURCES

    def recipe(self, scheme_files: list[str]) -> dict[str, Any]:
        """The flags of train_xla.py that make a run like it, as YAML has them: all that are not their default.

        What is of one machine only, folders and the like, is left out.

        Args:
            scheme_files: names to give for those that the codewords came from.
        """
        defaults = vars(parse_args([]))
        recipe = {name: plain(value) for name, value in self.args.items()
                  if name in defaults and name not in NOT_THE_RECIPE and plain(value) != plain(defaults[name])}
        if self.scheme_files:
            recipe['scheme_source'] = scheme_files
        return recipe

    def metrics(self) -> dict[str, float]:
        """The evaluation of these weights, by the names of the summary without `eval_`; in percent, losses apart."""
        prefix = 'eval_ema_' if self.use_ema else 'eval_'
        found = {name.removeprefix(prefix): value for name, value in self.row.items() if name.startswith(prefix)}
        return {name: value for name, value in found.items() if not name.startswith('ema_')}


def read_source(path: Path, model_name: str | None, use_ema: bool) -> Source:
    """Reads what the checkpoint at `path` tells; with `model_name` it is a file of weights that tells nothing.

    Raises:
        UserError: there is no such checkpoint, or it is none of train_xla.py.
    """
    if model_name:
        return Source(path.name, use_ema=use_ema)
    state = load(path, 'name its --model, if it holds the weights of one')
    history: list[Mapping[str, float]] = state['history']
    ended = [row for row in history if row['epoch'] == state['epoch']] if not state['step'] else []
    return Source(
        path.name,
        state['args'],
        state['epoch'] + 1,
        state['step'],
        dict(ended[-1]) if ended else {},
        use_ema,
        path.name == BEST,
    )
