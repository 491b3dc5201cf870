"""A model as a folder that timm loads, by `local-dir:`, and that goes to the Hub as it is."""
from pathlib import Path
from typing import Any, cast

import timm
import torch
import yaml
from timm.models import save_for_hf
from torch import nn

from timm_coded.train.errors import UserError

from .card import Card, model_card
from .schemes import model_args, save_schemes

RECIPE = 'recipe.yaml'


def save_folder(model: nn.Module, card: Card, folder: Path) -> list[str]:
    """Writes config.json, model.safetensors, README.md and, where they are known, recipe.yaml and the scheme files.

    Args:
        model: in evaluation mode, on the CPU.
        card: its `files` are filled in.
        folder: is made, or empty.

    Returns:
        The names of the files.

    Raises:
        UserError: the folder is not empty, or timm does not load from it what was written.
        OSError: it cannot be written to.
    """
    check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_for_hf(
        model, str(folder),
        model_config={'label_names': card.class_names, 'pretrained_cfg': {'license': card.license}},
        model_args=model_args(model, card.source.args.get('scheme_source')), safe_serialization=True,
        data_config=card.config)
    card.files = save_schemes(model, folder) if card.source.scheme_files else []
    if card.source.args:
        (folder / RECIPE).write_text(yaml.safe_dump(card.source.recipe(card.files), sort_keys=False))
        card.files = [RECIPE, *card.files]
    (folder / 'README.md').write_text(model_card(model, card), encoding='utf-8')
    check_loads(model, folder)
    return sorted(path.name for path in folder.iterdir())


def check_folder(folder: Path) -> None:
    """Raises UserError: it is a file, or a folder that is not empty."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f'--folder {folder} is there already: give the name of a folder to make, or an empty one')


@torch.no_grad()
def check_loads(model: nn.Module, folder: Path) -> None:
    """Loads the folder as a user does, and compares weights, codewords and outputs.

    Raises:
        UserError: they are not the same.
    """
    loaded = timm.create_model(f'local-dir:{folder}', pretrained=True).eval()
    own, read = model.state_dict(), loaded.state_dict()
    images = torch.randn(2, *cast(dict[str, Any], model.pretrained_cfg)['input_size'])
    if own.keys() != read.keys() or not all(torch.equal(own[name], read[name]) for name in own) or not torch.equal(
            model(images), loaded(images)):
        raise UserError(f'timm does not load from {folder} the model that was written: please report it, with the '
                        'checkpoint')
