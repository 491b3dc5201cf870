"""SubNNs of a stock ResNeXt, removed as if it were coded: the baseline of Section 4.3."""
from typing import Mapping

from timm.models.resnet import Bottleneck, ResNet
from torch import Tensor, nn

from timm_coded.models import CodedResNet, coded_blocks
from timm_coded.models.subnn_masks import per_channel


class StockNetwork:
    """A stock ResNeXt with the methods of a `CodedResNet` that removal needs.

    Block by block its subNNs are those of the coded network's block of the same name: group n of conv2 and what conv3
    takes from it. Nothing is normalised.
    """

    def __init__(self, model: ResNet, coded: CodedResNet) -> None:
        """
        Args:
            model: A ResNet of timm's or ours, in evaluation mode.
            coded: The coded network whose codewords are to say which subNNs stay.

        Raises:
            ValueError: the two differ in more than the coding.
        """
        self.model = model
        self.blocks = stock_blocks(model)
        if coded_blocks(model):
            raise ValueError(f'the stock network is a {type(model).__name__} with coded blocks: give one without')
        if model.num_classes != coded.num_classes:
            raise ValueError(f'the stock network has {model.num_classes} classes, the coded one {coded.num_classes}: '
                             'give its twin, trained for the same classes')
        expected = [(name, block.conv2.groups) for name, block in coded.named_blocks()]
        found = [(name, block.block.conv2.groups) for name, block in self.blocks]
        if found != expected:
            raise ValueError(f'the stock network has the blocks {described(found)}, the coded one '
                             f'{described(expected)}: give its twin, of the same architecture')

    def forward_stem(self, x: Tensor) -> Tensor:
        return self.model.maxpool(self.model.act1(self.model.bn1(self.model.conv1(x))))

    def named_blocks(self) -> list[tuple[str, 'StockBlock']]:
        return self.blocks

    def forward_head(self, x: Tensor) -> Tensor:
        return self.model.forward_head(x)


class StockBlock:
    """A stock Bottleneck that is called as a coded one is, and takes no notice of masks other than `keep`."""

    def __init__(self, name: str, block: Bottleneck) -> None:
        self.name = name
        self.block = block

    def __call__(self, x: Tensor, drop: None = None, keep: Mapping[str, Tensor] | None = None) -> Tensor:
        """[B, C_in, H, W] -> [B, C_out, H', W']; `keep` has masks [B, N] by block name, 0 for a removed subNN."""
        mask = None if keep is None else keep.get(self.name)
        if mask is None:
            return self.block(x)
        mask = per_channel(mask, self.block.conv3.in_channels // mask.shape[1])
        hook = self.block.conv3.register_forward_pre_hook(lambda _, inputs: (inputs[0] * mask.to(inputs[0].dtype),))
        try:
            return self.block(x)
        finally:
            hook.remove()


def stock_blocks(model: ResNet) -> list[tuple[str, StockBlock]]:
    """The bottleneck blocks of a ResNet of timm's or ours, in order, by name.

    Raises:
        ValueError: it is none.
    """
    stages = [info['module'] for info in getattr(model, 'feature_info', ())][1:]
    blocks = [(f'{stage}.{name}', block) for stage in stages if isinstance(getattr(model, stage, None), nn.Sequential)
              for name, block in getattr(model, stage).named_children()]
    if not blocks or not all(hasattr(block, 'conv3') for _, block in blocks) or not hasattr(model, 'maxpool'):
        raise ValueError(f'the stock network is a {type(model).__name__}, expected a ResNeXt such as resnext50_32x4d')
    return [(name, StockBlock(name, block)) for name, block in blocks]


def described(blocks: list[tuple[str, int]]) -> str:
    """Names and groups in few words."""
    groups = sorted({groups for _, groups in blocks})
    return f'{blocks[0][0]} to {blocks[-1][0]} ({len(blocks)}) of {" or ".join(map(str, groups))} groups'
