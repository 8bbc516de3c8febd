"""A call under way: whether it is asked to end, and the last answer that was verified."""

from dataclasses import replace

from solver.domain.plan import GangPlan, Notice, Plan, Status


class Course:
    """What both the thread that works and the one that waits look at; a `Stop` for the planner.

    signal: number of the signal that asked for the end, 0 = none. Plain attributes, as a signal handler takes no locks.
    """

    def __init__(self) -> None:
        self.signal = 0
        self.so_far: Plan | None = None

    def is_set(self) -> bool:
        """Whether the work is to end."""
        return self.signal != 0

    def known(self, gangs: tuple[str, ...]) -> Plan:
        """The last verified answer, of the given gangs in this order; what is not known is unknown."""
        found = {answer.name: answer for answer in self.so_far.gangs} if self.so_far else {}
        answers = tuple(found.get(name) or GangPlan(name, Status.UNKNOWN) for name in gangs)
        return replace(self.so_far, gangs=answers) if self.so_far else Plan(answers)


def interrupted(plan: Plan, signal_name: str) -> Plan:
    """The plan with the warning that the search was cut short."""
    text = f"{signal_name} ended the search early: this is the best plan that was verified by then"
    return replace(plan, warnings=(*plan.warnings, Notice("interrupted", "", "", text)))
