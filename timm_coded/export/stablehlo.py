"""A network as a folder of StableHLO, by torch_xla: what TPUs, JAX and other users of XLA take."""
import errno
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Mapping

import torch
from torch import Tensor, nn

from timm_coded.models import pack_grouped_convs

from .check import check_outputs, draft_of, noise
from .files import ABOUT, prepare, quiet
from .outputs import NamedOutputs, Outputs

LANES = 128  # of the matrix units of a TPU; XLA's grouped convolutions of few channels are slow everywhere


def check_stablehlo() -> None:
    """Raises ValueError: torch_xla, which `export_stablehlo` needs, is not installed."""
    if importlib.util.find_spec('torch_xla') is None:
        raise ValueError("StableHLO is written by torch_xla: pip install 'timm_coded[xla]'")


def export_stablehlo(
        network: nn.Module,
        image_size: int,
        folder: str | Path,
        energies: bool = False,
        about: Mapping[str, Any] | None = None,
        batch_size: int = 1,
) -> float:
    """As `export_program`, a folder for `torch_xla.stablehlo.StableHLOGraphModule.load(folder)`, run on XLA's CPU.

    It holds the StableHLO as bytecode and as text, weights as NumPy files, and `about` as `timm_coded.json`. Its batch
    is fixed: torch_xla cannot write this network for any. Its grouped convolutions are packed (`pack_grouped_convs`).

    The work is done in a process of its own: torch_xla takes a process for good, and may be on a TPU in this one.

    Args:
        folder: is made, or empty.
        batch_size: B, of every call.

    Raises:
        OSError: the folder cannot be written, or is not empty.
        ValueError: torch_xla is not there or fails, or an output differs by more than 1e-4.
    """
    check_stablehlo()
    if Path(folder).exists() and any(Path(folder).iterdir()):
        raise FileExistsError(errno.ENOTEMPTY, 'is not empty', str(folder))
    network = prepare(network, energies)
    images = noise(network, batch_size, image_size)
    packed = prepare(network.network if isinstance(network, NamedOutputs) else network, energies)
    pack_grouped_convs(packed, LANES)
    with draft_of(folder) as draft, tempfile.TemporaryDirectory() as scratch:
        with quiet(), open(Path(scratch, 'program.pt2'), 'wb') as file:
            torch.export.save(torch.export.export(packed, (images,)), file)
        torch.save(images, Path(scratch, 'images.pt'))
        convert(Path(scratch), draft)
        (draft / f'{ABOUT}.json').write_text(json.dumps(about or {}, indent=1) + '\n')

        def run(images: Tensor) -> Outputs:
            return torch.load(Path(scratch, 'outputs.pt'), weights_only=True)

        return check_outputs(folder, network, run, [images])


def convert(scratch: Path, folder: Path) -> None:
    """Lets another process write the program in `scratch` as StableHLO to `folder`, and run that on the images there.

    Raises:
        ValueError: it failed.
    """
    done = subprocess.run(
        [sys.executable, '-m', 'timm_coded.export.xla_process', str(scratch), str(folder)],
        env={**os.environ, 'PJRT_DEVICE': 'CPU'}, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f'its process ended with {done.returncode}']
        told = [line for line in lines if 'Error' in line] or lines
        raise ValueError(f'torch_xla cannot write this network as StableHLO: {told[-1].strip()}')
