"""`timm-coded average`: the same analysis of several runs, as mean and spread."""
import argparse
from pathlib import Path

from timm_coded.analysis.averaging import average_findings

from .common import add_json_argument, print_json, publish

DESCRIPTION = (
    'Puts the findings of several runs together: every number of their tables as mean ± standard deviation.'
)
EXAMPLE = 'timm-coded average output/train/digits-?/analysis/classify.json'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('findings', type=Path, nargs='+', metavar='JSON', help="of the same analysis, a run's each")
    parser.add_argument('--output', type=Path, metavar='FOLDER',
                        help='where JSON and CSV files go; default: nowhere, the tables are only printed')
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    average = average_findings(args.findings)
    if args.output:
        publish(average, args.output, args.json)
    elif args.json:
        print_json({average.name: average.content()})
    else:
        print(average.text())
    return 0
