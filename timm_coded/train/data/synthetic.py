"""Random images in the place of a data set: cheap enough that a run of them times the device."""
import numpy as np
from PIL import Image
from torch.utils.data import Dataset


class Synthetic(Dataset[tuple[Image.Image, int]]):
    """One image of noise, rolled by the index; targets run through the classes.

    Args:
        length: number of images.
        num_classes: they get the targets 0, 1, ..., num_classes - 1, 0, ...
        size: height and width in pixels.
    """

    def __init__(self, length: int, num_classes: int, size: int = 224):
        self.length = length
        self.classes = range(num_classes)
        self.noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)

    def of_size(self, size: int) -> 'Synthetic':
        return Synthetic(self.length, len(self.classes), size)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.fromarray(np.roll(self.noise, index, axis=0)), index % len(self.classes)
