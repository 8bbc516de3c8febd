"""What a call may fail with; `solver.service.status` turns each into a gRPC status, and nothing else does.

HuddleError
├── InvalidRequest
│   └── InvalidField    INVALID_ARGUMENT with the path of the field
└── ServiceError
    ├── NotFound        NOT_FOUND            no such cluster or promise
    ├── NotReady        FAILED_PRECONDITION  the state asked for is not there yet
    ├── Conflict        ABORTED              the state has moved on; look again and retry
    ├── Full            RESOURCE_EXHAUSTED   too much at once; retry later
    ├── Unavailable     UNAVAILABLE          the service cannot keep its promises now, for example on a full disk
    ├── Unauthenticated UNAUTHENTICATED      nobody knows who calls
    └── Denied          PERMISSION_DENIED    the caller is known and may not do this
"""

from solver.domain.errors import HuddleError, InvalidRequest


class InvalidField(InvalidRequest):
    """A field of a request is wrong. field: its path, such as `gangs[0].root.roles[2].replicas`."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field, self.problem = field, message


class ServiceError(HuddleError):
    """Base of what is not the request's fault alone."""


class NotFound(ServiceError):
    """What the request names does not exist."""


class NotReady(ServiceError):
    """The held state is not yet what the request asks for."""


class Conflict(ServiceError):
    """What the request builds upon has changed."""


class Full(ServiceError):
    """A limit is reached. retry_s: seconds after which to try again."""

    def __init__(self, message: str, retry_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_s = retry_s


class Unavailable(ServiceError):
    """The service cannot do this now."""


class Unauthenticated(ServiceError):
    """The call shows no credentials, or wrong ones."""


class Denied(ServiceError):
    """The caller's role is not enough."""
