"""JPEG files made on the spot that cost a loader what ImageNet's do: their sizes, bytes and spectrum, no content."""
import os
from pathlib import Path

import numpy as np
from PIL import Image

# Width and height of 20 images: most of ImageNet's have a longer side of 500 pixels, a few are far larger or smaller.
SIZES = 9 * [(500, 375)] + 4 * [(375, 500)] + 3 * [(500, 333)] + [(333, 500), (400, 300), (256, 192), (1200, 900)]
# Quality and subsampling of 7 in turn: a survey found nearly all of ImageNet of quality 96, and few images with colours
# of a lower resolution (https://www.terryalanunlimited.com/compression-in-the-imagenet-dataset/).
FORMS = 6 * [(96, '4:4:4')] + [(90, '4:2:0')]
EXPONENT = 1.53  # of amplitudes over frequency, such that files have 110 KB in the mean
CLASSES = 4


def make_jpegs(folder: Path, count: int, copies: int = 1, seed: int = 0) -> None:
    """Writes `count` images as class folders, with `copies - 1` hard links to each: other files of the same bytes."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        place = folder / f'class{number % CLASSES}'
        place.mkdir(parents=True, exist_ok=True)
        path = place / f'{number}.jpg'
        quality, subsampling = FORMS[number % len(FORMS)]
        draw(*SIZES[number % len(SIZES)], rng).save(path, quality=quality, subsampling=subsampling)
        for copy in range(1, copies):
            os.link(path, place / f'{number}-{copy}.jpg')


def draw(width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """Noise whose amplitudes fall with the frequency as a photograph's do, most of it in the brightness."""
    frequencies = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequencies[0, 0] = np.inf  # no mean
    noise = np.fft.rfft2(rng.standard_normal((3, height, width))) * frequencies ** -EXPONENT
    planes = np.fft.irfft2(noise, s=(height, width))
    brightness, *colours = planes / planes.std(axis=(1, 2), keepdims=True)
    red, blue = colours
    pixels = np.stack([brightness + 0.35 * red, brightness - 0.15 * (red + blue), brightness + 0.35 * blue], axis=-1)
    return Image.fromarray(np.clip(120 + 50 * pixels, 0, 255).astype(np.uint8))
