"""Errors of the package.

HuddleError
├── InvalidRequest      the caller's input is wrong; the message is one sentence that says where
├── SourceUnavailable   something outside could not be read
└── InternalError       a defect of ours, for example a plan the verifier rejects
"""


class HuddleError(Exception):
    """Base of every error this package raises on purpose."""


class InvalidRequest(HuddleError):
    """The input is malformed, contradictory or asks for something that is not supported."""


class SourceUnavailable(HuddleError):
    """A file, socket or service that should deliver input does not."""


class InternalError(HuddleError):
    """The solver contradicts itself; never the caller's fault."""
