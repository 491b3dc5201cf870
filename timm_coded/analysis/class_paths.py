"""The paths of a few classes through a coded model: which subNNs of which block work for them."""
from typing import Sequence

import numpy as np

from timm_coded.models import CodedResNet

from .findings import Findings, Picture, Row, Table
from .outputs import check_coded
from .paths_picture import COLOURS, BlockPaths, plot_paths


def class_paths(
        model: CodedResNet,
        classes: Sequence[int],
        class_names: Sequence[str] = (),
        name: str = 'a coded model',
) -> Findings:
    """A picture and a table of the codewords (Section 3.2) of the classes, block by block.

    Args:
        model: coded.
        classes: one to three indices, as many as there are colours to tell apart.
        class_names: K names, or none.
        name: of the model, for the title.

    Raises:
        ValueError: the model has no coded blocks, there is no such class, or the number of classes is none of these.
    """
    check_coded(model)
    check_shown(classes, model.num_classes)
    labels = [label_of(class_names[index] if class_names else str(index)) for index in classes]
    blocks = block_paths(model, classes)
    rows = [row(block, labels) for block in blocks if not block.shared_by_all]
    title = f'Paths of {enumerated(labels)} through {name}'
    return Findings(
        'paths',
        title,
        [Table('paths', 'SubNNs that work for the classes, by coded block', rows)],
        [Picture('paths', alt_text(blocks, labels, title), plot_paths(blocks, labels, title))],
    )


def label_of(name: str) -> str:
    """A class's name, which needs a word beside it where it is a letter or a number."""
    return f'class {name}' if len(name) < 3 or name.isdigit() else name


def enumerated(labels: Sequence[str]) -> str:
    return ' and '.join(filter(None, (', '.join(labels[:-1]), labels[-1])))


def check_shown(classes: Sequence[int], num_classes: int) -> None:
    """Raises ValueError: the classes cannot be shown in one picture."""
    if not 1 <= len(classes) <= len(COLOURS):
        raise ValueError(f'{len(classes)} classes: give one to {len(COLOURS)}, more colours cannot be told apart')
    if len(set(classes)) < len(classes):
        raise ValueError('a class is named twice: give each once')
    for index in classes:
        if not 0 <= index < num_classes:
            raise ValueError(f'there is no class {index}: the model has {num_classes} classes')


def block_paths(model: CodedResNet, classes: Sequence[int]) -> list[BlockPaths]:
    """All blocks of a coded model, in order."""
    paths = []
    for block_name, block in model.named_blocks():
        stage, _, index = block_name.partition('.')
        if block_name in model.coded_blocks:
            active = model.codewords(block_name)[list(classes)].cpu().numpy().astype(bool)
        else:
            active = np.ones((len(classes), model.num_subnns), bool)
        paths.append(BlockPaths(stage, int(index), int(block.num_active), active))
    return paths


def row(block: BlockPaths, labels: Sequence[str]) -> Row:
    listed = {label: numbers(active) for label, active in zip(labels, block.active)}
    shared = {'shared': numbers(np.asarray(block.active.all(0)))} if len(labels) > 1 else {}
    return {'block': f'{block.stage}.{block.index}', **listed, **shared}


def numbers(active: np.ndarray) -> str:
    return ' '.join(map(str, np.flatnonzero(active)))


def alt_text(blocks: Sequence[BlockPaths], labels: Sequence[str], title: str) -> str:
    """What the picture shows, for who cannot see it: the paths of each stage."""
    parts = [f'{title}, block by block from the image to the class.']
    for stage in dict.fromkeys(block.stage for block in blocks):
        block = next(block for block in blocks if block.stage == stage)
        if block.shared_by_all:
            parts.append(f'{stage}: all {block.num_active} subNNs work for every class.')
            continue
        shown = '; '.join(f'for {label} {numbers(active)}' for label, active in zip(labels, block.active))
        parts.append(f'{stage}: {block.num_active} of {block.active.shape[1]} subNNs work for a class: {shown}.')
    return ' '.join(parts)
