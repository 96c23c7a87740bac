"""The Grad-CAM question as a 2 x 2 table: layer (the original's / the last convolutional map) x
truth (lead and wave / time).

The literature contradicts itself: the paper finds Grad-CAM useless, Attribution-ECG finds its
family best. They differ in the layer (the original's is a BatchNorm before its ReLU in LeNet, and
the global pool, one time step, in XResNet) and in the truth (a wave in a lead, or a time span over
all leads).

Hypothesis, written down before the first run: read from the last convolutional map, Grad-CAM and
HiResCAM are better than chance in time and at chance in leads, since they have no lead axis; read
from the original's layer in XResNet, whose map has one step, they are at chance in both. Guided
Grad-CAM is better than chance in both at either layer, because all of its lead axis and most of its
resolution in time come from guided backpropagation and not from the CAM.
"""

import numpy as np
import torch

from attribution.cam import cam_module, grad_cam, guided_copy, guided_grad_cam, hires_cam, recording
from attribution.gradients import gradient
from networks.inference import input_of, whole_input
from sanity.amplitude import OWN_WAVE, window_masks
from sanity.localisation import score_truths
from sanity.subject import Measured, Subject

# what the original code reads its maps from, in our networks' names
ORIGINAL_LAYERS = {"lenet": "block3.norm", "resnet": "pool", "xresnet": "pool"}
CAMS = {"gradcam": grad_cam, "hirescam": hires_cam, "guided_gradcam": guided_grad_cam}
LAYERS = ("original", "last")
BATCH = 64


def one_step_cam(
    model: torch.nn.Module, x: torch.Tensor, target: torch.Tensor, layer: str, kind: str
) -> torch.Tensor:
    """Maps (N, leads, T) from a layer with a single time step, which attribution.py refuses:
    constant in time by construction.
    """
    _, module = cam_module(model, layer)
    with recording(module) as outputs:
        logits = model(x.detach().requires_grad_(True))
    (slope,) = torch.autograd.grad(logits.gather(1, target[:, None]).sum(), outputs[0])
    value = (slope * outputs[0].detach()).sum(dim=(1, 2))
    value = value if kind == "hirescam" else value.relu()
    constant = value[:, None, None].expand_as(x)
    return (
        constant * gradient(guided_copy(model), x, target)[0]
        if kind == "guided_gradcam"
        else constant
    )


def cam_maps(subject: Subject, kind: str, which: str) -> np.ndarray:
    """Maps (n, T, 12) of one of CAMS from the original's layer or from the last
    convolutional map.
    """
    layer = ORIGINAL_LAYERS[subject.model.info.modelname] if which == "original" else None
    single = layer == "pool"
    target = torch.as_tensor(subject.target)
    pieces = []
    for start in range(0, len(subject), BATCH):
        x = input_of(subject.model, subject.signals[start : start + BATCH])
        chosen = target[start : start + BATCH].to(x.device)
        maps = (
            one_step_cam(subject.model, x, chosen, layer, kind)
            if single
            else CAMS[kind](subject.model, x, chosen, layer)[0]
        )
        pieces.append(maps.detach().cpu().numpy())
    return whole_input(np.concatenate(pieces), subject.model.info.leads)


def wave_truth(subject: Subject) -> np.ndarray:
    """(n, T, 12) bool for an amplitude model: the task's wave in the lead that is the target."""
    wave = window_masks(subject.segments)[OWN_WAVE[subject.task]] > 0.5
    masks = np.zeros_like(wave)
    rows = np.arange(len(subject))
    masks[rows, :, subject.target] = wave[rows, :, subject.target]
    return masks


def measure_layers(subject: Subject, masks: np.ndarray) -> dict[str, list[Measured]]:
    """Localisation of each CAM at each layer for records with a known truth: '<kind>@<layer>' ->
    measurements.

    Truth `cell` is lead and wave, truth `time` the span alone. Nothing where no record has a truth.
    """
    rows = np.flatnonzero(masks.any(axis=(1, 2)))
    if not len(rows):
        return {}
    chosen = subject.rows(rows)
    found = {}
    for kind in CAMS:
        for which in LAYERS:
            scores = score_truths(cam_maps(chosen, kind, which), masks[rows])
            found[f"{kind}@{which}"] = [
                chosen.measured(f"layer_{name}", values, chance, best=1.0)
                for name, (values, chance) in scores.items()
                if name.endswith("absolute")
            ]
    return found
