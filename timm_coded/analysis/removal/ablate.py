"""Accuracy with subNNs removed from a block: Section 4.2, Fig. 2a and Fig. 9 of the paper."""
from typing import Iterable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from timm_coded.models import CodedResNet

from ..findings import Findings, Picture, Table
from ..outputs import check_block_names, check_coded
from ..sampling import check_count, check_target_range
from ..staged import block_index, forward_from, masks_per_pass, materialised
from .rows import KINDS, Removal, block_rows, plot_removal


def ablate(
        model: CodedResNet,
        batches: Iterable[tuple[Tensor, Tensor]],
        blocks: Sequence[str] | None = None,
        draws: int = 5,
        seed: int = 0,
) -> Findings:
    """Accuracy and cross-entropy with k active, or k inactive, subNNs removed from one block at a time.

    Which ones is drawn at random for each sample, given its class. One random order of a sample's active subNNs, and
    one of the inactive ones, serves all k of a draw. It depends only on the seed, the block and the sample's number.

    Args:
        model: In evaluation mode.
        batches: images [B, 3, H, W] on the model's device and targets [B], -1 for fillers.
        blocks: Names of coded blocks; all by default.
        draws: Random orders for each sample.

    Raises:
        ValueError: the model is not coded, a block is not one of its coded ones, there are no samples, or a target is
            none of its classes.
    """
    check_coded(model)
    blocks = check_blocks(blocks, model.coded_blocks)
    check_count('draws', draws)
    removals = {block: removals_of(model.codewords(block), draws) for block in blocks}
    measured, whole, samples = measure_removals(model, batches, removals, draws, seed)
    rows = [row for block in blocks for row in block_rows(block, removals[block], measured[block], whole, samples)]
    return Findings(
        'ablate',
        'Accuracy with subNNs removed from one block (Section 4.2)',
        [Table('removal', f'Top-1 accuracy in percent and cross-entropy in nats on {samples} samples', rows)],
        [Picture('removal', 'Accuracy by how many active or inactive subNNs are removed from a block (Fig. 2a, 9)',
                 plot_removal(rows))],
        [
            f'Which subNNs are removed is drawn at random for each sample, {draws} times; std is over these draws, and '
            'tells nothing of other samples or trainings.',
            'Active and inactive are told by the true class: no network without that knowledge has these accuracies.',
        ])


def removals_of(codewords: Tensor, draws: int) -> list[Removal]:
    """All removals but k = 0. Where all of a kind go there is nothing to draw."""
    active = int(codewords[0].sum())
    return [Removal(kind, count, draw) for kind, most in zip(KINDS, (active, codewords.shape[1] - active))
            for count in range(1, most + 1) for draw in range(draws if count < most else 1)]


@torch.no_grad()
def measure_removals(
        model: CodedResNet,
        batches: Iterable[tuple[Tensor, Tensor]],
        removals: dict[str, list[Removal]],
        draws: int,
        seed: int,
) -> tuple[dict[str, np.ndarray], np.ndarray, int]:
    """One pass over the samples, in which each block's input is computed once.

    Returns:
        For each block the accuracy in percent and the cross-entropy after each of its removals, [R, 2]; the same of the
        whole network, [2]; and how many samples there are.
    """
    sums = {block: np.zeros((len(listed), 2)) for block, listed in removals.items()}
    streams = {block: np.random.default_rng((seed, block_index(model, block))) for block in removals}
    whole, samples = np.zeros(2), 0
    for images, target in batches:
        check_target_range(target, model.num_classes)
        x = model.forward_stem(images)
        for index, (name, block) in enumerate(model.named_blocks()):
            if name in removals:
                x = materialised(x)
                words = model.codewords(name).cpu()[target.clamp_min(0)]
                ranks = draw_ranks(words, draws, streams[name])
                masks = [ranks[removal.kind][:, removal.draw] >= removal.count for removal in removals[name]]
                sums[name] += np.concatenate(list(masked_sums(model, x, index, name, masks, target)))
            x = block(x)
        whole += sums_of(model.forward_head(x)[None], target)[0]
        samples += int((target >= 0).sum())
    if not samples:
        raise ValueError('there are no samples: give a data set with images')
    scale = np.array([100, 1]) / samples
    return {block: total * scale for block, total in sums.items()}, whole * scale, samples


def draw_ranks(words: Tensor, draws: int, stream: np.random.Generator) -> dict[str, Tensor]:
    """Each draw's random order of every sample's active subNNs and of its inactive ones.

    Args:
        words: Codeword of each sample's class, [B, N]. The stream goes on from sample to sample, whatever the batches.

    Returns:
        By kind the places [B, D, N] of the subNNs in the order, from 0 on; subNNs of the other kind come last.
    """
    keys = torch.from_numpy(stream.random((len(words), draws, words.shape[1])))
    last = {'active': 1 - words, 'inactive': words}
    return {kind: (keys + last[kind][:, None]).argsort(-1).argsort(-1) for kind in KINDS}


def masked_sums(
        model: CodedResNet,
        x: Tensor,
        index: int,
        name: str,
        masks: Sequence[Tensor],
        target: Tensor,
) -> Iterator[np.ndarray]:
    """`sums_of` the network from block `index` on with each of the masks [B, N], several at a time."""
    step = masks_per_pass(len(x))
    for group in (masks[start:start + step] for start in range(0, len(masks), step)):
        keep = {name: torch.cat(list(group)).to(x.device, torch.float32)}
        copies = torch.cat([x] * len(group))  # in the layout of x, which repeat would not keep
        logits = forward_from(model, copies, index, keep)
        yield sums_of(logits.view(len(group), len(x), -1), target)


def sums_of(logits: Tensor, target: Tensor) -> np.ndarray:
    """Logits [M, B, K] -> how many samples are named right and the sum of their cross-entropies, [M, 2]."""
    logits, real = logits.float().cpu()[:, target >= 0], target[target >= 0]
    losses = F.cross_entropy(logits.transpose(1, 2), real.expand(len(logits), -1), reduction='none')
    return torch.stack([(logits.argmax(2) == real).sum(1).double(), losses.double().sum(1)], 1).numpy()


def check_blocks(blocks: Sequence[str] | None, coded: Sequence[str]) -> list[str]:
    """The blocks in the order of the network, each once; all coded ones for None.

    Raises:
        ValueError: one is not coded.
    """
    if blocks is None:
        return list(coded)
    check_block_names(blocks, coded)
    if not blocks:
        raise ValueError(f'no block is named; the coded blocks are {", ".join(coded)}')
    return [block for block in coded if block in blocks]
