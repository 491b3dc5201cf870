"""The networks. Importing this package registers them with timm."""
from .batch_norm import RoundedBatchNorm2d, round_batch_norms
from .coded_block import CodedBottleneck, CodedStage
from .coded_resnet import CodedResNet, coded_blocks
from .coded_resnext import *  # timm's register_model fills __all__ with the entrypoints
from .codeword_buffers import checkpoint_filter_fn
from .cut import cut_subnns, keep_classes
from .early_decode import early_decode
from .energy import subnn_energies
from .materialised import materialise_subnns
from .packed_conv import PackedConv2d, pack_grouped_convs, unpack_grouped_convs
from .with_energies import WithEnergies
