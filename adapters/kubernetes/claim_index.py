"""Which pods mount a claim."""

from adapters.kubernetes.decoding import Body
from adapters.kubernetes.occupancy import Key
from adapters.kubernetes.resources import CLAIMS, STORAGE, Resource
from adapters.kubernetes.storage import ClaimKey, claims_of


class ClaimIndex:
    """Pods by the claims that they mount."""

    def __init__(self) -> None:
        self._pods: dict[ClaimKey, dict[Key, None]] = {}

    def note_pod(self, key: Key, before: Body | None, now: Body | None) -> None:
        """A pod has changed."""
        left, joined = (set(claims_of(body)) if body else set[str]() for body in (before, now))
        for claim in left - joined:
            pods = self._pods.get((key[0], claim), {})
            pods.pop(key, None)
            if not pods:
                self._pods.pop((key[0], claim), None)
        for claim in joined - left:
            self._pods.setdefault((key[0], claim), {})[key] = None

    def pods_mounting(self, claim: ClaimKey) -> tuple[Key, ...]:
        """Pods that mount a claim, whatever has become of them."""
        return tuple(self._pods.get(claim, ()))

    def touched_by(self, resource: Resource, key: Key, before: Body | None, now: Body | None) -> set[Key]:
        """Pods that a change of a claim, a volume or a class may be about."""
        if resource not in STORAGE:
            return set()
        if resource is CLAIMS:
            return set(self.pods_mounting(key))
        claims = {_bound_to(body) for body in (before, now) if body} if before or now else set()
        if None in claims:
            return {pod for pods in self._pods.values() for pod in pods}
        return {pod for claim in claims if claim for pod in self.pods_mounting(claim)}


def _bound_to(body: Body) -> ClaimKey | None:
    """The claim that a volume is bound to; None where any may be."""
    owner = (body.get("spec") or {}).get("claimRef") or {}
    return (owner.get("namespace") or "", owner["name"]) if owner.get("name") else None
