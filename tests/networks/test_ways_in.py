"""Every network through every way in: from a file (torch.export, ONNX by both exporters of
PyTorch) it has the logits and maps that it has from Python code, or is refused in one line.
"""

import contextlib
import copy
import importlib.util
import logging
import re
import warnings

import pytest
import torch

import odd_cases
from attribution import lrp
from attribution.lrp import Preset
from attribution.lrp_rules import Epsilon
from attribution.methods import explain, workable
from common.files import UserError
from common.labels import LEADS
from field_networks import FIELD, FIELD_OPTIONS, FIELD_PIECEWISE_LINEAR, FIELD_WITHOUT_RULE, field
from field_networks import SAMPLES as FIELD_SAMPLES
from networks.foreign import Logits, Records, foreign, wrap
from networks.importing import from_exported, from_onnx
from networks.preprocessing import Axes, Expected, layout_of

TINY = Preset(Epsilon(1e-12), Epsilon(1e-12))
# one: written for a single record; decomposed: in PyTorch's core operations alone
WAYS = (
    "exported", "exported_one", "decomposed", "onnx", "onnx_one", "onnx_11", "onnx_20", "dynamo",
)  # fmt: skip
OPSETS = {"onnx": 17, "onnx_11": 11, "onnx_20": 20}
OF_TORCH = ("exported", "exported_one", "decomposed")
QUICK = (
    ("transformer", "onnx_one"),
    ("bi_lstm", "onnx"),
    ("last_class_token", "decomposed"),
    ("log_sum_exp_pool", "decomposed"),
    ("between_percentiles", "exported"),
    ("between_percentiles", "decomposed"),
    ("kept_rotary", "onnx_one"),
    ("without_age_and_sex", "exported_one"),
)
# half of the way in bfloat16: files hold it in single precision, and LRP may say that it misses
COARSE = ("float_inside", "autocast_inside", "half_precision", "brain_float")
# files say nothing of these: what the exporter saw once is all that there is
FROZEN = (
    "functional_dropout_on", "without_parameters", "counting_and_reading", "batch_branch",
    "value_branch", "noisy", "boolean_index", "across_batch", "norm_without_statistics",
)  # fmt: skip
# a refusal says what to do
NEXT_STEP = re.compile(r"export (it|the network)|are not known|is not known|not known")
# PyTorch's older exporter writes another network: onnxruntime (log_mel) and onnx's own interpreter
# (windows_of_the_record) agree with what is read here, to 6e-8
UNLIKE = {
    (name, way)
    for name in ("log_mel", "windows_of_the_record")
    for way in ("onnx", "onnx_one", "onnx_11", "onnx_20")
}
# a product of three that is bracketed otherwise has another LRP map (docs/lrp.md)
BRACKETED = (("linear_attention", "decomposed"),)


def network_of(name):
    """A network of either collection, its labels, options of wrap() and samples."""
    if name in FIELD:
        return field(name), list("abc"), FIELD_OPTIONS.get(name, {}), FIELD_SAMPLES
    options = odd_cases.OPTIONS.get(name, {})
    return odd_cases.odd(name), odd_cases.labels_of(name), options, odd_cases.SAMPLES


def write(way, network, x, path):
    """The file of a network, or a skip where PyTorch cannot write it."""
    network = network.eval()
    x = x.to(next(network.parameters(), x).dtype)
    count = {0: torch.export.Dim("n", min=1, max=999)}
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(None):
            warnings.simplefilter("ignore")
            logging.disable(logging.CRITICAL)
            if way == "exported_one":
                torch.export.save(torch.export.export(network, (x[:1],)), path)
            elif way == "onnx_one":
                torch.onnx.export(network, (x[:1],), path, dynamo=False, opset_version=17)
            elif way == "exported":
                program = torch.export.export(network, (x,), dynamic_shapes=(count,))
                torch.export.save(program, path)
            elif way == "decomposed":
                program = torch.export.export(network, (x,), dynamic_shapes=(count,))
                torch.export.save(program.run_decompositions(), path)
            elif way in OPSETS:
                torch.onnx.export(network, (x,), path, dynamo=False, opset_version=OPSETS[way],
                                  input_names=["x"], dynamic_axes={"x": {0: "n"}})  # fmt: skip
            else:
                torch.onnx.export(network, (x,), path, dynamo=True, opset_version=18,
                                  external_data=False, dynamic_shapes=(count,))  # fmt: skip
    except Exception as error:  # whatever PyTorch's exporters may raise
        pytest.skip(f"PyTorch does not export it: {type(error).__name__}")
    finally:
        logging.disable(logging.NOTSET)


def through(way, name, tmp_path):
    """(from Python code, from a file) as programs, signals, and why one was refused."""
    network, labels, options, samples = network_of(name)
    x = torch.randn(3, 12, samples, generator=torch.Generator().manual_seed(1))
    path = tmp_path / ("mine.pt2" if way in OF_TORCH else "mine.onnx")
    write(way, network, Axes(options.get("layout", "leads_time"))(x), str(path))
    try:
        own = wrap(network_of(name)[0], labels, seconds=samples / 100, **options)
        return own, read(way, path, labels, options, samples), x, None
    except UserError as error:
        return None, None, x, str(error)


def read(way, path, labels, options, samples):
    """A file as a program."""
    source = from_exported(path) if way in OF_TORCH else from_onnx(path)
    layout, _ = layout_of(source.shape, 12, options.get("layout"))
    expected = Expected(100, samples / 100, layout=layout)
    logits = Logits(options.get("output_index"), options.get("columns"), len(labels))
    records = Records(100, samples / 100)
    return foreign(source.network, labels, list(LEADS), expected, records, logits)


def check_same(name, own, file, x, with_maps):
    """Logits, gradients and LRP's maps agree."""
    with torch.no_grad():
        logits, found = own(x), file(x)
    assert (found - logits).abs().max() <= 1e-5 * max(1.0, float(logits.abs().max()))
    target = torch.arange(3) % logits.shape[1]
    one, other = (explain(each, x, target, "saliency").attributions for each in (own, file))
    assert (one - other).abs().max() <= 1e-4 * one.abs().max()
    maps = []
    for program in (own, file):
        if "lrp" in workable(["lrp", "gradcam", "saliency"], program)[0]:
            double = copy.deepcopy(program).double()
            maps.append(lrp.lrp(double, x.double(), target, TINY)[0])
    if with_maps and len(maps) == 2:  # a file's GRU may be unrolled, which LRP can pass
        assert (maps[0] - maps[1]).abs().max() <= 1e-4 * maps[0].abs().max()


def marked(names):
    """All pairs of name and way, slow but for a few."""
    return [
        pytest.param(name, way, marks=[pytest.mark.slow] * ((name, way) not in QUICK))
        for name in names
        for way in WAYS
    ]


@pytest.mark.parametrize(("name", "way"), marked([*FIELD, *odd_cases.ODD]))
def test_a_file_has_the_logits_and_maps_of_the_code(name, way, tmp_path):
    if way == "dynamo" and importlib.util.find_spec("onnxscript") is None:
        pytest.skip("PyTorch's newer exporter needs onnxscript")
    if name in FROZEN or name in COARSE or (name, way) in UNLIKE:
        pytest.skip("the file holds another network than the code")
    own, file, x, refusal = through(way, name, tmp_path)
    if refusal is not None:
        assert "\n" not in refusal
        assert name in odd_cases.REFUSED or NEXT_STEP.search(refusal), refusal
        return
    check_same(name, own, file, x, (name, way) not in BRACKETED)


@pytest.mark.slow
@pytest.mark.parametrize("name", FIELD)
def test_a_network_of_the_field_is_explained_or_left_out_by_name(name):
    network, labels, options, samples = network_of(name)
    own = wrap(network, labels, seconds=samples / 100, **options)
    x = torch.randn(3, 12, samples, generator=torch.Generator().manual_seed(1))
    target = torch.arange(3)
    double = copy.deepcopy(own).double()
    if name in FIELD_WITHOUT_RULE:
        with pytest.raises(UserError, match=FIELD_WITHOUT_RULE[name]):
            lrp.lrp(own, x, target, "epsilon")
        return
    for preset in ("epsilon", "epsilon_plus", "epsilon_gamma", "alpha2_beta1"):
        assert lrp.lrp(own, x, target, preset)[1].gap.abs().max() <= 1e-5, preset
        assert lrp.lrp(double, x.double(), target, preset)[1].gap.abs().max() <= 1e-9, preset
    if name in FIELD_PIECEWISE_LINEAR:
        by_rule, _ = lrp.lrp(double, x.double(), target, TINY)
        by_gradient = explain(double, x.double(), target, "input_x_gradient").attributions
        assert (by_rule - by_gradient).abs().max() <= 1e-4 * by_gradient.abs().max()
