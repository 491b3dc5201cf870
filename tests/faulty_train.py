"""train_xla.py with a fault: python faulty_train.py FAULT [ARGUMENT ...] -- flags of train_xla.py

It is the main module of each process of the run, replicas and loader workers too: what it puts in is in all of them.
"""
import ctypes
import errno
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from timm_coded.train.args import parse_args
from timm_coded.train.data.digits import Digits
from timm_coded.train.launch import launch
from timm_coded.train.run import run


class StopAt:
    """Work that the last replica wishes to stop when it is asked for the `count`-th time; 0: it never does."""

    def __init__(self, count: int):
        self.count = count

    def __call__(self, args, stop):
        last = int(os.environ.get('WORLD_SIZE', 1)) - 1

        def wish():
            self.count -= int(os.environ.get('RANK', 0)) == last
            return 'enough' if self.count == 0 else stop()

        run(args, wish)


def sessions(*counts):
    """A whole run, and one in sessions of `counts`, all in this process: XLA compiles once."""
    launch(parse_args([*ARGV, '--experiment', 'whole']), run)
    return [launch(parse_args([*ARGV, '--experiment', 'parts', '--resume', 'auto']), StopAt(int(count)))
            for count in (*counts, 0)][-1]


def stop(count):
    return launch(parse_args(ARGV), StopAt(int(count)))


def count_reads(log):
    """Notes in the file `log` of how many images the split was of which one is read."""
    read = Digits.__getitem__

    def noted(self, index):
        with open(log, 'a') as file:
            file.write(f'{len(self)}\n')
        return read(self, index)

    Digits.__getitem__ = noted


def die_in_write(number):
    """SIGKILL in the middle of the `number`-th checkpoint's bytes."""
    def die(state, file):
        save(state, file)
        file.truncate(file.tell() // 2)
        kill_self()

    save = torch.save
    on_call(torch, 'save', int(number), die)


def die_before(function, number):
    """SIGKILL as os.`function` is called for the `number`-th time with a file of the run."""
    on_call(os, function, int(number), kill_self)


def die_after(function, number):
    def die(*args):
        original(*args)
        kill_self()

    original = getattr(os, function)
    on_call(os, function, int(number), die)


def die_in_copy(number):
    """No hard links, and SIGKILL in the middle of the `number`-th copy."""
    def die(source, copy):
        copy.write(source.read(1000))
        copy.flush()
        kill_self()

    no_links()
    on_call(shutil, 'copyfileobj', int(number), die)


def no_links():
    def refuse(*args, **kwargs):
        raise OSError(errno.EOPNOTSUPP, 'Operation not supported')

    os.link = refuse


def slow_write():
    on_call(torch, 'save', 1, lambda *args: time.sleep(1000))


def end_thread(rank):
    """SystemExit in the thread that loads ahead, in replica `rank`, a second after it was started."""
    def wait():
        while not (found := [thread for thread in threading.enumerate() if thread.name == 'prefetch']):
            time.sleep(0.1)
        time.sleep(1)
        if is_replica(rank):
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(found[0].ident), ctypes.py_object(SystemExit))

    threading.Thread(target=wait, daemon=True).start()


def thread_vanishes(rank):
    """The thread that loads ahead in replica `rank` ends without a word."""
    def create(target, **kwargs):
        return threading.Thread(target=int if is_replica(rank) else target, **kwargs)

    from timm_coded.train.data import prefetch
    prefetch.threading = type('threading', (), {'Event': threading.Event, 'Thread': create})


def is_replica(rank):
    """Known only once the replica runs: its process imports this module before."""
    return os.environ.get('RANK', '0') == rank


def on_call(module, name, number, instead):
    original, calls = getattr(module, name), []

    def counted(*args, **kwargs):
        calls.append(args)
        return (instead if len(calls) == number else original)(*args, **kwargs)

    setattr(module, name, counted)


def kill_self(*args):
    os.kill(os.getpid(), signal.SIGKILL)


split = sys.argv.index('--')
(FAULT, *ARGUMENTS), ARGV = sys.argv[1:split], sys.argv[split + 1:]
if FAULT in ('sessions', 'stop'):
    if __name__ == '__main__':
        sys.exit(globals()[FAULT](*ARGUMENTS))
else:
    globals()[FAULT](*ARGUMENTS)
    if __name__ == '__main__':
        sys.exit(launch(parse_args(ARGV), run))
