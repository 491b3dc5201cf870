"""Labels that are known before any image is read."""
from typing import Any

import numpy as np

from ..errors import UserError
from .image_set import ImageSet


def check_targets(dataset: ImageSet, num_classes: int) -> None:
    """Raises `UserError` if one of the known targets is not one of 0, ..., num_classes - 1, and names its image."""
    targets = known_targets(dataset)
    wrong = np.flatnonzero((targets < 0) | (targets >= num_classes))
    if len(wrong):
        first = wrong_target(name_of(dataset, wrong[0]), targets[wrong[0]], num_classes)
        raise UserError(f'{first} ({len(wrong)} such images)')


def wrong_target(name: str, target: int, num_classes: int) -> str:
    return f'the image {name} has the class index {target}, expected 0 to {num_classes - 1}: raise --num-classes'


def known_targets(dataset: ImageSet) -> np.ndarray:
    """The target of each image where the data set knows them without reading images, else of none."""
    source: Any = getattr(dataset, 'reader', dataset)
    if hasattr(source, 'targets'):
        targets = source.targets
    elif hasattr(source, 'samples'):
        targets = [target for _, target in source.samples]
    elif hasattr(source, 'label_key') and not source.remap_class:  # Hugging Face's table, before any --class-map
        targets = source.dataset[source.label_key][:]
    else:
        targets = []
    targets = np.asarray(targets)
    return targets if np.issubdtype(targets.dtype, np.integer) else np.empty(0, np.int64)


def name_of(dataset: ImageSet, index: int) -> str:
    """An image's file, as far as the data set knows it."""
    if hasattr(dataset, 'filename'):
        return dataset.filename(int(index), absolute=True) or f'number {index}'
    return dataset.samples[index][0] if hasattr(dataset, 'samples') else f'number {index}'
