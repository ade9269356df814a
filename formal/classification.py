"""Who may see each output of the pool: one table, in which every bit must be.

`host`: the host alone. `tenant`: at any time one tenant, the owner of the core or of the slot. No output is for all.
"""

from __future__ import annotations

import re
from enum import StrEnum

import pyrtl


class Viewer(StrEnum):
    """Who sees an output."""

    HOST = "host"
    TENANT = "tenant"


VIEWERS: dict[str, Viewer] = {
    r"control_read_data": Viewer.HOST,
    r"host_request_taken|host_response_(valid|data)": Viewer.HOST,
    r"core\d+_activity": Viewer.HOST,
    r"core\d+_\w+_o": Viewer.TENANT,
    r"tenant\d+_state": Viewer.TENANT,
    r"channel\d+_(valid|write|address|data|strobe)": Viewer.TENANT,
}
"""Patterns of the names of outputs of the shell around free cores; each output matches one."""


class UnclassifiedOutput(ValueError):
    """An output of which nobody has said who may see it."""


def classified(block: pyrtl.Block) -> dict[str, Viewer]:
    """Who sees each output of the netlist.

    Raises:
        UnclassifiedOutput: for one that matches no pattern, or more than one.
    """
    found = {}
    for name in sorted(wire.name for wire in block.wirevector_subset(pyrtl.Output)):
        viewers = [viewer for pattern, viewer in VIEWERS.items() if re.fullmatch(pattern, name)]
        if len(viewers) != 1:
            raise UnclassifiedOutput(
                f"output {name} is in {len(viewers)} rows of the table in formal/classification.py"
            )
        found[name] = viewers[0]
    return found
