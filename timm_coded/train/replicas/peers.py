"""The replicas that one trains with: none, or other processes."""
import os

import torch
import torch.distributed as dist
from torch import Tensor, nn


class Alone:
    """The peers of the only replica."""
    rank, world = 0, 1
    in_graph = True  # whether `average` is part of the device's graph

    def average(self, tensors: list[Tensor]) -> None:
        """Gives each of the device's tensors the mean over all replicas, in one reduction for all of them."""

    def gather(self, tensor: Tensor) -> Tensor:
        """All replicas' tensors of this shape, [world, ...] on the host; waits for the device."""
        return tensor.detach().cpu()[None]

    def vote(self, code: int) -> int | Tensor:
        """The highest code of all replicas. `int()` of it waits for it, the call does not wait for the device."""
        return code

    def share(self, model: nn.Module) -> None:
        """Gives the model of all replicas the weights of the first's."""


class Processes:
    """Other processes, by torch.distributed. Of XLA devices the tensors go through the host."""
    in_graph = False

    def __init__(self, backend: str):
        dist.init_process_group(backend)
        self.rank, self.world = dist.get_rank(), dist.get_world_size()

    def average(self, tensors: list[Tensor]) -> None:
        if not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        total = self.reachable(flat)
        dist.all_reduce(total)
        pieces = (total / self.world).to(flat.device).split([tensor.numel() for tensor in tensors])
        for tensor, piece in zip(tensors, pieces):
            tensor.copy_(piece.view_as(tensor))

    def gather(self, tensor: Tensor) -> Tensor:
        own = tensor.detach().cpu()
        rows = [torch.empty_like(own) for _ in range(self.world)]
        dist.all_gather(rows, own)
        return torch.stack(rows)

    def vote(self, code: int) -> int | Tensor:
        highest = torch.tensor(code)
        dist.all_reduce(highest, dist.ReduceOp.MAX)
        return int(highest)

    def share(self, model: nn.Module) -> None:
        for tensor in model.state_dict().values():
            value = self.reachable(tensor)
            dist.broadcast(value, 0)
            tensor.copy_(value)

    def reachable(self, tensor: Tensor) -> Tensor:
        return tensor.detach().cpu() if tensor.device.type == 'xla' else tensor.detach()


def find_processes(backend: str) -> Alone | Processes:
    return Processes(backend) if int(os.environ.get('WORLD_SIZE', 1)) > 1 else Alone()


def leave() -> None:
    """Takes leave of the other processes, at the end of the work."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
