"""Any image in the three colours that models take."""
import numpy as np
from PIL import Image


def to_rgb(image: Image.Image) -> Image.Image:
    """The image, decoded, in RGB; 16-bit grey is scaled to 8 bits, where Pillow's conversion would clip it to white.

    Raises:
        ValueError: the pixels are numbers without a known range.
    """
    if image.mode == 'RGB':
        image.load()  # `convert` would copy it
        return image
    if image.mode.startswith('I;16'):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ('I', 'F'):
        raise ValueError(f'pixels of mode {image.mode} have no known range; save it with 8 or 16 bits')
    return image.convert('RGB')
