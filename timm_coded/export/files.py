"""Networks as files of torch.export and ONNX; each file is run and compared with the network it was made from."""
import copy
import importlib.util
import json
import logging
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, Mapping

import torch
from torch import Tensor, nn

from .check import check_outputs, draft_of, noise
from .outputs import NamedOutputs, Outputs, output_names

ONNX_PACKAGES = 'onnx', 'onnxscript', 'onnxruntime'
EXAMPLE_BATCH = 2  # of the images that are traced
CHECKED_BATCHES = 1, 3
ABOUT = 'timm_coded'  # the name under which a file has `about`


def check_onnx() -> None:
    """Raises ValueError: the packages that `export_onnx` needs are not installed."""
    missing = [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f"an ONNX file needs {', '.join(missing)}: pip install 'timm_coded[onnx]'")


def export_program(
        network: nn.Module,
        image_size: int,
        path: str | Path,
        energies: bool = False,
        about: Mapping[str, Any] | None = None,
) -> float:
    """Writes a network in evaluation mode as a program of torch.export, for images [B, 3, H, W] and any B.

    `torch.export.load(path).module()(images)` gives the logits [B, K], or with `energies` a dict.

    Args:
        network: of timm; on any device, it is copied to the CPU.
        image_size: H and W, in pixels.
        path: the file; it is there whole when this returns, or not at all.
        energies: put out what `NamedOutputs` does.
        about: goes with the file as JSON, the extra file `timm_coded`.

    Returns:
        The largest difference of the file's outputs from the network's, for images of noise.

    Raises:
        OSError: the file cannot be written.
        ValueError: they differ by more than 1e-4, relative to the largest value where that is above 1; or the network
            has no energies.
    """
    network = prepare(network, energies)
    program = torch.export.export(network, (noise(network, EXAMPLE_BATCH, image_size),), dynamic_shapes=any_batch())
    with draft_of(path) as draft:
        with open(draft, 'wb') as file, quiet():
            torch.export.save(program, file, extra_files={ABOUT: json.dumps(about or {})})
        with quiet():
            loaded = torch.export.load(draft).module()
        return check_outputs(path, network, loaded, checked_images(network, image_size))


def export_onnx(
        network: nn.Module,
        image_size: int,
        path: str | Path,
        energies: bool = False,
        about: Mapping[str, Any] | None = None,
) -> float:
    """As `export_program`, an ONNX file with the input `images`, run by onnxruntime.

    The outputs have the names of `NamedOutputs`; `about` is in the model's metadata, as `timm_coded`.

    Raises:
        OSError: the file cannot be written.
        ValueError: packages are missing, or an output differs by more than 1e-4.
    """
    check_onnx()
    import onnxruntime
    network = prepare(network, energies)
    names = output_names(network)
    with quiet():
        program = torch.onnx.export(
            network, (noise(network, EXAMPLE_BATCH, image_size),), input_names=['images'], output_names=names,
            dynamic_shapes=any_batch(), dynamo=True, verbose=False)
        assert program is not None  # it is for an exporter that is not used here
        program.model.metadata_props[ABOUT] = json.dumps(about or {})
    with draft_of(path) as draft:
        with quiet():
            program.save(draft)
        session = onnxruntime.InferenceSession(draft, providers=['CPUExecutionProvider'])

        def run(images: Tensor) -> Outputs:
            outputs = session.run(names, {'images': images.numpy()})
            return {name: torch.from_numpy(output) for name, output in zip(names, outputs)}

        return check_outputs(path, network, run, checked_images(network, image_size))


def prepare(network: nn.Module, energies: bool) -> nn.Module:
    """What is exported: a copy on the CPU, the caller's network stays where it is."""
    network = copy.deepcopy(network).cpu()
    return (NamedOutputs(network) if energies else network).eval()


def checked_images(network: nn.Module, image_size: int) -> list[Tensor]:
    return [noise(network, batch, image_size) for batch in CHECKED_BATCHES]


def any_batch() -> tuple[dict[int, torch.export.Dim]]:
    return {0: torch.export.Dim('batch')},


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings of the exporters about their own parts."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(disabled)
