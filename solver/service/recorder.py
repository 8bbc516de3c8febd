"""What is worth measuring, told to whoever measures; so that nothing but metrics and traces knows their libraries."""

from solver.domain.plan import Plan


class Recorder:
    """Hears what happens; does nothing unless overridden.

    Called from any thread, also with locks held: an implementation neither blocks nor raises.
    """

    def called(self, method: str, code: str, seconds: float) -> None:
        """A call of `package.Service/Method` ended with a status code by name, after so many seconds."""

    def rejected(self, reason: str) -> None:
        """A call was turned away for lack of room: `solves`, `streams`, `draining`, …"""

    def line(self, running: int, waiting: int) -> None:
        """So many searches run and so many calls wait for one, from now on."""

    def solved(self, plan: Plan, seconds: float) -> None:
        """A search ended. seconds: its wall time without waiting. Called in the context (`contextvars`) of the call."""

    def state(self, cluster: str, version: int) -> None:
        """A snapshot or changes arrived: the cluster's state is of this version now."""

    def dropped(self, cluster: str) -> None:
        """The state of a cluster was forgotten; its promises were not."""

    def promises(self, cluster: str, holding: int) -> None:
        """So many promises of a cluster hold capacity, from now on."""


def told_to(*recorders: Recorder) -> Recorder:
    """One that tells each of them."""
    return _Several(recorders)


class _Several(Recorder):
    def __init__(self, recorders: tuple[Recorder, ...]) -> None:
        self._recorders = recorders

    def called(self, method: str, code: str, seconds: float) -> None:
        for recorder in self._recorders:
            recorder.called(method, code, seconds)

    def rejected(self, reason: str) -> None:
        for recorder in self._recorders:
            recorder.rejected(reason)

    def line(self, running: int, waiting: int) -> None:
        for recorder in self._recorders:
            recorder.line(running, waiting)

    def solved(self, plan: Plan, seconds: float) -> None:
        for recorder in self._recorders:
            recorder.solved(plan, seconds)

    def state(self, cluster: str, version: int) -> None:
        for recorder in self._recorders:
            recorder.state(cluster, version)

    def dropped(self, cluster: str) -> None:
        for recorder in self._recorders:
            recorder.dropped(cluster)

    def promises(self, cluster: str, holding: int) -> None:
        for recorder in self._recorders:
            recorder.promises(cluster, holding)
