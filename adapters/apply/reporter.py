"""Hears about what the reconciler does; does nothing unless overridden."""

from adapters.kubernetes.placements import Phase


class Reporter:
    """Called from the event loop; must not raise and not take long."""

    def phase(self, gang: str, before: Phase | None, now: Phase | None) -> None:
        """A Placement has another phase; None = there is none."""

    def solved(self, gangs: int, placed: int, seconds: float) -> None:
        """So many gangs were planned at once, and so many of them got seats."""

    def bound(self, gang: str, pods: int, waited_s: float | None) -> None:
        """All pods of a gang were seen bound. waited_s: since it was made, if that is known."""

    def given_back(self, gang: str, pods: int) -> None:
        """So many pods were deleted or evicted."""

    def overcommitted(self, nodes: int) -> None:
        """So many nodes have more bound to them than they have."""

    def failed(self, gang: str, problem: str) -> None:
        """Something about a gang could not be done now; it is tried again."""
