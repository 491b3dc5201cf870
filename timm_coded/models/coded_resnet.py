"""ResNet with coded blocks: timm's ResNet that knows which subNNs may work for which class."""
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import torch
import torch.fx
import torch.nn as nn
from timm.models.resnet import ResNet
from torch import Tensor

from .coded_block import CodedBottleneck, CodedStage, draw_drop_mask
from .codeword_buffers import adopt_codewords, scheme_buffer_name
from .cpu_layout import channels_last, gains_by_channels_last
from .num_active import NumActive, check_num_active
from .pooled_norm import can_pool_first, conv_pool_norm
from .scheme_source import SchemeSource, resolve_scheme
from .subnn_masks import check_subnn_masks


class CodedResNet(ResNet):
    """Coded ResNeXt, Section 3.2 of the paper.

    One persistent buffer per coding scheme, `codewords_{num_active}of{N}` [K, N] uint8, travels with the weights; all
    blocks of equal num_active share it. With num_active = N everywhere it is ResNeXt. The state dict of the stock
    architecture loads as it is: the codewords it lacks stay the model's own.

    `kept_subnns` says, by num_active, which columns of the coding scheme there are subNNs for: all, but in a network
    that was cut out of another one (`cut_subnns`), whose codewords and energies have these columns only.
    """

    coded_blocks: List[str]
    scheme_sizes: List[int]
    kept_subnns: Dict[int, List[int]]
    _num_active_of: Dict[str, int]

    if TYPE_CHECKING:  # TorchScript, which reads the annotations of a class, knows no modules in them
        conv1: Any
        bn1: Any
        maxpool: Any
        layer1: CodedStage
        layer2: CodedStage
        layer3: CodedStage
        layer4: CodedStage
        feature_info: List[Dict[str, Any]]

    def __init__(
            self,
            layers: Tuple[int, ...],
            cardinality: int,
            base_width: int,
            num_active: NumActive,
            drop_subnn: float = 0.1,
            drop_per_block: bool = False,
            energy_norm: bool = True,
            scheme_source: SchemeSource = 'optimal',
            num_classes: int = 1000,
            in_chans: int = 3,
            stem_type: str = '',
            output_stride: int = 32,
            channels: Tuple[int, ...] = (64, 128, 256, 512),
            device: Optional[torch.device] = None,
            dtype: Optional[torch.dtype] = None,
            **kwargs: Any,
    ) -> None:
        """
        Args:
            layers: Number of blocks in each stage, 3 or 4 stages.
            cardinality: Number N of subNNs of a block.
            base_width: Bottleneck width d of a subNN in the first stage.
            num_active: For each stage, how many subNNs work for a class (N_act): one number, or one for each block.
            drop_subnn: Probability p_drop of dropSubNN, Section 3.1.3.
            drop_per_block: Each block draws a dropSubNN mask of its own, as the paper's public code does without
                `--Same-code-Same-mask`. The paper's blocks of one scheme share it.
            energy_norm: Energy normalisation, Eq. (3). Without it the energies are those of Eq. (2).
            scheme_source: 'optimal', 'paper', 'search' (see `timm_coded.coding_scheme`), or the path of a scheme file;
                or several paths, each for the blocks with the N_act of its words.
            num_classes: Number K of classes and of codewords.
            in_chans: Number of input channels.
            stem_type: timm's, or 'conv3x3': one 3x3 convolution of stride 1 and no pooling, for images of 32 pixels.
            output_stride: timm's.
            channels: Planes of each stage; a stage puts out 4 times as many channels.
            **kwargs: Further arguments of timm's ResNet.

        Raises:
            ValueError: num_active, drop_subnn or scheme_source do not fit the architecture or each other.
        """
        if len(layers) not in (3, 4) or len(channels) != len(layers):
            raise ValueError(f'layers {tuple(layers)} and channels {tuple(channels)}: expected 3 or 4 stages in both')
        active = check_num_active(num_active, layers, cardinality)
        if not 0. <= drop_subnn < 1.:
            raise ValueError(f'drop_subnn is {drop_subnn}, expected a probability in [0, 1)')
        small_stem = stem_type == 'conv3x3'
        super().__init__(
            block=CodedBottleneck,  # type: ignore[arg-type]  # timm's annotation names an instance for the class
            layers=layers,
            num_classes=num_classes,
            in_chans=in_chans,
            stem_type='' if small_stem else stem_type,
            # the small stem's stages end at stride 4 or 8, which no output_stride of timm's asks to dilate
            output_stride=32 if small_stem else output_stride,
            cardinality=cardinality,
            base_width=base_width,
            channels=channels,
            device=device,
            dtype=dtype,
            **kwargs,
        )
        if small_stem:
            self._shrink_stem(in_chans, device, dtype)
        if len(layers) == 3:
            self.layer4 = CodedStage()
        self.stage_names = tuple(info['module'] for info in self.feature_info[1:])
        self.num_subnns = cardinality
        self.drop_subnn = drop_subnn
        self.drop_per_block = drop_per_block
        self.scheme_source = scheme_source
        self.pool_first = False
        self.coded_blocks = []
        self._num_active_of = {}
        for name in ('layer1', 'layer2', 'layer3', 'layer4'):
            setattr(self, name, CodedStage(*getattr(self, name)))
        for name, stage_active in zip(self.stage_names, active):
            for index, (block, block_active) in enumerate(zip(getattr(self, name), stage_active)):
                block.block_name = f'{name}.{index}'
                block.num_active = block_active
                block.drop_subnn = drop_subnn
                block.energy_norm = energy_norm
                if block_active < cardinality:
                    self.coded_blocks.append(block.block_name)
                    self._num_active_of[block.block_name] = block_active
        self.scheme_sizes = sorted(set(self._num_active_of.values()), reverse=True)
        self.kept_subnns = {num_active: list(range(cardinality)) for num_active in self.scheme_sizes}
        for name, words in self._draw_codewords(num_classes, device).items():
            self.register_buffer(name, words)
        self.register_load_state_dict_pre_hook(adopt_codewords)

    def _shrink_stem(
            self,
            in_chans: int,
            device: Optional[torch.device],
            dtype: Optional[torch.dtype],
    ) -> None:
        width = self.bn1.num_features
        self.conv1 = nn.Conv2d(in_chans, width, 3, padding=1, bias=False, device=device, dtype=dtype)
        nn.init.kaiming_normal_(self.conv1.weight, mode='fan_out', nonlinearity='relu')
        self.maxpool = nn.Identity()
        self.feature_info[0]['reduction'] = 1
        for info in self.feature_info[1:]:
            info['reduction'] //= 4

    def _draw_codewords(self, num_classes: int, device: Optional[torch.device]) -> Dict[str, Tensor]:
        """The buffers for `num_classes` classes, by name."""
        words = {}
        for num_active in self.scheme_sizes:
            name = scheme_buffer_name(num_active, self.num_subnns)
            if num_classes > 0:
                scheme = resolve_scheme(self.scheme_source, num_classes, self.num_subnns, num_active, self.scheme_sizes)
                words[name] = torch.tensor(scheme.codewords, dtype=torch.uint8, device=device)
            else:
                words[name] = torch.empty((0, self.num_subnns), dtype=torch.uint8, device=device)
        return words

    @torch.jit.ignore
    def codewords(self, block: str) -> Tensor:
        """The coding scheme of a coded block: [K, N] uint8, row k the codeword of class k.

        Raises:
            KeyError: no coded block has that name.
        """
        if block not in self._num_active_of:
            raise KeyError(
                f'{block!r} is not a coded block; the coded blocks are {", ".join(self.coded_blocks) or "none"}')
        return getattr(self, scheme_buffer_name(self._num_active_of[block], self.num_subnns))

    @torch.jit.ignore
    def class_masks(self, target: Tensor) -> Dict[str, Tensor]:
        """Which subNNs work for each sample's class: the codewords as masks for `forward_energies`.

        Args:
            target: Classes [B] of any integer type; for -1 no subNN works.

        Returns:
            For every coded block, by name, [B, N] in float32: 1 = active, 0 = inactive.

        Raises:
            ValueError: target holds soft targets, whose classes' subNNs together may be all of them.
        """
        if target.is_floating_point():
            raise ValueError(
                'masks of soft targets: mixup, cutmix and the like mix classes, each with subNNs of its own; expected '
                'classes, of an integer type. Label smoothing goes with them where the loss does it')
        target = target.long()
        valid = (target >= 0)[:, None]
        return {block: (self.codewords(block)[target.clamp_min(0)] * valid).float() for block in self.coded_blocks}

    def draw_drop_masks(self, x: Tensor) -> Dict[int, Tensor]:
        """One dropSubNN mask [B, N] for each scheme, by num_active (Section 3.1.3).

        None in evaluation, and none where blocks draw their own.
        """
        masks: Dict[int, Tensor] = {}
        if self.training and self.drop_subnn > 0. and not self.drop_per_block:
            for num_active in self.scheme_sizes:
                masks[num_active] = draw_drop_mask(x, len(self.kept_subnns[num_active]), self.drop_subnn)
        return masks

    @torch.jit.ignore
    def use_lanes(self, lanes: int) -> None:
        """Choose the form of the stem: pooling first for an accelerator, or for 0 lanes the modules one by one.

        In the first form the hooks of bn1, act1 and maxpool are not called. TorchScript and torch.fx see the modules.
        """
        self.pool_first = lanes > 0

    @torch.jit.unused
    def can_pool_first(self, x: Tensor) -> bool:
        if not self.pool_first or isinstance(x, torch.fx.Proxy) or torch.jit.is_tracing():
            return False
        return can_pool_first(self.conv1, self.bn1, self.act1, self.maxpool)  # as they are now: they can be replaced

    @torch.jit.unused
    def pooled_stem(self, x: Tensor) -> Tensor:
        return conv_pool_norm(x, self.conv1, self.bn1, self.maxpool)

    @torch.jit.unused
    def changes_layout(self, x: Tensor) -> bool:
        """Whether the default layout of the images x is given up for channels_last, until the features are there."""
        weight = next(self.conv1.parameters(), x)  # a quantized convolution has no parameters
        return not self.can_pool_first(x) and gains_by_channels_last(x, weight)

    def forward_stem(self, x: Tensor) -> Tensor:
        """[B, in_chans, H, W] -> what the first block takes; on a CPU in the layout in which the blocks are fastest."""
        if not torch.jit.is_scripting():
            if self.can_pool_first(x):
                return self.pooled_stem(x)
            if self.changes_layout(x):
                return self.run_stem(channels_last(x))
        return self.run_stem(x)

    def run_stem(self, x: Tensor) -> Tensor:
        return self.maxpool(self.act1(self.bn1(self.conv1(x))))

    @torch.jit.ignore
    def named_blocks(self) -> List[Tuple[str, CodedBottleneck]]:
        """All blocks in order, coded or not, by name: between `forward_stem` and `forward_head` they are the network.

        A block takes and gives [B, C, H, W]; in evaluation the names of `keep` and the list of `energies` are its only
        other arguments.
        """
        return [(block.block_name, block) for name in self.stage_names for block in getattr(self, name)]

    def forward_features(
            self,
            x: Tensor,
            keep: Optional[Dict[str, Tensor]] = None,
            learn: Optional[Dict[str, Tensor]] = None,
            energies: Optional[List[Tensor]] = None,
    ) -> Tensor:
        """[B, in_chans, H, W] -> [B, num_features, H', W']; the rest is as in `CodedBottleneck.forward`."""
        changes_layout = False
        if not torch.jit.is_scripting():
            changes_layout = self.changes_layout(x)
        x = self.forward_stem(x)
        drop = self.draw_drop_masks(x)
        x = self.layer1(x, drop, keep, learn, energies)
        x = self.layer2(x, drop, keep, learn, energies)
        x = self.layer3(x, drop, keep, learn, energies)
        x = self.layer4(x, drop, keep, learn, energies)
        return x.contiguous() if changes_layout else x

    @torch.jit.ignore
    def forward_energies(
            self,
            x: Tensor,
            keep: Optional[Mapping[str, Tensor]] = None,
            learn: Optional[Mapping[str, Tensor]] = None,
    ) -> Tuple[Tensor, List[Tensor]]:
        """Logits, and what the subNNs put out on the way to them.

        Args:
            x: [B, in_chans, H, W].
            keep: SubNNs to remove: a mapping from a coded block's name to a mask, [N] or [B, N], 1 = kept, 0 = removed
                before the energy normalisation. Blocks not named keep all.
            learn: Gradient masking (Appendix E; `--Mask-grads` of the paper's public code): a mapping from a coded
                block's name to a mask, [N] or [B, N]. Where it is 0, the sample's gradient does not flow through the
                subNN's normalised output, neither into the subNN nor into E_avg. Values stay as they are. What the
                other subNNs' outputs and the energies owe to the subNN, by E_avg and in the coding loss, is not masked.
                In blocks not named all subNNs learn. `class_masks` gives those of the coding scheme.

        Returns:
            The logits [B, K], and for every coded block, in the order of `coded_blocks`, the normalised energies
            [B, N] of its subNNs in float32, Eq. (3): before dropSubNN, each sample's sum N (0 in a silent block).
            Without energy_norm they are those of Eq. (2).

        Raises:
            ValueError: keep or learn names a block that is not coded, or a mask has another shape.
        """
        num_subnns = {block: self.codewords(block).shape[1] for block in self.coded_blocks}
        keep = check_subnn_masks('keep', keep, num_subnns, x)
        learn = check_subnn_masks('learn', learn, num_subnns, x)
        energies: List[Tensor] = []
        x = self.forward_features(x, keep, learn, energies)
        return self.forward_head(x), energies

    def forward_intermediates(
            self,
            x: Tensor,
            indices: Optional[Union[int, List[int]]] = None,
            norm: bool = False,
            stop_early: bool = False,
            output_fmt: str = 'NCHW',
            intermediates_only: bool = False,
    ) -> Union[List[Tensor], Tuple[Tensor, List[Tensor]]]:
        """timm's, for any number of stages: index 0 is the stem, then one for each stage."""
        assert output_fmt == 'NCHW', 'Output format must be NCHW.'
        take_indices, max_index = take_feature_indices(len(self.feature_info), indices)
        changes_layout = self.changes_layout(x)
        x = self.act1(self.bn1(self.conv1(channels_last(x) if changes_layout else x)))
        intermediates = [x] if 0 in take_indices else []
        x = self.maxpool(x)
        drop = self.draw_drop_masks(x)
        stages = self.stage_names[:max_index] if stop_early else self.stage_names
        for index, name in enumerate(stages, start=1):
            x = getattr(self, name)(x, drop)
            if index in take_indices:
                intermediates.append(x)
        if changes_layout:
            x, intermediates = x.contiguous(), [feature.contiguous() for feature in intermediates]
        if intermediates_only:
            return intermediates
        return x, intermediates

    def prune_intermediate_layers(
            self,
            indices: Union[int, List[int]] = 1,
            prune_norm: bool = False,
            prune_head: bool = True,
    ) -> List[int]:
        """timm's: drops the stages after the last of `indices`, and the head. Returns the indices kept."""
        take_indices, max_index = take_feature_indices(len(self.feature_info), indices)
        for name in self.stage_names[max_index:]:
            setattr(self, name, CodedStage())
            self.coded_blocks = [block for block in self.coded_blocks if not block.startswith(name + '.')]
        if prune_head:
            self.reset_classifier(0, '')
        return take_indices

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """timm's: gradient checkpointing of every block, in every forward method."""
        self.grad_checkpointing = enable
        for name in self.stage_names:
            getattr(self, name).grad_checkpointing = enable

    def reset_classifier(self, num_classes: int, global_pool: Optional[str] = None) -> None:
        """timm's; the codewords follow the number of classes. 0 classes remove the classifier and keep the codewords.

        Raises:
            ValueError: the scheme source has no scheme for so many classes, or subNNs that other classes need were cut
                away; the model stays as it was.
        """
        words = {}
        if num_classes > 0:
            if any(len(kept) < self.num_subnns for kept in self.kept_subnns.values()):
                raise ValueError('this network was cut out of another one and has the subNNs of its own classes only: '
                                 'give other classes to the network that it was cut out of')
            words = self._draw_codewords(num_classes, next(self.parameters()).device)
        super().reset_classifier(num_classes, self.global_pool.pool_type if global_pool is None else global_pool)
        for name, buffer in words.items():
            setattr(self, name, buffer)


def coded_blocks(model: nn.Module) -> List[str]:
    """Names of any model's coded blocks, in order; none of a stock model."""
    return list(getattr(model, 'coded_blocks', ()))


def take_feature_indices(num_features: int, indices: Optional[Union[int, Sequence[int]]]) -> Tuple[List[int], int]:
    """timm's meaning of `indices`: all for None, the last n for a number n, else a selection, negative from the end.

    Returns:
        The indices as non-negative numbers, and the largest.

    Raises:
        ValueError: an index is out of range.
    """
    if indices is None:
        indices = num_features
    if isinstance(indices, int):
        indices = range(num_features - indices, num_features)
    taken = [index + num_features if index < 0 else index for index in indices]
    if not taken or min(taken) < 0 or max(taken) >= num_features:
        raise ValueError(f'feature indices {list(indices)} are out of range: the model has {num_features} features')
    return taken, max(taken)
