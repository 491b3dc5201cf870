"""TensorFlow Datasets read by index, without TensorFlow."""
import io
import os
import struct
from typing import Any, Sequence

from timm.data.readers.reader import Reader

from ..errors import UserError
from .slices import Slice, Slices


class RecordReader(Reader):
    """A split of a prepared data set with 'image' and 'label': encoded image and target by index.

    In the place of timm's stream by TensorFlow, which repeats images where replicas and workers do not divide a split
    evenly. ArrayRecord files are read by TensorFlow Datasets' own data source, TFRecord files by an index of theirs.

    Args:
        name: as `tfds.builder` takes it.
        root: the data folder of TensorFlow Datasets; None for its default.
        split: 'train', 'validation[:10%]', ...

    Raises:
        UserError: tensorflow_datasets is not installed, or the data set is not there or of another kind.
    """

    def __init__(self, name: str, root: str | None, split: str):
        super().__init__()
        try:
            import tensorflow_datasets as tfds
        except ImportError as error:
            raise UserError(f'--dataset tfds/{name} needs TensorFlow Datasets, which cannot be imported ({error}): '
                            "pip install 'timm_coded[data]'") from None
        folder = tfds.builder(name, data_dir=root).data_dir
        if not os.path.exists(os.path.join(folder, 'dataset_info.json')):
            raise UserError(f'tfds/{name} is not in {folder}: prepare it with the tfds command first')
        builder = tfds.builder_from_directory(folder)  # reads only, and passes into worker processes
        self.features = builder.info.features
        if not {'image', 'label'} <= set(self.features):
            raise UserError(f"tfds/{name} has {', '.join(self.features)}: expected 'image' and 'label'")
        names = getattr(self.features['label'], 'names', None) or ()
        self.class_to_idx = {label: index for index, label in enumerate(names)}
        self.decoders = {'image': tfds.decode.SkipDecoding()}
        self.split = f'{folder}, {split}'
        kind = builder.info.file_format.value
        if kind == 'array_record':
            self.examples = builder.as_data_source(split, decoders=self.decoders)
        elif kind == 'tfrecord':
            self.examples = Examples(index_records(builder.info.splits[split].file_instructions), self)
        else:
            raise UserError(f'tfds/{name} is stored as {kind}: expected tfrecord or array_record')

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> tuple[io.BytesIO, int]:
        example = self.examples[index]
        return io.BytesIO(example['image']), int(example['label'])

    def _filename(self, index: int, basename: bool = False, absolute: bool = False) -> str:
        return f'{self.split}, number {index}'


class Examples:
    """Examples of TFRecord files by index, their images encoded."""

    def __init__(self, records: list[Slice], reader: RecordReader):
        self.records = Slices(records)
        self.features, self.decoders = reader.features, reader.decoders

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.features.deserialize_example_np(self.records[index], decoders=self.decoders)


def index_records(instructions: Sequence[Any]) -> list[Slice]:
    """Where the records of TFRecord files are; `instructions` are TensorFlow Datasets' `FileInstruction`s.

    A record is its length as uint64, a checksum of that as uint32, its content, and a checksum as uint32.
    """
    records = []
    for instruction in instructions:
        path, found, offset = str(instruction.filename), [], 0
        try:
            length = os.path.getsize(path)
            with open(path, 'rb') as file:
                while header := file.read(12):
                    size, _ = struct.unpack('<QI', header)
                    found.append(Slice(path, offset + 12, size))
                    offset += 12 + size + 4
                    file.seek(offset)
        except (OSError, struct.error) as error:
            raise UserError(f'cannot read the records of {path}: {error}') from error
        if offset != length or len(found) != instruction.examples_in_shard:
            raise UserError(f'{path} is damaged: {len(found)} records and {length} bytes, expected '
                            f'{instruction.examples_in_shard} and {offset}')
        records += found[instruction.skip:][:instruction.take]
    return records
