"""The way to the Hugging Face Hub: who asks, and the files of a folder in one commit."""
from pathlib import Path

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from timm_coded.train.build import describe_error
from timm_coded.train.errors import UserError

CARD = 'README.md'


def check_repo_id(repo_id: str) -> None:
    """Raises UserError: the Hub takes no such name."""
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise UserError(f'REPO_ID {repo_id!r}: expected USER/NAME or ORGANISATION/NAME, of letters, digits, -, _ and '
                        f'. ({describe_error(error)})') from error


def open_hub(repo_id: str) -> tuple[HfApi, str]:
    """The Hub, asked who the user is, before anything slow.

    Returns:
        The Hub's interface, and the whole name of the repository, with the user's where none was given.

    Raises:
        UserError: there is no token, it is not good, or the Hub cannot be reached.
    """
    check_repo_id(repo_id)
    if get_token() is None:
        raise UserError('the Hub takes nothing without a token: run `hf auth login`, or set HF_TOKEN; --folder FOLDER '
                        'alone writes the files without the Hub')
    hub = HfApi()
    try:
        user = hub.whoami()['name']
    except Exception as error:  # of the network, the Hub, or its library, whose errors change with its releases
        raise UserError(f'cannot log in to {hub.endpoint}: {describe_error(error)}; --folder FOLDER alone writes the '
                        'files without the Hub') from error
    return hub, repo_id if '/' in repo_id else f'{user}/{repo_id}'


def upload_folder(hub: HfApi, repo_id: str, folder: Path, private: bool = False, keep_card: bool = False) -> str:
    """Makes the repository where there is none, and puts a folder's files there, over those of the same names.

    Args:
        keep_card: leave the README.md that is there.

    Returns:
        Where it is.

    Raises:
        UserError: the Hub refuses, or cannot be reached.
    """
    try:
        url = hub.create_repo(repo_id, private=private or None, exist_ok=True)
        kept = [CARD] if keep_card and hub.file_exists(repo_id, CARD) else []
        hub.upload_folder(
            repo_id=repo_id, folder_path=folder, ignore_patterns=kept, commit_message='A model of timm_coded')
    except Exception as error:  # of the network, the Hub, or its library, whose errors change with its releases
        raise UserError(f'cannot push to {repo_id} at {hub.endpoint}: {describe_cause(error)}') from error
    return str(url)


def describe_cause(error: Exception) -> str:
    """The error, and what it came from: that an upload failed does not say why."""
    cause = error.__cause__
    return describe_error(error) + (f' {describe_error(cause)}' if isinstance(cause, Exception) else '')
