"""A trained model read from its checkpoint, and images as it takes them: what every analysis starts from."""
import argparse
import copy
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator

import timm
import torch
from PIL import Image
from timm.models import load_state_dict
from torch import Tensor
from tqdm import tqdm

from timm_coded.codes import CodingScheme
from timm_coded.codes.progress import is_live
from timm_coded.models import coded_blocks, pack_grouped_convs

from . import replicas
from .args import parse_args
from .build import check_model, check_model_name, create_model, describe_error
from .checkpoint import load
from .data import class_names
from .data.image_set import ImageSet
from .data.images import create_augment, create_evaluation_batches, create_evaluation_transform, data_config
from .data.rgb import to_rgb
from .data.splits import check_flags, open_split
from .errors import NotCodedError, UserError
from .prepare import XLA_LANES
from .replicas import Replica
from .resume import restore_model

ANY_CLASSES = 2 ** 31  # more than any data set has: for images of classes that the model does not know


@dataclass
class Trained:
    """A trained model.

    Attributes:
        path: of the checkpoint.
        model: a `CodedResNet`, or another of timm's: in evaluation mode, on the device.
        args: of its training, as `train_xla.py` had them.
        config: of the images, timm's data config.
    """
    path: Path
    model: Any
    args: argparse.Namespace
    config: dict[str, Any]
    replica: Replica

    @property
    def device(self) -> torch.device:
        return self.replica.device

    @property
    def image_size(self) -> int:
        """Pixels of a side, in the evaluation."""
        return self.args.eval_img_size or self.config['input_size'][-1]

    def images(
            self,
            split: str = 'validation',
            dataset: str | None = None,
            data_dir: str | None = None,
            foreign: bool = False,
            batch_size: int | None = None,
            workers: int | None = None,
    ) -> 'Images':
        """A split's images, by default of the data set of the training, transformed as in its evaluation.

        Args:
            split: 'train' or 'validation', for those of the training's `--train-split` and `--val-split`, or another.
            dataset, data_dir: as `train_xla.py` takes them, of another data set.
            foreign: they may be of classes that the model does not know: their targets mean nothing to it.
            batch_size, workers: by default those of the training.

        Raises:
            UserError: there are no such images, or they are of another number of classes than the model's.
        """
        args = copy.copy(self.args)
        if dataset is not None or data_dir is not None:
            args.dataset, args.data_dir, args.class_map = dataset or '', data_dir, ''
        args.synthetic = False
        args.validation_batch_size = batch_size or args.validation_batch_size
        args.workers = args.workers if workers is None else workers
        check_flags(args)
        images = open_split(args, {'train': args.train_split, 'validation': args.val_split}.get(split, split))
        args.fast_decode = args.fast_decode and hasattr(images, 'reader')
        names = [str(name) for name in class_names(images)]
        if foreign:
            args.num_classes = ANY_CLASSES
        elif names and len(names) != args.num_classes:
            raise UserError(f'{describe_images(args, split)} has {len(names)} classes, the model of {self.path} '
                            f'{args.num_classes}: give the data set that it was trained for')
        return Images(self, args, images, names, describe_images(args, split))

    def read_image(self, path: str | Path) -> Tensor:
        """An image file, transformed as in the evaluation while training: [1, 3, H, W] normalised, on the device.

        Raises:
            UserError: there is no such file, or it is no image that can be read.
        """
        try:
            with Image.open(path) as image:
                pixels = create_evaluation_transform(self.args, self.config)(to_rgb(image))
        except FileNotFoundError:
            raise UserError(f'there is no image {path}') from None
        except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error, zlib.error, ...
            raise UserError(f'cannot read {path} as an image: {describe_error(error)}') from error
        return create_augment(self.args, self.config, self.replica)(pixels[None].to(self.device))

    def pixels(self, images: Tensor) -> Tensor:
        """What normalised images [B, 3, H, W] show: pixels from 0 to 1, on the CPU."""
        mean, std = (torch.tensor(self.config[name]).view(1, -1, 1, 1) for name in ('mean', 'std'))
        return (images.cpu() * std + mean).clamp(0, 1)


class Images:
    """Batches of a split, in order: images [B, 3, H, W] float32 normalised on the device, targets [B] int64 on the CPU.

    All batches are of one shape: fillers of the last have the target -1. Can be passed over any number of times, each
    with a progress bar on a terminal and in a notebook.

    Attributes:
        name: of the data set and the split.
        num_images: without fillers.
        class_names: by class index; empty where the data set does not tell.
        batch_size: of every batch.
        dataset: item `i` is image `i` and its target, before any transform.
    """

    def __init__(self, trained: Trained, args: argparse.Namespace, dataset: ImageSet, names: list[str], name: str):
        self.dataset, self.class_names, self.name = dataset, names, name
        self.num_images = len(dataset)
        self.replica = trained.replica
        self.batch_size = args.validation_batch_size or args.batch_size
        self.batches = create_evaluation_batches(args, dataset, trained.config, trained.replica)
        self.normalise = create_augment(args, trained.config, trained.replica)

    def __len__(self) -> int:
        """Batches."""
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        with tqdm(self.batches, self.name, unit='batch', disable=not is_live(sys.stderr), leave=False) as bar:
            for images, target in bar:
                yield self.normalise(images.to(self.replica.device)), target

    def image(self, index: int) -> tuple[Tensor, int]:
        """Image number `index`, [1, 3, H, W] as in a batch, and its target."""
        sample = self.batches.loader.dataset[0, index]
        if isinstance(sample, UserError):
            raise sample
        return self.normalise(sample.image[None].to(self.replica.device)), sample.target


def describe_images(args: argparse.Namespace, split: str) -> str:
    return ' '.join(filter(None, (args.dataset, args.data_dir, split)))


def load_trained(
        path: str | Path,
        device: str = 'cpu',
        model_name: str | None = None,
        data_args: dict[str, Any] | None = None,
        use_ema: bool = False,
) -> Trained:
    """Reads a checkpoint of `train_xla.py`, or, with `model_name`, any weights of a model of timm's registry.

    Args:
        path: the file.
        device: 'cpu', 'cuda', 'xla', or 'auto' for the first of xla, cuda, cpu that this machine has.
        model_name: for weights that do not tell of which model they are.
        data_args: options of `train_xla.py` by name that take the place of the training's: img_size, mean, ...
        use_ema: take the moving average of the weights.

    Raises:
        UserError: there is no such file, or it does not fit the model; a coded model's has no codewords.
    """
    path = Path(path)
    args, weights = (read_foreign(path, model_name, use_ema) if model_name else read_own(path, use_ema))
    vars(args).update({name: value for name, value in (data_args or {}).items() if value is not None})
    replica = replicas.create(device)
    words = {name: words for name, words in weights.items() if name.startswith('codewords_')}
    hint = '; a model with arguments of its own needs them: --model-kwargs num_active=10,4,2' if model_name else ''
    with tempfile.TemporaryDirectory() as folder:
        if words:  # the weights were trained with these, wherever they came from
            args.scheme_source = [str(Path(folder, name)) for name in words]
            for name, file in zip(words, args.scheme_source):
                CodingScheme(words[name].numpy()).save(file)
        try:
            model = create_model(args)
        except NotCodedError as error:
            raise UserError(f'{path} holds the codewords of a coded model, --model {args.model} has no coded blocks: '
                            'name the coded model') from error
        except UserError as error:
            raise UserError(str(error).replace(folder, str(path)) + hint) from error
    if coded_blocks(model) and not words:
        raise UserError(f'{path} has no codewords, {args.model} needs them: a stock checkpoint is no coded model yet, '
                        f'train it first: train_xla.py --model {args.model} --initial-checkpoint {path}')
    try:
        restore_model(model, weights, path, False)
    except UserError as error:
        raise UserError(f'{error}{hint}') from error
    for name, value in model.state_dict().items():
        if not torch.isfinite(value).all():
            raise UserError(f'{path} is broken: {name} in it is not finite; give an earlier checkpoint')
    config = data_config(args, model)
    check_model(args, model, config)
    if replica.device.type == 'xla':
        pack_grouped_convs(model, XLA_LANES)
    model.eval().requires_grad_(False)
    replica.place(model)
    return Trained(path, model, args, config, replica)


def read_own(path: Path, use_ema: bool) -> tuple[argparse.Namespace, dict[str, Tensor]]:
    """Arguments and weights of a checkpoint of `train_xla.py`."""
    state = load(path, 'name its --model, if it holds the weights of one')
    if use_ema and 'state_dict_ema' not in state:
        raise UserError(f'{path} has no moving average of the weights: leave out --use-ema')
    args = parse_args([])
    vars(args).update(state['args'])
    args.initial_checkpoint, args.resume = '', ''
    return args, state['state_dict_ema' if use_ema else 'state_dict']


def read_foreign(path: Path, model_name: str, use_ema: bool) -> tuple[argparse.Namespace, dict[str, Tensor]]:
    """Default arguments, and weights as timm reads them."""
    if not path.is_file():
        raise UserError(f'there is no checkpoint {path}')
    check_model_name(model_name)
    try:
        weights = load_state_dict(str(path), use_ema=use_ema)
    except Exception as error:  # a broken file raises whatever the zip or pickle reader stumbles over
        raise UserError(f'cannot read the checkpoint {path}: {describe_error(error)}') from error
    args = parse_args(['--model', model_name])
    classifier = timm.get_pretrained_cfg_value(model_name, 'classifier')
    weight = weights.get(f'{classifier}.weight')
    if weight is None:
        raise UserError(f'{path} has no {classifier}.weight, but {", ".join(list(weights)[:3])}, ...: is it of --model '
                        f'{model_name}, and of the plain model, without wrappers (model.state_dict())?')
    args.num_classes = len(weight)
    return args, weights
