"""Coded ResNeXt models in timm's registry: those of Table 1 of the paper, two more, and the stock twins.

`timm.create_model('coded_resnext50_32x4d')` after `import timm_coded`. The stock twin of the ImageNet models is timm's
own `resnext50_32x4d`, `resnext101_32x4d`; the CIFAR twins are here, as timm has none.
"""
from typing import Any, Dict, Tuple

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model

from .coded_resnet import CodedResNet
from .codeword_buffers import checkpoint_filter_fn

CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
CIFAR100_MEAN, CIFAR100_STD = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)


def _create_coded_resnext(variant: str, pretrained: bool = False, **kwargs: Any) -> CodedResNet:
    num_stages = len(kwargs['layers'])
    return build_model_with_cfg(
        CodedResNet,
        variant,
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        # the getter runs the model's own forward, in which blocks of one scheme share their dropSubNN mask
        feature_cfg=dict(out_indices=tuple(range(num_stages + 1)), feature_cls='getter'),
        **kwargs,
    )


def _cfg(**kwargs: Any) -> Dict[str, Any]:
    return {
        'url': '',
        'num_classes': 1000,
        'input_size': (3, 224, 224),
        'pool_size': (7, 7),
        'crop_pct': 0.875,
        'interpolation': 'bicubic',
        'mean': IMAGENET_DEFAULT_MEAN,
        'std': IMAGENET_DEFAULT_STD,
        'first_conv': 'conv1',
        'classifier': 'fc',
        'license': 'apache-2.0',
        **kwargs,
    }


def _cifar_cfg(num_classes: int, mean: Tuple[float, ...], std: Tuple[float, ...]) -> Dict[str, Any]:
    return _cfg(
        num_classes=num_classes, input_size=(3, 32, 32), pool_size=(8, 8), crop_pct=1.0, mean=mean, std=std)


default_cfgs = generate_default_cfgs({
    'coded_resnext50_32x4d': _cfg(),
    'coded_resnext101_32x4d': _cfg(),
    'coded_resnext29_10x11d': _cifar_cfg(10, CIFAR10_MEAN, CIFAR10_STD),
    'coded_resnext29_20x6d': _cifar_cfg(100, CIFAR100_MEAN, CIFAR100_STD),
    'coded_resnext11_10x11d': _cifar_cfg(10, CIFAR10_MEAN, CIFAR10_STD),
    'resnext29_10x11d': _cifar_cfg(10, CIFAR10_MEAN, CIFAR10_STD),
    'resnext29_20x6d': _cifar_cfg(100, CIFAR100_MEAN, CIFAR100_STD),
    'resnext11_10x11d': _cifar_cfg(10, CIFAR10_MEAN, CIFAR10_STD),
})


def _cifar_args(depth: int, cardinality: int, base_width: int, num_active: Tuple[int, ...]) -> Dict[str, Any]:
    return dict(
        layers=((depth - 2) // 9,) * 3,
        channels=(64, 128, 256),
        stem_type='conv3x3',
        cardinality=cardinality,
        base_width=base_width,
        num_active=num_active,
    )


@register_model
def coded_resnext50_32x4d(pretrained: bool = False, **kwargs: Any) -> CodedResNet:
    """Coded ResNeXt-50 (32x4d) for ImageNet, Table 1."""
    model_args = dict(layers=(3, 4, 6, 3), cardinality=32, base_width=4, num_active=(32, 32, 16, 8))
    return _create_coded_resnext('coded_resnext50_32x4d', pretrained, **dict(model_args, **kwargs))


@register_model
def coded_resnext101_32x4d(pretrained: bool = False, **kwargs: Any) -> CodedResNet:
    """ResNeXt-101 (32x4d) with the ratios of Coded ResNeXt-50; not in the paper."""
    model_args = dict(layers=(3, 4, 23, 3), cardinality=32, base_width=4, num_active=(32, 32, 16, 8))
    return _create_coded_resnext('coded_resnext101_32x4d', pretrained, **dict(model_args, **kwargs))


@register_model
def coded_resnext29_10x11d(pretrained: bool = False, **kwargs: Any) -> CodedResNet:
    """Coded ResNeXt-29 (10x11d) for CIFAR-10, Table 1."""
    model_args = _cifar_args(29, 10, 11, (10, 5, 3))
    return _create_coded_resnext('coded_resnext29_10x11d', pretrained, **dict(model_args, **kwargs))


@register_model
def coded_resnext29_20x6d(pretrained: bool = False, **kwargs: Any) -> CodedResNet:
    """Coded ResNeXt-29 (20x6d) for CIFAR-100, Table 1."""
    model_args = _cifar_args(29, 20, 6, (20, 8, 4))
    return _create_coded_resnext('coded_resnext29_20x6d', pretrained, **dict(model_args, **kwargs))


@register_model
def coded_resnext11_10x11d(pretrained: bool = False, **kwargs: Any) -> CodedResNet:
    """ResNeXt-29 (10x11d) with one block a stage, coded, for the demonstration on digits; not in the paper."""
    model_args = _cifar_args(11, 10, 11, (10, 5, 3))
    return _create_coded_resnext('coded_resnext11_10x11d', pretrained, **dict(model_args, **kwargs))


@register_model
def resnext29_10x11d(pretrained: bool = False, **kwargs: Any) -> CodedResNet:
    """ResNeXt-29 (10x11d), the stock twin for CIFAR-10: all ratios 1."""
    model_args = _cifar_args(29, 10, 11, (10, 10, 10))
    return _create_coded_resnext('resnext29_10x11d', pretrained, **dict(model_args, **kwargs))


@register_model
def resnext29_20x6d(pretrained: bool = False, **kwargs: Any) -> CodedResNet:
    """ResNeXt-29 (20x6d), the stock twin for CIFAR-100: all ratios 1."""
    model_args = _cifar_args(29, 20, 6, (20, 20, 20))
    return _create_coded_resnext('resnext29_20x6d', pretrained, **dict(model_args, **kwargs))


@register_model
def resnext11_10x11d(pretrained: bool = False, **kwargs: Any) -> CodedResNet:
    """ResNeXt-11 (10x11d), the stock twin of the demonstration's model: all ratios 1."""
    model_args = _cifar_args(11, 10, 11, (10, 10, 10))
    return _create_coded_resnext('resnext11_10x11d', pretrained, **dict(model_args, **kwargs))
