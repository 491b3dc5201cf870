"""`--fast-decode`: JPEG files to crops in less time, with nearly the same pixels.

libjpeg-turbo decodes into an array, without Pillow's copies of the image, to the same pixels, and PyTorch's vector code
resizes the crop, with another rounding. A crop of at least four times the size that is wanted is decoded at 1/4 or 1/8
of the scale; at 1/2, where reading the code still takes most of the time, that gains nothing. The crop is the one that
timm draws, by the same random numbers.
"""
import argparse
import contextlib
import io
import random
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, UnidentifiedImageError
from timm.data import RandomResizedCropAndInterpolation
from torch.nn.functional import interpolate
from torchvision.transforms import Compose, InterpolationMode, Resize
from torchvision.transforms.functional import resized_crop

from ..errors import UserError
from .image_set import ImageSet
from .rgb import to_rgb

FACTORS = (8, 4)  # that libjpeg-turbo scales down by while it decodes
PILLOW_FILTERS = {  # of what PyTorch has for bytes
    InterpolationMode.BILINEAR: Image.Resampling.BILINEAR,
    InterpolationMode.BICUBIC: Image.Resampling.BICUBIC,
}

Box = tuple[int, int, int, int]  # top, left, height, width
Pixels = npt.NDArray[np.uint8]


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

    What is no RGB JPEG, or what libjpeg-turbo refuses, goes the exact way, which has the last word on errors.

    Raises:
        Unreadable: the image cannot be decoded.
    """
    try:
        if image.header.format == 'JPEG' and image.header.mode == 'RGB':
            factor = next((factor for factor in FACTORS if min(box[2] / size[0], box[3] / size[1]) >= factor), 1)
            with contextlib.suppress(ValueError):
                return decode_part(image, box, size, interpolation, factor)
        whole = to_rgb(image.header)
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error, zlib.error, ...
        raise Unreadable(str(error) or type(error).__name__) from error
    return resized_crop(whole, *box, size, interpolation)


def decode_part(
        image: Encoded,
        box: Box,
        size: tuple[int, int],
        interpolation: InterpolationMode,
        factor: int,
) -> Image.Image:
    """Decodes at 1/factor of the scale, and resizes.

    Raises:
        ValueError: the file is damaged, or of a form that libjpeg-turbo does not know.
    """
    width, height = image.header.size
    pixels = decoder().decode_jpeg(image.content, min_height=-(-height // factor), min_width=-(-width // factor))
    if factor == 1:
        return resize(pixels, box, size, interpolation)
    return resize_scaled(pixels, box, size, interpolation, factor)


def resize(pixels: Pixels, box: Box, size: tuple[int, int], interpolation: InterpolationMode) -> Image.Image:
    """The box of an image [H, W, 3], by PyTorch's vector code."""
    top, left, height, width = box
    batch = pixels.reshape(1, *pixels.shape)  # whose stride, unlike that of pixels[None], tells PyTorch: channels last
    part = torch.from_numpy(batch[:, top:top + height, left:left + width]).permute(0, 3, 1, 2)
    resized = interpolate(part, size, mode=interpolation.value, antialias=True, align_corners=False)
    return Image.fromarray(resized.permute(0, 2, 3, 1).numpy()[0])


def resize_scaled(
        pixels: Pixels,
        box: Box,
        size: tuple[int, int],
        interpolation: InterpolationMode,
        factor: int,
) -> Image.Image:
    """The box, in the coordinates of the full scale, of a scaled image: to parts of pixels, as only Pillow can."""
    top, left, height, width = box
    image = Image.fromarray(pixels)
    right, bottom = min((left + width) / factor, image.width), min((top + height) / factor, image.height)
    return image.resize(size[::-1], PILLOW_FILTERS[interpolation], (left / factor, top / factor, right, bottom))


def decoder() -> Any:
    """simplejpeg, which brings its own libjpeg-turbo.

    Raises:
        UserError: it is not installed.
    """
    try:
        import simplejpeg
    except ImportError:
        raise UserError("--fast-decode needs simplejpeg: pip install 'timm_coded[fast]'") from None
    return simplejpeg


def decode_fast(args: argparse.Namespace, transform: Compose, dataset: ImageSet) -> Compose:
    """The transform of timm with its first step, crop or resize, done while decoding, as `--fast-decode` asks.

    Raises:
        UserError: the data set gives decoded images, or the first step or its interpolation is another.
    """
    if not hasattr(dataset, 'reader'):
        name = '--synthetic' if args.synthetic else f'--dataset {args.dataset}'
        raise UserError(f'--fast-decode is for image files, and {name} gives images that are decoded already: leave it '
                        'out')
    decoder()  # to hear of it before anything is read
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
