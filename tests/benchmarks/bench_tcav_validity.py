"""Does the test of TCAV hold, and does it find what is there? Four studies, each printing what it
measured.

    python tests/benchmarks/bench_tcav_validity.py calibration [--data_path D --model_path M]
    [--analyses 200] python tests/benchmarks/bench_tcav_validity.py decoys [--seeds 20] [--n_records
    1000] python tests/benchmarks/bench_tcav_validity.py power [--seeds 5] [--n_records 3000]
    python tests/benchmarks/bench_tcav_validity.py confounding [--seeds 10] [--n_records 3000]

calibration  concepts whose flags are dealt out anew by patient: how many analyses find anything
             (corrected p < .05)? Is p of one cell, fixed in advance, uniform?
decoys       simulated cohorts, one LeNet each: marks visible in the signal that no label depends
             on; how often significant?
power        the same cohorts, larger: voltage -> LVH, QRS duration -> CLBBB, ST elevation -> AMI,
             IMI.
confounding  the same: flags that go with a class by label or age alone, and a cause that the label
             hides; plain and matched.
"""

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import binom, kstest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "code"))

from common.labels import LABEL_MAPPINGS, LEADS, labels_of_statement
from ecg.analysis import measure_all
from ecg.concepts import CONCEPTS, judge
from networks.checkpoints import ModelInfo, load_model
from networks.models import get_model
from records.dataset import Dataset, load_dataset, parse_flags
from simulation.cohort import make_plan, render_plan
from simulation.files import statements
from tcav.activations import class_gradients, collect, layer_names
from tcav.analysis import ALPHA, Plan, make_layer, run_concept
from tcav.concept_sets import concept_set, reason_against, strata_of
from tcav.tables import scores_table

TASK = "subdiagnostic"
PLANTED = {
    "SLI-LVH": ("LVH",),
    "S12-LVH": ("LVH",),
    "R56-LVH": ("LVH",),
    "QRS-CLBBB": ("CLBBB",),
    "ST-ELEV-MI": ("AMI", "IMI"),
}


# ---------------------------------------------------------------- cohorts in memory


def simulate(n_records: int, seed: int) -> Dataset:
    """A simulated cohort with concept columns judged on its signals, as preprocessing.py does."""
    plan = make_plan(n_records, seed)
    labels = np.zeros((n_records, len(LABEL_MAPPINGS[TASK])), dtype=int)
    for row, found in enumerate(map(statements, plan.to_dict("records"))):
        for label in {label for code in found for label in labels_of_statement(code, TASK)}:
            labels[row, LABEL_MAPPINGS[TASK].index(label)] = 1
    signals = render_plan(plan).astype(np.float32) / 1000
    measured = measure_all(signals, 100, progress=False)
    table = pd.concat(
        [plan, measured, judge(measured.assign(sex=plan["sex"], age=plan["age"]))], axis=1
    )
    for name in [column for column in table if column.startswith("decoy_")]:
        table[name] = table[name] > 0
    return Dataset(
        table.set_index("ecg_id"), signals, 100, Path(), TASK, labels, labels.any(axis=1)
    )


def train(data: Dataset, seed: int, epochs: int = 20) -> torch.nn.Module:
    """A LeNet trained on random crops of folds 1-8."""
    torch.manual_seed(seed)
    model = get_model("lenet", data.labels.shape[1])
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=1e-3)
    inputs, targets = (
        torch.from_numpy(data.signals).transpose(1, 2),
        torch.from_numpy(data.labels).float(),
    )
    rows, rng = np.flatnonzero((data.fold < 9) & data.labelled), np.random.default_rng(seed)
    for _ in range(epochs):
        for batch in np.array_split(rng.permutation(rows), len(rows) // 64):
            starts = rng.integers(751, size=len(batch))
            crops = torch.stack(
                [
                    inputs[row, :, start : start + 250]
                    for row, start in zip(batch, starts, strict=True)
                ]
            )
            optimizer.zero_grad()
            torch.nn.functional.binary_cross_entropy_with_logits(
                model(crops), targets[batch]
            ).backward()
            optimizer.step()
    model.info = ModelInfo("lenet", TASK, tuple(LABEL_MAPPINGS[TASK]), LEADS, 100, 2.5, {}, seed)
    return model.eval()


class Prepared:
    """A model's layers on the training records and the classes of fold 10, ready for concepts."""

    def __init__(self, model, data, labels=None, layers=None):
        self.training, evaluated = data.in_folds(range(1, 9)), data.in_folds([10])
        members, names = evaluated.labels > 0, layers or layer_names(model)
        columns = (
            [model.info.index(label) for label in labels]
            if labels
            else np.flatnonzero(members.any(axis=0))
        )
        activations = collect(model, self.training.signals, names)
        gradients = class_gradients(model, evaluated.signals, members, names)
        self.layers = [
            make_layer(
                name, activations[name], [gradients[column][name] for column in columns], "white"
            )
            for name in names
        ]
        self.labels, self.n_class = (
            [model.info.labels[column] for column in columns],
            members[:, columns].sum(axis=0),
        )

    def scores(
        self, flags: dict[str, np.ndarray], plan: Plan, match: Sequence[str] = ()
    ) -> pd.DataFrame:
        """Scores table of concepts given by their flags (0, 1, NaN) of the training records; too
        rare ones are left out.
        """
        strata = strata_of(self.training.table, self.training.labels, list(match))
        sets = [
            concept_set(name, values, self.training.patient_id, strata)
            for name, values in flags.items()
        ]
        outcomes = [
            run_concept(concept, self.layers, plan)
            for concept in sets
            if reason_against(concept, 20) is None
        ]
        return scores_table(outcomes, self.labels, self.n_class, plan, TASK, {})


# ---------------------------------------------------------------- studies


def _seeds(args):
    return range(args.first_seed, args.first_seed + args.seeds)


def dealt_out(flags: np.ndarray, patients: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each patient gets the flags of a patient drawn at random (repeated or cut to their number of
    records).
    """
    _, codes = np.unique(patients, return_inverse=True)
    rows = [np.flatnonzero(codes == code) for code in range(codes.max() + 1)]
    out = np.empty_like(flags)
    for mine, donor in zip(rows, rng.permutation(len(rows)), strict=True):
        out[mine] = np.resize(flags[rows[donor]], len(mine))
    return out


def calibration(args):
    """Any corrected p < .05 in `analyses` analyses of three shuffled concepts each; KS of one
    cell's p.
    """
    if args.data_path:
        model = load_model(args.model_path)
        data = load_dataset(args.data_path, model.info.task)
    else:
        data = simulate(args.n_records, 0)
        model = train(data, 0)
    prepared, rng = Prepared(model, data), np.random.default_rng(args.seed)
    training = prepared.training
    names = ("SLI-LVH", "S12-LVH", "QRS-CLBBB")
    cell, p, found = (
        ("SLI-LVH", "block3.relu", "LVH" if "LVH" in model.info.labels else "HYP"),
        [],
        0,
    )
    for number in range(args.analyses):
        flags = {
            name: dealt_out(parse_flags(training.table, name), training.patient_id, rng)
            for name in names
        }
        table = prepared.scores(flags, Plan(n_runs=5, n_null=args.n_null, test_runs=5, seed=number))
        found += bool((table["p_corrected"] < ALPHA).any())
        p.append(table.set_index(["concept", "layer", "pathology"]).loc[cell, "p"])
        if (number + 1) % 20 == 0:
            print(f"  {number + 1} analyses: {found} with a finding", flush=True)
    limit = int(binom.ppf(0.975, args.analyses, ALPHA))
    ks = kstest(p, "uniform")
    print(
        f"calibration: {found} of {args.analyses} analyses with any corrected p < .05 (upper limit "
        f"{limit}); "
        f"p of {' / '.join(cell)}: KS distance {ks.statistic:.3f}, p = {ks.pvalue:.2f}"
    )
    return found <= limit and ks.pvalue > 0.01


def decoys(args):
    """Decoys of `seeds` cohorts."""
    seeds, cells = [], 0
    for seed in _seeds(args):
        data = simulate(args.n_records, seed)
        prepared = Prepared(train(data, seed), data)
        table = prepared.training.table
        flags = {name: parse_flags(table, name) for name in table if name.startswith("decoy_")}
        scores = prepared.scores(
            flags, Plan(n_null=args.n_null, n_runs=10, test_runs=10, seed=seed)
        )
        hits = scores[scores["p_corrected"] < ALPHA]
        cells += len(hits)
        seeds += [seed] if len(hits) else []
        seen = scores.groupby("concept", sort=False)["cav_accuracy"].max()
        print(
            f"  seed {seed}: {len(hits)} of {len(scores)} cells, smallest p "
            f"{scores['p_corrected'].min():.3f}; CAV accuracy "
            + ", ".join(f"{name[6:]} {value:.2f}" for name, value in seen.items()),
            flush=True,
        )
    print(f"decoys: significant in {len(seeds)} of {args.seeds} cohorts ({cells} cells)")
    return len(seeds) <= 0.05 * args.seeds


def _pair(scores, concept, label):
    """Smallest corrected p of a concept and a label over the layers in which the logit grows along
    the concept.
    """
    cells = scores[(scores["concept"] == concept) & (scores["pathology"] == label)]
    smallest = cells.loc[cells["magnitude"] > 0, "p_corrected"].min()
    return {
        "concept": concept,
        "pathology": label,
        "tested": len(cells) > 0,
        "p": smallest,
        "found": smallest < ALPHA,
    }


def power(args):
    """Planted pairs of `seeds` cohorts: does the pair come out significant in any layer, with the
    right sign?
    """
    rows = []
    for seed in _seeds(args):
        data = simulate(args.n_records, seed)
        prepared = Prepared(train(data, seed), data)
        flags = {name: parse_flags(prepared.training.table, name) for name in CONCEPTS}
        scores = prepared.scores(
            flags, Plan(n_null=args.n_null, n_runs=10, test_runs=10, seed=seed)
        )
        pairs = [
            _pair(scores, concept, label) for concept, labels in PLANTED.items() for label in labels
        ]
        rows += pairs
        print(
            f"  seed {seed}: "
            + ", ".join(f"{x['concept']}->{x['pathology']} {x['p']:.3f}" for x in pairs),
            flush=True,
        )
    summary = (
        pd.DataFrame(rows).groupby(["concept", "pathology"], sort=False)[["found", "tested"]].sum()
    )
    print(
        "power: cohorts in which the pair is significant in some layer, positive\n"
        + summary.to_string()
    )
    return bool((summary["found"] == summary["tested"]).all())


def _by_label(training, rng):
    """Noted in .6 of the records with LVH and .15 of the others, whatever their signal
    looks like.
    """
    return (rng.random(len(training)) < np.where(_has_lvh(training), 0.6, 0.15)).astype(float)


def _by_age(training, rng):
    """Noted the more often the older the decade, whatever the signal looks like."""
    return (rng.random(len(training)) < training.table["age"].to_numpy() // 10 / 12).astype(float)


def _tall_for_its_label(training, rng):
    """R in V5 taller than most with the label: LVH, in which R is tall, has fewer of
    these records.
    """
    has, height = _has_lvh(training), training.table["R_Amp_V5"].to_numpy()
    limits = [
        np.nanquantile(height[group], 1 - share)
        for group, share in zip((has, ~has), HIDDEN, strict=True)
    ]
    return (height > np.where(has, *limits)).astype(float)


def _has_lvh(training):
    return training.labels[:, LABEL_MAPPINGS[TASK].index("LVH")] > 0


HIDDEN = (0.3, 0.5)  # share of records with and without LVH that _tall_for_its_label flags
DEEP = (
    "block3.conv",
    "block3.norm",
    "block3.relu",
    "pool",
    "hidden",
    "hidden_relu",
    "head",
)  # where a line is a tall R
# flag -> (how it comes about, class, what is matched, layers, whether plain and matched TCAV should
# find it)
CONFOUNDED = {
    "noted with LVH": (_by_label, "LVH", "label", None, (True, False)),
    "noted with age": (_by_age, "NORM", "age", None, (True, False)),
    "tall for its label": (_tall_for_its_label, "LVH", "label", DEEP, (False, True)),
}


def confounding(args):
    """In how many cohorts plain and matched TCAV find what only a confounder made, and what one
    hid.
    """
    rows = []
    for seed in _seeds(args):
        data = simulate(args.n_records, seed)
        model = train(data, seed)
        rows += [
            row
            for name in CONFOUNDED
            for row in _plain_and_matched(name, model, data, seed, args.n_null)
        ]
        print(
            f"  seed {seed}: "
            + ", ".join(f"{row['flag']} {row['how']} {row['p']:.3f}" for row in rows[-6:]),
            flush=True,
        )
    table = pd.DataFrame(rows)
    summary = table.groupby(["flag", "class", "how"], sort=False).agg(
        found=("found", "sum"), wanted=("wanted", "sum")
    )
    print(f"confounding: of {args.seeds} cohorts, those with a finding\n" + summary.to_string())
    by_chance = binom.ppf(0.975, args.seeds, ALPHA)
    return bool(
        (summary["found"] >= summary["wanted"]).all()
        and (summary["found"] <= summary["wanted"] + by_chance).all()
    )


def _plain_and_matched(name, model, data, seed, n_null):
    """Smallest corrected p of a confounded flag, without and with matching."""
    make, label, match, layers, wanted = CONFOUNDED[name]
    prepared = Prepared(model, data, [label], layers)
    flags = {name: make(prepared.training, np.random.default_rng(seed))}
    plan = Plan(n_null=n_null, n_runs=10, test_runs=10, seed=seed)
    p = [prepared.scores(flags, plan, matched)["p_corrected"].min() for matched in ((), (match,))]
    return [
        {
            "flag": name,
            "class": label,
            "how": how,
            "p": value,
            "found": value < ALPHA,
            "wanted": want,
        }
        for how, value, want in zip(("plain", f"matched on {match}"), p, wanted, strict=True)
    ]


STUDIES = {"calibration": calibration, "decoys": decoys, "power": power, "confounding": confounding}


def main():
    """Run one study; exit code 1 where its bar is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--data_path")
    parser.add_argument("--model_path")
    parser.add_argument("--analyses", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first_seed", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n_records", type=int, default=1000)
    parser.add_argument("--n_null", type=int, default=399)
    warnings.filterwarnings("ignore", category=RuntimeWarning)
    sys.exit(not STUDIES[parser.parse_args().study](parser.parse_args()))


if __name__ == "__main__":
    main()
