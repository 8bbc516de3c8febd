"""Hold a plan written by hand against the checker: `verdict(snapshot, gang, "w-0@a w-1@b")`."""

from solver.domain.gang import Gang
from solver.domain.plan import Assignment
from solver.domain.snapshot import Snapshot
from solver.verify.checker import Verification, verify


def assignments(gang: Gang, text: str) -> list[Assignment]:
    """`pod@node` words, pods without their namespace, as assignments to the roles they belong to."""
    role_of = {pod: role.name for role in gang.roles for pod in role.pods}
    found = []
    for word in text.split():
        pod, _, node = word.partition("@")
        full = f"{gang.namespace}/{pod}"
        found.append(Assignment(full, role_of[full], node))
    return found


def verdict(snapshot: Snapshot, gang: Gang, text: str) -> Verification:
    """What the checker says of a plan, in the only topology of the snapshot."""
    (spec,) = snapshot.topologies.values()
    return verify(snapshot, gang, spec, assignments(gang, text))


def broken(snapshot: Snapshot, gang: Gang, text: str) -> list[str]:
    """Names of the rules a plan breaks, in the order of the reference, once each."""
    return list(dict.fromkeys(line.partition(":")[0] for line in verdict(snapshot, gang, text).violations))
