"""A data set's images as the loop wants them: uint8, repeatably augmented, unreadable ones named."""
import contextlib
import random
from typing import Callable, Iterator

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from .errors import UserError


class Samples(Dataset):
    """A data set's images, transformed with random numbers that depend on (seed, epoch, index) alone.

    So an image looks the same whichever worker makes it, and in a resumed run. An item is `(image, target)`, uint8
    [C, H, W] and int, followed by the image's boxes [count, 4] if there is a box sampler. An image that cannot be read
    comes as a `UserError` that names it: as a value, so that it passes through a worker process without a traceback.

    Args:
        dataset: a map-style one of timm's, torchvision's or ours, without a transform.
        transform: PIL image to uint8 tensor.
        seed: of the run.
        sample_boxes: for random erasing: image to boxes.
    """

    def __init__(
            self,
            dataset: Dataset,
            transform: Callable[[Image.Image], torch.Tensor],
            seed: int = 0,
            sample_boxes: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ):
        self.dataset = dataset
        self.transform = transform
        self.seed = seed
        self.sample_boxes = sample_boxes

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, int]) -> tuple | UserError:
        epoch, index = key
        try:
            image, target = self.read(index)
        except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error, zlib.error, ...
            return UserError(f'cannot read the image {self.name_of(index)}: {error or type(error).__name__}')
        try:
            with seeded(self.seed, epoch, index):
                image = self.transform(image)
                boxes = () if self.sample_boxes is None else (self.sample_boxes(image),)
        except Exception as error:  # a policy of --aa may only fail once its operation is drawn
            return UserError(f'cannot transform the image {self.name_of(index)}: {type(error).__name__}: {error}')
        return image, target, *boxes

    def read(self, index: int) -> tuple[Image.Image, int]:
        """Image and target, past timm's ImageDataset, which puts the next image in the place of an unreadable one."""
        reader = getattr(self.dataset, 'reader', None)
        if reader is None:
            image, target = self.dataset[index]
            return to_rgb(image), int(target)
        file, target = reader[index]
        with file:
            return to_rgb(Image.open(file)), int(target)

    def name_of(self, index: int) -> str:
        if hasattr(self.dataset, 'filename'):
            return self.dataset.filename(index, absolute=True)
        return self.dataset.samples[index][0] if hasattr(self.dataset, 'samples') else f'number {index}'


def to_rgb(image: Image.Image) -> Image.Image:
    """An RGB image. 16-bit grey is scaled to 8 bits, where Pillow's own conversion would clip it to white.

    Raises:
        ValueError: the pixels are numbers without a known range.
    """
    if image.mode.startswith('I;16'):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ('I', 'F'):
        raise ValueError(f'pixels of mode {image.mode} have no known range; save it with 8 or 16 bits')
    return image.convert('RGB')


@contextlib.contextmanager
def seeded(*entropy: int) -> Iterator[None]:
    """Python's, NumPy's and PyTorch's CPU random numbers seeded for a while, then as they were."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seeds = np.random.SeedSequence(entropy).generate_state(3).tolist()
    random.seed(seeds[0])
    np.random.seed(seeds[1])
    torch.default_generator.manual_seed(seeds[2])
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
