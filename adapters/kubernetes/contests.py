"""Claims about which several pods may get into each other's way."""

from adapters.kubernetes.volumes import Contest


class Contests:
    """What pods want of claims, added one by one."""

    def __init__(self) -> None:
        self._users: dict[str, set[str]] = {}  # by claim
        self._claim_of: dict[str, str] = {}  # the first claim that may be bound to a volume

    def problem(self, contest: Contest, user: str) -> str:
        """Why one more pod's claim cannot be honoured beside what was added before, in one sentence; empty if it can.

        user: the pod, or empty for a template, which is taken to stand for several pods.
        """
        claim, users = contest.claim, self._users.setdefault(contest.claim, set())
        users.add(user)
        is_shared = "" in users or len(users) > 1
        if contest.is_sole and is_shared:
            return f"claim {claim} is for one pod alone (ReadWriteOncePod), which is not supported for several"
        if is_shared and len(set(contest.choices.values())) > 1:
            count = len(contest.choices)
            return f"several pods mount claim {claim}: to which of {count} volumes it will be bound is not known"
        for volume in contest.choices:
            other = self._claim_of.setdefault(volume, claim)
            if other != claim:
                return f"claims {other} and {claim} may be bound to the same volume {volume}, which is not supported"
        return ""
