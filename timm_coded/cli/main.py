"""`timm-coded COMMAND ...`: finds the command's module, and turns what the user can put right into one line."""
import argparse
import importlib
import os
import sys
from typing import NoReturn, Sequence

from timm_coded.train.errors import UserError

# A command is the module of its name: DESCRIPTION, add_arguments(parser) and run(args), which gives the exit status.
# It is imported when it is called for, as most need the packages of the extra `analysis`.
COMMANDS = {
    'codes': 'make a coding scheme and tell how good it is',
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

EXTRAS = {'estimate': 'estimate', 'scaling': 'estimate'}  # which one a command needs; the others need `analysis`


class Parser(argparse.ArgumentParser):
    """Reports a wrong argument in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f'{self.prog}: {message} ({self.prog} --help shows all arguments)\n')


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: Arguments, those of the command line by default.

    Returns:
        The exit status: 0, or 2 when the input is wrong, which is told in one line on stderr.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = Parser(
        prog='timm-coded', description='Coded ResNeXt: tools around the models.', allow_abbrev=False,
        epilog='timm-coded COMMAND --help shows a command\'s arguments.')
    subparsers = parser.add_subparsers(title='commands', metavar='COMMAND', required=True, parser_class=Parser)
    try:
        for name, summary in COMMANDS.items():
            if argv and argv[0] == name:
                command = importlib.import_module(f'.{name}', __package__)
                subparser = subparsers.add_parser(
                    name, help=summary, description=command.DESCRIPTION, allow_abbrev=False)
                command.add_arguments(subparser)
                subparser.set_defaults(run=command.run, prog=subparser.prog)
            else:
                subparsers.add_parser(name, help=summary)
        args = parser.parse_args(argv)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(argv[0], 'analysis')
        return fail(f'timm-coded {argv[0]}', f"needs {error.name}: pip install 'timm_coded[{extra}]'")
    try:
        return args.run(args)
    except BrokenPipeError:  # the reader of stdout, e.g. `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return fail(args.prog, f'{error.filename}: {error.strerror}' if error.filename and error.strerror else error)
    except (UserError, ValueError) as error:
        return fail(args.prog, error)
    except KeyboardInterrupt:
        return fail(args.prog, 'stopped', 130)


def fail(prog: str, reason: object, status: int = 2) -> int:
    print(f'{prog}: {reason}', file=sys.stderr)
    return status
