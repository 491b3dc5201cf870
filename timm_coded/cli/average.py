"""`timm-coded average`: the same analysis of several runs, as mean and spread."""
import argparse
from pathlib import Path

from timm_coded.analysis.averaging import average_findings

from .common import publish

DESCRIPTION = (
    'Puts the findings of several runs together: every number of their tables as mean ± standard deviation. '
    'Example: timm-coded average output/train/digits-?/analysis/classify.json'
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--output', type=Path, metavar='FOLDER', help='write average.json and CSV files there too')
    parser.add_argument('findings', type=Path, nargs='+', metavar='JSON', help="of the same analysis, a run's each")


def run(args: argparse.Namespace) -> int:
    average = average_findings(args.findings)
    if args.output:
        publish(average, args.output)
    else:
        print(average.text())
    return 0
