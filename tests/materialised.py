"""The oracle: the paper's own form of a coded network, every t_n in memory, from Eq. (2), (3) and Section 3.1."""
import copy

import torch
import torch.nn.functional as F

from timm_coded import CodingLoss


def materialised_block(block, x, keep=None, drop=None, learn=None, energy_norm=True):
    """A coded Bottleneck in the paper's form. keep, drop, learn: [B, N] or [N].

    Returns its output and its energies [B, N].
    """
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
        if energy_norm:
            mean = energies.sum(1) / N
            energies = energies / mean[:, None]
            t = t / mean.sqrt().view(B, 1, 1, 1, 1)
        if learn is not None:
            t = torch.where(learn.view(-1, N, 1, 1, 1) > 0, t, t.detach())
        if drop is not None:
            t = t * drop.view(-1, N, 1, 1, 1)
        y = t.sum(1)
    shortcut = x if block.downsample is None else block.downsample(x)
    return torch.relu(block.bn3(y) + shortcut), energies


def materialised_network(model, x, keep=None, drop=None, learn=None, energy_norm=True):
    """(logits, energies) of a CodedResNet with plain pooling. Masks are by block name, drop's or by num_active."""
    keep, drop, learn = keep or {}, drop or {}, learn or {}
    x = model.maxpool(torch.relu(model.bn1(model.conv1(x))))
    energies = []
    for name, block in model.named_modules():
        if not hasattr(block, 'num_subnns') or not hasattr(block, 'conv3'):
            continue
        mask = drop.get(name, drop.get(block.num_active))
        x, energy = materialised_block(block, x, keep.get(name), mask, learn.get(name), energy_norm)
        if energy is not None:
            energies.append(energy)
    return model.fc(x.mean((2, 3))), energies


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


def assert_equal_to_1e_10(actual, expected):
    scale = max(1., expected.abs().max().item())
    assert (actual - expected).abs().max().item() <= 1e-10 * scale


def assert_same_training_step(model, x, keep=None, learn=None, drop=None, energy_norm=True):
    """The model's step in float64 equals the materialised form's: logits, energies and all gradients.

    Without `drop`, masks by block name or by num_active, the model is to draw none.
    """
    loss_fn = CodingLoss(torch.nn.CrossEntropyLoss(), model, mu=3.0)
    target = torch.arange(len(x)) % model.num_classes
    state = copy.deepcopy(model.state_dict())  # batch norms move in training: both start from the same

    logits, energies = model.forward_energies(x, keep, learn)
    actual = gradients(model, loss_fn((logits, energies), target))
    model.load_state_dict(state)
    expected_logits, expected_energies = materialised_network(model, x, keep, drop, learn, energy_norm)
    expected = gradients(model, loss_fn((expected_logits, expected_energies), target))

    assert_equal_to_1e_10(logits, expected_logits)
    assert len(energies) == len(expected_energies) == len(model.coded_blocks) > 0
    for energy, expected_energy in zip(energies, expected_energies):
        assert_equal_to_1e_10(energy, expected_energy)
    for name in expected:
        assert_equal_to_1e_10(actual[name], expected[name])
