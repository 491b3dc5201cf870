"""`--fast-decode`: JPEG files to crops in less time, with nearly the same pixels.

libjpeg-turbo decodes into a tensor, without Pillow's copies of the image, and PyTorch's vector code resizes its crop. A
crop of at least twice the size that is wanted is decoded at 1/2, 1/4 or 1/8 of the scale, as far as it stays as large as
wanted. The crop is the one that timm draws, by the same random numbers.
"""
import argparse
import io
import random
from typing import BinaryIO, NamedTuple

import numpy as np
import torch
from PIL import Image
from timm.data import RandomResizedCropAndInterpolation
from torch.utils.data import Dataset
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import Compose, InterpolationMode, Resize
from torchvision.transforms import functional as pillow
from torchvision.transforms.v2 import functional as tensors

from ..errors import UserError
from .rgb import to_rgb

FACTORS = (8, 4, 2)  # that libjpeg-turbo scales down by while it decodes
INTERPOLATIONS = (InterpolationMode.BILINEAR, InterpolationMode.BICUBIC)  # that PyTorch has for bytes

Box = tuple[int, int, int, int]  # top, left, height, width


class Unreadable(Exception):
    """An image file that cannot be decoded, found out while it is transformed."""


class Encoded(NamedTuple):
    """An image file that is not decoded yet: Pillow's image, which has read its header alone, and all its bytes."""
    header: Image.Image
    content: bytes

    @classmethod
    def read(cls, file: BinaryIO) -> 'Encoded':
        """Raises what Pillow does if the file is no image."""
        header = Image.open(file)
        file.seek(0)
        return cls(header, file.read())

    def open(self) -> Image.Image:
        return Image.open(io.BytesIO(self.content))


class FastCrop:
    """timm's random resized crop, of an encoded image; of others it is timm's own."""

    def __init__(self, crop: RandomResizedCropAndInterpolation):
        self.crop = crop
        self.interpolations = crop.interpolation if isinstance(crop.interpolation, tuple) else (crop.interpolation,)

    def __call__(self, image: Encoded | Image.Image) -> Image.Image:
        if not isinstance(image, Encoded):
            return self.crop(image)
        box = self.crop.get_params(image.header, self.crop.scale, self.crop.ratio)
        drawn = len(self.interpolations) > 1
        return decode_box(image, box, self.crop.size, random.choice(self.interpolations) if drawn
                          else self.interpolations[0])


class FastResize:
    """torchvision's resize of the whole image, of an encoded one; of others it is torchvision's own."""

    def __init__(self, resize: Resize):
        self.resize = resize
        self.interpolations = (resize.interpolation,)

    def __call__(self, image: Encoded | Image.Image) -> Image.Image:
        if not isinstance(image, Encoded):
            return self.resize(image)
        width, height = image.header.size
        size = self.resize.size
        if isinstance(size, int):  # of the shorter side
            short, long = min(width, height), max(width, height)
            size = (size, int(size * long / short)) if height <= width else (int(size * long / short), size)
        return decode_box(image, (0, 0, height, width), tuple(size), self.resize.interpolation)


def decode_box(image: Encoded, box: Box, size: tuple[int, int], interpolation: InterpolationMode) -> Image.Image:
    """The part of an image in the box, resized to (height, width).

    What is no RGB JPEG, or has an error, goes the exact way, which has the last word on errors.

    Raises:
        Unreadable: the image cannot be decoded.
    """
    top, left, height, width = box
    try:
        if image.header.format == 'JPEG' and image.header.mode == 'RGB':
            for factor in FACTORS:
                if height >= factor * size[0] and width >= factor * size[1]:
                    return decode_scaled(image, box, size, interpolation, factor)
            try:
                pixels = decode_jpeg(torch.frombuffer(bytearray(image.content), dtype=torch.uint8), ImageReadMode.RGB)
            except RuntimeError:
                pass
            else:
                pixels = tensors.resized_crop(pixels, *box, list(size), interpolation, antialias=True)
                return Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy()))
        whole = to_rgb(image.open())
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error, zlib.error, ...
        raise Unreadable(str(error) or type(error).__name__) from error
    return pillow.resized_crop(whole, top, left, height, width, size, interpolation)


def decode_scaled(
        image: Encoded, box: Box, size: tuple[int, int], interpolation: InterpolationMode, factor: int) -> Image.Image:
    """The same of an image that is decoded at 1/factor of its scale; the box is scaled with it, to parts of pixels."""
    top, left, height, width = box
    small = image.open()
    full_width, full_height = small.size
    _, (_, _, scaled_width, _) = small.draft('RGB', (full_width // factor, full_height // factor))
    scale = scaled_width / full_width
    right, bottom = (left + width) * scale, (top + height) * scale
    within = (left * scale, top * scale, min(right, small.width), min(bottom, small.height))
    filters = {InterpolationMode.BILINEAR: Image.Resampling.BILINEAR, InterpolationMode.BICUBIC: Image.Resampling.BICUBIC}
    return small.resize((size[1], size[0]), filters[interpolation], within)


def decode_fast(args: argparse.Namespace, transform: Compose, dataset: Dataset) -> Compose:
    """The transform of timm with its first step, crop or resize, done while decoding, as `--fast-decode` asks.

    Raises:
        UserError: the data set gives decoded images, or the first step or its interpolation is another.
    """
    if not hasattr(dataset, 'reader'):
        name = '--synthetic' if args.synthetic else f'--dataset {args.dataset}'
        raise UserError(f'--fast-decode is for image files, and {name} gives images that are decoded already: leave it '
                        'out')
    first, *rest = transform.transforms
    if isinstance(first, RandomResizedCropAndInterpolation):
        fast = FastCrop(first)
    elif isinstance(first, Resize):
        fast = FastResize(first)
    else:
        flag = '--train-pad' if args.train_pad else '--train-crop-mode and --crop-mode other than rrc and center, squash'
        raise UserError(f'--fast-decode does the random resized crop and the resize of the evaluation, it cannot go '
                        f'together with {flag}: leave out one of the two')
    if not set(fast.interpolations) <= set(INTERPOLATIONS):
        raise UserError(f'--fast-decode resizes by bilinear or bicubic interpolation, not {fast.interpolations[0].value}: '
                        'change --train-interpolation or --interpolation, or leave it out')
    return Compose([fast, *rest])
