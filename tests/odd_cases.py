"""All odd networks (odd_networks.py, odd_blocks.py, odd_ends.py, odd_written.py, odd_recent.py,
odd_walked.py) and what is expected of them.
"""

import torch
from torch import Tensor, nn

import odd_networks
from networks.preprocessing import Axes
from odd_blocks import BLOCKS
from odd_ends import ENDS
from odd_networks import CLASSES, SAMPLES, Answer
from odd_recent import RECENT
from odd_walked import WALKED
from odd_written import WRITTEN

ODD = {**odd_networks.ODD, **BLOCKS, **ENDS, **WRITTEN, **RECENT, **WALKED}
REFUSED = {
    **odd_networks.REFUSED,
    "two_inputs": "takes 2 inputs (x, demographics): put it into a module",
    "dict_input": "fails on an input of shape (2, 12, 120)",
    "quantised": "quantized::linear_dynamic",
}
WITHOUT_RULE = {
    **odd_networks.WITHOUT_RULE,
    "spectrogram": "stft",
    "long_convolution": "fft_irfft",
    "gru_attention": "gru",
    "recurrent_cell": "lstm_cell",
    "prototypes": "cdist",
    "fourier_tokens": "fft_fft",
    "rotary_of_complex": "mul (mul_2) of complex numbers",
    "experts_of_tokens": "index (index_7): nothing tells which record",
    "delays": "fft_irfft",
}
# piecewise linear, or of degree 1 in products of a value with its like: epsilon is input x gradient
PIECEWISE_LINEAR = (
    *odd_networks.PIECEWISE_LINEAR,
    "last_image",
    "last_image_squeezed",
    "leads_as_channels",
    "differences",
    "sinc_filters",
    "rectifiers",
    "tracked_instance_norm",
    "pooled_statistics",
    "dense_blocks",
    "res2net",
    "channel_shuffle",
    "pixel_unshuffle",
    "decoder",
    "blurred_pool",
    "one_class",
    "bare",
    "softmax_end",
    "log_softmax_end",
    "sigmoid_by_hand",
    "ensemble",
    "windows_of_the_record",
    "scaled_by_temperature",
    "tied_weights",
    "optional_input",
    "shape_branch",
    "double_precision",
    "casts_to_double",
    "gradient_checkpointing",
    "no_grad_inside",
    "compiled",
    "traced",
    "without_first_lead",
    "only_finite",
    "einsum_of_one",
    "unpooled",
    "resampled",
    "power_pool",
    "pools_rounded_up",
    "folded",
    "volumes",
    "added_at_places",
    "ordered",
    "of_parts",
    "filled_by_hand",
    "loaded_script",
)
OPTIONS = {
    **odd_networks.OPTIONS,
    "last_image": {"layout": "time_leads_one"},
    "last_image_squeezed": {"layout": "time_leads_one"},
    "leads_as_channels": {"layout": "leads_one_time"},
}
LABELS = {"one_class": ["a"], "bare": ["a"], "probability_of_one_minus": ["n", "a"]}
# what stands behind the logits that are explained
SQUASHED = {
    "softmax_end": lambda z: z.softmax(1),
    "log_softmax_end": lambda z: z.log_softmax(1),
    "shallow_fbcsp": lambda z: z.log_softmax(1),
    "sigmoid_by_hand": lambda z: z.sigmoid(),
}


def odd(name: str, seed: int = 0) -> nn.Module:
    """A network of ODD with weights of its own, in the mode that its maker left it in."""
    torch.manual_seed(seed)
    return ODD[name]()


def labels_of(name: str) -> list[str]:
    """Names of its classes."""
    return LABELS.get(name, list("abc"[:CLASSES]))


def as_it_takes(name: str, x: Tensor) -> Tensor:
    """Signals (N, 12, T) in a network's own layout."""
    return Axes(OPTIONS.get(name, {}).get("layout", "leads_time"))(x)


def logits_of(name: str, returned: object) -> Tensor:
    """The classes of what a network returned."""
    options = OPTIONS.get(name, {})
    returned = returned.logits if isinstance(returned, Answer) else returned
    if "output_index" in options:
        several = list(returned.values()) if isinstance(returned, dict) else returned
        returned = several[options["output_index"]]
    returned = returned[:, options["columns"]] if "columns" in options else returned
    return returned.flatten(1) if returned.ndim > 1 else returned[:, None]


__all__ = ["CLASSES", "ODD", "OPTIONS", "PIECEWISE_LINEAR", "REFUSED", "SAMPLES", "SQUASHED"]
