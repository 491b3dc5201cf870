"""`--fast-decode`: JPEG files to crops in less time, with nearly the same pixels.

libjpeg-turbo decodes into a tensor, without Pillow's copies of the image, and PyTorch's vector code resizes its crop. A
crop of at least twice the size that is wanted is decoded at 1/2, 1/4 or 1/8 of the scale, as far as it stays as large
as wanted. The crop is the one that timm draws, by the same random numbers.
"""
import argparse
import contextlib
import io
import random
from typing import BinaryIO, NamedTuple

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from timm.data import RandomResizedCropAndInterpolation
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import Compose, InterpolationMode, Resize
from torchvision.transforms import functional as pillow
from torchvision.transforms.v2 import functional as tensors

from ..errors import UserError
from .image_set import ImageSet
from .rgb import to_rgb

FACTORS = (8, 4, 2)  # that libjpeg-turbo scales down by while it decodes
PILLOW_FILTERS = {  # of what PyTorch has for bytes
    InterpolationMode.BILINEAR: Image.Resampling.BILINEAR,
    InterpolationMode.BICUBIC: Image.Resampling.BICUBIC,
}

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
        content = file.read()  # at once: each system call counts
        try:
            return cls(Image.open(io.BytesIO(content)), content)
        except UnidentifiedImageError:
            file.seek(0)
            Image.open(file)  # fails too, and names the file
            raise


class FastCrop:
    """timm's random resized crop, of an encoded image; of others it is timm's own."""

    def __init__(self, crop: RandomResizedCropAndInterpolation):
        self.crop = crop
        self.interpolations = crop.interpolation if isinstance(crop.interpolation, tuple) else (crop.interpolation,)

    def __call__(self, image: Encoded | Image.Image) -> Image.Image:
        if not isinstance(image, Encoded):
            return self.crop(image)
        box = self.crop.get_params(image.header, self.crop.scale, self.crop.ratio)
        several = len(self.interpolations) > 1  # one is not drawn, which would take a random number
        interpolation = random.choice(self.interpolations) if several else self.interpolations[0]
        return decode_box(image, box, self.crop.size, interpolation)


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
        if isinstance(size, int):  # of the shorter side; the longer one as torchvision rounds it
            long = int(size * max(width, height) / min(width, height))
            size = (size, long) if height <= width else (long, size)
        return decode_box(image, (0, 0, height, width), tuple(size), self.resize.interpolation)


def decode_box(image: Encoded, box: Box, size: tuple[int, int], interpolation: InterpolationMode) -> Image.Image:
    """The part of an image in the box, resized to (height, width).

    What is no RGB JPEG, or has an error, goes the exact way, which has the last word on errors.

    Raises:
        Unreadable: the image cannot be decoded.
    """
    try:
        if image.header.format == 'JPEG' and image.header.mode == 'RGB':
            for factor in FACTORS:
                if box[2] >= factor * size[0] and box[3] >= factor * size[1]:
                    return decode_scaled(image.header, box, size, interpolation, factor)
            with contextlib.suppress(RuntimeError):
                return decode_whole(image.content, box, size, interpolation)
        whole = to_rgb(image.header)
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error, zlib.error, ...
        raise Unreadable(str(error) or type(error).__name__) from error
    return pillow.resized_crop(whole, *box, size, interpolation)


def decode_whole(
        content: bytes, box: Box, size: tuple[int, int], interpolation: InterpolationMode) -> Image.Image:
    """Raises RuntimeError if it is damaged."""
    pixels = decode_jpeg(torch.frombuffer(bytearray(content), dtype=torch.uint8), ImageReadMode.RGB)  # [3, H, W]
    pixels = tensors.resized_crop(pixels, *box, list(size), interpolation, antialias=True)
    return Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy()))


def decode_scaled(
        image: Image.Image,
        box: Box,
        size: tuple[int, int],
        interpolation: InterpolationMode,
        factor: int,
) -> Image.Image:
    """Decodes at 1/factor of the scale; the box is scaled with the image, to parts of pixels."""
    top, left, height, width = box
    full_width, full_height = image.size
    image.draft('RGB', (full_width // factor, full_height // factor))
    right, bottom = min((left + width) / factor, image.width), min((top + height) / factor, image.height)
    return image.resize(size[::-1], PILLOW_FILTERS[interpolation], (left / factor, top / factor, right, bottom))


def decode_fast(args: argparse.Namespace, transform: Compose, dataset: ImageSet) -> Compose:
    """The transform of timm with its first step, crop or resize, done while decoding, as `--fast-decode` asks.

    Raises:
        UserError: the data set gives decoded images, or the first step or its interpolation is another.
    """
    if not hasattr(dataset, 'reader'):
        name = '--synthetic' if args.synthetic else f'--dataset {args.dataset}'
        raise UserError(f'--fast-decode is for image files, and {name} gives images that are decoded already: leave it '
                        'out')
    check_decoder()
    first, *rest = transform.transforms
    if isinstance(first, RandomResizedCropAndInterpolation):
        fast: FastCrop | FastResize = FastCrop(first)
    elif isinstance(first, Resize):
        fast = FastResize(first)
    else:
        raise UserError('--fast-decode decodes for the random resized crop and for a resize, this run begins with '
                        f'{type(first).__name__}: leave it out, or --train-pad, --train-crop-mode and --crop-mode')
    if not set(fast.interpolations) <= PILLOW_FILTERS.keys():
        raise UserError('--fast-decode resizes by bilinear or bicubic interpolation, not '
                        f'{fast.interpolations[0].value}: change --train-interpolation or --interpolation, or leave it '
                        'out')
    return Compose([fast, *rest])


def check_decoder() -> None:
    """Raises UserError if this torchvision cannot decode JPEG files at all: it would seem as if all were damaged."""
    file = io.BytesIO()
    Image.new('RGB', (8, 8)).save(file, 'JPEG')
    try:
        decode_whole(file.getvalue(), (0, 0, 8, 8), (8, 8), InterpolationMode.BILINEAR)
    except RuntimeError as error:
        raise UserError(f'--fast-decode: this torchvision was built without libjpeg ({error}): install one of '
                        'pip, or leave it out') from error
