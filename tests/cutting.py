"""Models with statistics of batch norm that matter, and the masks that extraction cuts along: for its tests."""
import timm
import torch

import timm_coded  # noqa: F401  # registers the models


def random_model(name='coded_resnext11_10x11d', dtype=torch.float32, seed=0, **kwargs):
    torch.manual_seed(seed)
    model = timm.create_model(name, zero_init_last=False, **kwargs).eval()
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
            torch.nn.init.normal_(layer.bias, 0., 0.3)
            layer.running_mean.normal_(0., 0.3)
            layer.running_var.uniform_(0.5, 2.)
    return model.to(dtype)


def union_masks(model, classes, dtype=torch.float64):
    """For every coded block a mask [N] of the subNNs that work for any of the classes, as the scheme says."""
    masks = {}
    for block in model.coded_blocks:
        words = model.codewords(block).tolist()
        union = [float(any(words[k][n] for k in classes)) for n in range(len(words[0]))]
        masks[block] = torch.tensor(union, dtype=dtype)
    return masks
