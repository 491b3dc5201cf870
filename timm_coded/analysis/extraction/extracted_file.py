"""The file of an extracted network: it holds all that is needed to rebuild it and to use it."""
import math
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from timm_coded.models import CodedResNet, cut_subnns

FORMAT = 'timm_coded extracted network, version 1'


@dataclass
class Extracted:
    """What there is to know of an extracted network beside its weights.

    Attributes:
        arch: name of the full model in timm's registry.
        classes: k class indices of the full model, in the order of the logits.
        model_kwargs: arguments of `timm.create_model` other than those for classes and coding schemes: num_active, ...
        class_names: k names, or none.
        num_classes: how many classes the full model has; 0 where nobody said.
        data_config: of the images, timm's: input_size, mean, std, crop_pct, interpolation, ...; for
            `timm.data.create_transform(**data_config)`.
        threshold: of a network of one class: the logit from which an image counts as one of the class.
        source: fingerprint of the full model.
    """
    arch: str
    classes: list[int]
    model_kwargs: dict[str, Any] = field(default_factory=dict)
    class_names: list[str] = field(default_factory=list)
    num_classes: int = 0
    data_config: dict[str, Any] = field(default_factory=dict)
    threshold: float | None = None
    source: str = ''

    def __post_init__(self) -> None:
        if self.class_names and len(self.class_names) != len(self.classes):
            raise ValueError(f'there are {len(self.class_names)} class names for {len(self.classes)} classes: give one '
                             'for each, or none')
        if self.threshold is not None and len(self.classes) != 1:
            raise ValueError(f'a threshold for {len(self.classes)} classes: it is that of the network of one class, '
                             'whose logit is another where more subNNs are left')
        if self.threshold is not None and not math.isfinite(self.threshold):
            raise ValueError(f'the threshold is {self.threshold}, expected a finite number')

    def is_class(self, logits: Tensor) -> Tensor:
        """Whether images are of the one class of the network.

        Args:
            logits: What the network gives for them, [B, 1].

        Returns:
            [B] bool: the logit is at least the threshold.

        Raises:
            ValueError: there is no threshold.
        """
        if self.threshold is None:
            raise ValueError('this network has no threshold: extract one class with --thresholds, a file that '
                             '`timm-coded classify` writes')
        return logits[:, 0] >= self.threshold


def save_extracted(network: CodedResNet, extracted: Extracted, path: str | Path) -> None:
    """Writes a network of `extract_classes` to a file from which `load_extracted` rebuilds it.

    Raises:
        OSError: the file cannot be written.
        ValueError: `extracted` does not describe the network, or holds something that a safe file cannot.
    """
    if len(extracted.classes) != network.num_classes:
        raise ValueError(f'the network has {network.num_classes} classes, it is to be saved with '
                         f'{len(extracted.classes)}: give the classes that it was extracted for')
    content = {
        'format': FORMAT,
        'extracted': asdict(extracted),
        'kept_subnns': network.kept_subnns,
        'state_dict': {name: value.detach().cpu() for name, value in network.state_dict().items()},
    }
    path = Path(path)
    part = path.with_name(f'{path.name}.part')
    try:
        torch.save(content, part)
        load_extracted(part)  # what cannot be read back must not take the place of a file that can
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def load_extracted(path: str | Path) -> CodedResNet:
    """Rebuilds an extracted network from its file alone.

    Returns:
        The network on the CPU, in evaluation mode; `network.extracted` is the `Extracted` of the file, and timm's
        `resolve_model_data_config(network)` gives its images.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is none of an extracted network, or broken.
    """
    try:
        content = torch.load(path, map_location='cpu', weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a broken file raises whatever the zip or pickle reader stumbles over
        raise ValueError(f'{path} is broken, or no file of an extracted network: make one by `timm-coded extract`'
                         ) from error
    if not isinstance(content, dict) or content.get('format') != FORMAT:
        raise ValueError(f'{path} is no file of an extracted network, of this version at least: make one by '
                         '`timm-coded extract`')
    try:
        extracted = Extracted(**content['extracted'])
        network = rebuild(extracted, content['kept_subnns'], content['state_dict'])
    except Exception as error:  # whatever a part that is missing or does not fit makes timm or torch stumble over
        reason = ' '.join(str(error).split())
        raise ValueError(f'{path} does not hold the network that it describes: {reason[:300]}') from error
    network.extracted = extracted  # type: ignore[assignment]  # a plain attribute, no module
    return network


def rebuild(extracted: Extracted, kept: dict[int, list[int]], state_dict: dict[str, Tensor]) -> CodedResNet:
    """The network, by way of the full architecture on the meta device, which costs no memory."""
    if not timm.is_model(extracted.arch):
        raise ValueError(f'there is no model {extracted.arch}')
    with torch.device('meta'):
        network = timm.create_model(  # a file names no other files to load; without classes there is no scheme to make
            extracted.arch, pretrained=False, checkpoint_path='', num_classes=0, **extracted.model_kwargs)
        assert isinstance(network, CodedResNet), extracted.arch
        cut_subnns(network, kept)
        network.fc = nn.Linear(state_dict['fc.weight'].shape[1], len(extracted.classes))
    network.load_state_dict(state_dict, assign=True)
    network.num_classes = len(extracted.classes)
    config: Any = network.pretrained_cfg  # timm's, a dict
    network.pretrained_cfg = {**config, **extracted.data_config}  # type: ignore[assignment]
    return network.eval()
