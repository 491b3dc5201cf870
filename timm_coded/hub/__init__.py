"""Models for the Hugging Face Hub: a folder that timm loads, its model card, and the way there."""
from .card import Card, model_card
from .folder import save_folder
from .source import Source, read_source
from .upload import check_repo_id, open_hub, upload_folder

__all__ = [
    'Card', 'Source', 'check_repo_id', 'model_card', 'open_hub', 'read_source', 'save_folder', 'upload_folder',
]
