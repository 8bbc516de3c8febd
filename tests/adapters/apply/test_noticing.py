"""What the readers of live gangs say becomes an event, once."""

from adapters.apply.gangs import LiveGangs
from adapters.apply.memory import Memory
from adapters.apply.noticing import each_once, folded, told
from adapters.kubernetes.resources import PODS
from solver.domain.plan import Notice
from support.made_up_mirror import MadeUpMirror

WISH = Notice("unsupported_soft", "Pod ns/a", "spec.affinity", "is not considered")


def test_pods_that_say_the_same_say_it_once() -> None:
    """The first of them stands for all; other fields and words stay."""
    same = Notice("unsupported_soft", "Pod ns/b", "spec.affinity", "is not considered")
    other = Notice("unsupported_soft", "Pod ns/b", "spec.other", "is not considered")
    assert each_once([WISH, same, other]) == (WISH, other)


def test_notices_of_a_code_are_one() -> None:
    """It says what all of them say, up to a number."""
    many = [Notice("x", "Pod ns/a", f"f{at}", "words") for at in range(10)]
    first, second = folded([*many, WISH])
    assert told(first).startswith("Pod ns/a: f0: words; Pod ns/a: f1: words; ")
    assert told(first).endswith("; and 2 more")
    assert told(second) == "Pod ns/a: spec.affinity: is not considered"


def test_a_notice_is_told_with_its_field() -> None:
    """Its object is known to whoever reads it."""
    assert told(Notice("x", "ns/g", "role w", "asks for nothing")) == "role w: asks for nothing"


def test_notices_are_fresh_once() -> None:
    """Until they are not said for once."""
    memory = Memory()
    assert memory.fresh([WISH, WISH]) == [WISH]
    assert memory.fresh([WISH]) == []
    assert memory.fresh([]) == []
    assert memory.fresh([WISH]) == [WISH]


def test_readers_tell_what_they_notice() -> None:
    """Of the object, whether it has been read before or not, and of its pods."""
    soft = "affinity: {podAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1}]}}"
    mirror = MadeUpMirror(
        "---\napiVersion: huddle.scheduler/v1alpha1\nkind: Gang\nmetadata: {name: g}\n"
        "spec: {priorityClassName: nobody, root: {roles: [{name: w, replicas: 2}]}}\n"
        + "".join(
            f"---\nkind: Pod\nmetadata: {{name: {name}, labels: {{huddle.scheduler/gang: g}}}}\n"
            f"spec: {{containers: [], {soft}, schedulingGates: [{{name: huddle.scheduler/gang}}]}}\n"
            for name in "ab"
        )
    )
    reader = LiveGangs(mirror)
    for _ in range(2):
        found = reader("ns/g", list(mirror.all(PODS).values()), {})
        assert [notice.code for notice in found.notices] == ["priority_unknown", "unsupported_soft"]
