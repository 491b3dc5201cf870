"""The networks. Importing this package registers them with timm."""
from .batch_norm import RoundedBatchNorm2d, round_batch_norms
from .coded_block import CodedBottleneck, CodedStage
from .coded_resnet import CodedResNet, coded_blocks
from .coded_resnext import (
    coded_resnext11_10x11d,
    coded_resnext29_10x11d,
    coded_resnext29_20x6d,
    coded_resnext50_32x4d,
    coded_resnext101_32x4d,
    resnext11_10x11d,
    resnext29_10x11d,
    resnext29_20x6d,
)
from .codeword_buffers import checkpoint_filter_fn
from .cut import cut_subnns, keep_classes
from .early_decode import early_decode
from .energy import subnn_energies
from .materialised import materialise_subnns
from .packed_conv import PackedConv2d, pack_grouped_convs, unpack_grouped_convs
from .with_energies import WithEnergies

__all__ = [
    'CodedBottleneck', 'CodedResNet', 'CodedStage', 'PackedConv2d', 'RoundedBatchNorm2d', 'WithEnergies',
    'checkpoint_filter_fn',
    'coded_blocks', 'coded_resnext11_10x11d', 'coded_resnext29_10x11d', 'coded_resnext29_20x6d',
    'coded_resnext50_32x4d', 'coded_resnext101_32x4d', 'cut_subnns', 'early_decode', 'keep_classes',
    'materialise_subnns', 'pack_grouped_convs', 'resnext11_10x11d', 'resnext29_10x11d', 'resnext29_20x6d',
    'round_batch_norms', 'subnn_energies', 'unpack_grouped_convs',
]
