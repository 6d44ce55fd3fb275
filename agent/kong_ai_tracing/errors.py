"""What an operator can repair."""

from __future__ import annotations


class OperatorError(Exception):
    """A reason to stop that is not a defect: the text says what is wrong and what to do."""

    exit_code = 1
