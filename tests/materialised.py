"""The oracle: the paper's own form of a coded network, every t_n in memory, from Eq. (2), (3) and Section 3.1."""
import torch
import torch.nn.functional as F


def materialised_block(block, x, keep=None, drop=None):
    """A coded Bottleneck in the paper's form. keep, drop: [B, N] or [N]. Returns its output and its energies [B, N]."""
    z = torch.relu(block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(x))))))
    energies = None
    if block.num_active == block.num_subnns:
        y = block.conv3(z)
    else:
        N, C = block.num_subnns, block.conv3.out_channels
        B, width, H, W = z.shape
        grouped = block.conv3.weight.view(C, N, width // N).permute(1, 0, 2).reshape(N * C, width // N, 1, 1)
        t = F.conv2d(z, grouped, groups=N).view(B, N, C, H, W)
        if keep is not None:
            t = t * keep.view(-1, N, 1, 1, 1)
        energies = t.pow(2).mean(dim=(2, 3, 4))
        mean = energies.sum(1) / N
        energies = energies / mean[:, None]
        t = t / mean.sqrt().view(B, 1, 1, 1, 1)
        if drop is not None:
            t = t * drop.view(-1, N, 1, 1, 1)
        y = t.sum(1)
    shortcut = x if block.downsample is None else block.downsample(x)
    return torch.relu(block.bn3(y) + shortcut), energies


def materialised_network(model, x, keep=None, drop=None):
    """(logits, energies) of a CodedResNet with plain pooling. keep: masks by block name; drop: by num_active."""
    keep, drop = keep or {}, drop or {}
    x = model.maxpool(torch.relu(model.bn1(model.conv1(x))))
    energies = []
    for name, block in model.named_modules():
        if not hasattr(block, 'num_subnns') or not hasattr(block, 'conv3'):
            continue
        x, energy = materialised_block(block, x, keep.get(name), drop.get(block.num_active))
        if energy is not None:
            energies.append(energy)
    return model.fc(x.mean((2, 3))), energies
