"""Early decoders: how good they are, what their agreement says, and what leaving early saves (Section 4.4)."""
from typing import TYPE_CHECKING, Sequence

import numpy as np
from torch import Tensor

from timm_coded.models import CodedResNet

from ..accuracy import check_targets, percent
from ..findings import Findings, Picture, Row, Table, new_figure
from ..outputs import Outputs, check_coded, fingerprint
from .decoding import agreement
from .early_exit import Agreement, Margin, Rule, Traces
from .exit_cost import ExitRun, exit_macs, run_exits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARGIN_STEP = 0.025  # between the thresholds that are simulated
RULES = (Margin(0.1), Margin(0.2), Margin(0.3), Margin(0.4), Agreement(2), Agreement(3))  # that are run


def decode_early(
        outputs: Outputs,
        model: CodedResNet | None = None,
        images: tuple[Tensor, Tensor] | None = None,
        rules: Sequence[Rule] = RULES,
        batch_sizes: Sequence[int] = (1, 64),
        repeats: int = 5,
        timed: int = 64,
) -> Findings:
    """Accuracy of the early decoders, Table 3, and leaving early: simulated, and with the model in fact.

    Args:
        outputs: of samples of known classes.
        model: that put them out, in evaluation mode, to count and measure; None for what the outputs alone tell.
        images: [S, C, H, W] on the model's device, and targets [S], to run it over; needed with `model`.
        rules: of leaving early, to run; those that ask for more coded blocks than there are are left out.
        batch_sizes: as `run_exits` takes them, and so the next two.
        repeats: how often each is timed.
        timed: how many images are.

    Raises:
        ValueError: the samples' classes are not known, there is a model without images, the outputs are of another
            model, or what `run_exits` raises.
    """
    check_targets(outputs)
    if model is not None:
        check_same_model(outputs, model)
    traces = Traces(outputs)
    samples, count = len(outputs.targets), len(outputs.blocks)
    table3 = agreement_rows(traces, outputs)
    if model is not None and images is None:
        raise ValueError('a model without images to run it over: give images and targets with it')
    macs = None if model is None or images is None else exit_macs(model, images[0].shape[1:])
    simulated = simulate(traces, outputs, macs)
    findings = Findings(
        'decode',
        'Early decoders, their agreement with the network, and leaving early (Section 4.4)',
        [
            Table('decoders', f'Early decoders: accuracy in percent on {samples} samples, and median margin',
                  decoder_rows(traces, outputs)),
            Table('agreement', 'Accuracy in percent of the network by how many early decoders give its prediction '
                               f'(Table 3), {samples} samples', table3),
            Table('exits_simulated', 'Leaving early, SIMULATED from stored outputs: accuracy in percent, coded blocks '
                                     f'passed and multiply-accumulates (mean of {samples} samples)', simulated),
        ],
        [Picture('agreement', 'Accuracy of the network by the number of early decoders that agree with it (Table 3)',
                 plot_agreement(table3))],
        ['Margin: share of a block\'s energy in the active subNNs of the class it names, less that of the runner-up. '
         f'Agreement: coded blocks in succession that name the same class. There are {count} coded blocks.'],
    )
    runs: list[ExitRun] = []
    if model is not None and images is not None:
        rules = [rule for rule in rules if not isinstance(rule, Agreement) or rule.count <= count]
        runs = run_exits(model, *images, rules, batch_sizes, repeats, timed)
        number = len(images[1])
        findings.notes += [
            'Multiply-accumulates are counted from shapes, energies and early decoders included, for an image alone.',
            f'Run in fact: {number} images on {images[0].device}. Timed: {runs[0].timed} of them, {repeats} repeats, '
            'the networks in turn in each; milliseconds are of an image, median and quartiles over the repeats.',
        ]
        findings.tables.append(Table(
            'exits', f'Leaving early, run on {number} images: accuracy [%], mean multiply-accumulates (counted) and '
                     'time of an image (measured)', run_rows(runs, count)))
        findings.pictures.append(Picture(
            'exits_time', f'Accuracy against measured time of an image, leaving early, {number} images',
            plot_times(runs)))
    findings.pictures.insert(1, Picture(
        'exits', 'Accuracy against ' + ('mean multiply-accumulates of an image' if runs else 'mean coded blocks passed')
        + ', leaving early by margin or agreement, simulated' + (', and as run in fact' if runs else ''),
        plot_exits(simulated, runs)))
    return findings


def check_same_model(outputs: Outputs, model: CodedResNet) -> None:
    """Raises ValueError: the outputs are of another model."""
    check_coded(model)
    if fingerprint(model) != outputs.fingerprint:
        raise ValueError(f'the outputs are of another model, of fingerprint {outputs.fingerprint}: this one has '
                         f'{fingerprint(model)}; give the checkpoint that they were made with')


def decoder_rows(traces: Traces, outputs: Outputs) -> list[Row]:
    hits = traces.classes == outputs.targets[:, None]
    medians = [*np.median(traces.margins, 0).tolist(), None]
    return [{'block': block, 'accuracy': percent(hits[:, index]), 'median margin': medians[index]}
            for index, block in enumerate([*outputs.blocks, 'network'])]


def agreement_rows(traces: Traces, outputs: Outputs) -> list[Row]:
    """Accuracy for each number of agreeing early decoders, 0 to n; None where no sample has it."""
    decoded = dict(zip(outputs.blocks, traces.classes.T))
    number = agreement(decoded, outputs.predictions)
    correct = outputs.predictions == outputs.targets
    rows = []
    for count in range(len(outputs.blocks) + 1):
        among = number == count
        rows.append({
            'agreeing decoders': count,
            'samples': int(among.sum()),
            'accuracy': percent(correct[among]) if among.any() else None,
        })
    return rows


def simulate(traces: Traces, outputs: Outputs, macs: np.ndarray | None) -> list[Row]:
    """All counts of agreement; margins up to the first at which no sample leaves."""
    count = len(outputs.blocks)
    rules: list[Rule] = [Margin(round(step * MARGIN_STEP, 6)) for step in range(round(1 / MARGIN_STEP) + 1)]
    rules += [Agreement(number + 1) for number in range(count)]
    rows = []
    ended = False
    for rule in rules:
        if ended and isinstance(rule, Margin):
            continue
        classes, places = (values.numpy() for values in traces.leave(rule))
        ended = bool((places == count).all())
        rows.append({
            'rule': 'margin' if isinstance(rule, Margin) else 'agreement',
            'threshold': rule.threshold if isinstance(rule, Margin) else rule.count,
            'accuracy': percent(classes == outputs.targets),
            'left early': percent(places < count),
            'coded blocks': float(np.minimum(places + 1, count).mean()),
            **({} if macs is None else {'mean MACs': float(macs[places].mean())}),
        })
    return rows


def run_rows(runs: list[ExitRun], count: int) -> list[Row]:
    whole = {run.batch_size: run for run in runs if run.rule is None}
    return [{
        'batch size': run.batch_size,
        'rule': str(run.rule or 'whole network'),
        'accuracy': run.accuracy,
        'left early': percent(run.places < count),
        'mean MACs': run.mean_macs,
        'MACs of the whole': 100 * run.mean_macs / whole[run.batch_size].mean_macs,
        'ms': run.milliseconds[0],
        'ms, first quartile': run.milliseconds[1],
        'ms, third quartile': run.milliseconds[2],
        'time of the whole': 100 * run.milliseconds[0] / whole[run.batch_size].milliseconds[0],
    } for run in runs]


def plot_agreement(rows: list[Row]) -> 'Figure':
    figure = new_figure(6, 3.5)
    axes = figure.subplots()
    used = [row for row in rows if row['samples']]
    bars = axes.bar([row['agreeing decoders'] for row in used], [row['accuracy'] for row in used])
    axes.bar_label(bars, [f'{row["samples"]:,}' for row in used], fontsize='small')
    axes.set(xlabel='early decoders that give the network\'s prediction (samples above the bars)',
             ylabel='accuracy of the network [%]', xticks=range(len(rows)), ylim=(0, 110))
    return figure


def plot_exits(simulated: list[Row], runs: list[ExitRun]) -> 'Figure':
    """Simulated curves over the thresholds, and, of the largest batch size, what was run."""
    figure = new_figure(6, 4)
    axes = figure.subplots()
    unit = 1e6 if runs else 1
    for rule in ('margin', 'agreement'):
        rows = [row for row in simulated if row['rule'] == rule]
        cost = [row['mean MACs' if runs else 'coded blocks'] / unit for row in rows]
        axes.plot(cost, [row['accuracy'] for row in rows], marker='.', label=f'{rule}, simulated')
    largest = max((run.batch_size for run in runs), default=0)
    for early, marker, label in ((True, 'x', 'early exit, run'), (False, '*', 'whole network, run')):
        points = [run for run in runs if run.batch_size == largest and (run.rule is not None) == early]
        if points:
            axes.plot([run.mean_macs / unit for run in points], [run.accuracy for run in points], marker, color='black',
                      label=label)
    axes.set(xlabel='multiply-accumulates of an image, mean [million]' if runs else 'coded blocks passed, mean',
             ylabel='accuracy [%]')
    axes.legend()
    return figure


def plot_times(runs: list[ExitRun]) -> 'Figure':
    """A panel for each batch size."""
    sizes = sorted({run.batch_size for run in runs})
    figure = new_figure(1 + 4.5 * len(sizes), 4)
    for axes, size in zip(figure.subplots(1, len(sizes), squeeze=False)[0], sizes):
        for kind, label in ((Margin, 'margin'), (Agreement, 'agreement'), (type(None), 'whole network')):
            points = [run for run in runs if run.batch_size == size and isinstance(run.rule, kind)]
            if not points:
                continue
            times = np.array([run.milliseconds for run in points])
            spread = [times[:, 0] - times[:, 1], times[:, 2] - times[:, 0]]
            axes.errorbar(times[:, 0], [run.accuracy for run in points], xerr=spread, marker='o', linestyle='none',
                          capsize=3, label=label)
        axes.set(xlabel='time of an image, measured [ms]', ylabel='accuracy [%]', title=f'batches of {size}')
        axes.legend()
    return figure
