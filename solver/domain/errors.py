"""Errors of the package.

HuddleError
├── InvalidRequest      the caller's input is wrong; the message is one sentence that says where
├── SourceUnavailable   something outside could not be read
└── InternalError       a defect of ours, for example a plan the verifier rejects

TooLarge is none of them: it never leaves plan(), which turns it into an answer.
"""


class HuddleError(Exception):
    """Base of every error this package raises on purpose."""


class InvalidRequest(HuddleError):
    """The input is malformed, contradictory or asks for something that is not supported."""


class SourceUnavailable(HuddleError):
    """A file, socket or service that should deliver input does not."""


class InternalError(HuddleError):
    """The solver contradicts itself; never the caller's fault."""


class TooLarge(Exception):
    """A question that is larger than what one call may take; found by counting, before anything is laid out.

    what: what is too many, with its unit. number: how many of it; limit: how many there may be.
    """

    def __init__(self, what: str = "what has to be looked at", number: int = 0, limit: int = 0) -> None:
        super().__init__(f"{what}: {number} is more than the limit of {limit}")
        self.what, self.number, self.limit = what, number, limit
