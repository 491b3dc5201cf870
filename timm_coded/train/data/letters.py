"""Letters drawn with real fonts, those that come inside matplotlib: 37 classes, more than a block has subNNs."""
import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch.utils.data import Dataset

from ..errors import UserError

# Fonts of validation are none of training's: DejaVu, STIX and Computer Modern, each in several faces.
FONTS = {
    'train': (
        'DejaVuSans', 'DejaVuSans-Bold', 'DejaVuSans-BoldOblique', 'DejaVuSansMono', 'DejaVuSansMono-Bold',
        'DejaVuSansMono-Oblique', 'DejaVuSerif', 'DejaVuSerif-BoldItalic', 'DejaVuSerif-Italic', 'STIXGeneral',
        'STIXGeneralBolIta', 'STIXGeneralItalic', 'cmb10', 'cmr10', 'cmss10', 'cmti10',
    ),
    'validation': ('DejaVuSans-Oblique', 'DejaVuSansMono-BoldOblique', 'DejaVuSerif-Bold', 'STIXGeneralBol', 'cmtt10'),
}
# Capitals, and the small letters that do not look like theirs: the letters of EMNIST's "balanced" set
# (https://arxiv.org/abs/1702.05373).
CLASSES = tuple('ABCDEFGHIJKLMNOPQRSTUVWXYZ' 'abdefghnqrt')
DRAWINGS = 4  # of a letter in a font
SIZE = 16  # pixels
FINE = 4  # letters are drawn so many times larger, then shrunk


class Letters(Dataset[tuple[Image.Image, int]]):
    """One split, the same every time: each letter in each font four times, turned, scaled and shifted a little.

    An item is `(image, target)`: a 16x16 RGB PIL image, white on black, and the letter's index in `classes`.

    Args:
        split: 'train' (2,368 images in 16 fonts) or 'validation' (740 in 5 others).

    Raises:
        UserError: matplotlib, whose fonts they are, is not installed.
    """
    classes = CLASSES

    def __init__(self, split: str):
        try:
            from matplotlib import get_data_path
        except ImportError:
            raise UserError("--dataset letters needs matplotlib: pip install 'timm_coded[analysis]'") from None
        folder = Path(get_data_path(), 'fonts', 'ttf')
        fonts = [ImageFont.truetype(folder / f'{name}.ttf', SIZE * FINE) for name in FONTS[split]]
        keys = [(font, target, drawing) for font in range(len(fonts)) for target in range(len(CLASSES))
                for drawing in range(DRAWINGS)]
        order = np.random.RandomState(0).permutation(len(keys))  # a stream that NumPy keeps for ever
        self.targets = [keys[index][1] for index in order]
        self.images = [
            draw(CLASSES[target], fonts[font], np.random.RandomState([split == 'train', font, target, drawing]))
            for font, target, drawing in (keys[index] for index in order)]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return self.images[index].convert('RGB'), self.targets[index]


def draw(letter: str, font: ImageFont.FreeTypeFont, random: np.random.RandomState) -> Image.Image:
    """A letter as a 16x16 grey image: turned by up to 12 degrees, 65 to 95 % of the height, off the middle by up to 1.

    So no letter is told by its size: a capital C and a small c would be one, which is why there is no small c.
    """
    left, top, right, bottom = font.getbbox(letter)
    side = max(right - left, bottom - top)
    canvas = Image.new('L', (2 * side, 2 * side))  # type: ignore[arg-type]  # whole pixels, as floats
    ImageDraw.Draw(canvas).text((side - (left + right) / 2, side - (top + bottom) / 2), letter, 255, font)
    angle, height = random.uniform(-12, 12), random.uniform(.65, .95)
    shift = random.uniform(-1, 1, 2)
    scale = side / (height * SIZE)  # of the canvas' pixels to the image's
    turn = math.radians(angle)
    cos, sin = scale * math.cos(turn) / FINE, scale * math.sin(turn) / FINE
    middle = FINE * (SIZE / 2 + shift)
    affine = (cos, sin, side - cos * middle[0] - sin * middle[1], -sin, cos, side + sin * middle[0] - cos * middle[1])
    fine = canvas.transform((FINE * SIZE, FINE * SIZE), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR)
    return fine.resize((SIZE, SIZE), Image.Resampling.BOX)
