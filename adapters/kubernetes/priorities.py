"""Priorities of pods and gangs, by the PriorityClasses there are."""

from collections.abc import Iterable

from adapters.kubernetes.objects import Document

#: PriorityClasses that exist without an object in the input: KAI's and Kubernetes' own.
BUILT_IN_PRIORITIES = {
    "train": 50,
    "build-preemptible": 75,
    "build": 100,
    "inference": 125,
    "system-cluster-critical": 2_000_000_000,
    "system-node-critical": 2_000_001_000,
}
_LEAST = -(2**31)


class Priorities:
    """Values of PriorityClasses; of several with one name the first counts, of several defaults the lowest.

    Raises InvalidRequest for malformed ones.
    """

    def __init__(self, classes: Iterable[Document] = ()) -> None:
        self._values: dict[str, int] = {}
        self.default: int | None = None
        for doc in classes:
            value = self._values.setdefault(doc.name, doc.whole("value", minimum=_LEAST))
            if doc.flag("globalDefault", False):
                self.default = value if self.default is None else min(self.default, value)

    def of_class(self, name: str) -> int | None:
        """The value of a PriorityClass, None if nobody knows it."""
        return self._values.get(name, BUILT_IN_PRIORITIES.get(name))

    def of_pod(self, pod: Document) -> int:
        """The priority a pod has, else that of its PriorityClass, else the default, else 0."""
        given = pod.whole("spec.priority", None, minimum=_LEAST)
        if given is not None:
            return given
        name = pod.text("spec.priorityClassName", "")
        value = self.of_class(name) if name else self.default
        return 0 if value is None else value
