"""One epoch of training and one evaluation: plain functions, with no word of the device they run on."""
import torch
from timm.models import model_parameters
from timm.utils import dispatch_clip_grad
from torch import Tensor, nn

from timm_coded.loss import CodingLoss
from timm_coded.models import coded_blocks, early_decode

from .device_augment import DeviceAugment
from .loader import Batches
from .progress import Progress
from .replicas import Replica
from .sums import Sums


def train_epoch(
        model: nn.Module,
        criterion: CodingLoss,
        optimizer: torch.optim.Optimizer,
        augment: DeviceAugment,
        batches: Batches,
        replica: Replica,
        progress: Progress,
        amp_dtype: torch.dtype | None = None,
        clip_grad: float | None = None,
        clip_mode: str = 'norm',
) -> dict[str, float]:
    """Trains on all batches once; nothing in a step waits for the device.

    Args:
        model: a coded model or any other of timm's.
        amp_dtype: of mixed precision, if any.
        clip_grad: if any, the gradients are clipped to it, in timm's way named by `clip_mode`.

    Returns:
        Means over the epoch's images: 'loss' (of the class) and, of a coded model, 'coding_loss' (sum over its blocks).
    """
    model.train()
    blocks = coded_blocks(model)
    forward = model.forward_energies if blocks else model
    sums = Sums(['loss', 'coding_loss'] if blocks else ['loss'], replica.device)
    for images, target, *boxes in progress.training(replica.send(batches), sums):
        with replica.autocast(amp_dtype):
            loss = criterion(forward(augment(images, *boxes)), target)
        loss.backward()
        replica.average_gradients(optimizer)
        if clip_grad is not None:
            dispatch_clip_grad(model_parameters(model, exclude_head=clip_mode == 'agc'), clip_grad, mode=clip_mode)
        optimizer.step()
        optimizer.zero_grad()
        count = (target >= 0).sum()
        sums.add(count, loss_sums(criterion, count))
        replica.end_step()
    return sums.means()


@torch.no_grad()
def evaluate(
        model: nn.Module,
        criterion: CodingLoss,
        augment: DeviceAugment,
        batches: Batches,
        replica: Replica,
        progress: Progress,
        amp_dtype: torch.dtype | None = None,
) -> dict[str, float]:
    """Evaluates on all images, each counted once whatever the batch size: targets of -1 do not count.

    Returns:
        Means over the images: 'loss' (of the class), 'top1' and 'top5' in percent. Of a coded model also 'coding_loss'
        (sum over its blocks), and for each coded block 'coding_loss_<block>' and 'decoder_<block>', the top-1 of its
        early decoder in percent.
    """
    model.eval()
    blocks = coded_blocks(model)
    forward = model.forward_energies if blocks else model
    decoders = [f'decoder_{block}' for block in blocks]
    coding = ['coding_loss', *(f'coding_loss_{block}' for block in blocks)] if blocks else []
    sums = Sums(['loss', 'top1', 'top5', *coding, *decoders], replica.device)
    for images, target in progress.evaluation(replica.send(batches), len(batches)):
        with replica.autocast(amp_dtype):
            output = forward(augment(images))
            criterion(output, target)
        logits, energies = output if blocks else (output, [])
        count = (target >= 0).sum()
        hits = top_hits(logits, target)
        for block, decoder, energy in zip(blocks, decoders, energies):
            hits[decoder] = (early_decode(energy, model.codewords(block)) == target).sum()
        sums.add(count, {**loss_sums(criterion, count), **hits})
        replica.end_step()
    means = sums.means()
    rates = {'top1', 'top5', *decoders}
    return {name: 100 * mean if name in rates else mean for name, mean in means.items()}


def loss_sums(criterion: CodingLoss, count: Tensor) -> dict[str, Tensor]:
    """The last call's losses, summed over its `count` images."""
    parts = dict(criterion.parts)
    sums = {'loss': parts.pop('class') * count}
    if parts:
        sums['coding_loss'] = sum(parts.values()) * count
        sums |= {f'coding_loss_{block}': part * count for block, part in parts.items()}
    return sums


def top_hits(logits: Tensor, target: Tensor) -> dict[str, Tensor]:
    """How many targets [B] are the highest, and among the five highest, of the logits [B, K]; -1 never is."""
    best = logits.topk(min(5, logits.shape[1]), dim=1).indices
    hits = best == target[:, None]
    return {'top1': hits[:, 0].sum(), 'top5': hits.sum()}
