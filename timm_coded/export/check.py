"""Whether a file gives what the network gives; what does not is not left behind."""
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator

import torch
from torch import Tensor, nn

from .outputs import NamedOutputs, Outputs, named_outputs

TOLERANCE = 1e-4


@contextmanager
def draft_of(path: str | Path) -> Iterator[Path]:
    """Another name beside `path` to write a file or a folder to; it becomes `path` when all went well, else nothing.

    It is a hidden name with the ending of `path`, which some readers go by.
    """
    path = Path(path)
    draft = path.with_name(f'.part-{path.name}')
    remove(draft)  # of an export that was killed
    try:
        yield draft
        os.replace(draft, path)
    finally:
        remove(draft)


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def noise(network: nn.Module, batch: int, image_size: int) -> Tensor:
    """Images of noise [batch, 3, image_size, image_size] of the network's type."""
    return torch.randn(batch, 3, image_size, image_size, dtype=next(network.parameters()).dtype)


@torch.no_grad()
def check_outputs(
        path: str | Path,
        network: nn.Module,
        run: Callable[[Tensor], Tensor | Outputs],
        batches: list[Tensor],
) -> float:
    """The greatest difference of what the file at `path` puts out, by `run`, from what the network does.

    Args:
        network: or `NamedOutputs` of one.
        run: gives the file's outputs for images, as the network does.
        batches: of images, [B, 3, H, W] each.

    Raises:
        ValueError: an output is missing, of another shape, or differs by more than 1e-4, relative to the largest value
            of the output where that is above 1.
    """
    worst = 0.
    for images in batches:
        expected, actual = named_outputs(network(images)), named_outputs(run(images))
        shapes, found = ({name: tuple(value.shape) for name, value in some.items()} for some in (expected, actual))
        if shapes != found:
            raise ValueError(f'the exported file {path} puts out {found} for a batch of {len(images)}, the network '
                             f'{shapes}: it was deleted')
        for name in expected:
            difference, scale = compare(network, name, expected, actual)
            if not difference <= TOLERANCE * max(1., scale):
                raise ValueError(f'{name} of the exported file {path} differs from the network\'s by {difference:.2g} '
                                 f'for a batch of {len(images)}: it was deleted')
            worst = max(worst, difference)
    return worst


def compare(network: nn.Module, name: str, expected: Outputs, actual: Outputs) -> tuple[float, float]:
    """The difference of one output, and what it is to be compared with.

    An early decoder's class counts as different by how far its score, the inner product of the energies and its
    codeword, is from the best: two classes may be as good as each other.
    """
    kind, _, block = name.partition('.')
    if kind == 'decoder' and isinstance(network, NamedOutputs):
        scores = expected[f'energies.{block}'] @ network.network.codewords(block).float().T
        named = actual[name].cpu()
        if not ((named >= 0) & (named < scores.shape[1])).all():
            return float('inf'), 1.
        return (scores.amax(1) - scores.gather(1, named[:, None])[:, 0]).max().item(), scores.abs().max().item()
    return (actual[name].cpu() - expected[name]).abs().max().item(), expected[name].abs().max().item()
