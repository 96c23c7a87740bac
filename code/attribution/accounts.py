"""What is said of how much of the logits maps account for: ledgers, gaps, standard errors."""

import sys

import numpy as np

from attribution.explanation import ledger_words
from attribution.job import Job, besides_maps


def say_accounts(job: Job) -> None:
    """Print ledgers, gaps and standard errors: how much of the logits the maps account for."""
    for target in job.targets:
        for method in job.methods:
            arrays = besides_maps(job, method, target)
            if "ledger" in arrays:
                _say_ledger(f"{method} {target.name}", arrays)
            if "standard_error" in arrays:
                _say_error(f"{method} {target.name}", arrays)
            elif "gap" in arrays:
                _say_gap(f"{method} {target.name}", arrays)


def _say_ledger(name, arrays):
    """Print the mean ledger, and its layers where they were asked for."""
    logit, *shares = arrays["ledger"].mean(axis=0)
    sums = " + ".join(f"{word} {share:.3f}" for word, share in ledger_words(shares))
    print(f"{name}: ledger (mean of {len(arrays['ledger'])}) logit {logit:.3f} = {sums}")
    if "layers" in arrays:
        for layer, opened in zip(arrays["layer_names"], arrays["layers"].mean(axis=0), strict=True):
            pairs = ledger_words([0.0, *opened])[1:]
            print(f"  {layer:24} " + "  ".join(f"{word} {share:8.4f}" for word, share in pairs))


def _say_gap(name, arrays):
    """Print the largest gap, and how many records keep one that is too large."""
    print(f"{name}: largest completeness gap {np.abs(arrays['gap']).max():.4f} logit")
    if arrays["missed"].any():
        print(
            f"warning: {name}: {arrays['missed'].sum()} of {len(arrays['missed'])} records keep a "
            f"gap above 1 % in some window at {arrays['steps'].max()} steps"
            + (" (--max_steps raises the cap)" if name.startswith("ig ") else ""),
            file=sys.stderr,
        )


def _say_error(name, arrays):
    """Print how far Shapley values are from summing up, how many orders were tried, and whether
    that was enough for the wanted error.
    """
    print(
        f"{name}: shares sum up within {np.abs(arrays['gap']).max():.4f} logit; "
        f"{arrays['steps'].min()} to {arrays['steps'].max()} orders a window"
    )
    if arrays["missed"].any():
        print(
            f"note: {name}: {arrays['missed'].sum()} of {len(arrays['missed'])} records have a "
            "share with a standard error above the wanted one in some window (--max_permutations "
            "raises the cap; standard_error in the file says how large)",
            file=sys.stderr,
        )
