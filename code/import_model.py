"""A network of your own as a run folder: whatever was trained elsewhere goes through stages 3 to 9.

Reads:   --network file.py:maker with --weights, or --exported (torch.export), or --onnx, or
         --original (a checkpoint of the original XAI4ECG); with --data_path the records it is
         measured on
Writes:  <output_path>/imported_<task>_<run_name>/ checkpoints/best_model.ckpt (graph and weights as
         plain data: nothing of the user's code is needed or run later), import.json, and with
         --data_path metrics.json, predictions.npz, roc.png, reliability.png

Example: python code/import_model.py --onnx mine.onnx --sampling_rate 100 --unit uV --run_name mine

Says what it found, which analyses went through on eight records, and what stands in the way of the
others.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # python -I leaves it out

import utils  # isort: skip  # noqa: F401

import argparse
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from networks import run as training_run
from networks.capture import capture
from networks.checkpoints import ModelInfo, load_model, run_folder, save_checkpoint
from networks.defaults import dataset_note
from networks.foreign import (
    OUTPUTS,
    Logits,
    Records,
    check_leads,
    foreign,
    record_dependence,
)
from networks.importing import WAYS, Source
from networks.inference import load_dataset_for, to_input
from networks.models import last_layer
from networks.preprocessing import (
    LAYOUTS,
    NORMALISATIONS,
    PADDINGS,
    UNITS,
    Expected,
    layout_of,
    read_statistics,
)
from networks.program import PREPROCESSING, Program
from networks.splits import FOLDS, left_out
from networks.steps import time_steps
from networks.testing import thresholds_of, write_test
from networks.training import checkpoint_paths
from utils import (
    LEADS,
    OWN_TASK,
    TASKS,
    Dataset,
    Explanation,
    Stage,
    StageParser,
    UserError,
    centre_crop,
    content_hash,
    explain,
    load_dataset,
    positive_int,
    run,
    say_results,
    select_device,
    sha256,
    stage_parser,
)

# what is said of a network of one's own, and known of the original's
OF_OWN = (
    "labels sampling_rate seconds unit normalisation padding layout outputs output_index columns "
    "record_rate"
)
N_TRIED = 8  # records that the analyses are tried on
TRIED = ("saliency", "ig", "lrp", "gradcam", "hirescam", "guided_gradcam")
WIDE_GAP = 0.1  # of the difference that is shared out, with a floor of one logit
QUICK = {"ig": {"steps": 20, "max_steps": 80}}  # options that make a try short


def get_args_parser() -> StageParser:
    """Options of this stage."""
    parser = stage_parser(
        __doc__,
        "data_path",
        "output_path",
        "run_name",
        "seed",
        "gpu",
        "device",
        "threads",
        "limit",
        "folds",
        "overwrite",
        data_path={
            "default": None,
            "help": "data set that the network is measured on: AUC per class on --folds, "
            "thresholds from fold 9 (default: not measured)",
        },
        run_name={"help": "name of the run folder imported_<task>_<run_name>"},
    )
    _network_options(parser)
    _output_options(parser)
    parser.without_effect(
        "with --original", lambda args: args.original, OF_OWN, "its networks are known"
    )
    parser.without_effect(
        "without --network",
        lambda args: not args.network,
        "weights",
        "the other ways bring their weights along",
    )
    parser.without_effect(
        "without --data_path",
        lambda args: not args.data_path,
        "folds limit n_bootstrap seed",
        "it is not measured",
    )
    return parser


def _network_options(parser):
    """Where the network is, and what it takes."""
    way = parser.add_argument_group("the network, one of")
    way.add_argument(
        "--network", metavar="FILE.PY:MAKER", help="code that makes it; it is run once"
    )
    way.add_argument("--exported", metavar="FILE.PT2", help="what torch.export.save wrote")
    way.add_argument("--onnx", metavar="FILE.ONNX", help="an ONNX file")
    way.add_argument("--original", metavar="FILE.CKPT", help="a checkpoint of the original XAI4ECG")
    way.add_argument("--weights", metavar="FILE.PT", help="with --network: its state dict")

    parser.add_list_argument("--labels", help="its classes, in the order of its outputs")
    parser.add_list_argument(
        "--leads", help="its input leads, in its order (default: all 12, I to V6)"
    )
    expects = parser.add_argument_group("what it was trained on")
    expects.add_argument("--sampling_rate", type=float, metavar="HZ", help="rate of its input")
    expects.add_argument(
        "--seconds", type=float, help="length of its input (default: as its file says, else 10)"
    )
    expects.add_argument(
        "--unit", help=f"{', '.join(UNITS)}, or how many mV one step is (default: mV)"
    )
    expects.add_argument(
        "--normalisation",
        help=f"{', '.join(name for name in NORMALISATIONS if name != 'file')} (default: none), or "
        "a csv with the columns lead, mean and deviation, in its unit",
    )
    expects.add_argument(
        "--padding",
        choices=PADDINGS,
        default="centre",
        help="where zeros go around a record that is shorter than its input: to both sides "
        "(centre), behind it (end), before it (start)",
    )
    expects.add_argument(
        "--layout",
        choices=LAYOUTS,
        help="axes of its input (default: as its file says, else leads_time)",
    )


def _output_options(parser):
    """What it puts out, and the records that it will be given."""
    gives = parser.add_argument_group("what it puts out")
    gives.add_argument("--outputs", choices=OUTPUTS, help="default: as its last operation says")
    gives.add_argument(
        "--output_index", type=int, help="which of several outputs holds the classes"
    )
    parser.add_list_argument(
        "--columns", item=int, help="which values of the output are the labels' (default: all)"
    )
    gives.add_argument(
        "--task", choices=tuple(TASKS), help="the labels' task (default: found by name)"
    )
    records = parser.add_argument_group("the records that it will be given")
    records.add_argument(
        "--record_rate", type=positive_int, metavar="HZ", help="default: of --data_path, else 100"
    )
    records.add_argument(
        "--n_bootstrap",
        type=positive_int,
        default=1000,
        help="resamples of patients behind the intervals",
    )


def read_source(args: argparse.Namespace) -> tuple[Source, list[str]]:
    """The network, and its labels."""
    chosen = [way for way in WAYS if getattr(args, way)]
    if len(chosen) != 1:
        ways = ", ".join(f"--{way}" for way in (*WAYS, "original"))
        raise UserError(f"name one network with {ways}")
    n_classes = len(args.labels or ()) if not args.columns else max(args.columns) + 1
    source = WAYS[chosen[0]](args, n_classes, len(args.leads or LEADS))
    labels = args.labels or source.said.get("labels")
    if not labels:
        raise UserError("--labels is needed: the network's classes, in the order of its outputs")
    return source, list(labels)


def expected_of(args: argparse.Namespace, source: Source, leads: list[str]) -> Expected:
    """What the network was trained on: options first, then what its file says."""
    rate = args.sampling_rate or source.said.get("sampling_rate")
    if not rate:
        raise UserError("--sampling_rate is needed: the rate in Hz that the network was trained on")
    layout, samples = layout_of(source.shape, len(leads), args.layout)
    seconds = args.seconds or (samples / rate if samples else 10.0)
    if samples and round(seconds * rate) != samples:
        raise UserError(
            f"--seconds {seconds:g} at {rate:g} Hz is {round(seconds * rate)} samples: the network "
            f"takes {samples}"
        )
    name = args.normalisation or source.said.get("normalisation") or "none"
    means = deviations = None
    if name.endswith(".csv"):
        means, deviations = read_statistics(name, leads)
        name = "file"
    unit = args.unit or source.said.get("unit") or "mV"
    return Expected(rate, seconds, unit, name, args.padding, layout, means, deviations)


def records_of(args: argparse.Namespace, rate: float) -> Records:
    """The records that it will be given: the data set's of the nearest rate, or PTB-XL's."""
    if not args.data_path:
        return Records(args.record_rate or 100)
    present = sorted(
        int(path.stem[3:])
        for path in Path(args.data_path).glob("raw*.*")
        if path.stem[3:].isdigit()
    )
    enough = [one for one in present if one >= rate]
    chosen = args.record_rate or (enough[0] if enough else present[-1] if present else 100)
    signals = load_dataset(args.data_path, None, chosen).signals
    return Records(chosen, signals.shape[1] / chosen)


def main(args: argparse.Namespace) -> None:
    """Read the network, put it together, try the analyses, measure it, write the run folder."""
    device = select_device(args)
    if not args.run_name:
        raise UserError("--run_name is needed: the name of this network's run folder")
    network, expected = original_network(args) if args.original else own_network(args)
    info = network.info
    folder = run_folder(args.output_path or training_run.OUTPUT_PATH, info)
    settings = {
        name: value
        for name, value in vars(args).items()
        if name not in ("output_path", "overwrite", "gpu", "device", "threads", "data_path", "bare")
    }
    files = {key: info.origin.get(key) for key in ("way", "file", "weights", "sha256")}
    settings |= {"data": data_hash(args, info), **files, **contents(args)}
    with Stage(folder, "import", settings, args.overwrite) as stage:
        if stage.finished_before():
            return
        network = network.to(device)
        data = load_dataset_for(info, args.data_path, args.limit) if args.data_path else None
        signals = tried_records(info, data)
        x = to_input(centre_crop(signals, info.crop), info.leads, device)
        print("\n".join(describe(network, capture(network, x), expected)))
        print("\n".join(try_analyses(network, capture(network, x), x)))
        checkpoint = checkpoint_paths(folder)[0]
        if data is not None:
            dataset = dataset_note(args.data_path, info.sampling_rate, checkpoint.parent)
            info = replace(info, dataset=dataset, thresholds=thresholds(network, data))
            network.info = info
        save_checkpoint(checkpoint, network, info)
        load_model(checkpoint)  # what is written can be read
        written = [checkpoint]
        if data is not None:
            written += measure(args, folder, network, data)
        stage.finish(outputs=written, counts={} if data is None else {"records": len(data)})
    print(f"{folder} can be given to stages 3 to 9 as --model_path")
    say_results(folder, written, training_run.FIRST)


def own_network(args: argparse.Namespace) -> tuple[Program, Expected]:
    """The graph of a network of one's own, with what it expects."""
    source, labels = read_source(args)
    leads = check_leads(args.leads or LEADS)
    expected = expected_of(args, source, leads)
    records = records_of(args, expected.sampling_rate)
    logits = Logits(args.output_index, args.columns, len(labels))
    options = (args.outputs, args.task, args.run_name, source.facts)
    network = source.network
    if any(parameter.dtype != torch.float32 for parameter in network.parameters()):
        print("weights in another precision are taken as float32")
        network = network.float()
    program = foreign(network, labels, leads, expected, records, logits, *options)
    return program, expected


def original_network(args: argparse.Namespace) -> tuple[nn.Module, Expected]:
    """One of the original's networks as ours, with what it was trained on."""
    if others := [way for way in WAYS if getattr(args, way)]:
        raise UserError(f"name one network: --original or --{others[0]}")
    from networks.original import network_of, task_of_size

    modelname, network = network_of(args.original)
    n_classes = len(last_layer(network)[1].weight)
    task = task_of_size(n_classes, args.task)
    leads = check_leads(args.leads or LEADS)
    if len(leads) != network.n_leads:
        raise UserError(f"the network takes {network.n_leads} leads: --leads names them")
    file = {"way": "original", "file": Path(args.original).name, "sha256": sha256(args.original)}
    network.info = ModelInfo(
        modelname=modelname,
        task=task,
        labels=tuple(TASKS[task]),
        leads=tuple(leads),
        sampling_rate=100,
        crop_seconds=2.5,
        folds=FOLDS,
        seed=0,
        run_name=args.run_name,
        origin={**file, "outputs": "logits", "preprocessing": "none"},
    )
    return network, Expected(100, 2.5)


def data_hash(args: argparse.Namespace, info: ModelInfo) -> str | None:
    """What tells the data set that the network is measured on from another; None without one."""
    return content_hash(args.data_path, info.sampling_rate) if args.data_path else None


def contents(args: argparse.Namespace) -> dict[str, str]:
    """What tells the files that --network and --normalisation name from others of their names."""
    code = args.network and args.network.rpartition(":")[0]
    means = args.normalisation if (args.normalisation or "").endswith(".csv") else None
    named = {"code": code, "normalisation file": means}
    return {what: sha256(path) for what, path in named.items() if path}


def measure(
    args: argparse.Namespace, folder: Path, network: nn.Module, data: Dataset
) -> list[Path]:
    """Test the network on --folds, say its AUC per class; the paths written."""
    folds = {**network.info.folds, "test": sorted(args.folds)}
    info = replace(network.info, folds=folds, seed=args.seed)
    test = data.rows(data.labelled & np.isin(data.fold, args.folds))
    if not len(test):
        print(f"not measured: no labelled record in fold {' '.join(map(str, args.folds))}")
        return []
    asked = argparse.Namespace(
        model_path=None,
        n_bootstrap=args.n_bootstrap,
        keep_unlabelled=False,
        data_path=args.data_path,
    )
    metrics, written = write_test(folder, network, info, test, asked, overwrite=True)
    from utils import area_in_words  # where something was measured

    areas = metrics["windows"]["per_class_auc"]
    shown = [
        f"{name} {area_in_words(area['value'], area['low'], area['high'], 3)}, "
        f"n {int(test.labels[:, info.index(name)].sum())}"
        for name, area in areas.items()
        if name not in metrics["windows"]["classes_left_out"]
    ]
    tested = " ".join(map(str, folds["test"]))
    print(
        f"AUC on {len(test)} records of fold {tested}: {'; '.join(shown) or 'no class in common'}"
    )
    print(
        f"note: that is a test only where the network was not trained on fold {tested}; a column "
        "split or strat_fold of the data set's table says how its own training parted the records"
    )
    if left := left_out(test, "test"):
        print(left)
    return written


def thresholds(network: nn.Module, data: Dataset) -> tuple[float, ...] | None:
    """Per class the probability of best F1 on fold 9; None, and said, where there is no record."""
    validation = data.rows(data.labelled & (data.fold == 9))
    if not len(validation):
        print("no thresholds: the data set has no labelled record in fold 9")
        return None
    return thresholds_of(network, validation)


# ---------------------------------------------------------------- what was found


def tried_records(info: ModelInfo, data: Dataset | None) -> np.ndarray:
    """A few records (n, T, 12) in mV: of the data set's fold 10, or simulated ones."""
    if data is not None:
        last = np.flatnonzero(data.fold == data.fold.max())
        return data.signals[last[:N_TRIED]]
    from utils import make_plan, render_plan

    microvolt = render_plan(make_plan(N_TRIED, seed=0), info.sampling_rate)
    signals = microvolt.astype(np.float32) / 1000  # mV
    repeats = -(-info.crop // signals.shape[1])
    return np.tile(signals, (1, repeats, 1))


def describe(network: nn.Module, program: Program, expected: Expected) -> list[str]:
    """Lines on the network and its graph: operations, parameters, input, output."""
    info = network.info
    around = (PREPROCESSING, "logits")
    own = [node for node in program.nodes if node.place.split(".")[0] not in around]
    counted = Counter(node.kind for node in own)
    kinds = ", ".join(f"{kind} {n}" for kind, n in counted.most_common())
    n_parameters = sum(parameter.numel() for parameter in program.parameters())
    lines = [
        f"operations: {len(own)} ({kinds}); parameters: {n_parameters:,}",
        f"input: {len(info.leads)} leads x {expected.samples} samples ({expected.seconds:g} s at "
        f"{expected.sampling_rate:g} Hz) in {expected.unit}, normalisation "
        f"{expected.normalisation}; records of {info.crop_seconds:g} s at {info.sampling_rate} Hz "
        f"in mV go through: {info.origin['preprocessing']}",
        f"outputs: {', '.join(info.labels)} (task {info.task})",
    ]
    if expected.sampling_rate > info.sampling_rate:
        lines.append(
            f"note: records at {info.sampling_rate} Hz hold nothing above "
            f"{info.sampling_rate / 2:g} Hz; where the recordings are faster, --sampling_rate "
            f"{expected.sampling_rate:g} of preprocessing.py keeps it (--record_rate: for single "
            "recordings)"
        )
    if info.task == OWN_TASK:
        lines.append(
            "labels: classes of your own: no textbook cards (--cards takes a csv), no superclasses"
        )
    if info.origin["outputs"] != "logits":
        lines.append(f"ends in a {info.origin['outputs']}: the logit before it is explained")
    if what := record_dependence(expected):
        lines.append(
            f"the normalisation depends on the record ({what}): gradients go through it, "
            "Integrated Gradients hold it at the record's own, LRP's ledger books its share"
        )
    return lines


def try_analyses(network: nn.Module, program: Program, x: Tensor) -> list[str]:
    """A line per analysis: whether it works on records x (N, leads, T), how well, or why not."""
    from utils import layer_in_words

    with torch.no_grad():
        logits = network(x)
    target = logits.argmax(dim=1)
    lines = [*range_lines(network, logits), *layer_lines(network, program, x)]
    for method in TRIED:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the gap of so few steps is said anyway
                done = explain(network, x, target, method, **QUICK.get(method, {}))
        except UserError as error:
            lines.append(f"{method}: no, {error}")
            continue
        zero = int((done.attributions == 0).flatten(1).all(1).sum())
        if zero == len(x):
            lines.append(f"{method}: no, its map is zero on all {zero} records")
            continue
        read = layer_in_words(network, x, network.info.sampling_rate) if "cam" in method else ""
        word = "with a gap" if wide_gap(done).any() else "yes"
        of_zero = f", zero on {zero} of {len(x)} records" if zero else ""
        where = read and f", at {read}"
        lines.append(f"{method}: {word}{where}{of_zero}{quality_of(done, len(x))}")
    return lines


def range_lines(network: nn.Module, logits: Tensor) -> list[str]:
    """A line where what is taken for logits lies between 0 and 1 throughout."""
    inside = bool(((logits >= 0) & (logits <= 1)).all())
    if network.info.origin["outputs"] != "logits" or not inside:
        return []
    return [
        f"outputs lie between 0 and 1 on all {len(logits)} records and are explained as they are: "
        "if they are probabilities, let the network return the logits behind them"
    ]


def wide_gap(done: Explanation) -> Tensor:
    """Whether a map leaves out more than a tenth of what it shares out, (N,); none where nothing is
    shared out.
    """
    if done.gap is None:
        return torch.zeros(len(done.logit), dtype=torch.bool)
    return done.gap.abs() > WIDE_GAP * done.difference.abs().clamp(min=1)


def quality_of(done: Explanation, n_records: int) -> str:
    """How well a map's sum adds up, in words."""
    if done.ledger is not None:
        gap = float(done.ledger.gap.abs().max())
        return f", ledger closes to {gap:.1g} of the shares on {n_records} records"
    if done.gap is None:
        return ""
    largest = int(done.gap.abs().argmax())
    gap, shared = (float(values.abs()[largest]) for values in (done.gap, done.difference))
    if wide := int(wide_gap(done).sum()):
        return (
            f": on {wide} of {n_records} records the map leaves out more than a tenth of what it "
            f"shares out (at most {gap:.2g} of {shared:.2g} logit): the logit leaps on the way "
            "from 0 mV to the record, as where a network normalises inside; lrp, occlusion or "
            "shapley instead"
        )
    return f", completeness gap {gap:.2g} of {shared:.2g} logit on {n_records} records"


def layer_lines(network: nn.Module, program: Program, x: Tensor) -> list[str]:
    """Lines on the layers with a time axis and on those that TCAV takes."""
    from utils import layer_names

    steps = time_steps(program, x)
    places = {place: steps[ref.name] for place, ref in program.calls.items() if ref.name in steps}
    per_sample = 1000 / network.info.sampling_rate  # ms
    shown = []
    for place, found in list(places.items())[-5:]:
        between = found.centres[found.centres.isfinite()].diff().abs().median()
        shown.append(f"{place} {found.count} x {float(between) * per_sample:.0f} ms")
    lines = [f"layers with time steps: {len(places)}; the last: {', '.join(shown) or 'none'}"]
    try:
        lines.append(f"tcav: yes, at {len(layer_names(network))} layers")
    except UserError as error:
        lines.append(f"tcav: no, {error}")
    return lines


if __name__ == "__main__":
    run(main, get_args_parser())
