"""The images of class folders in the other forms that `--dataset` reads."""
import io
import json
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image
from timm.utils import natural_key


def images_of(folder: Path) -> list[tuple[Path, int]]:
    """Files and targets, class by class, as anyone would number them."""
    classes = sorted((path.name for path in folder.iterdir()), key=natural_key)
    files = [(file, index) for index, name in enumerate(classes) for file in (folder / name).iterdir()]
    return sorted(files, key=lambda file: natural_key(str(file[0])))


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    header = tarfile.TarInfo(name)
    header.size = len(content)
    tar.addfile(header, io.BytesIO(content))


def pack_folder(folder: Path, path: Path) -> Path:
    """One tar of class folders, as `tar -C folder -cf path .` makes it."""
    with tarfile.open(path, 'w') as tar:
        tar.add(folder, '.')
    return path


def pack_classes(folder: Path, root: Path) -> Path:
    """A folder of class tars with the images at their top, as ImageNet comes."""
    root.mkdir(parents=True)
    for name in folder.iterdir():
        with tarfile.open(root / f'{name.name}.tar', 'w') as tar:
            for file in sorted(name.iterdir(), reverse=True):
                tar.add(file, file.name)
    return root


def pack_shards(folder: Path, root: Path, split: str, size: int = 3, label_key: str = '') -> dict:
    """WebDataset shards of `size` images; returns the split's entry for info.json."""
    root.mkdir(parents=True, exist_ok=True)
    files = images_of(folder)
    names, lengths = [], []
    for number, start in enumerate(range(0, len(files), size)):
        names.append(f'data-{split}-{number:02d}.tar')
        lengths.append(len(files[start:start + size]))
        with tarfile.open(root / names[-1], 'w') as tar:
            for file, target in files[start:start + size]:
                key = f'{file.parent.name}_{file.stem}'
                if label_key:
                    add(tar, f'{key}.json', json.dumps({label_key: target}).encode())
                else:
                    add(tar, f'{key}.cls', str(target).encode())
                add(tar, f'{key}.jpg', file.read_bytes())
    return dict(name=split, filenames=names, shard_lengths=lengths, num_samples=len(files), alt_label=label_key)


def write_info(root: Path, **splits: dict) -> None:
    (root / '_info.json').write_text(json.dumps({'splits': splits}))


def prepare_tfds(folders: dict[str, Path], root: Path, file_format: str) -> Path:
    """A data set `pets` of TensorFlow Datasets with a split for each of `folders`, without TensorFlow."""
    import tensorflow_datasets as tfds

    class Pets(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version('1.0.0')
        pkg_dir_path = root

        def _info(self):
            names = sorted(path.name for path in folders['train'].iterdir())
            features = {'image': tfds.features.Image(), 'label': tfds.features.ClassLabel(names=names)}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(folder) for split, folder in folders.items()}

        def _generate_examples(self, folder):
            for file, _ in images_of(folder):
                yield f'{file.parent.name}/{file.name}', {'image': str(file), 'label': file.parent.name}

    builder = Pets(data_dir=str(root), file_format='array_record')
    builder.download_and_prepare()
    if file_format == 'tfrecord':
        to_tfrecords(Path(builder.data_dir))
    return root


def to_tfrecords(folder: Path) -> None:
    """Writes ArrayRecord files anew as TFRecord files, with checksums of zero."""
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    for path in folder.glob('*.array_record*'):
        records = ArrayRecordDataSource(str(path))
        with open(str(path).replace('array_record', 'tfrecord'), 'wb') as file:
            for record in records.__getitems__(range(len(records))):
                file.write(struct.pack('<QI', len(record), 0) + record + struct.pack('<I', 0))
        path.unlink()
    info = folder / 'dataset_info.json'
    info.write_text(info.read_text().replace('array_record', 'tfrecord'))


def write_cifar(root: Path, names: list[str], files: list[str], labels: str) -> np.ndarray:
    """torchvision's CIFAR files, 20 images in each of `files`; returns the first file's images [20, 32, 32, 3]."""
    root.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for file in files:
        data = rng.integers(0, 256, (20, 3 * 32 * 32), dtype=np.uint8)
        (root / file).write_bytes(pickle.dumps({'data': data, labels: [n % len(names) for n in range(20)]}))
    first = pickle.loads((root / files[0]).read_bytes())['data']
    return first.reshape(20, 3, 32, 32).transpose(0, 2, 3, 1)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert('RGB'))
