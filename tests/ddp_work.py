"""What each of two processes does for tests/test_trainers_distributed.py: a few steps of distributed training."""
import sys

import timm
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from timm_coded import CodedClassificationTask, CodingLoss, WithEnergies


def make_model() -> nn.Module:
    """Without dropSubNN and with BatchNorm in evaluation mode, so that two halves of a batch are the batch."""
    torch.manual_seed(0)
    return timm.create_model('coded_resnext11_10x11d', drop_subnn=0.).double().eval()


def make_batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(1)
    return [(torch.randn(8, 3, 8, 8, dtype=torch.float64), torch.randint(10, (8,))) for _ in range(3)]


def train(model: nn.Module, loss_of, batches) -> dict[str, torch.Tensor]:
    """A step for each batch; gives the weights."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for images, target in batches:
        loss_of(images, target).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.state_dict()


def loss_with_task(model: nn.Module):
    task = CodedClassificationTask(model, nn.CrossEntropyLoss(), mu=6.0, verbose=False)
    task.prepare_distributed()
    return lambda images, target: task(images, target)['loss']


def loss_with_wrapper(model: nn.Module):
    net = DistributedDataParallel(WithEnergies(model))
    criterion = CodingLoss(nn.CrossEntropyLoss(), net, mu=6.0)
    return lambda images, target: criterion(net(images), target)


def loss_past_wrapper(model: nn.Module):
    net = DistributedDataParallel(model)
    criterion = CodingLoss(nn.CrossEntropyLoss(), net, mu=6.0)
    return lambda images, target: criterion(net.module.forward_energies(images), target)


LOSSES = {'task': loss_with_task, 'wrapped': loss_with_wrapper, 'past': loss_past_wrapper}


def work(rank: int, folder: str) -> None:
    """Trains on every second image of each batch, in each way, and saves what came of it."""
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{folder}/rendezvous', rank=rank, world_size=2)
    halves = [(images[rank::2], target[rank::2]) for images, target in make_batches()]
    for how, make_loss in LOSSES.items():
        model = make_model()
        torch.save(train(model, make_loss(model), halves), f'{folder}/{how}-{rank}.pth')
    dist.destroy_process_group()


if __name__ == '__main__':
    work(int(sys.argv[1]), sys.argv[2])
