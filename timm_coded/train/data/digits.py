"""scikit-learn's handwritten digits: 1,797 real 8x8 images that come inside the package."""
import numpy as np
from PIL import Image
from torch.utils.data import Dataset

from ..errors import UserError

NUM_VALIDATION = 389  # leaves 1,408 to train: 22 batches of 64


class Digits(Dataset[tuple[Image.Image, int]]):
    """One split, the same every time: a permutation with a fixed seed, its last 389 images for validation.

    An item is `(image, target)`: an 8x8 RGB PIL image and a digit. The same writers are in both splits.

    Args:
        split: 'train' or 'validation'.

    Raises:
        UserError: scikit-learn is not installed.
    """
    classes = tuple(range(10))

    def __init__(self, split: str):
        try:
            from sklearn.datasets import load_digits
        except ImportError:
            raise UserError("--dataset digits needs scikit-learn: pip install 'timm_coded[demo]'") from None
        digits = load_digits()
        order = np.random.RandomState(0).permutation(len(digits.target))  # a stream that NumPy keeps for ever
        chosen = order[:-NUM_VALIDATION] if split == 'train' else order[-NUM_VALIDATION:]
        self.pixels = np.rint(digits.images[chosen] * (255 / 16)).astype(np.uint8)  # [images, 8, 8]; of 0..16
        self.targets = digits.target[chosen].tolist()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.fromarray(self.pixels[index]).convert('RGB'), self.targets[index]
