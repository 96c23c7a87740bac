"""What the names in tables mean: classes, concepts and segments, in words."""

from common.labels import STATEMENTS

SUPERCLASSES = {
    "NORM": "normal ECG",
    "MI": "myocardial infarction",
    "STTC": "changes of ST segment and T wave",
    "CD": "conduction disturbance",
    "HYP": "hypertrophy",
}
SUBCLASSES = {
    "AMI": "anterior myocardial infarction",
    "IMI": "inferior myocardial infarction",
    "LMI": "lateral myocardial infarction",
    "PMI": "posterior myocardial infarction",
    "ISCA": "ischemia in anterior leads",
    "ISCI": "ischemia in inferior leads",
    "ISC_": "non-specific ischemia",
    "NST_": "non-specific ST changes",
    "_AVB": "atrioventricular block",
    "LAFB/LPFB": "left anterior or posterior fascicular block",
}
CONCEPTS = {
    "RS-LVH": "R or S above 2.0 mV in I, II or III",
    "S12-LVH": "S above 2.0 mV in V1 or V2",
    "R56-LVH": "R above 3.0 mV in V5 or V6",
    "QRS-LVH": "QRS longer than 90 ms",
    "LI-LVH": "Lewis index above 1.6 mV",
    "SLI-LVH": "Sokolow-Lyon index above 3.5 mV",
    "QRS-CLBBB": "QRS longer than 120 ms",
    "ST-ELEV-MI": "ST elevation in two neighbouring leads",
    "ST-DEPR-MI": "ST depression or T inversion in two neighbouring leads",
    "MI-QPeak": "pathological Q or QS in a group of leads",
    "MI-V2V3": "Q or QS in V2 and V3",
    "MI-RPeak": "broad tall R in V1 and V2",
    "MI-All": "any of the Q and R criteria of infarction",
    "Sex": "female",
    "Age75": "75 years or older",
}
SEGMENTS = {
    "P-Onset": "beginning of P",
    "(p": "rising half of P",
    "P-Peak": "peak of P",
    "p)": "falling half of P",
    "P-Offset": "end of P",
    "pq": "between P and QRS",
    "QRS-Onset": "beginning of QRS",
    "(q": "down to Q",
    "Q-Peak": "peak of Q",
    "qr": "up to R",
    "R-Peak": "peak of R",
    "rs": "down to S",
    "S-Peak": "peak of S",
    "q)": "from S to the end of QRS",
    "QRS-Offset": "end of QRS",
    "qj": "between QRS and J-point",
    "J-point": "J-point",
    "jt": "ST segment",
    "T-Onset": "beginning of T",
    "(t": "rising half of T",
    "T-Peak": "peak of T",
    "t)": "falling half of T",
    "T-Offset": "end of T",
    "tp": "between T and the next P",
}


def _classes():
    described = {name: statement[4] for name, statement in STATEMENTS.items()}
    return {**described, **SUPERCLASSES, **SUBCLASSES}


CLASSES = _classes()
MEANINGS = {**CLASSES, **CONCEPTS, **SEGMENTS}

METHODS = {
    "saliency": "Saliency",
    "input_x_gradient": "Input x gradient",
    "smoothgrad": "SmoothGrad",
    "ig": "Integrated Gradients",
    "gradcam": "Grad-CAM",
    "hirescam": "HiResCAM",
    "guided_gradcam": "Guided Grad-CAM",
    "lrp": "LRP",
    "occlusion": "Occlusion",
    "deeplift": "DeepLIFT",
    "gradient_shap": "GradientSHAP",
    "shapley": "Shapley values",
    "kernel_shap": "KernelSHAP",
    "lime": "LIME",
    "random": "noise (control)",
    "input_magnitude": "|signal| (control)",
}


def method_in_words(name: str) -> str:
    """`lrp:epsilon` -> LRP (epsilon); a name that is not known stays as it is."""
    method, _, preset = name.partition(":")
    words = METHODS.get(method, method)
    return f"{words} ({preset})" if preset else words


def class_in_words(name: str) -> str:
    """AMI -> AMI (anterior myocardial infarction)."""
    return f"{name} ({CLASSES[name]})" if name in CLASSES else name
