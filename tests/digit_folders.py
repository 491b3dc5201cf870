"""scikit-learn's digits as class folders of PNG files, for trainers that read folders."""
from pathlib import Path

from timm_coded.train.data.digits import Digits


def make_digit_folders(root: Path) -> Path:
    """train/0 ... train/9 with 1,408 images, and validation/0 ... with 389."""
    for split in ('train', 'validation'):
        for number, (image, target) in enumerate(Digits(split)):
            folder = root / split / str(target)
            folder.mkdir(parents=True, exist_ok=True)
            image.save(folder / f'{number}.png')
    return root
