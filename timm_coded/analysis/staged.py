"""A coded network up to a block and from it on: what passes with different subNNs removed share, and what each repeats.

A network here is a `CodedResNet`, or what has its `forward_stem`, `named_blocks` and `forward_head`.
"""
from typing import Callable, Mapping, Protocol, Sequence

from torch import Tensor

# Samples that go through the second part at once, several masks' copies of a batch together: it fills the device where
# images are small, and is no more than a batch of large ones takes anyway.
STACKED = 256


class Staged(Protocol):
    """What a network here can do, as `CodedResNet` has it."""

    def forward_stem(self, x: Tensor) -> Tensor: ...

    def named_blocks(self) -> Sequence[tuple[str, Callable[..., Tensor]]]: ...

    @property
    def forward_head(self) -> Callable[[Tensor], Tensor]: ...


def block_index(network: Staged, name: str) -> int:
    """Where the block of that name stands among `named_blocks`."""
    return [block for block, _ in network.named_blocks()].index(name)


def forward_to(network: Staged, images: Tensor, index: int) -> Tensor:
    """Images [B, 3, H, W] -> what block number `index` takes, [B, C, H', W']."""
    x = network.forward_stem(images)
    for _, block in network.named_blocks()[:index]:
        x = block(x)
    return materialised(x)


def forward_from(network: Staged, x: Tensor, index: int, keep: Mapping[str, Tensor] | None = None) -> Tensor:
    """What block number `index` takes [B, C, H, W] -> logits [B, K]; `keep` has masks [B, N] by block name."""
    for _, block in network.named_blocks()[index:]:
        x = block(x, None, keep)
    return network.forward_head(x)


def masks_per_pass(batch: int) -> int:
    """How many masks' copies of a batch go through the network at once."""
    return max(1, STACKED // batch)


def materialised(x: Tensor) -> Tensor:
    """`x`, computed: XLA is lazy, and would compute it again in each graph that starts from it."""
    if x.device.type == 'xla':
        x.cpu()
    return x
