"""The one word between the attacks and their script."""


class InapplicableError(Exception):
    """This version or machine cannot be given the attack; the text says why."""
