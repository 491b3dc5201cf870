"""Going on with a run: which checkpoint, whether it is of this run, and what is put back."""
import argparse
import dataclasses
from pathlib import Path

import pytest
import timm
import torch
from timm.optim import create_optimizer_v2

from timm_coded.train.args import parse_args
from timm_coded.train.checkpoint import Checkpoints
from timm_coded.train.errors import UserError
from timm_coded.train.resume import check_agreement, check_recipe, find_newest, restore_model, restore_optimizer

PATH = Path('output/run/last.pth.tar')


def make_model(num_classes: int = 10, **kwargs) -> torch.nn.Module:
    torch.manual_seed(0)
    return timm.create_model('coded_resnext11_10x11d', num_classes=num_classes, channels=(16, 32, 64), **kwargs)


def parse(*argv: str) -> argparse.Namespace:
    return parse_args(['--num-classes', '10', '--model', 'coded_resnext11_10x11d', *argv])


def state_of(args: argparse.Namespace, model: torch.nn.Module) -> dict:
    return {'args': vars(args), 'state_dict': model.state_dict()}


@pytest.fixture
def folder(tmp_path):
    """Checkpoints of epochs 0 to 2 and of 5 steps of epoch 3."""
    checkpoints = Checkpoints(tmp_path, kept=2)
    state = {'arch': 'm', 'num_classes': 1, 'state_dict': {}, 'optimizer': {}, 'args': {}}
    for epoch in range(3):
        checkpoints.save_epoch(epoch, {'metric': -epoch}, {}, state)
    checkpoints.save_recovery(3, 5, state)
    return tmp_path


def test_newest_whole_checkpoint_is_found_and_broken_newer_ones_are_told_of(folder):
    order = ['recovery-3-5', 'checkpoint-2', 'checkpoint-1', 'last']
    places = [(2, 5), (2, 0), (1, 0), (2, 0)]
    for count, (name, (epoch, step)) in enumerate(zip(order, places)):
        path, state, passed_over = find_newest(folder)
        assert path == folder / f'{name}.pth.tar' and (state['epoch'], state['step']) == (epoch, step)
        assert len(passed_over) == count
        assert all(f'{broken}.pth.tar: ' in reason for broken, reason in zip(order, passed_over))
        content = path.read_bytes()
        path.unlink()  # the names of one file are no copies
        path.write_bytes(content[:len(content) // 2])
    with pytest.raises(UserError, match=f'no whole checkpoint in {folder}: .*recovery-3-5.*checkpoint-2'):
        find_newest(folder)


@pytest.mark.parametrize('names, newest', [
    (['checkpoint-9', 'checkpoint-10'], 'checkpoint-10'),      # by number, not by letter
    (['recovery-9-900', 'checkpoint-9'], 'checkpoint-9'),      # an epoch's end is after all of its steps
    (['recovery-9-1', 'checkpoint-8'], 'recovery-9-1'),
    (['recovery-9-20', 'recovery-9-3'], 'recovery-9-20'),
    (['last', 'checkpoint-0'], 'checkpoint-0'),
    (['last', 'model_best'], 'last'),
])
def test_names_tell_which_checkpoint_is_the_newest(folder, tmp_path_factory, names, newest):
    other = tmp_path_factory.mktemp('other')
    for name in names:
        (other / f'{name}.pth.tar').write_bytes((folder / 'last.pth.tar').read_bytes())
    assert find_newest(other)[0].name == f'{newest}.pth.tar'


def test_folder_without_checkpoints_is_a_new_run(tmp_path):
    (tmp_path / 'checkpoint-3.pth.tar.tmp').touch()
    assert find_newest(tmp_path) is None and find_newest(tmp_path / 'none') is None


def test_same_recipe_has_no_differences_however_it_is_written():
    args = parse('--scale', '0.5', '1', '--model-kwargs', 'channels=(16, 32, 64)')
    state = state_of(parse('--scale', '0.5', '1', '--model-kwargs', 'channels=[16, 32, 64]'), make_model())
    assert check_recipe(state, args, make_model(), PATH) == []


@pytest.mark.parametrize('argv, expected', [
    (['--lr', '0.3'], '--lr 0.3 is 0.1 there'),
    (['--model', 'resnet50'], '--model resnet50 is coded_resnext11_10x11d there'),
    (['--num-classes', '7'], '--num-classes 7 is 10 there'),
    (['--epochs', '9'], '--epochs 9 is 300 there'),
    (['--seed', '1'], '--seed 1 is 42 there'),
    (['--mu', '6'], '--mu 6.0 is not given there'),
    (['--scale', '0.5', '1'], '--scale 0.5 1.0 is not given there'),
    (['--opt', 'adamw'], '--opt adamw is sgd there'),
    (['--model-kwargs', 'channels=(16, 32, 65)'], '--model-kwargs'),
    (['--batch-size', '64'], '--batch-size 64 is 128 there'),
    (['--model-ema'], '--model-ema True is False there'),
    (['--mixup', '0.2'], '--mixup 0.2 is 0.0 there'),
    (['--train-pad', '4'], '--train-pad 4 is not given there'),
])
def test_other_recipe_is_refused_by_its_flag_unless_overridden(argv, expected):
    model = make_model()
    state = state_of(parse(), model)
    with pytest.raises(UserError) as raised:
        check_recipe(state, parse(*argv), model, PATH)
    assert expected in str(raised.value) and str(raised.value).count(' there') == 1
    assert f'--config {PATH.parent}/args.yaml' in str(raised.value) and '--override-resume' in str(raised.value)
    difference, = check_recipe(state, parse(*argv, '--override-resume'), model, PATH)
    assert expected in difference


def test_all_differences_are_listed_at_once():
    with pytest.raises(UserError, match='--mu 6.0 is .*; --weight-decay 0.5 is .*; --lr 0.3 is '):
        check_recipe(state_of(parse(), make_model()), parse('--lr', '0.3', '--mu', '6', '--weight-decay', '0.5'),
                     make_model(), PATH)


# Every flag is one or the other, and whoever adds one has to decide.
WHERE_HOW_AND_HOW_OFTEN = {
    'config', 'data_dir', 'dataset_download', 'workers', 'validation_batch_size', 'skip_corrupt', 'initial_checkpoint',
    'grad_checkpointing', 'pack_lanes', 'device', 'replicas', 'xla_cache', 'replay', 'log_interval',
    'checkpoint_hist', 'recovery_interval', 'recovery_minutes', 'max_hours', 'allow_non_finite', 'output',
    'experiment', 'resume', 'override_resume', 'eval_only', 'log_tensorboard', 'log_wandb', 'profile', 'doctor',
}
RECIPE = {
    'dataset', 'train_split', 'val_split', 'class_map', 'batch_size', 'global_batch_size', 'synthetic', 'img_size',
    'eval_img_size', 'crop_pct', 'crop_mode', 'mean', 'std', 'interpolation', 'train_interpolation', 'no_aug',
    'train_crop_mode', 'scale', 'ratio', 'train_pad', 'hflip', 'vflip', 'color_jitter', 'aa', 'reprob', 'remode',
    'recount', 'mixup', 'cutmix', 'cutmix_minmax', 'mixup_prob', 'mixup_switch_prob', 'mixup_mode', 'mixup_off_epoch',
    'model', 'num_classes', 'model_kwargs', 'model_ema', 'model_ema_decay', 'model_ema_warmup', 'mu', 'drop_subnn',
    'scheme_source', 'num_active', 'coding_exponent', 'coding_threshold', 'mask_grads', 'energy_norm', 'drop_per_block',
    'opt', 'opt_eps', 'momentum', 'weight_decay', 'clip_grad', 'clip_mode', 'smoothing', 'lr', 'sched', 'epochs',
    'warmup_epochs', 'warmup_lr', 'warmup_prefix', 'min_lr', 'cooldown_epochs', 'decay_epochs', 'decay_milestones',
    'decay_rate', 'amp', 'amp_dtype', 'seed', 'fast_decode',
}


def test_every_flag_is_knowingly_of_the_recipe_or_not():
    assert RECIPE | WHERE_HOW_AND_HOW_OFTEN == set(vars(parse_args([])))
    assert not RECIPE & WHERE_HOW_AND_HOW_OFTEN


@pytest.mark.parametrize('key', sorted(RECIPE | WHERE_HOW_AND_HOW_OFTEN))
def test_what_is_not_the_recipe_may_differ_and_all_else_may_not(key):
    model, args = make_model(), parse()
    state = state_of(parse(), model)
    setattr(args, key, 'another')
    args.override_resume = True  # only lists
    args.eval_only = False
    assert bool(check_recipe(state, args, model, PATH)) == (key in RECIPE)


def test_evaluation_alone_needs_the_same_model_and_no_more():
    model = make_model()
    state = state_of(parse(), model)
    assert check_recipe(state, parse('--eval-only', '--lr', '0.3', '--batch-size', '7'), model, PATH) == []
    for argv in (['--num-classes', '9'], ['--num-active', '10', '5', '4'], ['--no-energy-norm']):
        with pytest.raises(UserError, match=f'{argv[0].replace("--no-energy", "--energy")} .* there'):
            check_recipe(state, parse('--eval-only', *argv), model, PATH)


def test_flags_that_a_run_of_before_did_not_know_are_no_difference():
    state = state_of(parse(), make_model())
    del state['args']['mixup']
    assert check_recipe(state, parse('--mixup', '0.2'), make_model(), PATH) == []


@pytest.fixture
def other_words():
    """A checkpoint with the first and the last class of one scheme in each other's place, and its model."""
    model = make_model()
    name = next(name for name in model.state_dict() if name.startswith('codewords_'))
    state = {key: value.clone() for key, value in model.state_dict().items()}
    state[name][[0, 9]] = state[name][[9, 0]]
    return name, {'args': vars(parse()), 'state_dict': state}


def test_other_codewords_are_counted_and_refused_though_every_flag_is_the_same(other_words):
    name, state = other_words
    with pytest.raises(UserError, match=f'the coding scheme {name} has 2 other codewords there'):
        check_recipe(state, parse(), make_model(), PATH)
    more = make_model(12)
    with pytest.raises(UserError, match=f'{name} has another number of codewords there'):
        check_recipe(state, parse(), more, PATH)


def test_override_keeps_the_models_own_codewords(other_words):
    name, state = other_words
    model = make_model()
    own = model.state_dict()[name].clone()
    assert not torch.equal(own, state['state_dict'][name])
    state['state_dict']['conv1.weight'].fill_(7)
    assert restore_model(model, state['state_dict'], PATH, override=True) == []
    assert torch.equal(model.state_dict()[name], own) and (model.conv1.weight == 7).all()


def test_override_with_another_number_of_classes_takes_what_fits():
    saved, model = make_model(10), make_model(4)
    saved.conv1.weight.data.fill_(7)
    classifier = model.get_classifier().weight.clone()
    left = restore_model(model, saved.state_dict(), PATH, override=True)
    assert sorted(left) == ['fc.bias', 'fc.weight']
    assert (model.conv1.weight == 7).all() and torch.equal(model.get_classifier().weight, classifier)


def test_weights_of_another_model_are_refused():
    with pytest.raises(UserError, match=f'{PATH} does not fit the model, as its own was made with other .*mismatch'):
        restore_model(make_model(4), make_model(10).state_dict(), PATH, override=False)
    with pytest.raises(UserError, match='Missing key'):
        restore_model(make_model(), {}, PATH, override=False)
    with pytest.raises(UserError, match=f'nothing in {PATH} fits'):
        restore_model(make_model(), {'x': torch.ones(1)}, PATH, override=True)


def step(model, weight_decay=1e-4, opt='momentum', **options):
    optimizer = create_optimizer_v2(model, opt, lr=0.1, weight_decay=weight_decay, **options)
    model(torch.rand(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    return optimizer


def test_optimizer_gets_back_what_it_has_gathered_but_not_its_settings():
    model, other = make_model(), make_model()
    optimizer, other_optimizer = step(model), step(other)
    for group in other_optimizer.param_groups:
        group['lr'] = 0.7
    state = {'args': {'opt': 'momentum'}, 'optimizer': optimizer.state_dict()}
    restore_optimizer(other_optimizer, 'momentum', state, PATH)
    for ours, theirs in zip(model.parameters(), other.parameters()):
        assert torch.equal(optimizer.state[ours]['momentum_buffer'], other_optimizer.state[theirs]['momentum_buffer'])
    assert {group['lr'] for group in other_optimizer.param_groups} == {0.7}


def test_other_optimizer_is_refused():
    state = {'args': {'opt': 'sgd'}, 'optimizer': step(make_model()).state_dict()}
    with pytest.raises(UserError, match='--opt adamw is sgd there'):
        restore_optimizer(step(make_model()), 'adamw', state, PATH)
    with pytest.raises(UserError, match='other parameter groups'):
        restore_optimizer(step(make_model(), weight_decay=0), 'sgd', state, PATH)


@dataclasses.dataclass
class Peers:
    """Those of a replica whose only other has `theirs`."""
    theirs: list[int]

    def gather(self, tensor):
        return torch.stack([tensor, torch.tensor(self.theirs)])


@pytest.mark.parametrize('state, theirs, agree', [
    ({'epoch': 3, 'step': 7}, [3, 7], True),
    ({'epoch': 3, 'step': 7}, [3, 8], False),
    ({'epoch': 3, 'step': 7}, [2, 7], False),
    (None, [-2, 0], True),
    (None, [-1, 0], False),
    ({'epoch': -1, 'step': 4}, [-2, 0], False),
])
def test_replicas_that_found_different_checkpoints_do_not_start(state, theirs, agree):
    replica = argparse.Namespace(peers=Peers(theirs))
    if agree:
        check_agreement(replica, state)
    else:
        with pytest.raises(UserError, match='different checkpoints .*--output must be a folder that all hosts share'):
            check_agreement(replica, state)
