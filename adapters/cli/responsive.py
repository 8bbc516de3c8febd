"""For processes in which some threads must answer while others compute: nobody holds the interpreter for long."""

import gc
import sys

#: Longest that a thread runs while another waits, in seconds.
SWITCH_S = 0.001
#: How many more objects, and how many collections of young ones, until Python looks for cycles: seldom, since looking
#: through all objects of the libraries and of the cluster keeps every thread waiting for some 100 ms.
THRESHOLDS = (2_000, 10, 100)


def stay_responsive() -> None:
    """From now on, in the whole process; called when the libraries are loaded, which are not looked through again."""
    sys.setswitchinterval(SWITCH_S)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
