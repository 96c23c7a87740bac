"""Which waves carry a concept: the edits that switch it on or off."""

from collections.abc import Iterable
from dataclasses import dataclass

from common.files import UserError
from counterfactual.edits import INDEPENDENT

Steps = tuple[tuple[str, int], ...]  # edit, and the sign of its dose


@dataclass(frozen=True)
class Recipe:
    """The edits that switch a concept on; off by their opposite, unless `off` names others."""

    on: Steps
    off: Steps | None = None

    def steps(self, direction: str) -> Steps:
        """Edits and signs for "add" or "remove"."""
        if direction == "add":
            return self.on
        return self.off or tuple((edit, -sign) for edit, sign in self.on)


def _everywhere(wave, sign):
    return tuple((f"{wave} {lead}", sign) for lead in INDEPENDENT)


RECIPES = {
    "RS-LVH": Recipe((("R I", 1), ("R II", 1)), (("R I", -1), ("R II", -1), ("S II", 1))),
    "S12-LVH": Recipe((("S V1", -1), ("S V2", -1))),
    "R56-LVH": Recipe((("R V5", 1), ("R V6", 1))),
    "QRS-LVH": Recipe((("QRS duration", 1),)),
    "LI-LVH": Recipe((("R I", 1),)),
    "SLI-LVH": Recipe((("S V1", -1), ("R V5", 1))),
    "QRS-CLBBB": Recipe((("QRS duration", 1),)),
    "ST-ELEV-MI": Recipe((("ST V3 V4", 1),), _everywhere("ST", -1)),
    "ST-DEPR-MI": Recipe((("ST V5 V6", -1),), _everywhere("ST", 1) + _everywhere("T", 1)),
    "MI-QPeak": Recipe((("Q V5 V6", -1), ("Q II", -1)), _everywhere("Q", 1)),
    "MI-V2V3": Recipe((("Q V2", -1), ("Q V3", -1)), (("Q V2", 1), ("Q V3", 1))),
}


def check_recipes(concepts: Iterable[str]) -> list[str]:
    """`concepts`, each once; UserError that names those without a recipe."""
    asked = list(dict.fromkeys(concepts))
    if unknown := [name for name in asked if name not in RECIPES]:
        raise UserError(
            f"no wave is known to switch {', '.join(unknown)}: accepted are {', '.join(RECIPES)}"
        )
    return asked
