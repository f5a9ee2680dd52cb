"""What a protocol may name: arms, models, datasets, optimisers, metrics, tests.

The registries, and nothing heavier than pydantic: a protocol is checked, planned and costed without torch.
Each entry is one line; the function it names lives in the room that runs it (``training`` or ``metrics``), and a
test holds the two against each other.
"""

import math
import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Initialisation = Literal["teacher", "fresh"]
Weight = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, lt=1)]


class Block(BaseModel):
    """A mapping of the protocol: unknown keys are refused, values are not coerced, nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


# Arms ------------------------------------------------------------------------------------------------------------


class NoParameters(Block):
    """An arm without a teacher term."""


class KD(Block):
    """alpha is the teacher's weight: (1 - alpha) CE + alpha T² KL."""

    alpha: Weight = 0.5
    temperature: Positive = 4.0


class RCD(KD):
    """KD whose teacher output is noise. scale belongs to logits: the teacher's own, or a standard deviation."""

    noise: Literal["gaussian", "uniform"] = "gaussian"
    space: Literal["logits", "probabilities"] = "logits"
    redraw: bool = False
    scale: Literal["teacher"] | Positive = "teacher"

    @model_validator(mode="after")
    def _probabilities_have_no_scale(self) -> "RCD":
        if self.space == "probabilities" and self.scale != "teacher":
            raise ValueError("scale belongs to space: logits; noise on probabilities sums to one a row")
        return self


class Permuted(KD):
    """KD from the teacher whose wrong classes are shuffled, once for all epochs or anew (``redraw``) each epoch."""

    redraw: bool = False


class Smoothing(KD):
    """KD towards smoothed labels; epsilon: teacher gives them the teacher's mean entropy at this temperature."""

    alpha: Weight = 1.0
    temperature: Positive = 1.0
    epsilon: Literal["teacher"] | Share = 0.1


class Neutral(KD):
    """KD's loss towards smoothed labels of the teacher's mean entropy: its regularisation, without its answers."""

    epsilon: Literal["teacher"] = "teacher"


class Confusion(KD):
    """KD towards the label's row of the teacher's confusion on the training images, mixed with uniform ``smoothing``.

    permuted: the wrong classes of each row shuffled, its control.
    """

    smoothing: Share = 0.1
    permuted: bool = False


class OwnConfusion(KD):
    """KD towards the label's row of the student's own confusion, averaged over epochs, by turns with CE alone.

    matrix: on the training images that the dataset holds out; or test-leak, on as many test images with their labels,
    one of two leaks of the released code. permuted: the wrong classes of each row shuffled, its control.
    """

    alpha: Weight = 0.7
    temperature: Positive = 2.0
    smoothing: Share = 0.1
    momentum: Share = 0.9
    matrix: Literal["held-out", "test-leak"] = "held-out"
    permuted: bool = False


class Generation(KD):
    """KD from the generation before; the first from the teacher."""

    generation: Annotated[int, Field(ge=1)] = 1


class DKD(Block):
    """tckd and nckd are the weights of the two parts; both grow to their full over the first epochs."""

    tckd: NotNegative = 1.0
    nckd: NotNegative = 8.0
    temperature: Positive = 4.0
    warmup_epochs: Annotated[int, Field(ge=1)] = 20


class DIST(Block):
    """beta weighs rows (classes of an image), gamma columns (images of a class)."""

    beta: NotNegative = 1.0
    gamma: NotNegative = 1.0
    temperature: Positive = 1.0


class ATS(Block):
    """weight is the teacher's; tau_true and tau_wrong its temperatures, temperature the student's."""

    weight: Weight = 0.5
    tau_true: Positive = 4.0
    tau_wrong: Positive = 2.0
    temperature: Positive = 1.0


class LogitStd(Block):
    """weight of KD between standardised logits, beside CE."""

    weight: NotNegative = 9.0
    temperature: Positive = 2.0


class TTM(Block):
    """beta weighs the KL to the teacher, which alone is tempered."""

    beta: NotNegative = 45.0
    temperature: Positive = 10.0


class WTTM(TTM):
    """As TTM; smoother teacher outputs weigh more."""

    beta: NotNegative = 4.0
    temperature: Positive = 5.0


class Self(Block):
    """alpha weighs the KL to the student's own twin, divided by the number of classes, times multiplier."""

    alpha: Weight = 0.95
    temperature: Positive = 20.0
    multiplier: NotNegative = 1.0


class Regularised(Self):
    """As Self; the virtual teacher's probabilities are tempered."""

    alpha: Weight = 0.1
    multiplier: NotNegative = 100.0


class SameClass(Block):
    """weight of the KL to one's own output on another image of the class."""

    weight: NotNegative = 1.0
    temperature: Positive = 4.0


class PreviousEpoch(Block):
    """alpha is reached in the last epoch, from alpha / epochs in the first."""

    alpha: Weight = 0.8


class Features(Block):
    """weight of the difference of feature maps, beside CE.

    layer: stage1, stage2, …: the last map of each size; middle; all; or a module's name. teacher_layer: where its
    name differs in the teacher.
    """

    weight: NotNegative = 100.0
    layer: Annotated[str, Field(min_length=1)] = "middle"
    teacher_layer: Annotated[str, Field(min_length=1)] = "same"


class Attention(Features):
    """As Features; for attention maps."""

    weight: NotNegative = 1000.0
    layer: Annotated[str, Field(min_length=1)] = "all"


@dataclass(frozen=True)
class Arm:
    """A way to make a student.

    objective, target: names of functions in ``kdstats.training.objectives`` and ``kdstats.training.targets``.
    initialisation: what the arm fixes, or None for the protocol's.
    learns_from: the trained network that its target asks: none; its own teacher; another teacher, with whose student
        it swaps; the twin that CE made of it; the generation before.
    """

    objective: str
    target: str | None = None
    parameters: type[Block] = NoParameters
    initialisation: Initialisation | None = None
    summary: str = ""
    learns_from: Literal["", "own", "other", "twin", "generation"] = ""

    @property
    def plain(self) -> bool:
        """Whether it is trained by labels alone: the control of all."""
        return self.objective == "ce"


ARMS: dict[str, Arm] = {
    "siddo": Arm("ce", None, NoParameters, "teacher", "CE from the teacher's initial weights, other data order"),
    "ce": Arm("ce", None, NoParameters, "fresh", "CE from a fresh initialisation"),
    "kd": Arm("kd", "own_teacher", KD, None, "distilled from its own teacher", "own"),
    "kd-other": Arm("kd", "other_teacher", KD, None, "distilled from another teacher, scored against its own", "other"),
    "rcd": Arm("kd", "noise", RCD, None, "the teacher's output replaced by noise", "own"),
    "random-init": Arm("kd", "untrained", KD, None, "distilled from a network that was never trained", "own"),
    "label-smoothing": Arm("kd", "smoothed", Smoothing, None, "distilled from smoothed labels", "own"),
    "neutral": Arm("kd", "smoothed", Neutral, None, "KD's loss, on labels as smooth as the teacher's outputs", "own"),
    "class-mean": Arm("kd", "class_mean", KD, None, "distilled from the teacher's mean output for the class", "own"),
    "confusion": Arm("kd", "confusion", Confusion, None, "distilled from a row of the teacher's confusion", "own"),
    "dkpp": Arm("kd", "permuted", Permuted, None, "the teacher's wrong classes shuffled, image by image", "own"),
    "cwtm": Arm("cwtm", "own_teacher", NoParameters, None, "CE weighted by the teacher's confidence", "own"),
    "dkd": Arm("dkd", "own_teacher", DKD, None, "decoupled KD: target and wrong classes apart", "own"),
    "dist": Arm("dist", "own_teacher", DIST, None, "correlations of classes and of images", "own"),
    "ats": Arm("ats", "own_teacher", ATS, None, "asymmetric temperature scaling", "own"),
    "logit-std": Arm("logit_std", "own_teacher", LogitStd, None, "KD between standardised logits", "own"),
    "ttm": Arm("ttm", "own_teacher", TTM, None, "transformed teacher matching", "own"),
    "wttm": Arm("wttm", "own_teacher", WTTM, None, "weighted transformed teacher matching", "own"),
    "tf-kd-self": Arm("tf_kd_self", "other_network", Self, None, "distilled from its twin, trained by CE", "twin"),
    "tf-kd-reg": Arm("tf_kd_reg", None, Regularised, None, "distilled from a virtual teacher"),
    "cs-kd": Arm("cs_kd", "same_class", SameClass, None, "distilled from itself on another image of the class"),
    "ps-kd": Arm("kd", "previous_epoch", PreviousEpoch, None, "distilled from itself an epoch before"),
    "confusion-distillation": Arm("kd", "own_confusion", OwnConfusion, None, "distilled from its own confusion"),
    "born-again": Arm("kd", "generation", Generation, None, "distilled from the generation before", "generation"),
    "fitnet": Arm("fitnet", None, Features, None, "the teacher's feature maps, after a 1×1 convolution", "own"),
    "attention-transfer": Arm("attention_transfer", None, Attention, None, "the teacher's attention maps", "own"),
}
# Arms that ask for each image's true class, or for what they said of it before
NEED_CLASSES = (
    "label-smoothing", "neutral", "class-mean", "confusion", "dkd", "ats", "tf-kd-reg", "cs-kd", "ps-kd",
    "confusion-distillation",
)  # fmt: skip
PACED = {"dkd": "warmup_epochs"}  # arms that reach their full weight after so many epochs

# Models, data and recipe -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Model:
    """An architecture: a function of this name in ``kdstats.training.models``, and the smallest side of an image."""

    summary: str
    smallest: int = 1


MODELS: dict[str, Model] = {
    "mlp": Model("two hidden layers of 128 units"),
    "cnn": Model("two 3×3 convolutions of 16 and 32 channels, the second of stride 2, with batch norm", 2),
    **{f"resnet{n}": Model(f"CIFAR-style ResNet-{n}, widths 16, 32, 64", 8) for n in (8, 14, 20, 32, 56, 110)},
    **{f"resnet{n}": Model(f"ResNet-{n} with the 3×3 stem", 8) for n in (18, 34, 50, 152)},
    **{f"vgg{n}": Model(f"VGG-{n} with batch norm and one linear layer", 32) for n in (11, 16, 19)},
    "mobilenetv2": Model("MobileNetV2, its first two halvings left out", 8),
    "vit": Model("ViT-Tiny with patches of 4×4", 8),
    "mixer": Model("MLP-Mixer, half as wide as S, patches of 4×4", 8),
}

WIDE = r"wrn-(10|16|22|28|34|40|46|52)-([1-9]|1[0-9]|20)"  # Wide ResNet: depth 6n + 4, factor
SPLIT = r"resnext29-([1-9]|[1-9][0-9])x([1-9]|[1-9][0-9])"  # ResNeXt-29: paths, width of each
OURS = (  # as errors list them
    *MODELS,
    "wrn-D-K (depth D 10, 16, 22, 28, 34, 40, 46 or 52, K 1 to 20 times as wide)",
    "resnext29-CxD (C paths of width D)",
)
LIBRARIES = ("torchvision", "timm")  # theirs is LIBRARY:NAME


def model(name: str) -> Model | None:
    """Our network of a name, such as resnet20 or wrn-28-10; None where there is none."""
    if wide := re.fullmatch(WIDE, name):
        return Model(f"Wide ResNet of depth {wide[1]}, {wide[2]} times as wide", 8)
    if split := re.fullmatch(SPLIT, name):
        return Model(f"ResNeXt-29 of {split[1]} paths, {split[2]} wide", 8)
    return MODELS.get(name)


DATASETS: dict[str, str] = {
    "digits": "scikit-learn's 1,797 images of 8×8 pixels",
    "npz": "a file with x_train, y_train, x_test, y_test",
    "cifar10": "50,000 + 10,000 images of 32×32×3, 10 classes",
    "cifar100": "50,000 + 10,000 images of 32×32×3, 100 classes",
    "mnist": "60,000 + 10,000 images of 28×28, 10 classes",
    "fashion-mnist": "60,000 + 10,000 images of 28×28, 10 classes",
    "svhn": "73,257 + 26,032 images of 32×32×3, 10 classes",
}

OPTIMISERS: dict[str, str] = {"sgd": "momentum, Nesterov", "adamw": "decoupled decay", "adamax": "infinity norm"}
SCHEDULES: dict[str, str] = {
    "constant": "",
    "cosine": "to zero",
    "multi-step": "÷10 at the milestones",
    "one-cycle": "up over three tenths, down to nothing",
}
AUGMENTATIONS: dict[str, str] = {"none": "", "crop": "pad 4 (or an eighth), crop", "crop-flip": "crop and mirror"}
PRECISIONS: dict[str, str] = {"float32": "", "bfloat16": "autocast"}

# Metrics ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Metric:
    """A number of one replicate.

    against: "teacher" for f(teacher, student, labels), "labels" for f(logits, labels), "itself" for f(logits),
        "activations" for f(teacher's, student's) of the layer that the protocol keeps.
    better: whether more of it is better, worse, or neither.
    per_example: has per-example values whose mean is the metric, so that claims can be about new examples.
    examples: the scope on examples that a hypothesis has by default.
    bounds: the smallest and the largest value there can be, where both exist: what a failed network might have had.
    usual: whether a protocol that names no metrics has it.
    function, part: of ``kdstats.metrics``, where they are not the name and the whole of what it gives.
    """

    label: str
    against: Literal["teacher", "labels", "itself", "activations"]
    better: Literal["higher", "lower", "neither"]
    per_example: bool = True
    examples: Literal["this test set", "new"] = "this test set"
    bounds: tuple[float, float] | None = None
    usual: bool = True
    function: str = ""
    part: str = ""


SHARE = (0.0, 1.0)

METRICS: dict[str, Metric] = {
    "accuracy": Metric("Accuracy", "labels", "higher", bounds=SHARE),
    "cross_entropy": Metric("Cross-entropy", "labels", "lower"),
    "brier_score": Metric("Brier score", "labels", "lower", bounds=(0.0, 2.0)),
    "expected_calibration_error": Metric("Calibration error (ECE)", "labels", "lower", per_example=False, bounds=SHARE),
    "agreement": Metric("Agreement", "teacher", "higher", bounds=SHARE),
    "activation_distance": Metric("Activation distance", "teacher", "lower", bounds=(0.0, math.sqrt(2))),
    "js_divergence": Metric("JS divergence", "teacher", "lower", bounds=(0.0, math.log(2))),
    "rank_disagreement": Metric("Rank disagreement", "teacher", "lower", bounds=SHARE),
    "fidelity_kl": Metric("KL from teacher", "teacher", "lower"),
    "error_consistency": Metric("Error consistency κ", "teacher", "higher", per_example=False),
    "copy_probability": Metric("Copy probability", "teacher", "higher", per_example=False),
    "capa": Metric("CAPA κp", "teacher", "higher", per_example=False),
    "negative_flip_rate": Metric("Negative flips", "teacher", "lower", bounds=SHARE),
    "positive_transfer": Metric("Agreement where the teacher is right, A⁺", "teacher", "higher", bounds=SHARE),
    "negative_transfer": Metric(
        "Agreement where the teacher is wrong, A⁻", "teacher", "neither", examples="new", bounds=SHARE
    ),
    "entropy": Metric("Entropy", "itself", "neither", usual=False),
    "target_confidence": Metric("Confidence in the true class", "labels", "neither", bounds=SHARE, usual=False),
    "derived_average": Metric(
        "Mean wrong-class probability, DA", "labels", "neither", usual=False, function="distinctness", part="da"
    ),
    "derived_spread": Metric(
        "Spread of wrong-class probabilities, DV", "labels", "neither", usual=False, function="distinctness", part="dv"
    ),
    "inherent_variance": Metric(
        "Variance among wrong classes, IV", "labels", "neither", usual=False, function="distinctness", part="iv"
    ),
    "cka": Metric(
        "Alignment with the teacher, CKA",
        "activations",
        "neither",
        per_example=False,
        usual=False,
        function="linear_cka",
    ),
}
USUAL = tuple(name for name, metric in METRICS.items() if metric.usual)

# Numbers that exist only between the students of swapped teachers: kd against kd-other (kdstats.metrics.inherited).
INHERITANCE: dict[str, str] = {
    "inherits_errors": "Inherited errors, W",
    "inherits_knowledge": "Inherited right answers, K",
}
# A claim in one direction, that errors are held to more firmly (θ₀). Before rules 2 it was that of the estimator h,
# which no control identifies: docs/errors-and-knowledge.md.
ASYMMETRY = "asymmetry"
SWAPPED = (*INHERITANCE, ASYMMETRY)  # metrics of students of swapped teachers
# The edition of the rules for verdicts. 1: asymmetry is h. 2: asymmetry is θ₀; controls that trained badly, and
# agreement against kd-other among teachers of unequal accuracy, decide nothing.
RULES = 2

# Numbers of a whole group of networks, all students of an arm: no network has one of its own to pair.
GROUP_METRICS: dict[str, str] = {
    "n_features": "Features used",
    "mean_frequency": "Images that a used feature is present on",
    "features_per_datum": "Features present on an image",
    "shared_features": "Features shared with the teachers",
    "unmatched_components": "Components that no other network has",
}
ALONE = "each joined alone"  # a second way to count a claim's arm and control: not with each other


def metric_label(metric: str) -> str:
    """What a metric is called where people read; one that we do not know by its own name."""
    if metric in METRICS:
        return METRICS[metric].label
    if metric == ASYMMETRY:
        return "Firmness of errors, θ₀"
    return INHERITANCE.get(metric) or GROUP_METRICS.get(metric, metric)


FEATURE_MODES: dict[str, str] = {"robust": "ours", "released": "Kang & Kim's code", "jiang": "Jiang et al.'s"}

TESTS: dict[str, str] = {
    "sign-flip": "exact sign-flip (randomisation) test of the mean paired difference",
    "wilcoxon": "exact Wilcoxon signed-rank test",
    "paired-t": "paired t test",
    "two-way-t": "t test whose variance counts new seeds and new examples (Satterthwaite)",
    "mann-whitney": "exact Mann–Whitney test of unpaired scores",
    "label-exchange": "exchange of the labels of paired networks, of a number of the whole group; exact to 13 units",
    "anytime": "e-process of symmetric paired differences: valid whenever one stops",
}

# What a hypothesis claims of arm minus control. The last three need a margin; not-less is the non-inferiority of a
# metric of which more is better, not-greater that of one of which less is.
DIRECTIONS: dict[str, str] = {
    "greater": "above",
    "less": "below",
    "two-sided": "different from",
    "not-less": "not below, by the margin or more,",
    "not-greater": "not above, by the margin or more,",
    "equivalent": "within the margin of",
}
AT_A_MARGIN = ("not-less", "not-greater", "equivalent")

CORRECTIONS: dict[str, str] = {
    "holm": "family-wise error",
    "max-t": "family-wise error, by joint sign flips",
    "bh": "false discovery rate",
    "by": "under dependence",
}
FAMILY_WISE = ("holm", "max-t")
CORRECTION_NAMES = {"holm": "Holm", "max-t": "max-T", "bh": "Benjamini–Hochberg", "by": "Benjamini–Yekutieli"}
SMALLEST_SHOWN = 1e-99  # of p-values: below, "< 1e-99"; a float of 0 is an underflow
