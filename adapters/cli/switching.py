"""How threads of one process take turns, for commands in which some must not wait for others that compute."""

import sys

#: Longest that a thread runs while another waits, in seconds.
SWITCH_S = 0.001


def switch_often() -> None:
    """From now on, in the whole process."""
    sys.setswitchinterval(SWITCH_S)
