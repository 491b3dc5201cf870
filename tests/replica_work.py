"""What replicas do in the tests: each has a process of its own, which needs a module to import the work from."""
import argparse
import io
import random
from pathlib import Path
from typing import Any, Callable

import numpy as np
import timm
import torch
import torch.distributed as dist
from timm.layers import freeze_batch_norm_2d
from torch.utils.data import Dataset

import timm_coded
from timm_coded.train import replicas
from timm_coded.train.checkpoint import to_cpu
from timm_coded.train.data.loader import create_batches
from timm_coded.train.data.sampler import EvaluationSampler
from timm_coded.train.data.samples import IGNORED, Sample
from timm_coded.train.device_augment import DeviceAugment
from timm_coded.train.engine import Training, evaluate, train_epoch
from timm_coded.train.finite import FiniteWatch
from timm_coded.train.launch import Mail, launch_processes
from timm_coded.train.local_state import running_statistics
from timm_coded.train.progress import Progress
from timm_coded.train.stop_or_save import StopOrSave
from timm_coded.train.sums import Sums

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
BATCH, STEPS, MU, LR, MOMENTUM, DECAY, CLIP = 8, 3, 6.0, 0.05, 0.9, 1e-3, 1.0
EVALUATED = (21, 16, 2, 1)  # numbers of images; batches of 4
FROZEN_BATCH = 32


class FixedBatches(list):
    num_workers = 0


class Rows(Dataset):
    """Images and targets in memory."""

    def __init__(self, count: int):
        self.images, self.targets = make_images(count)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        return Sample(key, self.images[key[1]], int(self.targets[key[1]]))


def make_images(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    return (torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=rng),
            torch.randint(0, 10, (count,), generator=rng))


def make_model(seed: int = 0, drop_subnn: float = 0.0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return timm.create_model(
        'coded_resnext11_10x11d', num_classes=10, channels=(16, 32, 64), drop_subnn=drop_subnn)


def make_grown_model(drop_subnn: float = 0.0) -> torch.nn.Module:
    """One whose blocks all reach its logits, which timm's initialisation keeps them from."""
    model = make_model(drop_subnn=drop_subnn)
    for name, parameter in model.named_parameters():
        if 'bn' in name and name.endswith('weight'):
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return model


def place(replica: replicas.Replica, model: torch.nn.Module) -> torch.nn.Module:
    """The model on the replica's device, as the loop places it: XLA takes minutes for grouped convolutions."""
    if replica.device.type == 'xla':
        timm_coded.pack_grouped_convs(model)
    replica.place(model)
    return model


def run_replicas(work: Callable, count: int, folder: Path, device: str = 'cpu') -> list[dict[str, Any]]:
    """What `work(replica)` gives on each of `count` replicas."""
    mail = Mail(folder)
    launch_processes(argparse.Namespace(device=device, folder=folder, work=work), save_result, mail, count)
    status, text = mail.verdict()
    assert status == 0, text
    return [torch.load(folder / f'{rank}.pt', weights_only=False) for rank in range(count)]


def save_result(args: argparse.Namespace, stop: Callable[[], str]) -> None:
    replica = replicas.create(args.device)
    torch.save(to_cpu(args.work(replica)), args.folder / f'{replica.rank}.pt')


def everything(replica: replicas.Replica) -> dict[str, Any]:
    """All that replicas of one number and device are tested for; starting them is what takes the time."""
    return {
        'trained': train(replica),
        'accumulated': train(replica, frozen=True),
        'long': train(replica, steps=9),
        'random': [draw(replica, step) for step in (0, 0, 1)],
        'evaluated': {count: evaluate_images(replica, count) for count in EVALUATED},
    }


def train(replica: replicas.Replica, frozen: bool = False, steps: int = STEPS) -> dict[str, Any]:
    """Steps of each replica's own part of the images: its model, what it reduced and what was compiled in each step."""
    model = make_model(replica.rank)  # which all get from the first
    if frozen:
        model = freeze_batch_norm_2d(model)
    place(replica, model)
    replica.peers.share(model)
    optimizer = torch.optim.SGD(model.parameters(), LR, MOMENTUM, weight_decay=DECAY)
    for parameter in model.parameters():
        optimizer.state[parameter]['momentum_buffer'] = torch.zeros(parameter.shape).to(replica.device)
    replica.end_step()
    accumulation = FROZEN_BATCH // (BATCH * replica.world) if frozen else 1
    images, targets = make_images(steps * accumulation * replica.world * BATCH)
    parts = slice(replica.rank, None, replica.world)
    batches = FixedBatches(zip(images.split(BATCH)[parts], targets.split(BATCH)[parts]))
    training = Training(
        model, make_criterion(model), optimizer, DeviceAugment(MEAN, STD, 'pixel', replica.device), replica,
        accumulation=accumulation, clip_grad=CLIP)
    control = StopOrSave(replica)
    reduced, compiled = [], []
    reduce = dist.all_reduce

    def count(tensor: torch.Tensor, *args: Any) -> Any:
        reduced.append(tensor.numel())
        return reduce(tensor, *args)

    def after_step(step: int) -> None:
        control.after_step(step)
        compiled.append(replica.compiles()[0])

    dist.all_reduce = count
    try:
        before = replica.compiles()[0]
        train_epoch(
            training, batches, Progress(replica, 1, steps, BATCH, 100, io.StringIO()),
            Sums(training.metrics(), replica), FiniteWatch(training.terms(), replica.device), after_step=after_step)
    finally:
        dist.all_reduce = reduce
    return {
        'model': model.state_dict(),
        'reduced': reduced,
        'gradients': sum(parameter.numel() for parameter in model.parameters()),
        'statistics': sum(buffer.numel() for buffer in running_statistics(model)),
        'compiled': [now - then for now, then in zip(compiled, [before, *compiled])],
    }


def make_criterion(model: torch.nn.Module) -> timm_coded.CodingLoss:
    return timm_coded.CodingLoss(torch.nn.CrossEntropyLoss(ignore_index=IGNORED), model, MU)


def draw(replica: replicas.Replica, step: int) -> dict[str, Any]:
    """Random numbers of a step, and logits of the same model and images, which differ by dropSubNN's masks alone."""
    model = place(replica, make_grown_model(0.5)).train()
    images = make_images(8)[0].float().to(replica.device) / 255
    replica.seed(42, 1, 1 + step)
    host = random.random(), np.random.rand(), torch.rand(1).item()
    device = torch.rand(8, device=replica.device)
    return {'host': host, 'device': device, 'masked': model(images)}


def evaluate_images(replica: replicas.Replica, count: int) -> dict[str, float]:
    model = place(replica, make_grown_model())
    batches = create_batches(Rows(count), EvaluationSampler(count, replica.rank, replica.world), 4, 0)
    return evaluate(
        model, make_criterion(model), DeviceAugment(MEAN, STD, 'pixel', replica.device), batches, replica,
        Progress(replica, 1, 1, 4, 100, io.StringIO()))
