"""Warnings that are alike are said once."""

from adapters.report.warnings import warning_lines
from solver.domain.plan import Notice


def test_the_same_warning_of_many_objects_is_one_line() -> None:
    """The first names stand there, and how many there are; others keep their lines and order."""
    many = [Notice("share", f"Pod a/p{at}", "spec.tolerations", "is ignored") for at in range(50)]
    lone = Notice("queue_unknown", "prod/g", "queue", "no Queue describes it")
    assert warning_lines([lone, *many, lone]) == [
        "warning: prod/g: queue: no Queue describes it [queue_unknown]",
        "warning: Pod a/p0, Pod a/p1, Pod a/p2 and 47 more: spec.tolerations: is ignored (50 times) [share]",
    ]


def test_two_alike_keep_their_lines() -> None:
    """Two are not many."""
    two = [Notice("share", f"Pod a/p{at}", "spec", "is ignored") for at in range(2)]
    assert warning_lines(two) == [
        "warning: Pod a/p0: spec: is ignored [share]",
        "warning: Pod a/p1: spec: is ignored [share]",
    ]


def test_messages_that_differ_in_names_and_numbers_are_alike() -> None:
    """The first message stands for all; another text of the same code is another warning."""
    lost = [Notice("lost", f"a/p-{at}", "running", f"node h{at} is gone: a/p-{at} is placed anew") for at in range(4)]
    other = Notice("lost", "a/q", "running", "its rack is gone")
    assert warning_lines([*lost, other]) == [
        "warning: a/p-0, a/p-1, a/p-2 and 1 more: running: node h0 is gone: a/p-0 is placed anew, and alike"
        " (4 times) [lost]",
        "warning: a/q: running: its rack is gone [lost]",
    ]


def test_fields_that_differ_are_named() -> None:
    """Many roles of one gang are told apart by their fields."""
    roles = [Notice("nothing", "a/g", f"role r{at}x", f"role r{at}x asks for nothing") for at in range(3)]
    roles += [Notice("nothing", "a/g", "role y", "role y asks for nothing")]
    (line,) = warning_lines(roles)
    assert line == (
        "warning: a/g: role r0x, a/g: role r1x, a/g: role r2x and 1 more: role r0x asks for nothing, and alike"
        " (4 times) [nothing]"
    )


def test_warnings_without_an_object_are_folded_too() -> None:
    """Nothing stands where there is no name."""
    notices = [Notice("odd", "", "", f"line {at} is odd") for at in range(3)]
    assert warning_lines(notices) == ["warning: line 0 is odd, and alike (3 times) [odd]"]
