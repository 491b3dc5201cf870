"""A small ImageNet-like tree of real JPEG files, made on the spot."""
from pathlib import Path

import numpy as np
from PIL import Image


def make_image_folder(root: Path, classes: dict[str, int], size: tuple[int, int] = (40, 32)) -> Path:
    """`classes[name]` JPEG files in root/name, each with its own colours."""
    rng = np.random.default_rng(0)
    for name, count in classes.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize(size, Image.BICUBIC).save(root / name / f'{number}.jpg', quality=90)
    return root


def truncate(path: Path) -> Path:
    """Cuts a file in the middle, as an interrupted download does."""
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
    return path
