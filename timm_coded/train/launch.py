"""Starts the replicas on this machine, passes on what ends them, and tells why a run ended."""
import argparse
import copy
import json
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from multiprocessing import connection
from pathlib import Path
from typing import Any, Callable

from . import replicas
from .errors import UserError
from .parent import end_with_parent
from .stop_or_save import Stopped

FINISHED, CRASHED, USER_ERROR, STOPPED = 0, 1, 2, 75  # exit statuses; 75 is EX_TEMPFAIL: start it again, it goes on
SIGNALS = (signal.SIGTERM, signal.SIGINT)  # ask a run to stop
GRACE_SECONDS = 20  # for the other replicas, once one has failed

Work = Callable[[argparse.Namespace, Callable[[], str]], None]


def launch(args: argparse.Namespace, work: Work) -> int:
    """Calls `work(args, stop)` on every replica of this machine; gives the exit status, with its reason on stderr.

    `stop()` is the reason to stop, or '' while there is none. SIGTERM and SIGINT are such reasons; a second one ends
    the run at once. A replica that fails ends all of them, and so does the end of this process.
    """
    with tempfile.TemporaryDirectory(prefix='timm_coded-') as folder:
        mail = Mail(Path(folder))
        watch_signals(mail)
        try:
            device = replicas.check_device(args.device)
            started_by_torchrun = 'WORLD_SIZE' in os.environ
            if started_by_torchrun and args.replicas:
                raise UserError('--replicas: torchrun has already started the processes; leave it out')
            if device == 'xla' and replicas.has_tpu():
                if args.replicas or started_by_torchrun:
                    wrong = '--replicas' if args.replicas else 'torchrun'
                    raise UserError(f'{wrong}: a TPU has as many replicas as cores, and they are started here; leave '
                                    'it out')
                launch_on_chips(args, work, mail)
            elif started_by_torchrun or (args.replicas or 1) == 1:
                serve(args, work, mail, int(os.environ.get('RANK', 0)))
            else:
                launch_processes(args, work, mail, args.replicas)
        except UserError as error:
            mail.post(-1, USER_ERROR, f'error: {error}')
        status, text = mail.verdict()
    if text:
        print(f'train_xla.py: {text}', file=sys.stderr)
    return status


class Mail:
    """A folder through which this process and its replicas, processes or threads, tell each other what matters."""

    def __init__(self, folder: Path):
        self.folder = folder

    def ask_to_stop(self, reason: str) -> None:
        (self.folder / 'stop').write_text(reason)

    def stop(self) -> str:
        path = self.folder / 'stop'
        return path.read_text() if path.exists() else ''

    def post(self, rank: int, status: int, text: str) -> None:
        """How a replica has ended."""
        draft = self.folder / f'draft-{rank}'
        draft.write_text(json.dumps([status, time.time() if status == CRASHED else rank, text]))
        draft.rename(self.folder / f'end-{rank}')

    def verdict(self) -> tuple[int, str]:
        """The run's exit status and its cause: of several replicas' ends the one that is the others' cause."""
        ends = sorted(json.loads(path.read_text()) for path in self.folder.glob('end-*'))  # the first crash comes first
        for wanted in (USER_ERROR, CRASHED, STOPPED, FINISHED):
            for status, _, text in ends:
                if status == wanted:
                    return status, text
        return CRASHED, 'error: no replica has told how it ended'


def watch_signals(mail: Mail) -> None:
    """Makes the first SIGTERM or SIGINT a reason to stop; the second has its usual effect."""
    def handle(number: int, frame: object) -> None:
        mail.ask_to_stop(signal.Signals(number).name)
        for asked in SIGNALS:
            signal.signal(asked, signal.SIG_DFL)

    for number in SIGNALS:
        signal.signal(number, handle)


def serve(args: argparse.Namespace, work: Work, mail: Mail, rank: int) -> int:
    """Does the work as one replica, and posts how it ended."""
    status, text = FINISHED, ''
    try:
        work(args, mail.stop)
    except Stopped as stopped:
        status, text = STOPPED, str(stopped)
    except UserError as error:
        status, text = USER_ERROR, f'error: {error}'
    except Exception:
        status, text = CRASHED, f'replica {rank} failed:\n{traceback.format_exc()}'.rstrip()
    if status in (FINISHED, STOPPED):
        replicas.leave()
    mail.post(rank, status, text)
    return status


def launch_processes(args: argparse.Namespace, work: Work, mail: Mail, count: int) -> None:
    """`count` processes of this machine as replicas; returns when all have ended, with the causes in the mail."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context('spawn')
    processes = [
        context.Process(target=run_process, args=(args, work, mail, rank, count, port)) for rank in range(count)
    ]
    before = [signal.signal(number, signal.SIG_IGN) for number in SIGNALS]
    for process in processes:
        process.start()  # inherits that they are ignored: this process gets them too, and tells by mail
    for number, handler in zip(SIGNALS, before):
        signal.signal(number, handler)
    running: dict[Any, int] = {process.sentinel: rank for rank, process in enumerate(processes)}
    deadline = None
    while running:
        patience = None if deadline is None else max(0.0, deadline - time.time())
        ended = connection.wait(running, patience)
        for sentinel in ended:
            rank = running.pop(sentinel)
            processes[rank].join()
            code = processes[rank].exitcode
            assert code is not None  # it was joined
            if code < 0:
                mail.post(rank, USER_ERROR, f'error: replica {rank} was killed by {signal.Signals(-code).name}' + (
                    ': the memory may have been full (fewer --workers or --replicas)' if code == -9 else ''))
            if code not in (FINISHED, STOPPED):
                deadline = deadline or time.time() + GRACE_SECONDS
        if not ended:  # they wait for a replica that is no more
            for rank in running.values():
                processes[rank].kill()
            for rank in running.values():
                processes[rank].join()
            return


def run_process(args: argparse.Namespace, work: Work, mail: Mail, rank: int, count: int, port: int) -> None:
    """A replica's process; the environment is as torchrun would set it."""
    end_with_parent()
    os.environ |= {
        'RANK': str(rank), 'LOCAL_RANK': str(rank), 'WORLD_SIZE': str(count), 'LOCAL_WORLD_SIZE': str(count),
        'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(port),
    }
    sys.exit(serve(args, work, mail, rank))


def launch_on_chips(args: argparse.Namespace, work: Work, mail: Mail) -> None:
    """The TPU's cores as replicas, by torch_xla; returns when all have ended, with the causes in the mail."""
    try:
        replicas.launch_on_chips(ChipWork(args, work, mail))
    except Exception as error:  # a pool whose process ended says no more than that; the mail may know why, from earlier
        mail.post(-1, CRASHED, f'error: {type(error).__name__}: {error}')


class ChipWork:
    """What torch_xla's launch calls in each of its threads; it arrives in the main thread of their process first."""

    def __init__(self, args: argparse.Namespace, work: Work, mail: Mail):
        self.state = args, work, mail

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state
        *_, mail = self.state
        if multiprocessing.parent_process():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            def stop(*_: Any) -> None:
                mail.ask_to_stop('SIGTERM')
                end_in(GRACE_SECONDS)

            signal.signal(signal.SIGTERM, stop)
            end_with_parent()

    def __call__(self, ordinal: int) -> None:
        args, work, mail = self.state
        status = serve(copy.deepcopy(args), work, mail, ordinal)  # two threads write what they find out into `args`
        if status not in (FINISHED, STOPPED):
            os._exit(status)  # so that torch_xla's pool ends the others, which wait for this one


def end_in(seconds: float) -> None:
    timer = threading.Timer(seconds, os._exit, (CRASHED,))
    timer.daemon = True
    timer.start()
