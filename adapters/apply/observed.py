"""What is seen of one gang at one moment, as values: all that a decision about it rests on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from adapters.kubernetes.placements import Hand, Owner, PlacementRecord, Why
from adapters.manifests.own import DeclaredGang
from solver.domain.gang import Gang
from solver.domain.plan import Notice

#: Most objects that one reason names.
MOST_NAMED = 100


@dataclass(frozen=True, slots=True)
class Member:
    """A pod of the gang that has not ended.

    pod: `namespace/name`. node: where it is bound, or empty. gated: it carries Huddle's gate. other_gates: those of
    others. pin: the node that its required affinity names in every term, or for the extender its annotation where that
    is its seat, or empty. leaving: it is being deleted.
    controlled: somebody will make a successor when it goes. lost: its node is gone, or not ready for too long.
    stranded: its node is gone. refused: what its scheduler says why it cannot be bound, or empty.
    """

    pod: str
    uid: str
    role: str
    node: str = ""
    gated: bool = False
    other_gates: tuple[str, ...] = ()
    pin: str = ""
    hand: Hand = Hand.GATE
    leaving: bool = False
    controlled: bool = True
    lost: bool = False
    stranded: bool = False
    refused: str = ""
    created: datetime | None = None

    @property
    def is_held(self) -> bool:
        """Whether it is not bound and nobody but Huddle can change that."""
        is_stopped = self.hand is Hand.EXTENDER and not self.pin
        return not self.node and (self.gated or self.hand is Hand.BIND or is_stopped)

    @property
    def is_freed(self) -> bool:
        """Whether it was let go and is not bound yet."""
        return not self.node and not self.is_held and bool(self.pin)

    @property
    def is_stray(self) -> bool:
        """Whether Huddle neither holds it nor let it go: others decide where it goes."""
        return not self.node and not self.is_held and not self.pin

    @property
    def is_placeable(self) -> bool:
        """Whether it counts when the gang is planned: it is where it stays, or Huddle may choose its node."""
        if self.leaving or self.lost or self.is_stray:
            return False
        return bool(self.node) or not (self.is_held and self.other_gates)


@dataclass(frozen=True, slots=True)
class LiveGang:
    """A gang made of the pods that exist.

    gang: with the real names of its pods; None when there is none to make. missing: role → pods declared that do not
    exist. problem: why the gang cannot be read, in one sentence. owner: the object that stands for it. is_own: that is
    an object of Huddle's own kind, so the gang is Huddle's whether pods say so or not. is_declared: there is such an
    object at all. is_open: nobody says how many pods there will be. notices: what is doubtful about it or was not
    considered, each once. declared: what a Gang object describes, whatever pods there are.
    """

    gang: Gang | None = None
    missing: Mapping[str, int] = field(default_factory=dict)
    problem: str = ""
    owner: Owner | None = None
    is_own: bool = False
    is_declared: bool = False
    is_open: bool = False
    notices: tuple[Notice, ...] = ()
    declared: DeclaredGang | None = None


@dataclass(frozen=True, slots=True)
class Fixed:
    """Pods that stay on their nodes: `(pod, node)`, sorted."""

    nodes: tuple[tuple[str, str], ...] = ()

    @property
    def node_of(self) -> dict[str, str]:
        """Pod → node."""
        return dict(self.nodes)


@dataclass(frozen=True, slots=True)
class Tried:
    """The last plan that was tried for the gang and what came of it.

    gang, fixed, avoid: what was asked. room: the count of `Observed.room` at that time. until: when to try again even
    if nothing changes. reasons: why members have no node. is_costly: it took more than it may, so that the gang is not
    planned again before `until`, whatever changes.
    """

    gang: Gang
    fixed: Fixed
    avoid: tuple[str, ...]
    room: int
    until: datetime
    reasons: tuple[Why, ...]
    is_costly: bool = False


@dataclass(frozen=True, slots=True)
class Observed:
    """One gang. key: `namespace/name`. live.gang is made of the members that are placeable.

    unfit: uids of unbound members whose seat, or pin, cannot take them any more. next_loss: when a node that is not
    ready now will have been so for too long. tried: None when nothing was tried since the start. room: how often
    capacity was gained so far. overcommitted: why the whole gang has to go: one of its pods came last to a node that
    was given away twice.
    """

    key: str
    now: datetime
    live: LiveGang = LiveGang()
    members: tuple[Member, ...] = ()
    record: PlacementRecord | None = None
    unfit: frozenset[str] = frozenset()
    next_loss: datetime | None = None
    tried: Tried | None = None
    room: int = 0
    overcommitted: tuple[Why, ...] = ()
