"""Warm tables: what a solver keeps between calls, by gang shape, bounded in memory."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from solver.bound.tables import TableStore
from solver.compile.classes import ClassBook
from solver.compile.frame import Frame
from solver.domain.levels import TopologySpec
from solver.domain.snapshot import Column, Snapshot
from solver.topology.tree import Tree, build_tree

#: Trees kept at most; one is enough for a cluster whose labels do not change.
MAX_TREES = 4


@dataclass
class WarmShape:
    """What is kept of one gang shape: its node classes, and its tables by how costs are packed."""

    book: ClassBook = field(default_factory=ClassBook)
    stores: dict[object, TableStore] = field(default_factory=dict)

    def store(self, packing: object) -> TableStore:
        """Tables for one packing of costs into lanes."""
        return self.stores.setdefault(packing, TableStore())

    @property
    def size(self) -> int:
        """Bytes of all tables."""
        return sum(store.size for store in self.stores.values())


class WarmTables:
    """Tables and trees kept between calls of plan(). Not for use by two threads at a time.

    Everything is found by content, so nothing has to be invalidated: a changed snapshot merely looks up other
    entries, and status and values are those of a cold call. max_bytes bounds the tables; the shapes used longest ago
    go first, and a shape that alone exceeds it starts anew.
    """

    def __init__(self, max_bytes: int = 256 * 2**20) -> None:
        self.max_bytes = max_bytes
        self._shapes: OrderedDict[object, WarmShape] = OrderedDict()
        self._trees: OrderedDict[object, tuple[Mapping[str, Column], Tree]] = OrderedDict()

    @property
    def size(self) -> int:
        """Bytes of all tables kept."""
        return sum(shape.size for shape in self._shapes.values())

    @property
    def shapes(self) -> int:
        """Number of gang shapes kept."""
        return len(self._shapes)

    def tree(self, snapshot: Snapshot, spec: TopologySpec) -> Tree:
        """The tree of `spec`, shared by all versions of a snapshot that share their labels."""
        key = (id(snapshot.labels), spec)
        if key not in self._trees:
            self._trees[key] = (snapshot.labels, build_tree(snapshot, spec))
            while len(self._trees) > MAX_TREES:
                self._trees.popitem(last=False)
        self._trees.move_to_end(key)
        return self._trees[key][1]

    def shape(self, frame: Frame) -> WarmShape:
        """What is kept for frames like this one."""
        self._trim()
        key = frame.shape_key()
        if key not in self._shapes:
            self._shapes[key] = WarmShape()
        self._shapes.move_to_end(key)
        return self._shapes[key]

    def _trim(self) -> None:
        while self._shapes and self.size > self.max_bytes:
            self._shapes.popitem(last=False)
