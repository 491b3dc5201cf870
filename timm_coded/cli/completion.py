"""What the Tab key completes: a script for a shell that knows all commands, flags, choices and what takes a file."""
import argparse

import shtab
import timm

FILES = {'FILE', 'CHECKPOINT', 'OUTPUTS', 'IMAGE', 'JSON'}  # metavars
FOLDERS = {'FOLDER', 'DATA_DIR'}


def completion_script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script of shtab, for a parser that has the arguments of all commands; this changes the parser.

    A metavar tells what an argument takes: a file, a folder, or a model, of which ours are offered.
    """
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for subparser in action.choices.values():
                for argument in subparser._actions:
                    complete(argument)
    return shtab.complete(parser, shell)


def complete(action: argparse.Action) -> None:
    metavar = str(action.metavar).partition('.')[0]  # FILE.onnx
    if metavar in FILES:
        action.complete = shtab.FILE  # type: ignore[attr-defined]  # which shtab looks for
    elif metavar in FOLDERS:
        action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    elif metavar == 'MODEL':
        action.choices = models()
    elif metavar == 'MODEL_OR_CHECKPOINT':
        action.choices = [*shtab.Required.FILE, *models()]


def models() -> list[str]:
    return timm.list_models(['coded_resnext*', 'resnext*'])
