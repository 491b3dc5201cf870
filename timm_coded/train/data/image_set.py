"""What the loop asks of a data set."""
from typing import Any, Protocol


class ImageSet(Protocol):
    """Images with their targets, by index: timm's `ImageDataset`, torchvision's and our own data sets."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...
