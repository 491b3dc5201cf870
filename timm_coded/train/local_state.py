"""What each replica has of its own in mid-epoch: BatchNorm's running statistics, and the sums of its metrics."""
import torch
from torch import Tensor, nn

from .replicas import Replica


def running_statistics(*models: nn.Module) -> list[Tensor]:
    """The buffers that training changes by each replica's own images."""
    return [buffer for model in models for buffer in model.buffers() if buffer.is_floating_point()]


def gather_local(replica: Replica, models: list[nn.Module], sums: Tensor) -> dict[str, Tensor]:
    """All replicas' own state, a row each: 'statistics' [world, all running statistics] and 'sums' [world, metrics]."""
    flat = [buffer.detach().cpu().reshape(-1) for buffer in running_statistics(*models)]
    own = torch.cat([*flat, sums.detach().cpu()])
    rows = replica.peers.gather(own)
    return {'statistics': rows[:, :-len(sums)].clone(), 'sums': rows[:, -len(sums):].clone()}


def restore_statistics(replica: Replica, models: list[nn.Module], local: dict[str, Tensor]) -> None:
    """Gives the models this replica's statistics, or their mean where the number of replicas is another."""
    rows = local['statistics']
    own = rows[replica.rank] if len(rows) == replica.world else rows.mean(0)
    buffers = running_statistics(*models)
    for buffer, piece in zip(buffers, own.split([buffer.numel() for buffer in buffers])):
        buffer.copy_(piece.view_as(buffer))


def restored_sums(replica: Replica, local: dict[str, Tensor]) -> Tensor:
    """This replica's sums [metrics], or an equal share of all where the number of replicas is another."""
    rows = local['sums']
    return rows[replica.rank] if len(rows) == replica.world else rows.sum(0) / replica.world
