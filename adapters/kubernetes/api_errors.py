"""What a call to the API server may fail with.

SourceUnavailable
└── ApiError            the server answered with an error, or not at all
    ├── Unreachable     no answer: no connection, a broken one, or too late
    ├── NotFound        404  no such object, or a kind the server does not know
    ├── Conflict        409  the object has changed meanwhile, exists already, or a precondition does not hold
    ├── Gone            410  the resource version is too old: list anew
    ├── Refused         401, 403  the caller is unknown, or may not do this
    ├── Invalid         400, 422  the server does not accept the object or patch
    └── Busy            429, 5xx  not now; of an eviction: a disruption budget does not allow it yet
"""

from solver.domain.errors import SourceUnavailable


class ApiError(SourceUnavailable):
    """A call failed. status: of HTTP, 0 without an answer. reason: one word, as the server's Status object has it."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason = status, reason


class Unreachable(ApiError):
    """No answer came; a change may have happened all the same."""


class NotFound(ApiError):
    """No such object, or a kind the server does not know."""


class Conflict(ApiError):
    """The object has changed meanwhile, exists already, or a precondition does not hold."""


class Gone(ApiError):
    """The resource version is too old."""


class Refused(ApiError):
    """The caller is unknown, or may not do this."""


class Invalid(ApiError):
    """The server does not accept what was sent."""


class Busy(ApiError):
    """Not now. retry_after_s: when the server would like to be asked again, None if it did not say."""

    def __init__(self, status: int, reason: str, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(status, reason, message)
        self.retry_after_s = retry_after_s


_BY_STATUS: dict[int, type[ApiError]] = {
    400: Invalid,
    401: Refused,
    403: Refused,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
}


def api_error(status: int, reason: str, message: str, retry_after_s: float | None = None) -> ApiError:
    """The error an answer stands for."""
    if status == 429 or status >= 500:
        return Busy(status, reason, message, retry_after_s)
    return _BY_STATUS.get(status, ApiError)(status, reason, message)
