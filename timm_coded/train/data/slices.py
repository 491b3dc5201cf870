"""Images that lie in a few large files, tars or records, read by where they start: random access without unpacking."""
import io
from typing import NamedTuple, Sequence

import numpy as np
from timm.data.readers.reader import Reader


class Slice(NamedTuple):
    """`size` bytes of `file` from `offset` on."""
    file: str
    offset: int
    size: int


class Slices:
    """Slices by index, as bytes.

    The file is opened for each of them: so no handle has to reach a worker process, a thousand tars are not a thousand
    open files in each, and it costs microseconds where an image costs milliseconds. Kept as arrays, since each worker
    is sent its own copy of ImageNet's 1.28 million.
    """

    def __init__(self, slices: Sequence[Slice]):
        self.files = sorted({piece.file for piece in slices})
        number = {file: index for index, file in enumerate(self.files)}
        self.places = np.array([(number[file], offset, size) for file, offset, size in slices], np.int64)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> bytes:
        """Raises OSError if the file is gone or shorter than it was."""
        number, offset, size = self.places[index].tolist()
        with open(self.files[number], 'rb', buffering=0) as file:
            file.seek(offset)
            content = file.read(size)
        if len(content) < size:
            raise OSError(f'{self.files[number]} is cut short')
        return content

    def file_of(self, index: int) -> str:
        return self.files[self.places[index, 0]]


class SliceReader(Reader):
    """A reader for timm's `ImageDataset`: encoded image and target by index.

    Args:
        images: where the images are.
        names: of each image within its file.
        targets: of each image.
        class_to_idx: index of each class by name, {} where the classes have no names.
        root: what was searched for images.
    """

    def __init__(
            self,
            images: Sequence[Slice],
            names: Sequence[str],
            targets: Sequence[int],
            class_to_idx: dict[str, int],
            root: str,
    ):
        super().__init__()
        self.slices = Slices(images)
        self.names = np.array([name.encode(errors='surrogateescape') for name in names])
        self.targets = np.array(targets, np.int64)
        self.class_to_idx = class_to_idx
        self.root = root

    def __len__(self) -> int:
        return len(self.slices)

    def __getitem__(self, index: int) -> tuple[io.BytesIO, int]:
        return io.BytesIO(self.slices[index]), int(self.targets[index])

    def _filename(self, index: int, basename: bool = False, absolute: bool = False) -> str:
        name = self.names[index].decode(errors='surrogateescape')
        if basename:
            return name.rpartition('/')[2]
        return f'{self.slices.file_of(index)}/{name}' if absolute else name
