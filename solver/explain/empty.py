"""Plans without a pod: gangs of which every part may be left out, where nothing of them is placed."""

from dataclasses import replace

from solver.domain.plan import GangPlan, Notice

#: Code of the notice.
PLACES_NOTHING = "places_nothing"


def telling_empty(plan: GangPlan) -> GangPlan:
    """The plan with a notice `places_nothing` exactly where it is a plan and has no pod, running ones included."""
    others = tuple(notice for notice in plan.warnings if notice.code != PLACES_NOTHING)
    if not plan.status.placed or plan.assignments or plan.running:
        return plan if others == plan.warnings else replace(plan, warnings=others)
    text = f"gang {plan.name} is placed without any pod: each of its minimums is 0, so that all of it may be left out"
    return replace(plan, warnings=(*others, Notice(PLACES_NOTHING, plan.name, "", text)))
