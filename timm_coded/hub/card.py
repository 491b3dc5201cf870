"""The model card: what a model is, how to use it, how it was trained, how good it was found, and its limits."""
from dataclasses import dataclass, field
from typing import Any, cast

import yaml
from huggingface_hub import EvalResult, ModelCardData
from torch import nn

from timm_coded.models import coded_blocks

from .citations import PAPER, TIMM
from .schemes import schemes_of
from .source import Source


@dataclass
class Card:
    """What a model card is made of, beside the model.

    Attributes:
        name: of the model, its title.
        load: timm's name for it: 'hf-hub:USER/NAME' or 'local-dir:FOLDER'.
        license: by the Hub's name for it.
        source: how the network came about.
        config: timm's data config of its images, `test_input_size` among it.
        class_names: or none.
        files: names of what goes with it: 'recipe.yaml', scheme files.
    """
    name: str
    load: str
    license: str
    source: Source
    config: dict[str, Any]
    class_names: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)


def model_card(model: nn.Module, card: Card) -> str:
    """The text of README.md, with the Hub's metadata at its head."""
    sections = [
        description(model, card), usage(model, card), results(card), schemes(model), training(card),
        limits(model, card),
        f'## Licence\n\n{card.license}',
        '## Citation\n\n' + '\n\n'.join(f'```bibtex\n{text}\n```' for text in (PAPER, TIMM)),
    ]
    return f'---\n{metadata(model, card)}\n---\n\n' + '\n\n'.join(filter(None, sections)) + '\n'


def metadata(model: nn.Module, card: Card) -> str:
    """YAML of the Hub's own fields, and of the metrics."""
    dataset, top1 = card.source.args.get('dataset') or '', card.source.metrics().get('top1')
    name = dataset.removeprefix('hfds/')  # the Hub's own name of what it has
    found = [EvalResult(
        task_type='image-classification', dataset_type=name, dataset_name=name, dataset_split=split_of(card),
        metric_type='accuracy', metric_value=round(top1 / 100, 4), metric_name='Top-1 accuracy',
    )] if dataset and top1 is not None else None
    tags = ['image-classification', 'timm', *(['coded-resnext', 'timm_coded'] if coded_blocks(model) else [])]
    return ModelCardData(
        license=card.license, library_name='timm', pipeline_tag='image-classification', tags=tags,
        datasets=[name] if name != dataset else None, model_name=card.name, eval_results=found).to_yaml()


def description(model: nn.Module, card: Card) -> str:
    architecture, config = cast(dict[str, Any], model.pretrained_cfg)['architecture'], card.config
    parameters = sum(parameter.numel() for parameter in model.parameters())
    kind = (
        'A Coded ResNeXt ([paper](https://arxiv.org/abs/2202.05343)): the information of each class flows through a '
        'path of its own, designed before training. A codeword says which of the N parallel sub-networks (subNNs) of a '
        'block may work for the class, and a coding loss makes them keep to it. It is a timm model in all else.'
        if coded_blocks(model) else 'A network of timm without coded blocks, of the kind that Coded ResNeXt is '
                                    'compared with.')
    named = f': {", ".join(card.class_names[:10])}{", ..." if len(card.class_names) > 10 else ""}'
    test = config.get('test_input_size', config['input_size'])
    sizes = f'{config["input_size"][-1]} pixels' + (
        f', {test[-1]} in the evaluation' if test != config['input_size'] else '')
    return '\n'.join([
        f'# {card.name}\n', kind + '\n',
        f'- architecture: `{architecture}`, {parameters:,} parameters',
        f'- classes: {model.num_classes}{named if card.class_names else ""}',
        f'- images: RGB, {sizes}, mean {tuple(config["mean"])}, std {tuple(config["std"])}, '
        f'{config["interpolation"]}, crop {config["crop_pct"]}',
    ])


def usage(model: nn.Module, card: Card) -> str:
    coded = bool(coded_blocks(model))
    test_size = ', use_test_size=True' if 'test_input_size' in card.config else ''
    lines = [
        'import timm, torch' + (', timm_coded' if needs_package(model) else ''),
        'from PIL import Image', '',
        f"model = timm.create_model('{card.load}', pretrained=True).eval()",
        f'config = timm.data.resolve_model_data_config(model{test_size})',
        'transform = timm.data.create_transform(**config, is_training=False)',
        "images = transform(Image.open('image.png').convert('RGB'))[None]",
        'logits = model(images)',
    ]
    if coded:
        lines += [
            'logits, energies = model.forward_energies(images)  # of the subNNs of each coded block',
            'last = model.coded_blocks[-1]',
            'early = (energies[-1] @ model.codewords(last).float().T).argmax(1)  # what its early decoder names',
            'small = timm_coded.extract_classes(model, [0])  # the network of one class, really cut out',
        ]
    text = '## Use\n\n```python\n' + '\n'.join(lines) + '\n```'
    if needs_package(model):
        text += '\n\nThe architecture is that of the package `timm_coded`, an extension of timm: import it first.'
    if card.class_names:
        text += " `model.pretrained_cfg['label_names']` has the classes' names."
    return text


def needs_package(model: nn.Module) -> bool:
    return type(model).__module__.startswith('timm_coded.')


def results(card: Card) -> str:
    """The evaluation of these very weights; what is not known is not told."""
    metrics, source = card.source.metrics(), card.source
    if not metrics:
        return '## Results\n\n' + (
            'None: the weights are of the middle of an epoch, which was not evaluated.' if source.step else
            'None are known: the file of the weights does not tell.')
    rows = [('top-1, %', metrics.get('top1')), ('top-5, %', metrics.get('top5')), ('class loss', metrics.get('loss'))]
    rows += [(f'top-1 of the early decoder of {name.removeprefix("decoder_")}, %', value)
             for name, value in metrics.items() if name.startswith('decoder_')]
    rows += [('coding loss, all blocks', metrics.get('coding_loss'))]
    lines = [f'| {name} | {value:.4f} |' if 'loss' in name else f'| {name} | {value:.2f} |'
             for name, value in rows if value is not None]
    which = 'the moving average of the weights' if source.use_ema else 'the weights'
    return '\n'.join([
        '## Results\n', f'Of {which} after epoch {source.epochs}, on the split {split_of(card)!r} of '
        f'{images_of(card)}; one run, seed {source.args.get("seed")}.\n', '| | |', '|---|---|', *lines])


def split_of(card: Card) -> str:
    return str(card.source.args.get('val_split') or 'validation')


def images_of(card: Card) -> str:
    dataset = card.source.args.get('dataset')
    return f'`{dataset}`' if dataset else "the run's own image folders"


def schemes(model: nn.Module) -> str:
    """The coding schemes that the weights were trained with, as `CodingScheme` works their figures out."""
    if not coded_blocks(model):
        return ''
    lines = []
    for blocks, scheme in schemes_of(model).items():
        sums, bound = scheme.column_sums, scheme.distance_bound.distance
        lines.append(f'| {scheme.num_active}/{scheme.num_subnns} | {", ".join(blocks)} | {scheme.num_classes} | '
                     f'{scheme.min_distance} (no scheme has more than {bound}) | {scheme.closest_pairs} | {sums.min()} '
                     f'to {sums.max()} |')
    return '\n'.join([
        '## Coding schemes\n',
        'They travel with the weights, as the buffers `codewords_...`: `model.codewords(block)`, [K, N].\n',
        '| active / all subNNs | blocks | words | minimum Hamming distance | pairs of classes at it | words that a '
        'subNN serves |', '|---|---|---|---|---|---|', *lines])


def training(card: Card) -> str:
    source = card.source
    if not source.args:
        return '## Training\n\nNot known: the file of the weights does not tell.'
    place = f'{source.step} steps of epoch {source.epochs + 1}' if source.step else f'{source.epochs} epochs'
    start = source.args.get('initial_checkpoint')
    begun = f' They were started from those of `{start.replace(chr(92), "/").rsplit("/", 1)[-1]}`.' if start else ''
    recipe = yaml.safe_dump(source.recipe([name for name in card.files if name.endswith('.txt')]), sort_keys=False)
    return (f'## Training\n\nThe weights are those after {place}, of the {source.args.get("epochs")} + '
            f'{source.args.get("cooldown_epochs", 0)} (cool-down) of the recipe.{begun} Its flags that are not the '
            'default are here and in `recipe.yaml`; what is of one machine only is left out:\n\n'
            f'```yaml\n{recipe}```\n\n'
            '```sh\npython train_xla.py DATA_DIR --config recipe.yaml  # of timm_coded; without DATA_DIR for data sets '
            'that need none\n```')


def limits(model: nn.Module, card: Card) -> str:
    lines = ['- It knows its own classes only, and names one of them for any image. Nothing was measured on images of '
             'another kind, on groups of people, or on its fairness: do not decide about people by it.']
    if card.source.metrics():
        lines.append('- The accuracies are of one run, so that their spread from run to run is not known.')
        if card.source.chosen:
            lines.append('- This epoch was chosen for its accuracy on the very images that are reported, which makes '
                         'that accuracy too good by a little.')
    else:
        lines.append('- No accuracy of these weights is known.')
    if coded_blocks(model):
        lines.append('- The figures of the paper are not those of this model. A minimum distance is a promise of the '
                     'code, not of the accuracy, and that a path belongs to a class is learnt, not guaranteed.')
    return '\n'.join(['## Limits\n', *lines])
