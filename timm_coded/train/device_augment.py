"""uint8 images to normalised, randomly erased ones, on the device and with static shapes."""
import torch
from timm.data.random_erasing import RandomErasing


class BoxSampler:
    """Draws the boxes of timm's random erasing on the host, by timm's own code; `DeviceAugment` fills them.

    Args:
        probability: that an image is erased at all.
        max_count: an erased image gets 1 to so many boxes, drawn evenly.
    """

    def __init__(self, probability: float, max_count: int):
        self.max_count = max_count
        self.erasing = RandomErasing(probability, mode='const', max_count=max_count, device='cpu')

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Boxes for one image [C, H, W]: int32 [max_count, 4] of (top, left, height, width), zeros where there is none.

        Draws from Python's `random`, as timm does.
        """
        canvas = BoxRecorder(image.shape)
        self.erasing(canvas)
        boxes = torch.zeros(self.max_count, 4, dtype=torch.int32)
        for row, box in zip(boxes, canvas.boxes):
            row.copy_(torch.tensor(box))
        return boxes


class BoxRecorder:
    """Stands in for an image: remembers which boxes are written to."""
    dtype = torch.float32

    def __init__(self, shape: torch.Size):
        self.shape = shape
        self.boxes: list[tuple[int, int, int, int]] = []

    def size(self) -> torch.Size:
        return self.shape

    def __setitem__(self, key: tuple[slice, slice, slice], fill: torch.Tensor) -> None:
        _, rows, columns = key
        self.boxes.append((rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start))


class DeviceAugment:
    """Normalises a batch and fills the boxes of random erasing.

    Args:
        mean: of each channel, for pixels in 0..1.
        std: of each channel, for pixels in 0..1.
        mode: what fills a box, as in timm: 'pixel' (normal noise), 'rand' (one normal colour a box), 'const' (zeros).
        device: where the batches are.
    """

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...], mode: str, device: torch.device):
        self.mean = (255 * torch.tensor(mean)).view(1, -1, 1, 1).to(device)
        self.std = (255 * torch.tensor(std)).view(1, -1, 1, 1).to(device)
        self.mode = mode

    def __call__(self, images: torch.Tensor, boxes: torch.Tensor | None = None) -> torch.Tensor:
        """uint8 images [B, C, H, W], and boxes [B, count, 4] if any are to be erased, to float32 ones of that shape."""
        images = (images.float() - self.mean) / self.std
        return images if boxes is None else self.erase(images, boxes)

    def erase(self, images: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        batch, channels, height, width = images.shape
        rows = torch.arange(height, device=images.device).view(1, 1, -1, 1)
        columns = torch.arange(width, device=images.device).view(1, 1, 1, -1)
        noise = torch.randn_like(images) if self.mode == 'pixel' else None
        for box in boxes.unbind(1):  # in turn: a later box covers an earlier one
            top, left, tall, wide = (side.view(-1, 1, 1, 1) for side in box.unbind(1))
            inside = (rows >= top) & (rows < top + tall) & (columns >= left) & (columns < left + wide)
            if self.mode == 'rand':
                noise = torch.randn(batch, channels, 1, 1, device=images.device)
            images = torch.where(inside, 0.0 if noise is None else noise, images)
        return images
