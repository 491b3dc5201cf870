"""Parameters and multiply-accumulates of models side by side: columns of the paper's Table 5."""
from typing import Sequence

import torch

from timm_coded.analysis.extraction.sizes import multiplications
from timm_coded.analysis.findings import Row, Table

from ..train.build import describe_error
from ..train.errors import UserError
from .contestant import Case
from .forms import create_form

TITLE = ("Parameters, and multiply-accumulates of the forward pass (GFlops of Table 5) by PyTorch's counter: those of "
         'convolutions and matrix products, the energies included, but not element-wise operations; padded: with those '
         'that lane packing adds')


@torch.no_grad()
def size_table(names: Sequence[str], cases: Sequence[Case], num_classes: int) -> Table:
    """A row for each model and each batch and image size; nothing is computed, so that it also finds early what no
    model can run.

    Raises:
        UserError: there is no such model, or it does not take images of this size.
    """
    shapes = sorted({(case.image_size, case.batch_size) for case in cases})
    models = {name: create_form(name, num_classes) for name in names}
    rows = []
    for pixels, batch in shapes:
        first = None
        for name in names:
            row = size_row(name, models[name], pixels, batch)
            first = first or row
            rows.append({**row, 'GMACs / first [%]': 100 * row['GMACs an image'] / first['GMACs an image']})
    return Table('sizes', TITLE, rows)


def size_row(name: str, model: torch.nn.Module, pixels: int, batch: int) -> Row:
    try:
        macs, padded = (multiplications(model, pixels, batch, padded)[''] for padded in (False, True))
    except Exception as error:  # whatever a layer stumbles over
        raise UserError(f'{name} does not take images of {pixels} pixels: {describe_error(error)}') from error
    return {
        'model': name, 'pixels': pixels, 'batch': batch,
        'parameters': sum(parameter.numel() for parameter in model.parameters()),
        'GMACs an image': macs / 1e9, 'padded GMACs an image': padded / 1e9,
    }
