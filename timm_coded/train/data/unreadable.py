"""An account of the images that could not be read."""
from typing import Callable

from ..errors import UserError


class Unreadable:
    """Names each unreadable image once, and ends the run at the first that is too many.

    Args:
        limit: how many different images may be left out, on this replica.
        say: prints a line.
    """

    def __init__(self, limit: int = 0, say: Callable[[str], None] = print):
        self.limit = limit
        self.say = say
        self.reasons: dict[str, str] = {}

    def add(self, name: str, reason: str) -> None:
        """Raises UserError: one more image than `limit` could not be read."""
        if name in self.reasons:
            return
        self.reasons[name] = reason
        if len(self.reasons) > self.limit:
            if not self.limit:
                raise UserError(f'cannot read the image {name}: {reason}; --skip-corrupt N leaves out up to N such')
            listed = '; '.join(f'{name}: {reason}' for name, reason in self.reasons.items())
            raise UserError(f'{len(self.reasons)} images cannot be read, --skip-corrupt allows {self.limit}: {listed}')
        self.say(f'left out {name}: {reason} (number {len(self.reasons)} of the {self.limit} that --skip-corrupt '
                 'allows)')
