"""What `--doctor` has found, what follows from it, and how it is told."""
import math
from dataclasses import dataclass

from ..progress import duration
from .speed import Speed, StepSpeed

PREFETCHED = 3  # batches of a worker in shared memory: two ahead, and the one in use


@dataclass
class Report:
    """Numbers of one replica, if nothing else is said.

    Attributes:
        versions: of the packages; `mismatches` are lines on those that do not belong together.
        device: its name.
        replicas: of the run; `local_replicas` of them on this machine.
        memory, shared_memory: of this machine in GiB, the latter None where there is no /dev/shm.
        micro_batches: of a step, of `batch_size` images each.
        lanes: that grouped convolutions are packed to.
        loader: None if there is no data set; `workers` and `train_images` are 0 then.
        epochs: of the run.
    """
    versions: dict[str, str | None]
    mismatches: list[str]
    device: str
    device_count: int
    replicas: int
    local_replicas: int
    cores: int
    memory: float
    shared_memory: float | None
    model: str
    parameters: int
    img_size: int
    batch_size: int
    micro_batches: int
    amp_dtype: str | None
    lanes: int
    step: StepSpeed
    loader: Speed | None
    workers: int
    train_images: int
    epochs: int

    @property
    def bound(self) -> str | None:
        """Which is the slower: 'input' or 'device'; None without a loader."""
        if self.loader is None:
            return None
        return 'input' if self.loader.rate < self.step.rate else 'device'

    @property
    def epoch_seconds(self) -> float | None:
        """Of training alone, all replicas at the pace of this one."""
        if self.loader is None:
            return None
        return self.train_images / (self.replicas * min(self.loader.rate, self.step.rate))

    @property
    def core_rate(self) -> float:
        """Images a second that one core loads: of workers that have a core each, one; without any, this process."""
        assert self.loader is not None
        return self.loader.rate / min(max(1, self.workers), max(1, self.cores // self.local_replicas))

    @property
    def cores_needed(self) -> float:
        """That load as many images as the devices of this host train on."""
        return self.local_replicas * self.step.rate / self.core_rate

    @property
    def problems(self) -> list[str]:
        """What is wrong; of a healthy machine and model there is nothing."""
        found = list(self.mismatches)
        if self.step.recompilations:
            found.append(f'{counted(self.step.recompilations, "graph")} compiled after the first steps, where there '
                         'should be none: a shape or a constant of the step changes (PT_XLA_DEBUG_LEVEL=1 says where)')
        if self.step.fallbacks:
            found.append(f'{", ".join(self.step.fallbacks)} ran on the host, as XLA has no such operator: the device '
                         'waits; take another --model or option')
        needed = self.local_replicas * self.workers * PREFETCHED * self.batch_size * 3 * self.img_size ** 2
        if self.shared_memory is not None and self.shared_memory < needed / 2 ** 30:
            found.append(f'/dev/shm has {self.shared_memory:.2f} GiB, the loader fills up to {needed / 2 ** 30:.2f}: '
                         'workers will be killed; enlarge it (docker run --shm-size), or lower --workers')
        return found

    @property
    def advice(self) -> list[str]:
        """What would make the run faster or safer."""
        found = []
        xla, tpu = self.device.startswith('XLA'), self.device.startswith('XLA:TPU')
        if xla and not tpu and self.versions['libtpu']:
            found.append('libtpu is installed, but this is no TPU: if the machine has one, set PJRT_DEVICE=TPU')
        if self.amp_dtype is None and (tpu or self.device.startswith('cuda')):
            found.append('--amp: bfloat16 takes half the memory, and is what this device is fast in')
        if xla and not self.lanes:
            found.append('leave out --pack-lanes 0: grouped convolutions are slow on XLA as they are')
        share = self.cores // self.local_replicas  # of the cores
        if self.workers and self.workers > share:
            found.append(f'--workers {max(1, share)}: there is no core for each of the {self.workers}')
        if self.bound == 'input':
            found.append(self.more_input(share))
        return found

    def more_input(self, share: int) -> str:
        assert self.loader is not None
        rate = self.loader.rate / max(1, self.workers)  # of a worker
        wanted = math.ceil(self.step.rate / rate)
        if self.workers >= share:
            return (f'all of its {share} cores load too few images for a replica: a machine with about {wanted}, or '
                    'images made smaller beforehand (shorter side 256), would keep the device busy')
        if wanted > share:
            return (f'--workers {share}: all cores there are; {wanted} would keep the device busy, or images made '
                    'smaller beforehand (shorter side 256)')
        return f'--workers {wanted} should keep the device busy'


def describe_machine(report: Report) -> list[str]:
    names = [f'{name} {release}' for name, release in report.versions.items() if release]
    each = f', {report.replicas} replicas: all speeds are of one' if report.replicas > 1 else ''
    shared = '' if report.shared_memory is None else f', {report.shared_memory:.1f} in /dev/shm'
    return [
        f'versions: {", ".join(names)}: {"NOT ALL OF THEM BELONG" if report.mismatches else "they belong"} together',
        f'device: {report.device}, {report.device_count} in all{each}',
        f'host: {report.cores} cores, {report.memory:.1f} GiB of memory{shared}',
    ]


def describe_step(report: Report) -> list[str]:
    step = report.step
    batches = f'{report.micro_batches} times ' if report.micro_batches > 1 else ''
    compiled = ''
    if report.device.startswith('XLA'):
        compiled = (f' ({counted(step.compiles, "graph")} compiled in {step.compile_seconds:.1f} s); later '
                    f'{counted(step.recompilations, "graph")} anew, {counted(len(step.fallbacks), "operator")} on the '
                    'host')
    return [
        f'model: {report.model}, {report.parameters:,} parameters; a step of {batches}{report.batch_size} images of '
        f'{report.img_size} pixels, {report.amp_dtype or "float32"}',
        f'training alone: {step.rate:.1f} images/s (median of {step.n} steps, quartiles {step.low:.1f} and '
        f'{step.high:.1f})',
        f'first step: {step.first_seconds:.1f} s{compiled}',
    ]


def describe_loader(report: Report) -> list[str]:
    loader = report.loader
    if loader is None:
        return ['loading: not measured, as there is neither DATA_DIR nor --dataset']
    return [f'loading alone: {loader.rate:.1f} images/s with --workers {report.workers} ({loader.n} batches; slowest '
            f'and fastest round {loader.low:.1f} and {loader.high:.1f}), the first after {loader.first_seconds:.1f} s',
            f'input: {report.core_rate:.1f} images/s of a core; the devices of this host need '
            f'{report.local_replicas * report.step.rate:.1f} = {report.cores_needed:.1f} cores, it has {report.cores}']


def describe_outlook(report: Report) -> list[str]:
    lines = []
    epoch_seconds = report.epoch_seconds
    if report.loader is not None and epoch_seconds is not None:
        slow, fast = sorted((report.loader.rate, report.step.rate))
        waits = 'the device will wait' if report.bound == 'input' else 'the loader will wait'
        lines = [
            f'the run will be bound by {"the input" if report.bound == "input" else "the device"}: {waits} '
            f'{1 - slow / fast:.0%} of the time',
            f'to expect: {duration(epoch_seconds)} for an epoch of {report.train_images:,} images, '
            f'{duration(report.epochs * epoch_seconds)} for {report.epochs}, evaluation not counted',
        ]
    lines += [f'try: {line}' for line in report.advice]
    lines += [f'PROBLEM: {line}' for line in report.problems]
    return lines + ([] if report.problems else ['healthy'])


def counted(count: int, what: str) -> str:
    return f'{count} {what}' if count == 1 else f'{count} {what}s'
