"""Networks as files of torch.export and ONNX; each file is run and compared with the network it was made from."""
import copy
import importlib.util
import logging
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator

import torch
from torch import Tensor, nn

ONNX_PACKAGES = 'onnx', 'onnxscript', 'onnxruntime'
EXAMPLE_BATCH = 2  # of the images that are traced
CHECKED_BATCHES = 1, 3
TOLERANCE = 1e-4


def check_onnx() -> None:
    """Raises ValueError: the packages that `export_onnx` needs are not installed."""
    missing = [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f"an ONNX file needs {', '.join(missing)}: pip install 'timm_coded[onnx]'")


def export_program(network: nn.Module, image_size: int, path: str | Path) -> float:
    """Writes a network in evaluation mode as a program of torch.export, for images [B, 3, H, W] and any B.

    Args:
        image_size: H and W, in pixels.

    Returns:
        The largest difference of the file's logits from the network's, for images of noise.

    Raises:
        OSError: the file cannot be written.
        ValueError: they differ by more than 1e-4, relative to the largest logit where that is above 1.
    """
    network = copy.deepcopy(network).cpu()
    program = torch.export.export(network, (noise(network, EXAMPLE_BATCH, image_size),), dynamic_shapes=any_batch())
    with open(path, 'wb') as file:
        torch.export.save(program, file)
    with quiet():
        loaded = torch.export.load(path).module()
    return check_file(path, network, loaded, image_size)


def export_onnx(network: nn.Module, image_size: int, path: str | Path) -> float:
    """As `export_program`, an ONNX file with the input `images` and the output `logits`, run by onnxruntime.

    Raises:
        OSError: the file cannot be written.
        ValueError: packages are missing, or the logits differ by more than 1e-4.
    """
    check_onnx()
    import onnxruntime
    network = copy.deepcopy(network).cpu()
    with quiet():
        program = torch.onnx.export(
            network, (noise(network, EXAMPLE_BATCH, image_size),), input_names=['images'], output_names=['logits'],
            dynamic_shapes=any_batch(), dynamo=True, verbose=False)
        program.save(path)
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(['logits'], {'images': images.numpy()})[0])

    return check_file(path, network, run, image_size)


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


def any_batch() -> tuple[dict[int, torch.export.Dim]]:
    return {0: torch.export.Dim('batch')},


def noise(network: nn.Module, batch: int, image_size: int) -> Tensor:
    return torch.randn(batch, 3, image_size, image_size, dtype=next(network.parameters()).dtype)


@torch.no_grad()
def check_file(path: str | Path, network: nn.Module, loaded: Callable[[Tensor], Tensor], image_size: int) -> float:
    """The largest difference. A file that is wrong is deleted."""
    differences = []
    for batch in CHECKED_BATCHES:
        images = noise(network, batch, image_size)
        expected, actual = network(images), loaded(images)
        differences.append((actual - expected).abs().max().item())
        if not differences[-1] <= TOLERANCE * max(1., expected.abs().max().item()):
            Path(path).unlink()
            raise ValueError(f'the logits of the exported file {path} differ from the network\'s by '
                             f'{differences[-1]:.2g} for a batch of {batch}: it was deleted')
    return max(differences)
