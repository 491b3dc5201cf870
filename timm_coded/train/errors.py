"""The one exception that is shown to the user as a line, not as a traceback."""


class UserError(Exception):
    """Something that the user can put right; the message says what was wrong, what was expected and what to do."""


class NotCodedError(UserError):
    """A model without coded blocks is given what is for coded ones."""
