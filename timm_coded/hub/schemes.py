"""The coding schemes of a model, for its card, its config and its recipe."""
from pathlib import Path
from typing import Any, cast

import numpy as np
from torch import nn

from timm_coded.codes import CodingScheme, coding_scheme
from timm_coded.models import CodedResNet, coded_blocks


def schemes_of(model: nn.Module) -> dict[tuple[str, ...], CodingScheme]:
    """The coding schemes of a model, by the names of the blocks that share one; none where it has no coded blocks."""
    coded = cast(CodedResNet, model)  # where there are blocks
    blocks: dict[bytes, list[str]] = {}
    for block in coded_blocks(model):
        blocks.setdefault(coded.codewords(block).cpu().numpy().tobytes(), []).append(block)
    return {tuple(names): CodingScheme(coded.codewords(names[0]).cpu().numpy()) for names in blocks.values()}


def model_args(model: nn.Module, trained_with: Any) -> dict[str, str]:
    """Arguments for timm to make the model with that are not those it was made with here.

    `scheme_source` names the construction that gives the model's own codewords, not files of this machine. Where none
    does, it is the default: the codewords come with the weights all the same.

    Args:
        trained_with: the `--scheme-source` of the training; a search is only gone through again where it was one.
    """
    schemes = schemes_of(model).values()
    if not schemes:
        return {}
    for source in ('optimal', 'paper', *(['search'] if trained_with == 'search' else [])):
        try:
            if all(np.array_equal(made_by(source, scheme), scheme.codewords) for scheme in schemes):
                return {'scheme_source': source}
        except ValueError:  # the paper has no such scheme
            continue
    return {'scheme_source': 'optimal'}


def made_by(source: str, scheme: CodingScheme) -> np.ndarray:
    return coding_scheme(scheme.num_classes, scheme.num_subnns, scheme.num_active, source=source).codewords


def save_schemes(model: nn.Module, folder: Path) -> list[str]:
    """Writes the scheme files that recipe.yaml names; gives their names."""
    schemes = {f'codewords_{scheme.num_active}of{scheme.num_subnns}.txt': scheme
               for scheme in schemes_of(model).values()}
    for name, scheme in schemes.items():
        scheme.save(folder / name)
    return list(schemes)
