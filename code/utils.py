"""The front door: what scripts and notebooks share, under one name.

import sys; sys.path.insert(0, "code")
import utils
model = utils.load_model("output/lenet_subdiagnostic")
data = utils.load_dataset("data/ptbxl/", task=model.info.task)
maps = utils.explain_records(model, data.signals[:8], target=0, method="lrp:epsilon")

own = utils.wrap(my_module, labels=["AF", "LBBB"], sampling_rate=400, seconds=10.24, unit="mV")
logits = utils.predict(own, data.signals[:8])

dir(utils) lists all that is offered to notebooks; stage scripts take their command line from here
too (FOR_STAGES). Each name is loaded when it is first asked for.
"""

import importlib

import common  # noqa: F401  a stage whose Python lacks a package is told here

# room and module -> the names it offers here
OFFERED = {
    # names
    "common.labels": (
        "LABEL_MAPPINGS",
        "LEADS",
        "REGRESSION_TASKS",
        "STATEMENTS",
        "TASKS",
        "WINDOWS",
        "is_regression",
        "slug",
    ),
    "common.words": ("class_in_words", "method_in_words"),
    # files
    "common.files": ("UserError", "read_npz", "read_pickle"),
    "common.figure_files": ("write_figure",),
    "common.stage": ("Stage",),
    # ECGs: measured and cut into segments
    "ecg.analysis": ("detect_r_peaks", "measure", "measure_all"),
    "ecg.delineation": ("delineate",),
    "ecg.segmenting": ("segment",),
    "ecg.segments": ("SEGMENTS",),
    "ecg.concepts": ("CONCEPTS", "judge"),
    # data sets
    "records.dataset": (
        "Dataset",
        "PLANTED",
        "TABLE",
        "centre_crop",
        "content_hash",
        "load_dataset",
        "load_table",
        "parse_flags",
        "parse_r_peaks",
        "window_starts",
    ),
    "records.quality": ("QUALITY_FILE", "write_flag_counts"),
    "records.segmentations": ("load_segments", "stored_segmentations"),
    # simulated patients whose causes are known
    "simulation.cohort": ("make_plan", "render_plan"),
    # networks and their checkpoints
    "networks.models": ("MODELS", "get_model"),
    "networks.foreign": ("wrap",),
    "networks.checkpoints": (
        "ModelInfo",
        "check_against",
        "find_checkpoint",
        "load_checkpoint",
        "load_model",
        "run_folder",
        "save_checkpoint",
    ),
    "networks.defaults": ("choose_pathologies", "results_folder", "settle"),
    "networks.inference": ("load_dataset_for", "predict"),
    "networks.controls": ("check_controls", "controls_for"),
    # attribution
    "attribution.explanation": ("Explanation",),
    "attribution.cam": ("layer_in_words",),
    "attribution.methods": (
        "METHODS",
        "Explainer",
        "attribute",
        "attribute_records",
        "check_methods",
        "explain",
        "explain_records",
        "make_explainers",
        "methods_in_words",
        "workable",
    ),
    "attribution.plan": ("choose_targets",),
    "attribution.selection": ("STRATEGIES", "select_pathology", "strategies_in_words"),
    "attribution.cells": ("cell_maps", "density"),
    "attribution.cards": ("CARDS", "cards_for"),
    # concept vectors
    "tcav.activations": ("class_gradients", "collect", "layer_names"),
    "tcav.concept_sets": ("concept_set",),
    "tcav.analysis": ("Plan", "analyse", "make_layer", "run_concept"),
    "tcav.tables": ("scores_table",),
    # drawing
    "common.ecg_paper": ("Heat", "Record", "comparison", "twelve_leads"),
    "common.plotting": ("heat_line", "style"),
}
# what stage scripts take besides: their command line, files, labels
FOR_STAGES = {
    "common.cli": (
        "StageParser",
        "check_names",
        "run",
        "say_left_out",
        "say_results",
        "select_device",
        "stage_parser",
    ),
    "common.options": (
        "EXPLAINING",
        "MOST_HZ",
        "MOST_SECONDS",
        "at_least_two",
        "count",
        "fraction",
        "number_up_to",
        "path_item",
        "positive_int",
    ),
    "common.files": ("sha256", "write_csv"),
    "common.words": ("area_in_words",),
    "common.labels": ("COLUMN", "LAYOUTS", "OWN_TASK"),
    "attribution.selection": ("refuse_more_than_one",),
    "networks.controls": ("graph_of",),
    "networks.seeds": ("check_seeds",),
    "networks.distributed": ("from_main", "is_main", "on_main", "process_group", "rank", "world"),
    "records.readers": ("files_of",),
    "records.recording": ("Asked",),
}


def _modules(table):
    """Name -> the module that it is loaded from."""
    found = {}
    for module, names in table.items():
        found.update(dict.fromkeys(names, module))
    return found


MODULE_OF = _modules(OFFERED)
OF_STAGES = _modules(FOR_STAGES)
__all__ = sorted(MODULE_OF)


def __getattr__(name: str) -> object:
    """One of the names offered."""
    module = MODULE_OF.get(name) or OF_STAGES.get(name)
    if module is None:
        raise AttributeError(f"utils offers no {name}; it offers {', '.join(__all__)}")
    globals()[name] = value = getattr(importlib.import_module(module), name)
    return value


def __dir__() -> list[str]:
    """What is offered."""
    return __all__
