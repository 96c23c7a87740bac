"""CHECKS: the sanity checks there are, and which of them can be made of what is given.

A check's own module is imported when the check runs.
"""

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

from common.cli import check_names, say_left_out
from common.files import UserError
from common.later import Later
from common.stage import data_folders
from sanity.parts import Check

COUNTERFACTUALS = "counterfactual"  # folder of counterfactuals.py beside that of this stage

# name -> check; the last three compare methods, models and layers, and need no part of their own
CHECKS = {
    "amplitude": Check(
        Later("sanity.amplitude", "measure_amplitude"),
        "does the attribution of lead L's wave fall on that lead and wave?",
        subjects="amplitude",
        quick=True,
        explained=lambda _model: 12,
    ),
    "randomisation": Check(
        Later("sanity.randomisation", "measure_randomisation"),
        "do maps change when the weights are drawn anew?",
        subjects="few",
        quick=True,
        explained=Later("sanity.randomisation", "cascade_maps"),
    ),
    "faithfulness": Check(
        Later("sanity.faithfulness", "measure_faithfulness"),
        "does the logit follow when relevant parts are removed or kept?",
        reference=Later("sanity.faithfulness", "random_reference"),
        evaluated=Later("sanity.faithfulness", "passes_per_method"),
        prepared=Later("sanity.faithfulness", "passes_once"),
    ),
    "dose_response": Check(
        Later("sanity.dose_response", "measure_dose_response"),
        "do attributions know what a dose of each wave does?",
        reference=Later("sanity.dose_response", "dose_reference"),
        prepared=Later("sanity.dose_response", "passes_once"),
    ),
    "edits": Check(
        Later("sanity.edits", "measure_edits"),
        "do maps foresee a wave of another patient, or upside down (no method is made of that)?",
        reference=Later("sanity.edits", "edit_reference"),
        prepared=Later("sanity.edits", "passes_once"),
    ),
    "counterfactual": Check(
        Later("sanity.turned", "measure_turned"),
        "do maps point at the waves whose change turns the decision (found by search)?",
        subjects="turned",
    ),
    "localisation": Check(
        Later("sanity.localisation", "measure_localisation"),
        "do maps point at the planted cause?",
        prepared=lambda _model: 4,
    ),
    "axioms": Check(
        Later("sanity.axioms", "measure_axioms"),
        "are the identities kept that the method claims?",
        reference=Later("sanity.axioms", "movable"),
        explained=lambda _model: 2,
    ),
    "agreement": Check(None, "do methods agree with each other?"),
    "seeds": Check(None, "does a method agree with itself over models of other seeds (--seeds)?"),
    "layers": Check(
        None, "the Grad-CAM table: layer x truth, on the amplitude models and the planted causes"
    ),
}


def find_planted(args: argparse.Namespace) -> Path:
    """The folder of the simulated cohort: --planted, the data set's own, or the one it was
    preprocessed from.
    """
    from sanity.localisation import has_truth

    if args.planted:
        if not has_truth(Path(args.planted)):
            raise UserError(
                f"--planted {args.planted} holds no planted causes: name a simulation's"
            )
        return Path(args.planted)
    folders = data_folders(args.data_path)
    return next((folder for folder in folders if has_truth(folder)), folders[0])


def checks_of(args: argparse.Namespace, run: Path) -> tuple[dict[str, Check], Path | None]:
    """The asked checks that can be made of the folder `run`, with what they need filled in; says
    which cannot and why.
    """
    from sanity.localisation import has_truth, planted_reference
    from sanity.turned import turned_reference, why_no_answers

    folder = run / COUNTERFACTUALS
    chosen = {name: CHECKS[name] for name in check_names("check", args.checks, CHECKS)}
    planted = find_planted(args)
    truth = has_truth(planted)
    missing = {
        "amplitude": not args.amplitude_models and "no --amplitude_models",
        "seeds": not args.seeds and "no --seeds",
        "counterfactual": why_no_answers(folder),
        "localisation": not truth
        and f"no planted causes in {planted}: simulate_ptbxl.py makes such cohorts",
        "layers": not (args.amplitude_models or truth)
        and "neither --amplitude_models nor planted causes",
    }
    left_out = {name: missing[name] for name in chosen if missing.get(name)}
    say_left_out(left_out)
    chosen = {name: check for name, check in chosen.items() if name not in left_out}
    if not chosen:
        raise UserError("none of the checks can be made: see the line above")
    if "localisation" in chosen:
        chosen["localisation"] = replace(
            chosen["localisation"], reference=partial(planted_reference, data_path=planted)
        )
    if "counterfactual" in chosen:
        reference = partial(turned_reference, folder=folder)
        chosen["counterfactual"] = replace(chosen["counterfactual"], reference=reference)
    return chosen, planted if truth else None
