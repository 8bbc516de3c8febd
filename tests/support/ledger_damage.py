"""Random work for a ledger, copies of its files on the way, and random damage to them afterwards."""

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from solver.domain.errors import SourceUnavailable
from solver.ledger import Promise
from solver.service.sqlite_ledger import KEEP_MS, SqliteLedger
from support.promising import HOUR_MS, Time, asked, pods_of, workers

#: Files of a ledger that damage may hit, by what follows its name.
PARTS = ("", "-wal", "-shm", ".note")


@dataclass
class Truth:
    """What was confirmed: promises that hold capacity, and by request the promise it led to, as it was at the end."""

    held: tuple[Promise, ...] = ()
    answers: dict[str, Promise | None] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)


class History:
    """One ledger with a random past. copies: folders with its files as they were, the newest last."""

    def __init__(self, folder: Path, rng: random.Random, changes: int) -> None:
        self.folder, self.rng = folder, rng
        self.path = folder / "now" / "ledger.db"
        self.path.parent.mkdir(parents=True)
        self.copies: list[Path] = []
        self.truth = Truth()
        time = Time()
        ledger = SqliteLedger(self.path, time.source)
        kept = sorted(rng.sample(range(changes), 3))
        for at in range(changes):
            self._change(ledger, time, at)
            if at in kept:
                self._copy()
            if rng.random() < 0.03:  # a clean end and a start on the way
                ledger.close()
                ledger = SqliteLedger(self.path, time.source)
        self.truth.held = ledger.holding("site")
        self.truth.answers = {each: ledger.answered(asked(each)) for each in self.truth.answers}
        if rng.random() < 0.3:
            ledger.close()
            self._copy()
        else:  # as a `kill -9` leaves it
            self._copy()
            ledger.close()

    def _copy(self) -> None:
        copy = self.folder / f"copy-{len(self.copies)}"
        shutil.copytree(self.path.parent, copy)
        self.copies.append(copy)

    def _change(self, ledger: SqliteLedger, time: Time, at: int) -> None:
        rng, held = self.rng, ledger.holding("site")
        name = f"g{rng.randrange(8)}"
        doings: list[tuple[float, Callable[[], object]]] = [
            (4, lambda: self._reserve(ledger, f"reserve {at}", name)),
            (0.3, lambda: (time.passes(rng.choice([1000, HOUR_MS, KEEP_MS])), ledger.expire(), ledger.tidy())),
        ]
        if held:
            one = rng.choice(held)
            doings += [
                (2, lambda: self._asked(f"confirm {at}", lambda each: ledger.confirm(each, one.id))),
                (1, lambda: self._asked(f"release {at}", lambda each: ledger.release(each, one.id))),
                (2, lambda: ledger.seen("site", {rng.choice(one.pods).holds.name: "n1"})),
            ]
        rng.choices([do for _, do in doings], [weight for weight, _ in doings])[0]()

    def _reserve(self, ledger: SqliteLedger, request_id: str, name: str) -> None:
        pods = pods_of(workers(name, self.rng.choice([1, 2, 5, 40])), "n0", "n1", "n2")
        lease_ms = self.rng.randrange(1000, HOUR_MS)
        self._asked(request_id, lambda each: ledger.reserve(each, "site", f"default/{name}", pods, lease_ms))

    def _asked(self, request_id: str, do: Callable[[Any], list[Promise]]) -> None:
        self.truth.answers[request_id] = None
        self.truth.ids.add(do(asked(request_id))[0].id)


@dataclass(frozen=True)
class Damage:
    """What was done to a copy of the newest files. path: of the damaged ledger."""

    path: Path
    what: str


def damaged(history: History, rng: random.Random, folder: Path) -> Damage:
    """A copy of the newest files in `folder` with one random damage."""
    shutil.copytree(history.copies[-1], folder)
    path = folder / "ledger.db"
    present = [part for part in PARTS if path.with_name(path.name + part).exists()]
    part = rng.choice([each for each in present for _ in range(1 if each == "-shm" else 3)])
    file = path.with_name(path.name + part)
    kind = rng.choice(["flip", "flips", "zeros", "noise", "cut", "remove", "swap", "swap"])
    if kind == "remove":
        file.unlink()
    elif kind == "swap":
        kind = _swap(history, rng, path)
    else:
        _spoil(file, kind, rng)
    return Damage(path, f"{kind} {part or 'db'}")


def _swap(history: History, rng: random.Random, path: Path) -> str:
    """Old copies in the place of some files; with an old note it could be an old copy of everything, which is sound."""
    old = rng.choice(history.copies[:-1])
    parts = rng.choice([[".note"], [".note", "-shm"], *(rng.sample(PARTS[:3], count) for count in (1, 1, 2, 2, 3))])
    for part in parts:
        source, target = (each.with_name(path.name + part) for each in (old / path.name, path))
        target.unlink(missing_ok=True)
        if source.exists():
            shutil.copy(source, target)
    return f"old {', '.join(part or 'db' for part in parts)} instead of"


def _spoil(file: Path, kind: str, rng: random.Random) -> None:
    content = bytearray(file.read_bytes())
    start = rng.randrange(max(1, len(content)))
    length = min(rng.choice([1, 24, 512, 4096, 4120, 16384]), len(content) - start)
    if kind == "cut":
        del content[start:]
    elif kind == "zeros":
        content[start : start + length] = bytes(length)
    elif kind == "noise":
        content[start : start + length] = rng.randbytes(length)
    else:
        for _ in range(1 if kind == "flip" else 40):
            if content:
                content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    file.write_bytes(content)


def outcome(history: History, damage: Damage) -> str:
    """`refused`, in one line, or `same`; raises AssertionError where a ledger starts that is not what was confirmed."""
    try:
        ledger = SqliteLedger(damage.path)
    except SourceUnavailable as error:
        return "refused" if "\n" not in str(error) else "told in several lines"
    try:
        truth = history.truth
        assert ledger.holding("site") == truth.held, damage
        assert {each: ledger.answered(asked(each)) for each in truth.answers} == truth.answers, damage
        new = ledger.reserve(asked("afterwards"), "site", "default/new", pods_of(workers("new", 1), "n0"), HOUR_MS)
        assert new[0].id not in truth.ids, damage
    finally:
        ledger.close()
    return "same"
