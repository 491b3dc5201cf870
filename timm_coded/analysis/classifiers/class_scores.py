"""What the binary classifiers of the classes put out, Section 4.3 of the paper, with no network cut."""
from dataclasses import dataclass
from typing import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ..staged import Staged, block_index, forward_from, forward_to, masks_per_pass


@dataclass
class Scores:
    """Outputs of the binary classifiers of C classes for S samples.

    Attributes:
        classes: [C] class indices, one for each column.
        targets: [S] int64, the class of each sample; it means nothing for samples of another data set.
        by_method: 'extracted' and 'full network' of each network, [S, C] float32: the class's logit of the network
            without the subNNs that are inactive for the class, and that of the whole network.
    """
    classes: np.ndarray
    targets: np.ndarray
    by_method: dict[str, np.ndarray]

    @property
    def positives(self) -> np.ndarray:
        """Samples of each class, [C]."""
        return (self.targets[:, None] == self.classes).sum(0)


@torch.no_grad()
def collect_scores(
        networks: Mapping[str, Staged],
        codewords: Mapping[str, Tensor],
        classes: Sequence[int],
        batches: Iterable[tuple[Tensor, Tensor]],
) -> Scores:
    """One pass over a data set: the blocks before the first coded one run once, the others 1 + C times.

    For `coded_resnext50_32x4d` at 224 pixels the others take 2.5 of 4.4 GMACs: 1000 classes and 50,000 images are
    1.3e17 multiplications, out of reach of a CPU. The scores of such a pass are 200 MB for each method.

    Args:
        networks: By what the method's name starts with, '' for the coded one: as `staged` takes them.
        codewords: [K, N] of each coded block, by name.
        batches: images [B, 3, H, W] on the networks' device and targets [B]; a target of -1 marks a filler, left out.

    Raises:
        ValueError: there are no samples.
    """
    rows: dict[str, list[np.ndarray]] = {}
    parts = [torch.empty(0, dtype=torch.int64)]
    for images, target in batches:
        real = target >= 0
        for name, network in networks.items():
            extracted, full = batch_scores(network, codewords, classes, images)
            rows.setdefault(f'{name}extracted', []).append(extracted[real].numpy())
            rows.setdefault(f'{name}full network', []).append(full[real].numpy())
        parts.append(target[real])
    targets = torch.cat(parts).numpy()
    if not len(targets):
        raise ValueError('there are no samples: give a data set with images')
    return Scores(np.array(classes), targets, {name: np.concatenate(scores) for name, scores in rows.items()})


def batch_scores(
        network: Staged,
        codewords: Mapping[str, Tensor],
        classes: Sequence[int],
        images: Tensor,
) -> tuple[Tensor, Tensor]:
    """The classes' logits [B, C], of the extracted classifiers and of the whole network: float32, on the CPU."""
    batch = len(images)
    first = block_index(network, next(iter(codewords)))
    x = forward_to(network, images, first)
    full = forward_from(network, x, first)[:, classes]
    extracted = []
    step = masks_per_pass(batch)
    for group in (classes[start:start + step] for start in range(0, len(classes), step)):
        keep = {block: words[group].float().repeat_interleave(batch, 0) for block, words in codewords.items()}
        copies = torch.cat([x] * len(group))  # in the layout of x, which repeat would not keep
        logits = forward_from(network, copies, first, keep).view(len(group), batch, -1)
        own = torch.stack([logits[place, :, index] for place, index in enumerate(group)], 1)
        extracted.append(own.float().cpu())
    return torch.cat(extracted, 1), full.float().cpu()
