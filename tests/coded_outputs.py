"""Small coded networks and stored outputs for tests of the analyses."""
import numpy as np
import timm
import torch

import timm_coded  # noqa: F401  registers the models
from timm_coded.analysis.outputs import Outputs


def random_network(seed=0):
    """`coded_resnext11_10x11d` with random weights and BatchNorm statistics."""
    torch.manual_seed(seed)
    model = timm.create_model('coded_resnext11_10x11d', num_classes=10).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.3)
    return model


def drawn_outputs(samples=4000, seed=0, classes=10, subnns=10, active=5, temperature=2., taus=(-0.2, 0.1, -0.3)):
    """Outputs whose targets are drawn from Eq. (11) with these parameters, so that they are the truth."""
    random = np.random.default_rng(seed)
    words = timm_coded.coding_scheme(classes, subnns, active).codewords
    logits = (random.normal(size=(samples, classes)) * 4).astype(np.float32)
    predictions = logits.argmax(1)
    blocks = len(taus)
    names = [f'layer2.{index}' for index in range(blocks)]
    right = random.random((samples, blocks)) < 0.6
    named = np.where(right, predictions[:, None], (predictions[:, None] + 1) % classes)
    energies = {name: words[named[:, index]].astype(np.float32) * subnns / active for index, name in enumerate(names)}
    scaled = logits.astype(np.float64) / (temperature * (1 + right @ np.array(taus)))[:, None]
    targets = (scaled + random.gumbel(size=scaled.shape)).argmax(1)
    return Outputs(logits, energies, targets, {name: words for name in names}, [], 'drawn'), right
