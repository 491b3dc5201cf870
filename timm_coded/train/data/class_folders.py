"""Folders with a folder for each class, as timm reads them, and the faults that it would pass over."""
import os

from timm.data import ImageDataset, create_dataset

from ..errors import UserError


def read_class_folders(root: str, class_map: str = '') -> ImageDataset:
    """timm's data set of class folders.

    Raises:
        UserError: a folder cannot be read or has no images: either would shift the indices of the classes after it.
    """
    dataset = create_dataset(
        '', root=root, search_split=False,
        class_map=class_map)  # type: ignore[arg-type]  # timm takes a path, too
    folders = list(walk(root))
    if not class_map:
        filled = {os.path.dirname(file) for file, _ in dataset.reader.samples}
        if root in filled:
            stray = next(file for file, _ in dataset.reader.samples if os.path.dirname(file) == root)
            raise UserError(f'{stray} is in no class folder: {root} needs one folder for each class')
        empty = [folder for folder, is_leaf in folders if is_leaf and folder not in filled]
        if empty:
            raise UserError(f'the class folder {empty[0]} has no images ({len(empty)} such): put them there, or remove '
                            'it')
    return dataset


def walk(root: str) -> list[tuple[str, bool]]:
    """All folders but hidden ones, each with whether it has no folder in it.

    Raises:
        UserError: one cannot be read.
    """
    def fail(error: OSError) -> None:
        raise UserError(f'cannot read the folder {error.filename}: {error.strerror}') from error

    found = []
    for folder, inner, _ in os.walk(root, onerror=fail, followlinks=True):
        inner[:] = [name for name in inner if not name.startswith('.')]
        found.append((folder, not inner))
    return found
