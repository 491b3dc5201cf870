"""Class folders in tar files: one tar of class folders, one tar of class tars, or a folder of class tars."""
import os
import tarfile
from typing import IO, Iterator

from timm.data import is_img_extension
from timm.data.readers.class_map import load_class_map
from timm.utils import natural_key

from ..errors import UserError
from .slices import Slice, SliceReader

Member = tuple[str, tarfile.TarInfo, int, tarfile.TarFile]  # name, header, offset of its content in the file, its tar


def read_class_tars(root: str, class_map: str = '') -> SliceReader:
    """The images of a tar file, or of all tar files of a folder, in the order of the same tree unpacked.

    A class is the innermost folder or tar that an image is in, as for timm's `ReaderImageInTar`. That one streams
    through all bytes (147 GB) for its index, or trusts one that it wrote before, and keeps an object for each image and
    a handle for each tar in every worker.

    Args:
        root: a tar file, or a folder with tar files.
        class_map: a file as timm's `--class-map` takes it, or '' for all classes in natural order.

    Raises:
        UserError: a tar is damaged or a class has no images.
    """
    files = [root] if os.path.isfile(root) else tars_in(root)
    images, folders = [], set()
    for file in files:
        top = '' if file == root else stem(os.path.basename(file))
        folders |= {top}
        for name, header, offset, _ in members(file):
            path = os.path.normpath(os.path.join(top, name))
            if header.isdir() or name.endswith('.tar'):
                folders.add(stem(path))
            elif is_img_extension(os.path.splitext(name)[1].lower()):
                images.append((os.path.dirname(path), path, Slice(file, offset, header.size), name))
    if not images:
        raise UserError(f'{root} has no images')
    if class_map:
        class_to_idx = load_class_map(class_map, root)
        images = [image for image in images if os.path.basename(image[0]) in class_to_idx]
    else:
        check_none_empty(root, folders, {image[0] for image in images})
        labels = {os.path.basename(image[0]) for image in images}
        class_to_idx = {label: index for index, label in enumerate(sorted(labels, key=natural_key))}
    images.sort(key=lambda image: natural_key(image[1]))
    return SliceReader(
        images=[image[2] for image in images],
        names=[image[3] for image in images],
        targets=[class_to_idx[os.path.basename(image[0])] for image in images],
        class_to_idx=class_to_idx,
        root=root,
    )


def check_none_empty(root: str, folders: set[str], filled: set[str]) -> None:
    """An empty class would shift the indices of those after it."""
    if '' in filled:
        raise UserError(f'{root}: some images are in no class folder')
    used = {'', '.'}  # './' is a folder of many tars
    for folder in filled:
        while folder:
            used.add(folder)
            folder = os.path.dirname(folder)
    if folders - used:
        raise UserError(f'{root}: the class {min(folders - used)} has no images')


def tars_in(folder: str) -> list[str]:
    return sorted(entry.path for entry in os.scandir(folder) if stem(entry.name) != entry.name and entry.is_file())


def stem(name: str) -> str:
    return name[:-len('.tar')] if name.lower().endswith('.tar') else name


def members(path: str) -> Iterator[Member]:
    """All files and folders of a tar, and those of the tars in it by 'inner/name'. Only headers are read.

    Raises:
        UserError: it is not a tar, is compressed or ends too early.
    """
    try:
        with open(path, 'rb') as file:
            yield from members_of(file, '', 0)
    except (OSError, tarfile.TarError) as error:
        raise UserError(f'cannot read the tar file {path} (a broken download, or compressed?): {error}') from error


def members_of(file: IO[bytes], prefix: str, start: int) -> Iterator[Member]:
    with tarfile.open(fileobj=file, mode='r:') as tar:
        for header in tar:
            name = prefix + os.path.normpath(header.name)
            if header.isdir() or header.isfile():
                yield name, header, start + header.offset_data, tar
            if header.isfile() and name.lower().endswith('.tar'):
                inner = tar.extractfile(header)
                assert inner is not None  # it is a file
                with inner:
                    yield from members_of(inner, f'{stem(name)}/', start + header.offset_data)
            tar.members = []  # type: ignore[attr-defined]  # it would keep all headers
        file.seek(tar.offset)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError('it has no end mark')
