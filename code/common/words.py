"""What the names in tables mean: classes, concepts and segments, in words."""

from math import isnan

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
    "MI-QPeak": "pathological Q or QS in two leads of a group",
    "MI-V2V3": "Q longer than 20 ms, or QS, in V2 and V3",
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
    described = {name: statement.description for name, statement in STATEMENTS.items()}
    return {**described, **SUPERCLASSES, **SUBCLASSES}


CLASSES = _classes()
MEANINGS = {**CLASSES, **CONCEPTS, **SEGMENTS}

# columns of the stages' tables that a reader may stop at
COLUMNS = {
    "associated": "whether the concept is a criterion of the class",
    "cards": "criteria",
    "chance": "what a result that knows nothing would reach",
    "comparisons": "scores, each on each network it was measured on, that may count for the method",
    "control_high": "upper end of the band that networks without knowledge reach",
    "control_low": "lower end of the band that networks without knowledge reach",
    "cost": "size of all changes together, in standard deviations of the data set",
    "density": "mean size of the relevance per sample",
    "high": "upper end of the 95 % interval",
    "inside": "share of the changes that lie in the leads and waves of the criteria",
    "lift": "share divided by chance: 1 is chance",
    "highest": "largest probability over networks of several seeds",
    "low": "lower end of the 95 % interval",
    "lowest": "smallest probability over networks of several seeds",
    "magnitude": "mean cosine of the class's gradients with the concept: above 0 it raises it",
    "left_out": "methods that the score favours by construction",
    "n": "records",
    "not_told_from_best": "not shown to be worse than the best method",
    "p": "how often chance does as well",
    "p_class": "how often networks that cannot tell the class apart rank unseen patients as well",
    "p_control": "how often networks without knowledge do as well",
    "p_corrected": "p after correction for everything that was tested with it",
    "p_floor": "smallest p that could be reached",
    "p_holm": "p after Holm's correction",
    "p_neighbours": "how often other leads that lie together do as well",
    "rank": "place among all cells, 1 the densest",
    "rank_stability": "how often the cell stays in its place as the waves' boundaries are moved",
    "score": "share of the class's records whose logit grows along the concept",
    "share": "share of all relevance of the record or group",
    "sign_agreement": "changes in the direction of the criteria; .5 is chance",
    "signed_density": "mean relevance per sample: above 0 for the class, below 0 against it",
    "standard_error": "of the density: how far other draws of the orders would take it",
    "significant": "layers in which the concept stands out",
    "told_from_best": "shown to be worse than the best method (p < .05)",
    "turned": "share of records whose decision was turned",
}

# how ECGs are described to the clustering
REPRESENTATIONS = {
    "signal": "median beats",
    "features": "network features",
    "attribution": "signed maps",
    "attribution_absolute": "absolute maps",
    "segments": "relevance of lead and segment",
}

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
CONTROLS = ("random", "input_magnitude")  # methods that know nothing of the network


def method_in_words(name: str) -> str:
    """`lrp:epsilon` -> LRP (epsilon); a name that is not known stays as it is."""
    method, _, preset = name.partition(":")
    words = METHODS.get(method, method)
    return f"{words} ({preset})" if preset else words


def representation_in_words(name: str) -> str:
    """`segments` -> relevance of lead and segment; of one that is not known its own words."""
    return REPRESENTATIONS.get(name, name.replace("_", " "))


def probability_in_words(probability: float, digits: int = 2) -> str:
    """0.93, of a probability, a share or an area under a curve; what would be rounded to 0 or 1 is
    written < 0.01 or > 0.99, since nothing is certain.
    """
    least = 10.0**-digits
    if probability < least / 2:
        return f"< {least:.{digits}f}"
    if probability >= 1 - least / 2:
        return f"> {1 - least:.{digits}f}"
    return f"{probability:.{digits}f}"


def digits_apart(probability: float, threshold: float) -> int:
    """Digits of a probability beside its threshold: 3 where 2 would not tell them apart."""
    return 3 if probability_in_words(probability) == probability_in_words(threshold) else 2


def interval_in_words(value: float, low: float, high: float, digits: int = 2) -> str:
    """value [low, high]; without an interval (blank or NaN ends), so said."""
    return _with_ends(lambda number: f"{number:z.{digits}f}", value, low, high)


def area_in_words(value: float, low: float, high: float, digits: int = 2) -> str:
    """As `interval_in_words`, of an area under a curve: one near 1 is written `> 0.99`, not
    1.00.
    """
    return _with_ends(lambda area: probability_in_words(area, digits), value, low, high)


def _with_ends(said, value, low, high):
    if any(end is None or isnan(end) for end in (low, high)):
        return f"{said(value)} (no interval)"
    return f"{said(value)} [{said(low)}, {said(high)}]"


def class_in_words(name: str) -> str:
    """AMI -> AMI (anterior myocardial infarction)."""
    return f"{name} ({CLASSES[name]})" if name in CLASSES else name
