"""What a model put out for a data set, in one .npz file: all that many analyses need, without another forward pass."""
import hashlib
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from timm_coded.codes import CodingScheme
from timm_coded.models import CodedResNet, early_decode

VERSION = 1


@dataclass
class Outputs:
    """Outputs of a coded model for S samples.

    The .npz file has the arrays `logits`, `targets`, `energies/BLOCK` and `codewords/BLOCK` for each coded block, and
    `about`, the rest as JSON; NumPy reads it without pickle.

    Attributes:
        logits: [S, K] float32.
        energies: normalised energies of each coded block, in the order of the network: [S, N] float32.
        targets: [S] int64, the class of each sample, or -1 where the model does not know it.
        codewords: each block's coding scheme, [K, N] uint8.
        class_names: K names, or none.
        fingerprint: of the model, as `fingerprint` gives it.
        about: where they come from: 'checkpoint', 'model', 'dataset', 'data_dir', 'split', ...; for the reader.
    """
    logits: np.ndarray
    energies: dict[str, np.ndarray]
    targets: np.ndarray
    codewords: dict[str, np.ndarray]
    class_names: list[str] = field(default_factory=list)
    fingerprint: str = ''
    about: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        samples, classes = self.logits.shape
        if not samples:
            raise ValueError('there are no samples: give a data set with images')
        if not self.energies or list(self.energies) != list(self.codewords):
            raise ValueError('outputs need energies and codewords of the same coded blocks, one at least')
        shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {'targets': (self.targets.shape, (samples,))}
        for block, energies in self.energies.items():
            shapes[f'energies of {block}'] = energies.shape, (samples, self.codewords[block].shape[1])
            shapes[f'codewords of {block}'] = self.codewords[block].shape, (classes, energies.shape[1])
        for name, (shape, expected) in shapes.items():
            if shape != expected:
                raise ValueError(f'the {name} are {shape}, expected {expected} to go with logits {self.logits.shape}')
        self.check_kinds()
        if self.targets.min() < -1 or self.targets.max() >= classes:
            raise ValueError(f'targets go from {self.targets.min()} to {self.targets.max()}, the model has {classes} '
                             'classes')

    def check_kinds(self) -> None:
        """Raises ValueError: an array is of another type, not finite, or no coding scheme; or names are missing."""
        if self.targets.dtype.kind != 'i':
            raise ValueError(f'the targets are of type {self.targets.dtype}, expected whole numbers')
        for name, values in {'logits': self.logits, **self.energies}.items():
            if values.dtype.kind != 'f':
                raise ValueError(f'the values of {name} are of type {values.dtype}, expected floating-point numbers')
            if not np.isfinite(values).all():
                raise ValueError(f'the values of {name} are not all finite: the weights of the model, or the images, '
                                 'are broken')
        for block, words in self.codewords.items():
            try:
                CodingScheme(words)
            except ValueError as error:
                raise ValueError(f'the codewords of {block} are no coding scheme: {error}') from error
        if self.class_names and len(self.class_names) != self.logits.shape[1]:
            raise ValueError(f'there are {len(self.class_names)} class names for {self.logits.shape[1]} classes')

    @property
    def blocks(self) -> list[str]:
        """Names of the coded blocks, in order."""
        return list(self.energies)

    @property
    def predictions(self) -> np.ndarray:
        """Classes that the network names, [S]."""
        return self.logits.argmax(1)

    def decoded(self) -> dict[str, np.ndarray]:
        """Classes that each early decoder names, [S] int64 (Section 4.4)."""
        return {
            block: early_decode(torch.from_numpy(energies), torch.tensor(self.codewords[block])).numpy()
            for block, energies in self.energies.items()
        }

    def name_of(self, index: int) -> str:
        """The name of class `index`, or its number."""
        return self.class_names[index] if self.class_names else str(index)

    def save(self, path: str | Path) -> None:
        about = {
            'version': VERSION, 'blocks': self.blocks, 'class_names': self.class_names, 'fingerprint': self.fingerprint,
            'about': self.about,
        }
        arrays = {'logits': self.logits, 'targets': self.targets, 'about': np.array(json.dumps(about))}
        for block in self.blocks:
            arrays[f'energies/{block}'] = self.energies[block]
            arrays[f'codewords/{block}'] = self.codewords[block]
        with open(path, 'wb') as file:  # as given: np.savez would add .npz to a name without it
            np.savez(file, **arrays)  # type: ignore[arg-type]  # none of them is named allow_pickle


def load_outputs(path: str | Path) -> Outputs:
    """Reads what `Outputs.save` wrote.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is none of ours, or broken.
    """
    try:
        with open(path, 'rb') as file, np.load(file, allow_pickle=False) as arrays:
            about = json.loads(str(arrays['about']))
            if about['version'] != VERSION:
                raise ValueError(f'it is of version {about["version"]}, this package reads {VERSION}')
            return Outputs(
                arrays['logits'],
                {block: arrays[f'energies/{block}'] for block in about['blocks']},
                arrays['targets'],
                {block: arrays[f'codewords/{block}'] for block in about['blocks']},
                about['class_names'], about['fingerprint'], about['about'])
    except (AttributeError, EOFError, IndexError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f'{path} is no file of outputs ({error or type(error).__name__}): make one by '
                         '`timm-coded evaluate`') from error


@torch.no_grad()
def collect_outputs(
        model: CodedResNet,
        batches: Iterable[tuple[Tensor, Tensor]],
        class_names: Iterable[str] = (),
        about: dict[str, Any] | None = None,
        foreign: bool = False,
) -> Outputs:
    """One pass of a coded model in evaluation mode over a data set.

    Args:
        batches: images [B, 3, H, W] on the model's device and targets [B]; a target of -1 marks a filler, left out.
        foreign: the samples' classes are not the model's: all targets are -1 in the outputs.

    Raises:
        ValueError: the model has no coded blocks, or there are no samples.
    """
    check_coded(model)
    blocks = model.coded_blocks
    codewords = {block: model.codewords(block).cpu().numpy() for block in blocks}
    rows: list[Tensor] = []
    kept: list[Tensor] = []
    for images, target in batches:
        logits, energies = model.forward_energies(images)
        row = torch.cat([logits.float(), *(energy.float() for energy in energies)], 1).cpu()  # on XLA one graph
        rows.append(row[target >= 0])
        kept.append(target[target >= 0])
    if not rows or not sum(map(len, rows)):
        raise ValueError('there are no samples: give a data set with images')
    table, targets = torch.cat(rows).numpy(), torch.cat(kept).numpy()
    widths = [model.num_classes, *(words.shape[1] for words in codewords.values())]
    known, *parts = (np.ascontiguousarray(part) for part in np.split(table, np.cumsum(widths)[:-1], axis=1))
    return Outputs(
        known, dict(zip(blocks, parts)), np.full_like(targets, -1) if foreign else targets, codewords,
        [] if foreign else list(class_names), fingerprint(model), about or {})


def check_coded(model: nn.Module) -> None:
    """Raises ValueError: the model has no coded blocks."""
    if not getattr(model, 'coded_blocks', None):
        raise ValueError(f'{type(model).__name__} has no coded blocks: this is for coded models, such as '
                         'coded_resnext50_32x4d')


def check_block_names(blocks: Iterable[str], coded_blocks: Sequence[str]) -> None:
    """Raises ValueError: one of the blocks is not coded."""
    for block in blocks:
        if block not in coded_blocks:
            raise ValueError(f'{block!r} is not a coded block; the coded blocks are {", ".join(coded_blocks)}')


def fingerprint(model: nn.Module) -> str:
    """A hash of a model's parameters and buffers, by which files that belong to it are recognised."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        value = value.detach().cpu().contiguous()
        digest.update(f'{name} {value.dtype} {tuple(value.shape)}'.encode())
        digest.update(value.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]
