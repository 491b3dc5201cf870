"""What an exported network puts out: logits, or with them what each coded block tells."""
from typing import cast

from torch import Tensor, nn

from timm_coded.models import CodedResNet, coded_blocks, early_decode

Outputs = dict[str, Tensor]


class NamedOutputs(nn.Module):
    """A coded network whose forward gives all outputs by name, in this order.

    `logits` [B, K]; for each coded block, in order, `energies.BLOCK`, the normalised energies [B, N] of its subNNs, and
    then for each `decoder.BLOCK` [B] int64, the class that its early decoder names (Section 4.4): an index into the
    logits.

    Raises:
        ValueError: the network has no coded blocks.
    """

    network: CodedResNet

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        if not coded_blocks(network):
            raise ValueError('this network has no coded blocks, and so no energies: export it without them')
        self.network = cast(CodedResNet, network)

    def forward(self, images: Tensor) -> Outputs:
        """Images [B, 3, H, W] -> outputs by name."""
        logits, energies = self.network.forward_energies(images)
        blocks = self.network.coded_blocks
        outputs = {'logits': logits}
        for block, block_energies in zip(blocks, energies):
            outputs[f'energies.{block}'] = block_energies
        for block, block_energies in zip(blocks, energies):
            outputs[f'decoder.{block}'] = early_decode(block_energies, self.network.codewords(block))
        return outputs


def output_names(network: nn.Module) -> list[str]:
    """Names of what a network, or `NamedOutputs` of one, puts out, in order."""
    if not isinstance(network, NamedOutputs):
        return ['logits']
    blocks = network.network.coded_blocks
    return ['logits', *(f'energies.{block}' for block in blocks), *(f'decoder.{block}' for block in blocks)]


def named_outputs(outputs: Tensor | Outputs) -> Outputs:
    """By name, also where there are only logits."""
    return outputs if isinstance(outputs, dict) else {'logits': outputs}
