"""Figure 18: whether half the precision of training moves what is measured."""
from __future__ import annotations

from ..statistics import Claim, claim
from ..tables import Table
from .parts import subnetwork

UNITS = {"%": "points", "": "in weight space"}  # of differences


def precision_claims(table: Table) -> list[Claim]:
    """P: training in bfloat16 leaves accuracy, barrier and distance where float32 has them.

    Args:
        table: by precision ("bf16", "float32"), method, round and init the quantities, each with its ``margin``.
    """
    claims = []
    for (quantity, method, round), rows in table.groupby(["quantity", "method", "round"], sort=False):
        name, _, unit = quantity.rstrip(")").partition(" (")
        claims.append(claim(f"P-{name}, {subnetwork(method, int(round), short=True)}",
                            f"training in bfloat16 leaves the {name} where float32 has it",
                            rows.layout(["precision"]).difference("bf16", "float32", sets=0), claimed="within",
                            margin=float(rows["margin"].iloc[0]), unit=str(UNITS.get(unit, unit)),
                            note="bfloat16 minus float32."))
    return claims
