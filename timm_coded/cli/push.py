"""`timm-coded push`: puts the network of a checkpoint on the Hugging Face Hub, or into a folder."""
import argparse
import re
import sys
import tempfile
from pathlib import Path

from huggingface_hub.utils import disable_progress_bars

from timm_coded.hub import Card, open_hub, read_source, save_folder, upload_folder
from timm_coded.hub.folder import check_folder
from timm_coded.train.errors import UserError
from timm_coded.train.trained import Trained

from .common import (
    add_checkpoint_arguments,
    add_class_names_argument,
    add_img_size_argument,
    class_names_of,
    open_trained,
    tell,
)

DESCRIPTION = (
    'Puts the network of a checkpoint on the Hugging Face Hub, for timm.create_model("hf-hub:REPO_ID", '
    'pretrained=True) after import timm_coded, with a model card made of the run; or into a '
    'folder, for local-dir:FOLDER.'
)
EXAMPLE = '''\
timm-coded push output/train/digits/model_best.pth.tar USER/digits
timm-coded push output/train/digits/model_best.pth.tar --folder digits'''


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_checkpoint_arguments(parser, device=False)
    parser.add_argument('repo_id', nargs='?', metavar='REPO_ID', help='USER/NAME on the Hub; made where there is none')
    parser.add_argument('--folder', type=Path, metavar='FOLDER',
                        help='write the files here, for timm.create_model("local-dir:FOLDER", pretrained=True)')
    add_img_size_argument(parser)
    parser.add_argument('--private', action='store_true', help='make the repository a private one')
    parser.add_argument('--license', default='apache-2.0', metavar='NAME',
                        help="of the weights, by the Hub's name; default: %(default)s")
    parser.add_argument('--keep-card', action='store_true', help='leave the README.md that the repository has')
    add_class_names_argument(parser, 'none')


def run(args: argparse.Namespace) -> int:
    if not args.repo_id and not args.folder:
        raise UserError('where to? Give REPO_ID, for the Hub, or --folder FOLDER')
    if not args.repo_id and (args.private or args.keep_card):
        raise UserError('--private and --keep-card are of a repository on the Hub: give REPO_ID, or leave them out')
    if not re.fullmatch(r'[a-z0-9][a-z0-9.-]*', args.license):
        raise UserError(f"--license {args.license}: expected the Hub's name of a licence, such as apache-2.0, mit or "
                        'cc-by-4.0')
    if args.folder:
        check_folder(args.folder)
    hub, repo_id = open_hub(args.repo_id) if args.repo_id else (None, None)
    trained = open_trained(args)
    card = make_card(args, trained, repo_id)
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.folder or Path(scratch)
        files = save_folder(trained.model, card, folder)
        if args.folder:
            print(f'written: {folder}: {", ".join(files)}; timm.create_model(\'local-dir:{folder}\', pretrained=True) '
                  'loads it')
        if hub and repo_id:
            if not sys.stderr.isatty():
                disable_progress_bars()
            url = upload_folder(hub, repo_id, folder, args.private, args.keep_card)
            print(f'pushed: {url}: {", ".join(files)}; timm.create_model(\'hf-hub:{repo_id}\', pretrained=True) '
                  'loads it')
    return 0


def make_card(args: argparse.Namespace, trained: Trained, repo_id: str | None) -> Card:
    """What the model card is made of; `repo_id` is None for a folder alone."""
    names = class_names_of(args, trained)
    if not names:
        tell("without class names, as the training's images are not at hand: give --class-names FILE to have them")
    config = dict(trained.config)
    if trained.args.eval_img_size and trained.args.eval_img_size != config['input_size'][-1]:
        config['test_input_size'] = (3, trained.args.eval_img_size, trained.args.eval_img_size)
    return Card(
        name=repo_id.split('/')[-1] if repo_id else args.folder.resolve().name,
        load=f'hf-hub:{repo_id}' if repo_id else f'local-dir:{args.folder}',
        license=args.license,
        source=read_source(trained.path, args.model, args.use_ema),
        config=config,
        class_names=names,
    )
