"""The early decoder of a coded block, Section 4.4 of the paper."""
import torch
from torch import Tensor


def early_decode(energies: Tensor, codewords: Tensor) -> Tensor:
    """The class whose codeword is nearest to the energies.

    Codewords of one scheme have equal weight, so |r E - w_k|^2 is smallest where the inner product of E and w_k is
    largest: one matrix product decodes the batch.

    Args:
        energies: Normalised energies of a block's subNNs, [B, N].
        codewords: The block's coding scheme, [K, N].

    Returns:
        Predicted classes, [B] int64.
    """
    with torch.autocast(energies.device.type, enabled=False):  # bf16 would tie classes that float32 tells apart
        return (energies @ codewords.to(energies.dtype).T).argmax(1)
