"""The recipes in configs/ hold the paper's numbers, and the commands in their headers work."""
import re
import shlex
from pathlib import Path

import pytest

from timm_coded.models import coded_blocks
from timm_coded.train.args import parse_args
from timm_coded.train.build import create_criteria, create_model
from timm_coded.train.data.images import data_config
from timm_coded.train.data.sampler import accumulation_steps

ROOT = Path(__file__).parents[1]

# Section 4.1 and Appendix B: "The epochs are 250 (first 5 as warmup and last 10 cooling down), the effective batch
# size is 1536 (192 per core), the learning rate is 0.6, and weight decay is 10^-4. The input image is first randomly
# resized and cropped using the standard values of scale and ratio and then horizontally flipped with probability
# equal to 0.5. RandAugment follows with N_aug = 2 layers and magnitude M_aug = 7 (varied using an additive Gaussian
# noise of a standard deviation equal to 0.5) and also random erasing augmentation with probability 0.4 and 3
# recounts. ... We reduce the resolution to 160 ... The final evaluation ... is done using resolution equal to 224."
# "stochastic gradient descent with Nesterov momentum equal to 0.9. We used the cosine scheduler that decayed the
# learning rate until 10^-5."
IMAGENET_SHORT = {
    'num_classes': 1000, 'img_size': 160, 'eval_img_size': 224, 'scale': [0.08, 1.0], 'ratio': [3 / 4, 4 / 3],
    'hflip': 0.5, 'aa': 'rand-m7-mstd0.5-inc1', 'batch_size': 192, 'global_batch_size': 1536,
    'amp': True, 'amp_dtype': 'bfloat16', 'opt': 'sgd', 'momentum': 0.9, 'weight_decay': 1e-4,
    'lr': 0.6, 'sched': 'cosine', 'warmup_epochs': 5, 'cooldown_epochs': 10, 'min_lr': 1e-5, 'warmup_lr': 1e-4,
    'crop_pct': 0.875, 'interpolation': 'bicubic', 'train_interpolation': 'random', 'smoothing': 0.1,
}
IMAGENET = {**IMAGENET_SHORT, 'epochs': 250 - 10, 'reprob': 0.4, 'recount': 3, 'remode': 'pixel'}
# Appendix B: "the batch size per core is set to B_w=64 (i.e., effective 512). Training on CIFAR is performed for 300
# epochs with initial learning rate 0.1 and weight decay equal to 5 * 10^-4. ... RandAugment with (N_aug, M_aug) = (3,4)
# for CIFAR-10 and (1,2) for CIFAR-100, which we applied after the standard pad-and-crop and horizontal flips with
# probability 0.5."
CIFAR = {
    'img_size': 32, 'train_pad': 4, 'hflip': 0.5, 'crop_pct': 1.0, 'batch_size': 64, 'global_batch_size': 512,
    'amp': True, 'amp_dtype': 'bfloat16', 'opt': 'sgd', 'momentum': 0.9, 'weight_decay': 5e-4, 'lr': 0.1,
    'sched': 'cosine', 'epochs': 300, 'warmup_epochs': 0, 'cooldown_epochs': 0, 'min_lr': 1e-5, 'smoothing': 0.0,
}
CIFAR10 = {**CIFAR, 'dataset': 'torch/cifar10', 'num_classes': 10, 'aa': 'rand-m4-n3'}
CIFAR100 = {**CIFAR, 'dataset': 'torch/cifar100', 'num_classes': 100, 'aa': 'rand-m2-n1'}
DIGITS = {  # not in the paper
    'dataset': 'digits', 'img_size': 8, 'crop_pct': 1.0, 'scale': [0.7, 1.0], 'ratio': [0.9, 1.1],
    'train_interpolation': 'bilinear', 'hflip': 0.0, 'color_jitter': 0.0, 'batch_size': 64, 'workers': 0, 'opt': 'sgd',
    'momentum': 0.9, 'weight_decay': 5e-4, 'smoothing': 0.0, 'lr': 0.1, 'sched': 'cosine', 'epochs': 8,
    'warmup_epochs': 1, 'warmup_lr': 1e-3, 'min_lr': 1e-5, 'log_interval': 11,
}
LETTERS = {**DIGITS, 'dataset': 'letters', 'img_size': 12, 'scale': [0.8, 1.0], 'epochs': 12, 'log_interval': 37}
# Table 2: (mu, p_drop) is (6, 0.1), (6, 0.1) and (2, 0.1); Appendix B, the shorter training: "150 epochs, with (mu,
# p_drop) = (1, 0.1) and without random erasing data augmentation"
RECIPES = {
    'imagenet': {
        **IMAGENET, 'model': 'coded_resnext50_32x4d', 'mu': 2.0, 'drop_subnn': 0.1, 'scheme_source': 'paper'},
    'imagenet_stock': {**IMAGENET, 'model': 'resnext50_32x4d'},
    'imagenet_short': {
        **IMAGENET_SHORT, 'model': 'coded_resnext50_32x4d', 'epochs': 150 - 10, 'reprob': 0.0, 'mu': 1.0,
        'drop_subnn': 0.1, 'scheme_source': 'optimal'},
    'cifar10': {
        **CIFAR10, 'model': 'coded_resnext29_10x11d', 'mu': 6.0, 'drop_subnn': 0.1, 'scheme_source': 'paper'},
    'cifar10_stock': {**CIFAR10, 'model': 'resnext29_10x11d'},
    'cifar100': {
        **CIFAR100, 'model': 'coded_resnext29_20x6d', 'mu': 6.0, 'drop_subnn': 0.1, 'scheme_source': 'paper'},
    'cifar100_stock': {**CIFAR100, 'model': 'resnext29_20x6d'},
    'digits': {**DIGITS, 'model': 'coded_resnext29_10x11d', 'mu': 6.0, 'drop_subnn': 0.1},
    'digits_stock': {**DIGITS, 'model': 'resnext29_10x11d'},
    'letters': {**LETTERS, 'model': 'coded_resnext29_20x6d', 'mu': 6.0, 'drop_subnn': 0.1},
    'letters_stock': {**LETTERS, 'model': 'resnext29_20x6d'},
}
FIGURES = {  # top-1 of Table 2; of imagenet_short in Appendix B
    'imagenet': '80.24', 'imagenet_stock': '79.50', 'imagenet_short': '78.1', 'cifar10': '94.41',
    'cifar10_stock': '93.66', 'cifar100': '78.76', 'cifar100_stock': '76.86',
}
# Ablations by what their figure stands beside in the paper's text: Section 3.1.2, 3.2.1, Appendix B, D and E. N_act
# is by coded block, of what "(24/32, 16/32, 8/32) in stages (s2, s3, s4)" and the like leave coded.
ABLATIONS = {
    'imagenet_mu4': ('79.81', {'mu': 4.0}, [16] * 6 + [8] * 3),
    'imagenet_short_i': ('less than 77', {}, [24] * 4 + [16] * 6 + [8] * 3),
    'imagenet_short_ii': ('76.6', {}, [16] * 4 + [8] * 6 + [4] * 3),
    'imagenet_short_iii': ('less than 77', {}, [16] * 3 + [8] * 3 + [4] * 3),
    'cifar10_exponent2': ('93.1', {'coding_exponent': 2.0}, [5] * 3 + [3] * 3),
    'cifar10_exponent1': ('87.1', {'coding_exponent': 1.0}, [5] * 3 + [3] * 3),
    'cifar100_even': ('77.9', {}, [8] * 9),
    'cifar100_inverted': ('76.7', {}, [4] * 3 + [8] * 3),
    **{f'{name}_mu{mu}': ('', {'mu': mu}, active) for mu in (0, 1, 2, 4, 8, 10)
       for name, active in (('cifar10', [5] * 3 + [3] * 3), ('cifar100', [8] * 3 + [4] * 3))},
    **{f'{name}_drop{p}': ('', {'drop_subnn': p}, active) for p in (0, 0.2)
       for name, active in (('cifar10', [5] * 3 + [3] * 3), ('cifar100', [8] * 3 + [4] * 3))},
}
ACTIVE = {  # Table 1
    'imagenet': [16] * 6 + [8] * 3, 'imagenet_short': [16] * 6 + [8] * 3,
    'cifar10': [5] * 3 + [3] * 3, 'cifar100': [8] * 3 + [4] * 3, 'digits': [5] * 3 + [3] * 3,
    'letters': [8] * 3 + [4] * 3,
}
CODING = {'model', 'mu', 'drop_subnn', 'scheme_source'}
BEYOND = {f'{name}_optimal' for name in ('imagenet', 'cifar10', 'cifar100')}  # not in the paper


def header(name: str) -> list[str]:
    lines = (ROOT / 'configs' / f'{name}.yaml').read_text().splitlines()
    return lines[:next(number for number, line in enumerate(lines) if not line.startswith('#'))]


def commands(name: str) -> list[tuple[list[str], str]]:
    """(arguments, what stands beside them) of the header's command and of those that it is the beginning of."""
    shown = [line[4:] for line in header(name) if line.startswith('#   ')]
    assert shown[0].startswith('python train_xla.py ') and all(line.startswith('--') for line in shown[1:])
    first, *more = (re.split(' {2,}', line) + [''] for line in shown)
    argv = shlex.split(first[0])[2:]
    return [(argv, ''), *((argv + shlex.split(flags), beside) for flags, beside, *_ in more)]


ALL_COMMANDS = [pytest.param(name, *command, id=shlex.join(command[0][1:]))
                for name in RECIPES for command in commands(name)]


def parse_recipe(name: str):
    return parse_args(['--config', str(ROOT / 'configs' / f'{name}.yaml')])


def active_of(model) -> list[int]:
    return [int(model.codewords(block)[0].sum()) for block in coded_blocks(model)]


def test_every_recipe_has_its_row_here():
    assert {path.stem for path in (ROOT / 'configs').iterdir()} == set(RECIPES)


@pytest.mark.parametrize('name', RECIPES)
def test_recipe_holds_the_numbers_of_the_paper_and_no_others(name):
    expected = {**vars(parse_args([])), **RECIPES[name], 'experiment': name}
    assert {**vars(parse_recipe(name)), 'config': None} == expected


@pytest.mark.parametrize('name', [name for name in RECIPES if name.endswith('_stock')])
def test_stock_twin_differs_in_the_coding_alone(name):
    stock, coded = parse_recipe(name), parse_recipe(name.removesuffix('_stock'))
    different = {key for key in vars(stock) if vars(stock)[key] != vars(coded)[key]}
    assert different - {'config', 'experiment', 'scheme_source'} == {'model', 'mu', 'drop_subnn'}
    assert coded.model == f'coded_{stock.model}'
    coded.num_classes = stock.num_classes = coded.num_classes or 37
    models = create_model(coded), create_model(stock)
    assert data_config(coded, models[0]) == data_config(stock, models[1]), 'what the models were made for differs'
    assert not coded_blocks(models[1])


@pytest.mark.parametrize('name', FIGURES)
def test_header_gives_the_papers_figure_and_time_and_claims_no_run(name):
    text = '\n'.join(header(name))
    assert f'\n# Paper: {FIGURES[name]} % top-1' in text
    assert '\n# Time there: ' in text and '\n# No such run has been made with this code.' in text


@pytest.mark.parametrize('name, argv, beside', ALL_COMMANDS)
def test_command_of_a_header_parses_and_makes_its_model(monkeypatch, name, argv, beside):
    monkeypatch.chdir(ROOT)
    args = parse_args(argv)
    assert args.config == f'configs/{name}.yaml'
    assert args.data_dir == (None if args.dataset in ('digits', 'letters') else 'DATA_DIR')
    args.num_classes = args.num_classes or 10  # the digits'
    recipe = {**vars(parse_recipe(name)), 'data_dir': args.data_dir, 'config': args.config, 'resume': args.resume,
              'num_classes': args.num_classes}
    figure, changed, active = ABLATIONS.get(args.experiment, ('', {}, ACTIVE.get(name, [])))
    allowed = {*changed, 'experiment', *(('num_active', 'model_kwargs') if active != ACTIVE.get(name, []) else ())}
    if args.experiment in BEYOND:
        allowed, changed = allowed | {'scheme_source'}, {'scheme_source': 'optimal'}
        assert beside.startswith('not in the paper')
    assert {key for key in recipe if vars(args)[key] != recipe[key]} <= allowed
    assert all(vars(args)[key] == value for key, value in changed.items())
    assert figure in beside
    model = create_model(args)
    assert active_of(model) == active
    create_criteria(args, model)


def test_every_ablation_of_the_paper_is_one_header_command_with_a_name_of_its_own(monkeypatch):
    monkeypatch.chdir(ROOT)
    experiments = [parse_args(argv).experiment for name in RECIPES for argv, _ in commands(name)]
    assert sorted(experiments) == sorted({*RECIPES, *ABLATIONS, *BEYOND})


@pytest.mark.parametrize('name', FIGURES)
def test_a_step_of_the_recipe_is_made_by_8_4_2_or_1_replicas(name):
    args = parse_recipe(name)
    steps = [accumulation_steps(args.global_batch_size, args.batch_size, world) for world in (8, 4, 2, 1)]
    assert steps == [1, 2, 4, 8]
