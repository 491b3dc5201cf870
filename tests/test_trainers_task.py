"""timm's task with the coding loss trains as train_xla.py does, and is timm's ClassificationTask in all else."""
import io

import pytest
import timm
import torch
from timm.loss import SoftTargetCrossEntropy
from timm.models import group_parameters
from timm.optim import create_optimizer_v2
from timm.task import ClassificationTask, load_task_ema_checkpoint, resume_task_checkpoint
from timm.utils import CheckpointSaver, ModelEmaV3
from torch import nn

from timm_coded import CodedClassificationTask, CodingLoss, WithEnergies
from timm_coded.train import replicas
from timm_coded.train.device_augment import DeviceAugment
from timm_coded.train.engine import Training, train_epoch
from timm_coded.train.finite import FiniteWatch
from timm_coded.train.progress import Progress
from timm_coded.train.sums import Sums

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


class FixedBatches(list):
    num_workers = 0


def make_model(name: str = 'coded_resnext11_10x11d', **kwargs) -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=10, channels=(16, 32, 64), **kwargs)


def make_task(model: nn.Module, **kwargs) -> CodedClassificationTask:
    return CodedClassificationTask(model, nn.CrossEntropyLoss(), mu=6.0, verbose=False, **kwargs)


def make_batches(count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    rng = torch.Generator().manual_seed(1)
    return [(torch.randint(0, 256, (8, 3, 8, 8), dtype=torch.uint8, generator=rng),
             torch.randint(0, 10, (8,), generator=rng)) for _ in range(count)]


def normalise(images: torch.Tensor) -> torch.Tensor:
    return (images / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def make_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    return create_optimizer_v2(model, 'sgd', lr=0.05, momentum=0.9, weight_decay=5e-4)


def train_with_task(task: ClassificationTask, batches, accumulation: int = 1) -> list[dict[str, torch.Tensor]]:
    """Steps as timm's train.py makes them; gives what the task returned."""
    module = task.get_trainable_module()
    optimizer = make_optimizer(module)
    module.train()
    results = []
    for number, (images, target) in enumerate(batches):
        step, micro = divmod(number, accumulation)
        replicas.create('cpu').seed(3, 1, 1 + step, micro)  # of dropSubNN's masks, as in the loop of train_xla.py
        result = task(normalise(images), target)
        (result['loss'] / accumulation).backward()
        results.append(result)
        if micro + 1 == accumulation:
            optimizer.step()
            optimizer.zero_grad()
            task.update_ema(step=step + 1)
    return results


@pytest.mark.parametrize('accumulation', [1, 2])
def test_steps_are_those_of_train_xla(accumulation):
    batches = make_batches(4)
    model, twin = make_model(), make_model()
    task = make_task(model)
    task.setup_ema(decay=0.9)
    train_with_task(task, batches, accumulation)

    replica = replicas.create('cpu')
    criterion = CodingLoss(nn.CrossEntropyLoss(), twin, mu=6.0)
    average = ModelEmaV3(twin, decay=0.9)
    augment = DeviceAugment(MEAN, STD, 'pixel', replica.device)
    training = Training(
        twin, criterion, make_optimizer(twin), augment, replica, accumulation=accumulation, ema=average, seed=3)
    progress = Progress(replica, 1, 4 // accumulation, 8, 100, io.StringIO())
    sums, finite = Sums(training.metrics(), replica), FiniteWatch(training.terms(), replica.device)
    train_epoch(training, FixedBatches(batches), progress, sums, finite)
    torch.testing.assert_close(model.state_dict(), twin.state_dict(), rtol=1e-6, atol=1e-7)
    ema = task.get_eval_model(ema=True)
    assert not torch.equal(ema.fc.weight, model.fc.weight)
    torch.testing.assert_close(ema.state_dict(), average.module.state_dict(), rtol=1e-6, atol=1e-7)


def test_result_has_the_logits_and_the_terms_of_the_loss():
    model = make_model().eval()
    (images, target), = make_batches(1)
    task = make_task(model)
    result = task(normalise(images), target)
    logits, energies = model.forward_energies(normalise(images))
    coding = sum(((words[0].mean() * energy - words[target]) ** 4).mean() for energy, words in (
        (energy, model.codewords(block).float()) for block, energy in zip(model.coded_blocks, energies)))
    expected = {
        'loss': nn.functional.cross_entropy(logits, target) + 6 * coding,
        'output': logits,
        'task_loss': nn.functional.cross_entropy(logits, target),
        'coding_loss': coding,
    }
    torch.testing.assert_close(result, expected)
    assert not result['task_loss'].requires_grad and not result['coding_loss'].requires_grad
    assert task.criterion.parts.keys() == {'class', *model.coded_blocks}
    by_default = CodedClassificationTask(model, nn.CrossEntropyLoss(), verbose=False)(normalise(images), target)
    torch.testing.assert_close(by_default['loss'], expected['task_loss'] + 2 * coding)  # of Table 2, for ImageNet


def test_criterion_is_made_of_timms_arguments_also_for_soft_targets():
    model = make_model().eval()
    (images, target), = make_batches(1)
    soft = 0.7 * nn.functional.one_hot(target, 10) + 0.3 * nn.functional.one_hot(target.flip(0), 10)
    task = CodedClassificationTask(model, criterion_kwargs={'soft_targets': True}, mu=3.0, verbose=False)
    logits, energies = model.forward_energies(normalise(images))
    expected = CodingLoss(SoftTargetCrossEntropy(), model, mu=3.0)((logits, energies), soft)
    torch.testing.assert_close(task(normalise(images), soft)['loss'], expected)


def test_exponent_and_threshold_reach_the_loss():
    model = make_model().eval()
    (images, target), = make_batches(1)
    task = make_task(model, exponent=2.0, threshold=0.1)
    expected = CodingLoss(nn.CrossEntropyLoss(), model, mu=6.0, exponent=2.0, threshold=0.1)
    loss = expected(model.forward_energies(normalise(images)), target)
    torch.testing.assert_close(task(normalise(images), target)['loss'], loss)


def test_device_type_and_words_are_those_of_timms_task(caplog):
    caplog.set_level('INFO')
    criterion = nn.CrossEntropyLoss(weight=torch.ones(10))
    task = CodedClassificationTask(
        make_model(), criterion, device=torch.device('meta'), dtype=torch.float64, verbose=False)
    assert task.device == criterion.weight.device == torch.device('meta') and task.dtype == torch.float64
    assert not caplog.messages
    CodedClassificationTask(make_model(), nn.CrossEntropyLoss())
    assert caplog.messages == ['CodedClassificationTask: criterion=CrossEntropyLoss']


def test_stock_twin_is_trained_as_by_timms_task():
    batches = make_batches(2)
    model, twin = timm.create_model('resnet18', num_classes=10), timm.create_model('resnet18', num_classes=10)
    twin.load_state_dict(model.state_dict())
    results = train_with_task(make_task(model), batches)
    train_with_task(ClassificationTask(twin, nn.CrossEntropyLoss(), verbose=False), batches)
    assert results[0]['coding_loss'] == 0 and torch.equal(results[0]['loss'], results[0]['task_loss'])
    torch.testing.assert_close(model.state_dict(), twin.state_dict(), rtol=0, atol=0)


def test_evaluated_model_is_the_plain_one_and_so_is_its_average():
    model = make_model()
    task = make_task(model)
    assert task.get_eval_model() is model and task.get_eval_model(ema=True) is None
    task.setup_ema(decay=0.5)
    assert type(task.get_eval_model(ema=True)) is type(model)
    assert task.get_eval_model(task.get_trainable_module()) is model


def test_checkpoints_have_the_names_of_the_plain_model_and_are_resumed(tmp_path):
    task = make_task(make_model())
    task.setup_ema(decay=0.5)
    train_with_task(task, make_batches(2))
    model = task.get_eval_model()
    saver = CheckpointSaver(task.get_trainable_module(), make_optimizer(model), task=task, checkpoint_dir=str(tmp_path))
    saver.save_checkpoint(0, metric=1.0)
    path = str(tmp_path / 'last.pth.tar')

    loaded = timm.create_model('coded_resnext11_10x11d', channels=(16, 32, 64), checkpoint_path=path)  # takes the EMA
    torch.testing.assert_close(loaded.state_dict(), task.get_eval_model(ema=True).state_dict(), rtol=0, atol=0)

    resumed = make_task(make_model(drop_rate=0.1))
    assert resume_task_checkpoint(resumed, path, log_info=False) == 1
    resumed.setup_ema(decay=0.5)
    load_task_ema_checkpoint(resumed, path)
    for ema in (False, True):
        torch.testing.assert_close(
            resumed.get_eval_model(ema=ema).state_dict(), task.get_eval_model(ema=ema).state_dict(), rtol=0, atol=0)


def test_compiled_task_trains_and_evaluates_as_the_plain_one():
    batches, graphs = make_batches(2), []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    plain, compiled = make_task(make_model()), make_task(make_model())
    for task in (plain, compiled):
        task.setup_ema(decay=0.5)
    assert compiled.compile(backend=backend) is compiled.get_eval_model()
    compiled.compile_ema(backend='eager')
    for task in (plain, compiled):
        train_with_task(task, batches)
        task.get_eval_model().eval()
    trained = len(graphs)
    compiled.get_eval_model()(normalise(batches[0][0]))
    assert 0 < trained < len(graphs)
    module = compiled.get_trainable_module()
    assert type(compiled.get_eval_model(module)) is type(plain.get_eval_model()), 'what is saved'
    images = normalise(batches[0][0])
    for ema, key in ((False, 'state_dict'), (True, 'state_dict_ema')):
        states = [task.get_checkpoint_state(ema)[key] for task in (plain, compiled)]
        torch.testing.assert_close(*states, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(*(task.get_eval_model(ema=ema)(images) for task in (plain, compiled)))
    assert not torch.allclose(compiled.get_eval_model()(images), compiled.get_eval_model(ema=True)(images))


@pytest.mark.parametrize('name', ['coded_resnext29_10x11d', 'vit_tiny_patch16_224'])
def test_optimizer_groups_are_those_of_the_plain_model(name):
    model = timm.create_model(name)
    names = {id(parameter): name for name, parameter in model.named_parameters()}

    def groups(module):
        optimizer = create_optimizer_v2(module, 'adamw', lr=1.0, weight_decay=0.1, layer_decay=0.5)
        return {names[id(parameter)]: (group['weight_decay'], group['lr_scale'])
                for group in optimizer.param_groups for parameter in group['params']}

    assert groups(make_task(model).get_trainable_module()) == groups(model)


def test_coarse_layers_are_those_of_the_plain_model():
    model = timm.create_model('coded_resnext29_10x11d')
    net = WithEnergies(model)
    for coarse in (False, True):
        layers = group_parameters(model, model.group_matcher(coarse), reverse=True)
        assert group_parameters(net, net.group_matcher(coarse), reverse=True) == {
            f'module.{name}': layer for name, layer in layers.items()}
    assert WithEnergies(nn.Linear(2, 2)).no_weight_decay() == set()


def test_coding_loss_as_the_criterion_is_an_error():
    model = make_model()
    with pytest.raises(ValueError, match='criterion is a CodingLoss: give the classification loss in it'):
        CodedClassificationTask(model, CodingLoss(nn.CrossEntropyLoss(), model), verbose=False)


def test_losses_of_several_splits_are_an_error():
    with pytest.raises(ValueError, match='take another than --loss jsd'):
        CodedClassificationTask(make_model(), criterion_kwargs={'loss_type': 'jsd', 'jsd_splits': 3}, verbose=False)


def test_scripted_models_are_an_error():
    with pytest.raises(ValueError, match='leave out --torchscript'):
        make_task(torch.jit.script(make_model(scriptable=True)))


def test_wrapped_model_gives_what_forward_energies_gives():
    model = make_model(zero_init_last=False).eval()
    (images, target), = make_batches(1)
    net = WithEnergies(model)
    keep = {'layer3.0': model.codewords('layer3.0')[4]}
    torch.testing.assert_close(net(normalise(images), keep), model.forward_energies(normalise(images), keep))

    def gradient(forward, **masks):
        loss = CodingLoss(nn.CrossEntropyLoss(), net)(forward(normalise(images), **masks), target)
        return torch.autograd.grad(loss, model.conv1.weight)[0]

    learn = model.class_masks(target)
    assert torch.equal(gradient(net, learn=learn), gradient(model.forward_energies, learn=learn))
    assert not torch.allclose(gradient(net, learn=learn), gradient(net))


def test_wrapped_stock_model_has_no_energies_and_takes_no_masks():
    model = timm.create_model('resnet18').eval()
    net, images = WithEnergies(model), torch.randn(2, 3, 32, 32)
    logits, energies = net(images)
    assert energies == [] and torch.equal(logits, model(images))
    for masks in 'keep', 'learn':
        with pytest.raises(ValueError, match='this model has none'):
            net(images, **{masks: {'layer4.0': torch.ones(32)}})


def test_state_dict_of_the_wrapped_model_loads_into_the_model(tmp_path):
    model = make_model()
    torch.save({'state_dict': WithEnergies(model).state_dict()}, tmp_path / 'wrapped.pth')
    loaded = timm.create_model(
        'coded_resnext11_10x11d', channels=(16, 32, 64), checkpoint_path=str(tmp_path / 'wrapped.pth'))
    torch.testing.assert_close(loaded.state_dict(), model.state_dict(), rtol=0, atol=0)
