"""`timm-coded COMMAND ...`: finds the command's module, and turns what the user can put right into one line."""
import argparse
import importlib
import os
import shutil
import sys
import textwrap
from typing import Any, Iterable, NoReturn, Sequence

import timm_coded
from timm_coded.train.args import flag_of, suggestion
from timm_coded.train.errors import UserError

from .needs import NEEDS, check_packages

# A command is the module of its name: DESCRIPTION, EXAMPLE, add_arguments(parser) and run(args), which gives the exit
# status. It is imported when it is called for, to start fast, and without the packages in `needs.py`.
COMMANDS = {
    'codes': 'make a coding scheme and tell how good it is',
    'paths': 'draw the paths of a few classes through a model',
    'evaluate': 'accuracy of a checkpoint and of its early decoders; stores its outputs for other commands',
    'extract': 'cut the sub-network of one class or several out of a checkpoint (Section 4.3)',
    'export': 'write the network as ONNX, torch.export or StableHLO, and check the file',
    'push': 'put the network on the Hugging Face Hub, or into a folder, with a model card',
    'classify': 'the binary classifiers of the classes: thresholds, precision, recall, F1 (Section 4.3)',
    'ablate': 'accuracy with active or inactive subNNs removed (Section 4.2)',
    'decode': 'early decoders, their agreement, and leaving early (Section 4.4)',
    'calibrate': 'temperature scaling that knows the early decoders (Appendix C)',
    'activations': 'what subNNs put out for active and inactive classes (Appendix F)',
    'detect': 'samples that the model should not trust: out-of-distribution, adversarial',
    'explain': 'why the model names a class for an image',
    'report': 'all of it for one checkpoint as one HTML page',
    'average': 'mean and spread of the same analysis of several runs',
    'benchmark': 'training and inference of models side by side, by the stopwatch',
    'input': 'images a second that the host can load, in cores',
    'host': "what a training step costs the host on XLA, but for the device's own work",
    'estimate': "a TPU compiler's estimate of a step: time, memory, costliest instructions; no TPU needed",
    'scaling': 'time, efficiency and cost from 1 to 256 chips, on paper',
}

PROG = 'timm-coded'
CRASHED, WRONG_INPUT, INTERRUPTED = 1, 2, 130
EPILOG = f"""\
{PROG} COMMAND --help shows a command's arguments and an example.
Tables, or with --json the same as JSON, go to stdout, all else to stderr.
Training is not among the commands: python train_xla.py --help.

the Tab key completes commands, flags and files, in bash:
  folder=~/.local/share/bash-completion/completions; mkdir -p $folder
  {PROG} --print-completion bash > $folder/{PROG}

exit status:
  0    done
  {CRASHED}    a fault of the program, with a traceback
  {WRONG_INPUT}    wrong input, told in one line
  {INTERRUPTED}  stopped by Ctrl-C
"""


class Parser(argparse.ArgumentParser):
    """Reports a wrong argument in one line, and leaves the lines of an example as they are."""

    def __init__(self, description: str = '', **kwargs: Any):
        width = shutil.get_terminal_size().columns - 2
        super().__init__(
            description=textwrap.fill(description, width), allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs)

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_INPUT, f'{self.prog}: {message} ({self.prog} --help shows all arguments)\n')


class PrintCompletion(argparse.Action):
    """Prints a script for a shell, for which all commands have to be imported, and ends."""

    def __call__(
            self,
            parser: argparse.ArgumentParser,
            namespace: argparse.Namespace,
            values: object,
            option_string: str | None = None,
    ) -> None:
        check_packages('shtab')
        from .completion import completion_script
        print(completion_script(build_parser(COMMANDS), str(values)))
        parser.exit()


def build_parser(names: Iterable[str]) -> Parser:
    """The parser with the arguments of the commands in `names`; of the others it has the names only."""
    parser = Parser('Coded ResNeXt: tools around the models.', prog=PROG, epilog=EPILOG)
    parser.add_argument('--version', action='version', version=f'{PROG} {timm_coded.__version__}')
    parser.add_argument('--print-completion', action=PrintCompletion, choices=['bash', 'zsh', 'tcsh'],
                        help='print a script that completes commands, flags and files in this shell')
    subparsers = parser.add_subparsers(title='commands', metavar='COMMAND', required=True, parser_class=Parser)
    for name, summary in COMMANDS.items():
        if name in names:
            command = importlib.import_module(f'.{name}', __package__)
            subparser = subparsers.add_parser(
                name, help=summary, description=command.DESCRIPTION,
                epilog='example:\n' + textwrap.indent(command.EXAMPLE, '  '))
            command.add_arguments(subparser)
            subparser.set_defaults(run=command.run, parser=subparser)
        else:
            subparsers.add_parser(name, help=summary)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: Arguments, those of the command line by default.

    Returns:
        The exit status: 0; 2 when the input is wrong, which is told in one line on stderr; 130 after Ctrl-C.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    name = next((word for word in argv[:1] if word in COMMANDS), '')
    prog = f'{PROG} {name}'.strip()
    try:
        args = parse(argv, name)
        check_packages(*NEEDS.get(name, ()))
        return args.run(args)
    except BrokenPipeError:  # the reader of stdout, e.g. `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return fail(prog, f'{error.filename}: {error.strerror}' if error.filename and error.strerror else error)
    except (UserError, ValueError) as error:
        return fail(prog, error)
    except KeyboardInterrupt:
        return fail(prog, 'stopped', INTERRUPTED)


def parse(argv: list[str], name: str) -> argparse.Namespace:
    """The arguments of the command `name`; exits at --help, and with the status 2 where they are wrong."""
    parser = build_parser([name])
    if not name and argv and not argv[0].startswith('-'):
        parser.error(f'there is no command {argv[0]!r}{suggestion(argv[0], list(COMMANDS))}')
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        known = [flag_of(key) for key in vars(args)]
        args.parser.error(f'unknown argument {unknown[0]}{suggestion(unknown[0].split("=")[0], known)}')
    return args


def fail(prog: str, reason: object, status: int = WRONG_INPUT) -> int:
    print(f'{prog}: {reason}', file=sys.stderr)
    return status
