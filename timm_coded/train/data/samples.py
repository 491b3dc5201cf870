"""A data set's images as the loop wants them: uint8, repeatably augmented, unreadable ones named."""
import contextlib
import random
from typing import Any, Callable, Iterator, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from ..errors import UserError
from .fast_decode import Encoded, Unreadable
from .image_set import ImageSet
from .rgb import to_rgb
from .sampler import Key
from .targets import name_of, wrong_target

OWN_GENERATOR = np.random.MT19937()  # of NumPy's random numbers while an image is augmented
IGNORED = -1  # the target of an image that only fills up a batch


class Sample(NamedTuple):
    """An image on its way into a batch.

    Attributes:
        key: epoch and index, as the sampler gave them.
        image: uint8 [C, H, W].
        target: class index, or `IGNORED` where the image is a filler.
        boxes: [count, 4] of random erasing, alone in a tuple; empty without it.
        unreadable: name and reason, if the image could not be read and this is a filler of its shape.
    """
    key: Key
    image: torch.Tensor
    target: int
    boxes: tuple[torch.Tensor, ...] = ()
    unreadable: tuple[str, str] | None = None


class Samples(Dataset[Sample | UserError]):
    """A data set's images, transformed with random numbers that depend on (seed, epoch, index) alone.

    So an image looks the same whichever worker makes it, and in a resumed run. An item is a `Sample`; an error that no
    other image can make up for comes as a `UserError`: as a value, so that it passes through a worker process without a
    traceback.

    Args:
        dataset: a map-style one of timm's, torchvision's or ours, without a transform.
        transform: PIL image to uint8 tensor; with `encoded`, `Encoded` image too.
        num_classes: a target that is none of 0, ..., num_classes - 1 is an error.
        seed: of the run.
        sample_boxes: for random erasing: image to boxes.
        encoded: the transform decodes the images itself.
    """

    def __init__(
            self,
            dataset: ImageSet,
            transform: Callable[[Any], torch.Tensor],
            num_classes: int,
            seed: int = 0,
            sample_boxes: Callable[[torch.Tensor], torch.Tensor] | None = None,
            encoded: bool = False,
    ):
        self.dataset = dataset
        self.transform = transform
        self.seed = seed
        self.sample_boxes = sample_boxes
        self.num_classes = num_classes
        self.encoded = encoded

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: Key) -> Sample | UserError:
        _, index = key
        try:
            image, target = self.read(index)
        except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error, zlib.error, ...
            return self.filler(key, str(error) or type(error).__name__)
        if not 0 <= target < self.num_classes:
            return UserError(wrong_target(name_of(self.dataset, index), target, self.num_classes))
        try:
            return self.transformed(key, image, target)
        except Unreadable as error:
            return self.filler(key, str(error))

    def filler(self, key: Key, reason: str) -> Sample | UserError:
        """What takes the place of an image that cannot be read."""
        sample = self.transformed(key, Image.new('RGB', (64, 64)), IGNORED)
        if isinstance(sample, UserError):
            return sample
        return sample._replace(unreadable=(name_of(self.dataset, key[1]), reason))

    def transformed(self, key: Key, image: Image.Image | Encoded, target: int) -> Sample | UserError:
        """Raises `Unreadable` if the image is encoded and cannot be decoded."""
        try:
            with seeded(self.seed, *key):
                pixels = self.transform(image)
                boxes = () if self.sample_boxes is None else (self.sample_boxes(pixels),)
        except Unreadable:
            raise
        except Exception as error:  # a policy of --aa may only fail once its operation is drawn
            name = name_of(self.dataset, key[1])
            return UserError(f'cannot transform the image {name}: {type(error).__name__}: {error}')
        return Sample(key, pixels, target, boxes)

    def read(self, index: int) -> tuple[Image.Image | Encoded, int]:
        """Image and target, past timm's ImageDataset, which puts the next image in the place of an unreadable one."""
        reader = getattr(self.dataset, 'reader', None)
        if reader is None:
            image, target = self.dataset[index]
            return to_rgb(image), int(target)
        file, target = reader[index]
        with file:
            return (Encoded.read(file) if self.encoded else to_rgb(Image.open(file))), int(target)


@contextlib.contextmanager
def seeded(*entropy: int) -> Iterator[None]:
    """Python's, NumPy's and PyTorch's CPU random numbers seeded for a while, then as they were."""
    states = random.getstate(), torch.get_rng_state()
    generator = np.random.get_bit_generator()  # type: ignore[attr-defined]  # NumPy's annotations lack it
    seeds = np.random.SeedSequence(entropy).generate_state(3).tolist()
    random.seed(seeds[0])
    # to copy NumPy's state takes longer than to flip an image
    np.random.set_bit_generator(OWN_GENERATOR)  # type: ignore[attr-defined]
    np.random.seed(seeds[1])
    torch.default_generator.manual_seed(seeds[2])
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_bit_generator(generator)  # type: ignore[attr-defined]
        torch.set_rng_state(states[1])
