"""Networks that exist already: what a student has of its teacher, and how that compares with controls.

Every number of a network is a mean of values, one an example (of ratios and products of means: of their linearisation),
so one calculation gives every interval: of one network over new examples, of several over new networks and examples, of
students against controls with the spread that networks have among themselves (``kdstats.stats.two_groups``).

Two scopes, and each row says which: *this network* is about the files given, on new examples of the same kind;
*networks like these* also about new networks made the same way. Against controls it is always the second where it can
be: a student differs from any control as one control differs from another, and an interval that forgets this finds
inherited errors in networks that never saw a teacher.
"""

import os
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest
from scipy.stats import t as student_t

import kdstats
from kdstats import auditswaps, metrics, stats
from kdstats.answers import judge_swapped
from kdstats.catalog import METRICS
from kdstats.errors import UserError
from kdstats.inheritance import Swapped
from kdstats.metrics import Observed, UndefinedMetric
from kdstats.predictions import Predictions, aligned, named_groups, read_labels, read_predictions
from kdstats.sentences import p_words

Values = NDArray[np.float64]
ControlKind = Literal["plain", "neutral", "kd-other"]

THIS = "this network, new examples"
BOTH = "these networks, new examples"
LIKE = "networks like these, new examples"
RANKED = 2000  # examples on which the order of more than MANY_CLASSES classes is compared
MANY_CLASSES = 100
FEWEST = 10  # examples from which a class, group or confusion gets an interval
CONFIDENCE = "teacher confidence"
NO_CONTROLS = "there are no controls: what networks share that never met is unknown"

# What is measured ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Pair:
    """A network beside its teacher; ``ranks`` are its rank disagreements on a sample."""

    teacher: Observed
    network: Observed
    labels: NDArray[np.int64]
    n_classes: int
    ranks: Values | None = None

    @property
    def agrees(self) -> NDArray[np.bool_]:
        return self.network.classes == self.teacher.classes


@dataclass(frozen=True)
class Measure:
    """A number of one network: values of which it is the mean, or a float where it is none.

    Attributes
    ----------
    against : "teacher", or "labels": then the teacher has it too, and the student's difference from it is told
    counted : of a plain share, how many of how many examples; then one network's interval is exact (Clopper–Pearson)
    nearer : which way a network goes that comes nearer to its teacher: 1 up, -1 down, 0 neither
    """

    label: str
    question: Literal["fidelity", "inheritance", "transfer", "flips", "accuracy", "calibration"]
    of: Callable[[Pair], Values | float]
    against: Literal["teacher", "labels"] = "teacher"
    counted: Callable[[Pair], tuple[int, int]] | None = None
    nearer: Literal[-1, 0, 1] = 1


def _outputs(name: str, part: Literal["network", "teacher"] = "network") -> Callable[[Pair], Values]:
    def values(pair: Pair) -> Values:
        found = getattr(pair.network, name)
        if found is None:
            raise UndefinedMetric("needs probabilities, and there are predicted labels alone")
        if not np.isfinite(found).all():
            row = int(np.argmin(np.isfinite(found)))
            raise UndefinedMetric(
                f"is infinite: at row {row} a probability is 0 that would have to be more; give logits"
            )
        return np.asarray(found)

    return values


def _share_of(mask: Callable[[Pair], NDArray[np.bool_]], of: Callable[[Pair], NDArray[np.bool_]] | None = None) -> Any:
    """Count of a mask, among all examples or those of another mask."""

    def counted(pair: Pair) -> tuple[int, int]:
        within = of(pair) if of is not None else np.ones(len(pair.labels), bool)
        return int((mask(pair) & within).sum()), int(within.sum())

    return counted


def _positive(pair: Pair) -> Values:
    return _where(pair.teacher.right, pair.agrees, "right")


def _negative(pair: Pair) -> Values:
    return _where(~pair.teacher.right, pair.agrees, "wrong")


def _where(there: NDArray[np.bool_], agrees: NDArray[np.bool_], teacher_is: str) -> Values:
    if not there.any():
        raise UndefinedMetric(f"the teacher is {teacher_is} on none of the {len(there)} examples")
    share = agrees[there].mean()
    return share + there * (agrees - share) * (len(there) / there.sum())


def _capa(pair: Pair) -> Values:
    overlap, p_student = _outputs("overlap")(pair), _outputs("p_label")(pair)
    assert pair.teacher.p_label is not None
    return metrics.capa_examples(overlap, pair.teacher.p_label, p_student, pair.n_classes)


def _class_wise(pair: Pair) -> float:
    if pair.network.class_wise_error is None:
        raise UndefinedMetric("needs probabilities, and there are predicted labels alone")
    return pair.network.class_wise_error


def _ranks(pair: Pair) -> Values:
    if pair.ranks is None:
        raise UndefinedMetric("needs probabilities, and there are predicted labels alone")
    return pair.ranks


MEASURES: dict[str, Measure] = {
    "agreement": Measure(
        "Agreement", "fidelity", lambda p: p.agrees.astype(np.float64), counted=_share_of(lambda p: p.agrees)
    ),
    "agreement_given_class": Measure(
        "Agreement beyond independent answers given the class", "fidelity",
        lambda p: metrics.agreement_given_class_examples(p.teacher.classes, p.network.classes, p.labels, p.n_classes),
    ),
    "error_consistency": Measure(
        "Error consistency κ", "fidelity",
        lambda p: metrics.error_consistency_examples(p.teacher.right, p.network.right),
    ),
    "copy_probability": Measure(
        "Copy probability", "fidelity", lambda p: metrics.copy_probability_examples(p.teacher.right, p.network.right)
    ),
    "capa": Measure("CAPA κp", "fidelity", _capa),
    "fidelity_kl": Measure("KL from teacher", "fidelity", _outputs("kl"), nearer=-1),
    "js_divergence": Measure("JS divergence", "fidelity", _outputs("js"), nearer=-1),
    "activation_distance": Measure("Activation distance", "fidelity", _outputs("distance"), nearer=-1),
    "rank_disagreement": Measure("Rank disagreement", "fidelity", _ranks, nearer=-1),
    "positive_transfer": Measure(
        "Agreement where the teacher is right, A⁺", "transfer", _positive,
        counted=_share_of(lambda p: p.agrees, lambda p: p.teacher.right),
    ),
    "negative_transfer": Measure(
        "Agreement where the teacher is wrong, A⁻", "transfer", _negative,
        counted=_share_of(lambda p: p.agrees, lambda p: ~p.teacher.right),
    ),
    "negative_flip_rate": Measure(
        "Harmful flips", "flips", lambda p: (p.teacher.right & ~p.network.right).astype(np.float64),
        counted=_share_of(lambda p: p.teacher.right & ~p.network.right), nearer=-1,
    ),
    "positive_flip_rate": Measure(
        "Beneficial flips", "flips", lambda p: (~p.teacher.right & p.network.right).astype(np.float64),
        counted=_share_of(lambda p: ~p.teacher.right & p.network.right), nearer=-1,
    ),
    "relative_negative_flip_rate": Measure(
        "Harmful flips, 1 under independence", "flips",
        lambda p: metrics.relative_flip_examples(p.teacher.right, p.network.right), nearer=-1,
    ),
    "accuracy": Measure(
        "Accuracy", "accuracy", lambda p: p.network.right.astype(np.float64), "labels",
        _share_of(lambda p: p.network.right), nearer=0,
    ),
    "cross_entropy": Measure("Cross-entropy", "calibration", _outputs("cross_entropy"), "labels", nearer=0),
    "brier_score": Measure("Brier score", "calibration", _outputs("brier"), "labels", nearer=0),
    "expected_calibration_error": Measure(
        "Calibration error (ECE)", "calibration",
        lambda p: metrics.calibration_error_examples(_outputs("confidence")(p), p.network.right), "labels", nearer=0,
    ),
    "class_wise_calibration_error": Measure(
        "Class-wise calibration error", "calibration", _class_wise, "labels", nearer=0
    ),
}  # fmt: skip
ASYMMETRIES = {
    "headroom": "h, which bears no verdict", "raw": "Raw asymmetry Δ⁻ − Δ⁺, which bears no verdict",
}  # fmt: skip
BOUNDS = {"positive_flip_rate": (0.0, 1.0), "fidelity_kl": (0.0, np.inf), "cross_entropy": (0.0, np.inf)}
DIGITS = 12  # beyond which a value is rounding
FEWEST_DISAGREEMENTS = 5  # of each network on either side, from which a log of their number has an interval
PRIMARY = "negative_transfer"  # what a declared rank test is about, unless the caller says otherwise

# What comes out --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Audit:
    """What an audit found, as tidy tables.

    Attributes
    ----------
    networks : name, role (teacher, student, control), source, kind of outputs and how it was told, accuracy
    scores : network, role, measure, value, note: the numbers of each network
    measures : measure, estimator, label, question, scope, estimate, ci_low, ci_high, ci_level, p_value, n, position,
        controls_low, controls_high, note. Of several students the mean. Estimators: *value*; *difference* from the
        teacher; *excess* over the mean of the controls; *share* of what the controls leave to copy or to gain; of the
        asymmetry *headroom* or *raw*, which describe
    verdicts : question, verdict, sentence
    transfers : student, control, n_correct, n_wrong, repaired, broken, infected, cured, net_repaired, net_infected;
        also "mean of controls", and "a control in its place", which no teacher has influenced
    flips : student, harmful, beneficial, neutral (both wrong, differently), same, n, mcnemar_exact, mcnemar_mid_p
    where : by, level, measure, estimator, n, estimate, ci_low, ci_high, ci_level, p_value, p_adjusted, note; intervals
        hold at once for all levels of one ``by`` and measure
    confusions : label, predicted, teacher_errors, student_same, controls_same, excess, ci_low, ci_high, ci_level, note
    inherited : rank, student, row, id, label, predicted, controls_same, n_controls, n_comparable (entries of the
        student against one control fewer), n_expected (of a control in its place), all_agree, note
    calibration : network, role, bin, low, high, n, confidence, accuracy
    settings, provenance : what was asked; versions and checksums
    images : (rows of ``inherited``, …) where they are at hand
    class_names : of the classes, in their order; empty where they have numbers alone
    """

    networks: pd.DataFrame
    scores: pd.DataFrame
    measures: pd.DataFrame
    verdicts: pd.DataFrame
    transfers: pd.DataFrame
    flips: pd.DataFrame
    where: pd.DataFrame
    confusions: pd.DataFrame
    inherited: pd.DataFrame
    calibration: pd.DataFrame
    settings: Mapping[str, Any]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    images: NDArray[np.uint8] | None = None
    class_names: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """The sentences of all verdicts."""
        return " ".join(self.verdicts["sentence"])

    def to_html(self) -> str:
        """The page, complete in itself."""
        from kdstats.reporting.audits import files

        return files(self)["index.html"].decode()

    def to_json(self) -> dict[str, Any]:
        """All tables as lists of rows; what does not exist is None."""
        return {
            "settings": dict(self.settings),
            "provenance": dict(self.provenance),
            **{name: _records(getattr(self, name)) for name in TABLES},
        }


TABLES = (
    "verdicts", "measures", "networks", "scores", "transfers", "flips", "where", "confusions", "inherited",
    "calibration",
)  # fmt: skip


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    def plain(value: Any) -> Any:
        value = value.item() if isinstance(value, np.generic) else value
        if isinstance(value, float) and not np.isfinite(value):
            return None if np.isnan(value) else ("inf" if value > 0 else "-inf")
        return value

    return [{str(key): plain(value) for key, value in row.items()} for row in frame.to_dict("records")]


def audit(
    teacher: Any,
    student: Any,
    labels: Any,
    controls: Sequence[Any] = (),
    *,
    control_teacher: Any = None,
    more_pairs: Sequence[Mapping[str, Any]] = (),
    groups: Mapping[str, ArrayLike] | None = None,
    margin: float | None = None,
    control_kind: ControlKind = "plain",
    controls_exchangeable: bool = False,
    primary: str = PRIMARY,
    paired: bool = False,
    level: float = 0.05,
    seed: int = 0,
    images: NDArray[np.uint8] | None = None,
    class_names: Sequence[str] | None = None,
) -> Audit:
    """Compare a student with its teacher, and with controls that never met that teacher.

    Parameters
    ----------
    teacher : array (N, C) of logits or probabilities, array (N,) of predicted labels, a file, or `Predictions`
    student : the same; or a list of them, several students of the teacher
    labels : (N,) integers, or a file
    controls : networks in the student's place without this teacher, of one ``control_kind``: "plain", trained on labels
        alone; "neutral", with the same regularisation and no teacher's labels; "kd-other", distilled from another
        teacher of the same recipe
    control_teacher : the one teacher that taught all controls, which are then "kd-other"; gives inherits_errors (W) and
        inherits_knowledge (K), of these two teachers
    more_pairs : further swapped pairs, each a dictionary of teacher, students, control_teacher, controls; with three
        pairs in all W and K are those of the recipe, and θ₀ is asked where teachers are given as logits
    groups : name -> (N,) values; numbers and tests for each
    margin : of equivalence and non-inferiority of accuracy to the teacher, as a share (.005 is half a point)
    controls_exchangeable : the caller declares that the controls follow the student's recipe in everything but the
        teacher; then the primary measure gets a rank p-value
    primary : the measure that gets it
    paired : student i and control i share their seed
    level : of verdicts; intervals hold at 1 − level
    seed : of the sample of examples on which the order of many classes is compared
    images : (N, H, W) or (N, C, H, W) uint8, to show inherited errors
    class_names : what the classes are called on the page; default their numbers

    Returns
    -------
    Audit

    Raises
    ------
    UserError
        Whatever in the input has to change, with file and row.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.array([0, 1, 0, 1, 0, 1])
    >>> teacher, student = np.array([0, 1, 1, 0, 0, 1]), np.array([0, 1, 1, 1, 0, 0])
    >>> found = audit(teacher, student, labels)
    >>> found.flips[["harmful", "beneficial", "neutral", "same"]].values.tolist()
    [[1, 1, 0, 4]]
    """
    control_kind = _kind_of_swap(control_kind, control_teacher, controls, more_pairs)
    asked = _settings(margin, control_kind, controls_exchangeable, primary, paired, level, seed)
    several = isinstance(student, list | tuple) and not isinstance(student, str)
    of_student = list(student) if several and not _is_rows(student) else [student]
    if not of_student:
        raise UserError("student: the list is empty; an audit has at least one student")
    if not isinstance(controls, Sequence) or isinstance(controls, str):
        raise UserError(f"controls is of type {type(controls).__name__}: it is a list of networks, empty for none")
    read = [read_predictions(teacher, "teacher" if _is_array(teacher) else None)]
    read += [_named(one, "student", i, len(of_student)) for i, one in enumerate(of_student)]
    read += [_named(one, "control", i, len(controls)) for i, one in enumerate(controls)]
    roles = ["teacher", *["student"] * len(of_student), *["control"] * len(controls)]
    main = len(read)
    of_pairs = auditswaps.checked_pairs(more_pairs)
    for role, one, called in _of_swaps(control_teacher, of_pairs):
        read.append(read_predictions(one, called if _is_array(one) else None))
        roles.append(role)
    widths = {one.name: one.values.shape[1] for one in read if one.values is not None}
    y, ids = read_labels(labels, max(widths.values()) if widths else None)
    y, read = aligned(y, ids, read)
    _refuse_copies(read, roles, y)
    everyone, every_role = read, roles
    read, roles = read[:main], roles[:main]
    groups = named_groups(groups, len(y)) if groups is not None else {}
    n_classes = max([*widths.values(), int(y.max()) + 1, *(int(one.classes.max()) + 1 for one in everyone)])
    taught = _taught(everyone, len(of_student), main, [(len(p["students"]), len(p["controls"])) for p in of_pairs])
    of_swap = auditswaps.swapped(taught, y, n_classes) if taught else None
    if paired and len(of_student) != len(controls):
        raise UserError(
            f"paired: there are {len(of_student)} students and {len(controls)} controls; each student needs the control"
            " of its seed"
        )
    of_teacher, others = metrics.observe(y, _source(read[0]), [_source(one) for one in read[1:]], max(n_classes, 2))
    ranked = _ranked(read, y, seed)
    pairs = [Pair(of_teacher, one, y, n_classes, ranks) for one, ranks in zip(others, ranked, strict=True)]
    students, those = pairs[: len(of_student)], pairs[len(of_student) :]
    names = [one.name for one in read]
    found_ids = next((one.ids for one in read if one.ids is not None), ids)
    itself = Pair(of_teacher, of_teacher, y, n_classes)
    claims = _claims(students, those, asked, kin=_kin(students, those, asked, bool(taught)))
    swapped = None
    if of_swap is not None and (named := auditswaps.asked(of_swap)):
        beside = [claim.family() for claim in claims if claim.says is not None]
        swapped = judge_swapped(of_swap, metrics=named, scope=auditswaps.scope(of_swap), level=level, beside=beside)
    measures = _measures(itself, students, those, asked, of_swap, None if swapped is None else swapped[0])
    inherited = _inherited(students, those, names[1 : 1 + len(students)], found_ids)
    shown = None
    if images is not None:
        if len(images) != len(y):
            raise UserError(f"images: there are {len(images)}, and {len(y)} labels")
        shown = images[inherited["row"].to_numpy(np.int64)]
    return Audit(
        networks=_networks(everyone, every_role, y),
        scores=_scores([itself, *pairs], names, roles),
        measures=measures,
        verdicts=_verdicts(claims, swapped, of_swap, asked),
        transfers=_transfers(students, those, names),
        flips=_flips(students, names[1:]),
        where=_where_table(students, those, _levels(of_teacher, those, y, groups), level),
        confusions=_confusions(students, those, level),
        inherited=inherited,
        calibration=_calibration([of_teacher, *others], names, roles),
        settings=asked | {
            "n": len(y), "classes": n_classes, "students": len(students), "controls": len(those), "pairs": len(taught),
            "control_teacher": taught[0].control_teacher.name if taught else None,
        },
        provenance={
            "kdstats": kdstats.__version__, "numpy": np.__version__, "python": platform.python_version(),
        },
        images=shown,
        class_names=_class_names(class_names, n_classes),
    )  # fmt: skip


def _kind_of_swap(
    kind: ControlKind, teacher: Any, controls: Sequence[Any], more_pairs: Sequence[Mapping[str, Any]]
) -> ControlKind:
    """Controls whose teacher is there are students of another teacher."""
    if teacher is None:
        if len(more_pairs):
            raise UserError("more_pairs are further pairs: the first is teacher, student, control_teacher and controls")
        return kind
    if not len(controls):
        raise UserError("control_teacher taught the controls, and there are none")
    if kind == "neutral":
        raise UserError("control_kind is 'neutral', controls without a teacher's labels: they have no control_teacher")
    return "kd-other"


def _of_swaps(
    control_teacher: Any, more_pairs: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, Any, str]]:  # fmt: skip
    """Role, source and name of networks that are there for W and K alone."""
    if control_teacher is None:
        return
    yield "control teacher", control_teacher, "control teacher"
    for q, pair in enumerate(more_pairs, 2):
        for key in auditswaps.KEYS:
            role = f"{key.removesuffix('s').replace('_', ' ')} of pair {q}"
            many = pair[key] if key in ("students", "controls") else [pair[key]]
            for i, one in enumerate(many, 1):
                yield role, one, f"{role}, {i}" if len(many) > 1 else role


def _taught(
    read: Sequence[Predictions], students: int, main: int, sizes: Sequence[tuple[int, int]]
) -> list[auditswaps.Taught]:
    """The swapped pairs, the audited one first; none where the controls' teacher is not there."""
    if len(read) == main:
        return []
    of = [auditswaps.Taught(read[0], tuple(read[1 : 1 + students]), read[main], tuple(read[1 + students : main]))]
    at = main + 1
    for k, m in sizes:
        of.append(
            auditswaps.Taught(
                read[at], tuple(read[at + 1 : at + 1 + k]), read[at + 1 + k], tuple(read[at + 2 + k : at + 2 + k + m])
            )
        )
        at += 2 + k + m
    return of


def _class_names(names: Sequence[str] | None, n_classes: int) -> tuple[str, ...]:
    if names is None:
        return ()
    if len(names) < n_classes:
        raise UserError(f"class_names: there are {len(names)}, and {n_classes} classes")
    return tuple(map(str, names))


def _settings(
    margin: float | None, control_kind: str, exchangeable: bool, primary: str, paired: bool, level: float, seed: int
) -> dict[str, Any]:
    if control_kind not in get_args(ControlKind):
        raise UserError(f"control_kind is {control_kind!r}: it is plain, neutral or kd-other")
    if margin is not None and not (isinstance(margin, float | int) and 0 < margin <= 0.2):
        raise UserError(
            f"margin is {margin!r}: a share of the examples, above 0 and at most .2 (20 points); 0.005 is half a point"
        )
    if not (isinstance(level, float) and 0 < level < 0.5):
        raise UserError(f"level is {level!r}: a number above 0 and below .5")
    tested = [name for name, measure in MEASURES.items() if measure.nearer]
    if primary not in tested:
        raise UserError(f"primary is {primary!r}: it is one of {', '.join(tested)}")
    return {
        "margin": margin, "control_kind": control_kind, "controls_exchangeable": exchangeable, "primary": primary,
        "paired": paired, "level": level, "seed": seed,
    }  # fmt: skip


def _is_array(value: Any) -> bool:
    return not isinstance(value, str | Predictions) and not hasattr(value, "__fspath__")


def _is_rows(value: Sequence[Any]) -> bool:
    """Whether a list is one network's outputs, row by row, and not a list of networks."""
    first = value[0] if len(value) else ""
    if isinstance(first, list | tuple):
        first = first[0] if len(first) else ""
    return np.isscalar(first) and not isinstance(first, str)


def _named(one: Any, role: str, i: int, count: int) -> Predictions:
    return read_predictions(one, (f"{role} {i + 1}" if count > 1 else role) if _is_array(one) else None)


def _refuse_copies(read: Sequence[Predictions], roles: Sequence[str], y: NDArray[np.int64]) -> None:
    """One network given twice is no second student or control, and a teacher is no control of itself."""
    for i, one in enumerate(read):
        for j in range(i):
            other, of_both = read[j], {roles[i], roles[j]}
            teaches = [role.split(" of ")[0] in ("teacher", "control teacher") for role in (roles[i], roles[j])]
            one_pair = roles[i].partition(" of pair")[2] == roles[j].partition(" of pair")[2]
            own = one_pair and {role.split(" of ")[0] for role in of_both} in (
                {"teacher", "student"}, {"control teacher", "control"},
            )  # fmt: skip
            if one.source and one.source == other.source and not own:
                raise UserError(f"{one.source}: is given twice; a copy of a network is no other network")
            if all(teaches) and _same_outputs(one, other, y):
                raise UserError(
                    f"{_called(other)} and {_called(one)} say the same of every example: swapped teachers are different"
                    " networks; give the teacher that taught the controls"
                )
            if (len(of_both) == 1 or of_both == {"teacher", "control"}) and _same_outputs(one, other, y):
                raise UserError(
                    f"{_called(other)} and {_called(one)} say the same of every example: a copy of a network is no"
                    f" {'control' if roles[j] == 'teacher' else 'other network'}"
                )


def _same_outputs(one: Predictions, other: Predictions, y: NDArray[np.int64]) -> bool:
    """Whether two networks are one; of labels alone that is sure from some shared errors on."""
    if not np.array_equal(one.classes, other.classes):
        return False
    if one.values is None or other.values is None:
        return one.values is other.values and int((one.classes != y).sum()) >= FEWEST
    return all(  # a copy in half precision is one, too
        np.allclose(_rows(one, rows), _rows(other, rows), rtol=2e-3, atol=2e-3)
        for rows in np.array_split(np.arange(len(y)), max(1, len(y) // 1000))
    )


def _called(one: Predictions) -> str:
    return one.source or one.name


def _source(one: Predictions) -> metrics.Source:
    return metrics.Source(one.kind, one.classes, None if one.values is None else one.block)


def _ranked(read: Sequence[Predictions], y: NDArray[np.int64], seed: int) -> list[Values | None]:
    """Rank disagreement with the teacher of every other network; of many classes on a sample, the same for all."""
    teacher = read[0]
    if teacher.values is None:
        return [None] * (len(read) - 1)
    n, classes = len(y), teacher.values.shape[1]
    rows = np.arange(n)
    if classes > MANY_CLASSES and n > RANKED:
        rows = np.sort(np.random.default_rng(seed).choice(n, RANKED, replace=False))
    t = _rows(teacher, rows)

    def apart(one: Predictions) -> Values | None:
        if one.values is None:
            return None
        return np.asarray(metrics.rank_disagreement(t, _rows(one, rows), per_example=True), np.float64)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(apart, read[1:]))


def _rows(one: Predictions, rows: NDArray[np.intp]) -> NDArray[Any]:
    assert one.values is not None
    return one.values[rows if one.order is None else one.order[rows]]


# Numbers with intervals ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Numbers:
    """An estimate with its interval; p only where it may be used."""

    estimate: float
    low: float = np.nan
    high: float = np.nan
    p_value: float = np.nan
    note: str = ""


def _mean(rows: Values, level: float) -> _Numbers:
    """Of one network over new examples, or of several over new networks and examples."""
    if len(rows) > 1:
        of = stats.two_way(rows)
        return _Numbers(float(of.estimate), *_interval(of, level))
    values = rows[0]
    of = stats.TwoWay(
        float(values.mean()), 0.0, float(values.var(ddof=1)) / len(values), 0.0, np.inf, len(values) - 1.0, 1.0
    )
    return _Numbers(float(of.estimate), *_interval(of, level))


def _exact(count: int, n: int, level: float) -> _Numbers:
    """A share of one network over new examples, with Clopper and Pearson's interval: short near 0 and 1, never none."""
    low, high = binomtest(count, n).proportion_ci(1 - level, method="exact")
    return _Numbers(count / n, float(low), float(high))


def _clipped(numbers: _Numbers, measure: str) -> _Numbers:
    """An interval within the values that there can be, which hold the truth anyway."""
    low, high = BOUNDS.get(measure) or (METRICS[measure].bounds if measure in METRICS else None) or (-np.inf, np.inf)
    return replace(numbers, low=float(np.maximum(numbers.low, low)), high=float(np.minimum(numbers.high, high)))


def _interval(of: stats.TwoWay, level: float) -> tuple[float, float, float, str]:
    if not of.variance > 0:
        return np.nan, np.nan, np.nan, "nothing varies, so there is no interval"
    low, high = of.confidence_interval(1 - level)
    return float(low), float(high), np.nan, ""


def _two(students: Values, controls: Values, asked: Mapping[str, Any]) -> stats.TwoWay:
    if asked["paired"] and len(students) > 1:
        return stats.two_way(students - controls)
    return stats.two_groups(students, controls)


def _against(students: Values, controls: Values, asked: Mapping[str, Any]) -> _Numbers:
    """Students minus controls; a p-value only where several students stand against several controls."""
    of = _two(students, controls, asked)
    low, high, _, note = _interval(of, asked["level"])
    several = len(students) > 1 and len(controls) > 1 and not note
    return _Numbers(float(of.estimate), low, high, float(of.p_value()) if several else np.nan, note)


def _measures(
    teacher: Pair, students: Sequence[Pair], controls: Sequence[Pair], asked: Mapping[str, Any], of: Swapped | None,
    contrasts: pd.DataFrame | None,
) -> pd.DataFrame:  # fmt: skip
    rows = list(_inheritance(students, controls, asked, of, contrasts))
    rows += [
        row
        for name, measure in MEASURES.items()
        for row in _of_measure(name, measure, teacher, students, controls, asked)
    ]
    rows += _gains(students, controls, asked)
    rows += _asymmetries(students, controls, asked)
    columns = (
        "measure", "estimator", "label", "question", "scope", "estimate", "ci_low", "ci_high", "ci_level", "p_value",
        "n", "position", "controls_low", "controls_high", "note",
    )  # fmt: skip
    return pd.DataFrame(rows, columns=list(columns))


def _of_measure(
    name: str, measure: Measure, teacher: Pair, students: Sequence[Pair], controls: Sequence[Pair],
    asked: Mapping[str, Any],
) -> Iterator[dict[str, Any]]:  # fmt: skip
    level = asked["level"]
    scope = THIS if len(students) == 1 else LIKE
    try:
        mine = _stack(measure, students)
    except UndefinedMetric as reason:
        estimators = ["value", *["difference"] * (measure.against == "labels"), "excess"]
        for estimator in (*estimators, *["share"] * (name == "copy_probability")):
            missing = _Numbers(np.nan, note=str(reason))
            yield _row(name, estimator, measure.label, measure.question, scope, missing, level, 0)
        return
    n = mine.shape[1]
    sampled = f"on {n} examples drawn with seed {asked['seed']}" if 1 < n < len(teacher.labels) else ""
    if n == 1:
        value = _Numbers(float(mine.mean()), note="no mean over examples: no interval")
    elif measure.counted is not None and len(students) == 1:
        value = _exact(*measure.counted(students[0]), level)
    else:
        value = _clipped(_mean(mine, level), name)
    yield _row(name, "value", measure.label, measure.question, scope, value, level, n, note=sampled)
    if measure.against == "labels":
        try:
            its = _stack(measure, [teacher])
            yield _row(
                name, "difference", f"{measure.label}, student − teacher", measure.question, scope,
                _difference(name, mine, its, students, teacher, level), level, n,
            )  # fmt: skip
        except UndefinedMetric as reason:
            missing = _Numbers(np.nan, note=f"the teacher's {reason}")
            yield _row(name, "difference", measure.label, measure.question, scope, missing, level, 0)
    share = "Copied beyond the controls, (p_s − p_c) / (1 − p_c)"
    if not controls:
        if name == "copy_probability":
            yield _row(name, "share", share, measure.question, scope, _Numbers(np.nan, note=NO_CONTROLS), level, n)
        yield _row(
            name, "excess", f"{measure.label}, student − controls", measure.question, scope,
            _Numbers(np.nan, note=NO_CONTROLS), level, n,
        )  # fmt: skip
        return
    try:
        theirs = _stack(measure, controls)
    except UndefinedMetric as reason:
        missing = _Numbers(np.nan, note=f"a control's {reason}")
        if name == "copy_probability":
            yield _row(name, "share", share, measure.question, LIKE, missing, level, n)
        yield _row(name, "excess", f"{measure.label}, student − controls", measure.question, LIKE, missing, level, n)
        return
    over = _scope(students, controls)
    if n == 1:
        excess = _Numbers(float(mine.mean() - theirs.mean()), note="no mean over examples: no interval")
    else:
        excess = _against(mine, theirs, asked)
        if measure.counted is not None:
            excess = replace(excess, low=_share_apart(excess.low), high=_share_apart(excess.high))
    spread = theirs.mean(1)
    place: dict[str, Any] = {"controls_low": float(spread.min()), "controls_high": float(spread.max()), "note": sampled}
    if len(students) == 1:
        place |= _position(
            float(mine.mean()),
            spread,
            measure.nearer if asked["controls_exchangeable"] and name == asked["primary"] else 0,
        )
    yield _row(
        name, "excess", f"{measure.label}, student − controls", measure.question, over, excess, level, n, **place
    )
    if name == "copy_probability":
        yield _row(
            name, "share", share, measure.question, over,
            _share(mine, theirs, level), level, n,
        )  # fmt: skip


def _stack(measure: Measure, pairs: Sequence[Pair]) -> Values:
    """Values (networks, N); (networks, 1) of a measure that is no mean over examples."""
    values = np.stack([np.atleast_1d(measure.of(pair)) for pair in pairs]).astype(np.float64)
    return np.round(values, DIGITS)  # linearised values of a constant are constant but for rounding


def _scope(students: Sequence[Pair], controls: Sequence[Pair]) -> str:
    return BOTH if len(students) == len(controls) == 1 else LIKE


def _row(
    measure: str, estimator: str, label: str, question: str, scope: str, numbers: _Numbers, level: float, n: int,
    **more: Any,
) -> dict[str, Any]:  # fmt: skip
    notes = "; ".join(filter(None, (numbers.note, more.pop("note", ""))))
    p = more.pop("p_value", numbers.p_value)
    return {
        "measure": measure, "estimator": estimator, "label": label, "question": question, "scope": scope,
        "estimate": numbers.estimate, "ci_low": numbers.low, "ci_high": numbers.high, "ci_level": 1 - level,
        "p_value": p, "n": n, "position": "", "controls_low": np.nan, "controls_high": np.nan, **more, "note": notes,
    }  # fmt: skip


def _position(score: float, others: Values, nearer: int = 0) -> dict[str, Any]:
    """Where a student stands among its controls, 1 the largest.

    With the rank's p on the side of ``nearer`` (1 larger, -1 smaller) where that was declared beforehand, else 0.

    Taking each network's score in turn against the mean of the others orders them as the scores do.
    """
    m, score, others = len(others), round(score, DIGITS), np.round(others, DIGITS)
    above, tied = int((others > score).sum()), int((others == score).sum())
    rank = f"{above + 1}" if not tied else f"{above + 1}–{above + 1 + tied}"
    found: dict[str, Any] = {"position": f"{rank} of {m + 1}"}
    if nearer:
        beyond = above if nearer > 0 else m - above - tied
        found["p_value"] = (1 + beyond + tied) / (m + 1)
        side = "larger" if nearer > 0 else "smaller"
        found["note"] = f"p: rank among {m + 1}, one-sided ({side}), at least {1 / (m + 1):.3g}"
    return found


def _difference(
    name: str, mine: Values, its: Values, students: Sequence[Pair], teacher: Pair, level: float
) -> _Numbers:
    """Student minus teacher. Accuracy of one student: Tango's interval and McNemar's exact p, of these two networks."""
    if name == "accuracy" and len(students) == 1:
        x, y = students[0].network.right, teacher.network.right
        low, high = stats.risk_difference(x, y).confidence_interval(1 - level)
        p = float(stats.mcnemar(x, y).p_value)
        return _Numbers(float(x.mean() - y.mean()), float(low), float(high), p, "p: McNemar, exact; interval: Tango")
    if mine.shape[1] == 1:
        return _Numbers(float(mine.mean() - its.mean()), note="no mean over examples: no interval")
    found = _mean(mine - its, level)
    return replace(found, low=_share_apart(found.low), high=_share_apart(found.high)) if name == "accuracy" else found


def _share(mine: Values, theirs: Values, level: float) -> _Numbers:
    try:
        estimate, low, high = stats.share_of_room(mine, theirs, level=1 - level)
    except ValueError as reason:
        return _Numbers(np.nan, note=str(reason))
    if np.isnan(low) or np.isnan(high):
        return _Numbers(estimate, note="nothing varies, so there is no interval")
    return _Numbers(estimate, low, min(high, 1.0))  # there is no more room than all


def _gains(students: Sequence[Pair], controls: Sequence[Pair], asked: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """g⁺ and g⁻: the share of what the controls left to gain in agreement, where the teacher is right and wrong."""
    for name, sign in (("positive_transfer", "⁺"), ("negative_transfer", "⁻")):
        label = f"g{sign}: gain in A{sign} as a share of what the controls left"
        n = len(students[0].labels)
        numbers = _Numbers(np.nan, note=NO_CONTROLS)
        if controls:
            try:
                mine, theirs = _stack(MEASURES[name], students), _stack(MEASURES[name], controls)
                if mine.mean() < theirs.mean():
                    raise UndefinedMetric("the student agrees less than the controls: a loss is no share of a gain")
                numbers = _share(mine, theirs, asked["level"])
            except UndefinedMetric as reason:
                numbers = _Numbers(np.nan, note=str(reason))
        yield _row(name, "share", label, "transfer", _scope(students, controls), numbers, asked["level"], n)


def _inheritance(
    students: Sequence[Pair], controls: Sequence[Pair], asked: Mapping[str, Any], of: Swapped | None,
    contrasts: pd.DataFrame | None,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Repeated errors, which describe; W, K and θ₀ of swapped teachers."""
    why = auditswaps.NEEDED[asked["control_kind"]] if controls else NO_CONTROLS
    if of is not None and len(of.pairs) > 1:
        found = auditswaps.repeated(of, asked["level"])
    else:
        found = _repeated(students, controls, asked, of is not None)
    for row in [*found, *auditswaps.rows(of, contrasts, asked["level"], why)]:
        estimate, low, high, p = (float(row.get(name, np.nan)) for name in ("estimate", "ci_low", "ci_high", "p_value"))
        numbers = _Numbers(estimate, low, high, p)
        yield _row(
            row["measure"], row["estimator"], row["label"], "inheritance", row["scope"], numbers, asked["level"],
            row["n"], note=row.get("note", ""),
        )  # fmt: skip


def _repeated(
    students: Sequence[Pair], controls: Sequence[Pair], asked: Mapping[str, Any], swapped: bool
) -> Iterator[dict[str, Any]]:
    """Of the teacher's errors, how many a student repeats, and how many a control does."""
    wrong = ~students[0].teacher.right
    n, errors = len(wrong), int(wrong.sum())
    mine, theirs = (np.array([n * (wrong & one.agrees) for one in side], float) for side in (students, controls))
    lacking = "" if controls else NO_CONTROLS
    if not errors:
        lacking = f"the teacher is wrong on none of the {n} examples"
    made: dict[str, tuple[str, Callable[[], _Numbers]]] = {
        "made": (THIS, lambda: _Numbers(float(errors), note="a count")),
        "own": (THIS if len(students) == 1 else LIKE, lambda: _mean(mine, asked["level"])),
        "other": (THIS if len(controls) == 1 else LIKE, lambda: _mean(theirs, asked["level"])),
        "more": (_scope(students, controls), lambda: replace(_against(mine, theirs, asked), p_value=np.nan)),
    }
    for estimator, (scope, numbers) in made.items():
        there = estimator == "made" or not lacking or (estimator == "own" and errors)
        found = numbers() if there else _Numbers(np.nan, note=lacking)
        yield {
            "measure": "repeated_errors", "estimator": estimator, "label": auditswaps.REPEATED[estimator], "n": n,
            "scope": auditswaps.THESE if swapped and scope == LIKE else scope,
            "estimate": found.estimate, "ci_low": found.low, "ci_high": found.high, "note": found.note,
        }  # fmt: skip


def _asymmetries(
    students: Sequence[Pair], controls: Sequence[Pair], asked: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """h against students of another teacher, the raw difference against controls of labels alone: both describe."""
    kinds: dict[str, tuple[Literal["headroom", "raw"], ...]] = {"kd-other": ("headroom",), "plain": ("raw",)}
    for estimator in kinds.get(asked["control_kind"], ()) if controls else ():
        n, place = len(students[0].labels), {"note": metrics.ESTIMATORS[estimator]}
        try:
            mine, theirs = (
                np.stack([metrics.asymmetry_examples(p.teacher.right, p.agrees, estimator) for p in side])
                for side in (students, controls)
            )
            mine, theirs = np.round(mine, DIGITS), np.round(theirs, DIGITS)
            numbers = replace(_against(mine, theirs, asked), p_value=np.nan)
            if estimator == "headroom" and (few := _too_few([*students, *controls])):
                numbers = _Numbers(numbers.estimate, note=few)
        except UndefinedMetric as reason:
            numbers = _Numbers(np.nan, note=str(reason))
        yield _row(
            "asymmetry", estimator, ASYMMETRIES[estimator], "transfer", _scope(students, controls), numbers,
            asked["level"], n, **place,
        )  # fmt: skip


def _too_few(pairs: Sequence[Pair]) -> str:
    """Why there is no interval of log disagreements: somebody has hardly any, and a log of 0 or 1 says nothing."""
    for place in ("right", "wrong"):
        here = pairs[0].teacher.right == (place == "right")
        fewest = min(int((here & ~pair.agrees).sum()) for pair in pairs)
        if fewest < FEWEST_DISAGREEMENTS:
            return (
                f"a network disagrees with the teacher on {fewest} of the examples on which it is {place}; from"
                f" {FEWEST_DISAGREEMENTS} on there is an interval"
            )
    return ""


# Verdicts --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Claim:
    """A question of an audit, decided by p-values that are corrected over all of them.

    Attributes
    ----------
    p_value, p_equivalence, p_reverse : of what is asked, of equivalence, of the opposite; NaN where there is none
    says : adjusted p-values by these names -> verdict and sentence; None where the question cannot be decided, and
        ``fixed`` says why
    """

    question: str
    says: Callable[[Mapping[str, float]], tuple[str, str]] | None = None
    fixed: tuple[str, str] = ("", "")
    p_value: float = np.nan
    p_reverse: float = np.nan
    p_equivalence: float = np.nan

    def family(self) -> dict[str, Any]:
        """The p-values by which the other claims are corrected: equivalence's, the larger, where it is asked."""
        p = self.p_value if np.isnan(self.p_equivalence) else self.p_equivalence
        return {"p_value": p, "p_reverse": self.p_reverse}


def _claims(
    students: Sequence[Pair], controls: Sequence[Pair], asked: Mapping[str, Any], kin: str
) -> list[_Claim]:  # fmt: skip
    return [
        _accuracy_claim(students, asked),
        _against_controls(
            "accuracy", students, controls, asked, "Accuracy against the controls",
            ("better", "worse"),
            ("The student is more accurate than its controls", "The student is less accurate than its controls",
             "No difference in accuracy from the controls is shown"), kin=kin,
        ),
        _against_controls(
            "negative_transfer", students, controls, asked, "The teacher's errors",
            ("more than controls", "fewer than controls"),
            ("The student makes more of its teacher's errors than its controls do",
             "The student makes fewer of its teacher's errors than its controls do",
             "That the student makes more or fewer of its teacher's errors than its controls do is not shown"),
            caution=SAYS_NOT[asked["control_kind"]], kin=kin,
        ),
    ]  # fmt: skip


SAYS_NOT = {  # of a kind of control -> what a difference in the teacher's errors leaves open
    "plain": "Its controls had no teacher: a change of accuracy alone can produce this, and it says nothing of"
    " inheritance.",
    "neutral": "It lies beyond what this regularisation does without a teacher's labels.",
    "kd-other": "A student that takes over no more than its teacher's quality can show this, too; inherited errors (W)"
    " need the teacher of the controls (control_teacher).",
}


def _kin(students: Sequence[Pair], controls: Sequence[Pair], asked: Mapping[str, Any], swapped: bool) -> str:
    """Why controls of another teacher show nothing by themselves."""
    if swapped:
        return (
            "the controls are students of one other teacher, and what differs may be that teacher's; inherited errors"
            " (W) and right answers (K) are balanced over both teachers"
        )
    return _of_one_teacher(students, controls) if asked["control_kind"] == "kd-other" else ""


def _verdicts(
    claims: Sequence[_Claim], swapped: tuple[pd.DataFrame, pd.DataFrame] | None, of: Swapped | None,
    asked: Mapping[str, Any],
) -> pd.DataFrame:  # fmt: skip
    """All verdicts, one family: each kind of p-value corrected by Holm over everything that is decided."""
    rows = _of_swapped(swapped, of, asked)
    decided = [claim for claim in claims if claim.says is not None]
    raw = [] if swapped is None else swapped[0].query("kind == 'confirmatory'").to_dict("records")

    def adjusted(i: int, kind: str) -> float:
        p = getattr(decided[i], kind)
        name = "p_reverse" if kind == "p_reverse" else "p_value"
        everyone = [claim.family()[name] for claim in decided] + [row[name] for row in raw]
        everyone[i] = p
        return float(stats.adjust([1.0 if pd.isna(one) else one for one in everyone], "holm")[i])

    made = []
    for claim in claims:
        row: dict[str, Any] = {"question": claim.question, "p_value": np.nan, "p_adjusted": np.nan}
        if claim.says is None:
            made.append(row | {"verdict": claim.fixed[0], "sentence": claim.fixed[1]})
            continue
        i = decided.index(claim)
        p = {kind: adjusted(i, kind) for kind in ("p_value", "p_reverse", "p_equivalence")}
        verdict, sentence = claim.says(p)
        kind = {"equivalent": "p_equivalence", "inferior": "p_reverse"}.get(verdict, "p_value")
        size = len(decided) + len(raw)
        words = f"p {p_words(getattr(claim, kind))}, {p_words(p[kind]).removeprefix('= ')} after Holm over "
        words += f"{size} verdict{'s' * (size != 1)}"
        if not np.isnan(getattr(claim, kind)):
            sentence = sentence.replace(P_HERE, f"; {words}", 1)
        row |= {"p_value": getattr(claim, kind), "p_adjusted": p[kind]}
        made.append(row | {"verdict": verdict, "sentence": sentence.replace(P_HERE, "")})
    return pd.DataFrame(made + rows, columns=["question", "verdict", "sentence", "p_value", "p_adjusted"])


P_HERE = "{p}"  # where a sentence names its p-values


def _of_swapped(
    swapped: tuple[pd.DataFrame, pd.DataFrame] | None, of: Swapped | None, asked: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """W, K and θ₀ as `kdstats.verdicts` judges them; or why there is no verdict on inheritance."""
    if swapped is None:
        why = auditswaps.NEEDED[asked["control_kind"]] if of is None else auditswaps.ONE_STUDENT
        question = "Inherited errors and right answers"
        return [{"question": question, "verdict": "not possible", "sentence": f"{question}: no verdict, since {why}."}]
    return [
        {"question": auditswaps.QUESTIONS[row["metric"]], **{
            name: row[name] for name in ("verdict", "sentence", "p_value", "p_adjusted")
        }}
        for row in swapped[1].to_dict("records")
    ]  # fmt: skip


def _accuracy_claim(students: Sequence[Pair], asked: Mapping[str, Any]) -> _Claim:
    """Equivalent, non-inferior, inferior or inconclusive: two one-sided tests at the margin (TOST)."""
    question, margin, level = "Accuracy against the teacher", asked["margin"], asked["level"]
    teacher = students[0].teacher

    if len(students) == 1:
        right = students[0].network.right
        low, high = stats.risk_difference(right, teacher.right).confidence_interval(1 - 2 * level)
        estimate = float(right.mean() - teacher.right.mean())
    else:
        of = stats.two_way(np.stack([p.network.right.astype(float) - teacher.right for p in students]))
        estimate = float(of.estimate)
        low, high = of.confidence_interval(1 - 2 * level) if of.variance > 0 else (estimate, estimate)

    def p_at(null: float, side: Literal["greater", "less"]) -> float:
        if len(students) == 1:
            return stats.risk_difference_p(right, teacher.right, null=null, alternative=side)
        if not of.variance > 0:
            return float(not (estimate > null if side == "greater" else estimate < null))
        return float(of.p_value(side, null))

    low, high = _share_apart(low), _share_apart(high)
    numbers = f"{_points(estimate)} points [{_points(low)}, {_points(high)}] ({100 * (1 - 2 * level):g}% interval)"
    if margin is None:
        sentence = (
            f"The student's accuracy minus its teacher's is {numbers}; no margin was declared, so nothing is decided."
        )
        return _Claim(question, fixed=("no margin", sentence))
    at = f"{margin * 100:g} point" + "s" * (margin != 0.01)

    def says(p: Mapping[str, float]) -> tuple[str, str]:
        verdict, words = "inconclusive", f"Whether the student's accuracy lies within {at} of its teacher's is open"
        if p["p_reverse"] <= level:
            verdict, words = "inferior", f"The student is less accurate than its teacher by more than {at}"
        elif p["p_equivalence"] <= level:
            verdict, words = "equivalent", f"The student's accuracy lies within {at} of its teacher's"
        elif p["p_value"] <= level:
            verdict, words = "non-inferior", f"The student's accuracy is not below its teacher's by {at} or more"
        return verdict, f"{words}: {numbers}{P_HERE}."

    not_below = p_at(-margin, "greater")
    return _Claim(
        question, says, p_value=not_below, p_reverse=p_at(-margin, "less"),
        p_equivalence=max(not_below, p_at(margin, "less")),
    )  # fmt: skip


def _points(share: float) -> str:
    return f"{share * 100:+.2f}".replace("-", "−")


def _against_controls(
    measure: str, students: Sequence[Pair], controls: Sequence[Pair], asked: Mapping[str, Any], question: str,
    verdicts: tuple[str, str], sentences: tuple[str, str, str], caution: str = "", kin: str = "",
) -> _Claim:  # fmt: skip
    """Above, below, or neither, by a p-value that counts how controls differ among themselves.

    ``kin``: why the controls cannot show that.
    """
    if len(controls) < 2 or kin:
        why = kin if kin and controls else (
            "no control is given" if not controls else "one control does not show how controls differ among themselves"
        )  # fmt: skip
        return _Claim(question, fixed=("not possible", f"{question}: no verdict, since {why}."))
    try:
        mine, theirs = _stack(MEASURES[measure], students), _stack(MEASURES[measure], controls)
        of = _two(mine, theirs, asked)
        low, high, _, note = _interval(of, asked["level"])
    except UndefinedMetric as reason:
        note = str(reason)
    if note:
        said = "not measurable", f"{question}: {note}."
        return _Claim(question, lambda p: said)
    low, high = _share_apart(low), _share_apart(high)
    estimate = float(of.estimate)

    def says(p: Mapping[str, float]) -> tuple[str, str]:
        i = 2 if p["p_value"] > asked["level"] else 0 if estimate > 0 else 1
        numbers = f"{_points(estimate)} points [{_points(low)}, {_points(high)}]{P_HERE}"
        more = f" {caution}" if caution and i < 2 else ""
        return (*verdicts, "not shown different")[i], f"{sentences[i]}: {numbers}.{more}"

    return _Claim(question, says, p_value=float(of.p_value()))


def _of_one_teacher(students: Sequence[Pair], controls: Sequence[Pair]) -> str:
    """Whether controls of another teacher seem to have one in common, which breaks every comparison with them.

    Where each has its own, they resemble each other as they do the student: by s = (o - e) / (1 - e), agreement above
    that of independent errors. More than that, beyond the .999 quantile of t over the controls, is one teacher's mark.
    """
    if len(controls) < 3:
        return ""
    y, k = students[0].labels, max(students[0].n_classes, 2)

    def alike(a: Pair, b: Pair) -> float:
        right = a.network.right.mean(), b.network.right.mean()
        e = right[0] * right[1] + (1 - right[0]) * (1 - right[1]) / (k - 1)
        return float(((a.network.classes == b.network.classes).mean() - e) / max(1 - e, 1 / len(y)))

    among = np.array([np.mean([alike(one, other) for other in controls if other is not one]) for one in controls])
    with_student = float(np.mean([alike(student, one) for student in students for one in controls]))
    spread = max(float(among.std(ddof=1)) * (1 + 1 / len(controls)) ** 0.5, 1 / len(y))
    if (among.mean() - with_student) / spread <= float(student_t.ppf(0.999, len(controls) - 1)):
        return ""
    return (
        f"the controls resemble each other more ({among.mean():.3f}) than they do the student ({with_student:.3f}), as"
        " students of one teacher do; each control needs another teacher of its own"
    )


# Counts ----------------------------------------------------------------------------------------------------------

COUNTS = ("repaired", "broken", "infected", "cured", "net_repaired", "net_infected")


def _transfers(students: Sequence[Pair], controls: Sequence[Pair], names: Sequence[str]) -> pd.DataFrame:
    of_student, of_control = names[1 : 1 + len(students)], names[1 + len(students) :]
    right = students[0].teacher.right

    def counts(one: Pair, other: Pair) -> dict[str, float]:
        found = metrics.transfer_of_agreements(right, one.agrees, other.agrees)
        return {name: float("nan" if (value := getattr(found, name)) is None else value) for name in COUNTS}

    sizes = {"n_correct": int(right.sum()), "n_wrong": int((~right).sum())}
    rows: list[dict[str, Any]] = []
    for name, student in zip(of_student, students, strict=True):
        each = [counts(student, control) for control in controls]
        rows += [
            {"student": name, "control": control, **sizes, **found}
            for control, found in zip(of_control, each, strict=True)
        ]
        if len(each) > 1:
            mean = {key: float(np.mean([found[key] for found in each])) for key in COUNTS}
            rows.append({"student": name, "control": "mean of controls", **sizes, **mean})
    if len(controls) > 1:
        placed = [counts(one, other) for one in controls for other in controls if one is not other]
        mean = {key: float(np.mean([found[key] for found in placed])) for key in COUNTS}
        rows.append({"student": "a control in its place", "control": "mean of controls", **sizes, **mean})
    return pd.DataFrame(rows, columns=["student", "control", *sizes, *COUNTS])


def _flips(students: Sequence[Pair], names: Sequence[str]) -> pd.DataFrame:
    rows = []
    for name, pair in zip(names, students, strict=False):
        t, s, same = pair.teacher.right, pair.network.right, pair.agrees
        rows.append(
            {
                "student": name,
                "harmful": int((t & ~s).sum()),
                "beneficial": int((~t & s).sum()),
                "neutral": int((~t & ~s & ~same).sum()),
                "same": int(same.sum()),
                "n": len(t),
                "mcnemar_exact": float(stats.mcnemar(s, t).p_value),
                "mcnemar_mid_p": float(stats.mcnemar(s, t, method="mid-p").p_value),
            }
        )
    return pd.DataFrame(rows)


# Where -----------------------------------------------------------------------------------------------------------


def _levels(
    teacher: Observed, controls: Sequence[Pair], y: NDArray[np.int64], groups: Mapping[str, ArrayLike] | None
) -> dict[str, tuple[list[str], NDArray[np.intp]]]:
    """By what examples are divided: the names of the parts, and the part of each example."""
    found: dict[str, tuple[list[str], NDArray[np.intp]]] = {}
    for name, values in {"class": y, **{f"group {key}": value for key, value in (groups or {}).items()}}.items():
        array = np.asarray(values)
        if array.shape != y.shape:
            raise UserError(f"{name}: has {array.size} values for {len(y)} examples")
        levels, part = np.unique(array.astype(str) if array.dtype.kind == "O" else array, return_inverse=True)
        found[name] = [str(level) for level in levels], part
    if controls:
        share = np.mean([pair.network.right for pair in controls], axis=0)
        names = ["no control is right", "up to half are", "more than half are", "every control is right"]
        found["difficulty"] = names, np.select([share == 0, share <= 0.5, share < 1], [0, 1, 2], 3)
    if teacher.confidence is not None:
        edges = np.array([0.5, 0.7, 0.9, 0.99])
        names = ["up to .5", ".5 to .7", ".7 to .9", ".9 to .99", "above .99"]
        found[CONFIDENCE] = names, np.searchsorted(edges, teacher.confidence, side="left")
    return found


def _where_table(
    students: Sequence[Pair], controls: Sequence[Pair],
    levels: Mapping[str, tuple[list[str], NDArray[np.intp]]], level: float,
) -> pd.DataFrame:  # fmt: skip
    """Accuracy against teacher and controls; agreement where the teacher is wrong, against the controls.

    Who makes the parts cannot be compared in them: regression to the mean would look like a difference. So nothing is
    told against controls by difficulty, which they tell, nor against the teacher by its own confidence.
    """
    columns = (
        "by", "level", "measure", "estimator", "n", "estimate", "ci_low", "ci_high", "ci_level", "p_value",
        "p_adjusted", "note",
    )  # fmt: skip
    wrong = ~students[0].teacher.right
    rows: list[dict[str, Any]] = []
    for by, (names, part) in levels.items():
        order = np.argsort(part, kind="stable")
        bounds = np.searchsorted(part[order], np.arange(len(names) + 1))
        members = [order[a:b] for a, b in pairwise(bounds)]
        there = [(name, rows_) for name, rows_ in zip(names, members, strict=True) if len(rows_)]
        at = level / len(there)
        if by == CONFIDENCE and not controls:
            rows += [_told_by_teacher(by, name, rows_, students, at) for name, rows_ in there]
        if by != CONFIDENCE:
            family = [_accuracy_there(by, name, rows_, students, at) for name, rows_ in there]
            adjusted = stats.adjust([row["p_value"] for row in family], "holm")
            rows += [{**row, "p_adjusted": p} for row, p in zip(family, adjusted, strict=True)]
        if controls and by != "difficulty":
            for name, rows_ in there:
                rows += [
                    _beyond_controls(by, name, "accuracy", rows_, students, controls, at),
                    _beyond_controls(by, name, "negative_transfer", rows_[wrong[rows_]], students, controls, at),
                ]
    return pd.DataFrame(rows, columns=list(columns))


def _accuracy_there(
    by: str, name: str, rows: NDArray[np.intp], students: Sequence[Pair], level: float
) -> dict[str, Any]:
    t = students[0].teacher.right[rows]
    found = {
        "by": by,
        "level": name,
        "measure": "accuracy",
        "estimator": "difference",
        "n": len(rows),
        "ci_level": 1 - level,
    }
    if len(students) == 1:
        s = students[0].network.right[rows]
        of = stats.risk_difference(s, t)
        low, high = of.confidence_interval(1 - level)
        return {
            **found, "estimate": float(s.mean() - t.mean()), "ci_low": float(low), "ci_high": float(high),
            "p_value": float(stats.mcnemar(s, t).p_value), "note": "McNemar, exact; Tango's interval",
        }  # fmt: skip
    d = np.stack([p.network.right[rows].astype(float) - t for p in students])
    if d.shape[1] < 2 or not np.ptp(d):
        why = "one example" if d.shape[1] < 2 else "nothing varies"
        return {**found, "estimate": float(d.mean()), "ci_low": np.nan, "ci_high": np.nan, "p_value": 1.0, "note": why}
    two = stats.two_way(d)
    low, high = two.confidence_interval(1 - level)
    return {
        **found, "estimate": float(two.estimate), "ci_low": _share_apart(low), "ci_high": _share_apart(high),
        "p_value": float(two.p_value()), "note": "",
    }  # fmt: skip


def _told_by_teacher(
    by: str, name: str, rows: NDArray[np.intp], students: Sequence[Pair], level: float
) -> dict[str, Any]:
    t = students[0].teacher.right[rows]
    estimate = float(np.mean([p.network.right[rows].mean() - t.mean() for p in students]))
    note = "the teacher's own confidence makes these parts, in which any other network differs; controls are needed"
    return {
        "by": by, "level": name, "measure": "accuracy", "estimator": "difference", "n": len(rows), "estimate": estimate,
        "ci_low": np.nan, "ci_high": np.nan, "ci_level": 1 - level, "p_value": np.nan, "p_adjusted": np.nan,
        "note": note,
    }  # fmt: skip


def _beyond_controls(
    by: str, name: str, measure: str, rows: NDArray[np.intp], students: Sequence[Pair], controls: Sequence[Pair],
    level: float,
) -> dict[str, Any]:  # fmt: skip
    numbers = _excess_there(measure, rows, students, controls, level)
    return {
        "by": by, "level": name, "measure": measure, "estimator": "excess", "n": len(rows),
        "estimate": numbers.estimate, "ci_low": numbers.low, "ci_high": numbers.high, "ci_level": 1 - level,
        "p_value": np.nan, "p_adjusted": np.nan, "note": numbers.note,
    }  # fmt: skip


def _excess_there(
    measure: str, rows: NDArray[np.intp], students: Sequence[Pair], controls: Sequence[Pair], level: float
) -> _Numbers:
    """How much more often students are right, or agree with the teacher, on these examples than controls are or do."""
    if not len(rows):
        return _Numbers(np.nan, note="the teacher makes no error here")
    x, y = (
        np.stack([(one.network.right if measure == "accuracy" else one.agrees)[rows] for one in side]).astype(
            np.float64
        )
        for side in (students, controls)
    )
    if len(rows) < FEWEST:
        what = "examples" if measure == "accuracy" else "of the teacher's errors"
        return _Numbers(float(x.mean() - y.mean()), note=f"fewer than {FEWEST} {what}: no interval")
    if len(students) == len(controls) == 1:
        return _Numbers(float(x.mean() - y.mean()), note="one control does not show how controls differ: no interval")
    of = stats.two_groups(x, y)
    found = _Numbers(float(of.estimate), *_interval(of, level))
    return replace(found, low=_share_apart(found.low), high=_share_apart(found.high))


def _share_apart(end: float) -> float:
    """No difference of shares is beyond 1."""
    return float(np.clip(end, -1.0, 1.0))


def _confusions(students: Sequence[Pair], controls: Sequence[Pair], level: float) -> pd.DataFrame:
    """The teacher's confusions of two examples or more, and who has them too; first what controls have least."""
    columns = (
        "label", "predicted", "teacher_errors", "student_same", "controls_same", "excess", "ci_low", "ci_high",
        "ci_level", "note",
    )  # fmt: skip
    t, y = students[0].teacher, students[0].labels
    wrong = np.flatnonzero(~t.right)
    width = students[0].n_classes
    pairs, part, sizes = np.unique(y[wrong] * width + t.classes[wrong], return_inverse=True, return_counts=True)
    order = np.argsort(part, kind="stable")
    members = np.split(wrong[order], np.cumsum(sizes)[:-1]) if len(pairs) else []
    tested = int((sizes >= FEWEST).sum())
    rows = []
    for pair, there in zip(pairs, members, strict=True):
        if len(there) < 2:
            continue
        same = float(np.mean([one.agrees[there] for one in students])) * len(there)
        theirs, numbers = np.nan, _Numbers(np.nan, note=NO_CONTROLS)
        if controls:
            theirs = float(np.mean([one.agrees[there] for one in controls])) * len(there)
            numbers = _excess_there("negative_transfer", there, students, controls, level / max(tested, 1))
        rows.append(
            {
                "label": int(pair // width), "predicted": int(pair % width), "teacher_errors": len(there),
                "student_same": same, "controls_same": theirs, "excess": numbers.estimate, "ci_low": numbers.low,
                "ci_high": numbers.high, "ci_level": 1 - level / max(tested, 1), "note": numbers.note,
            }
        )  # fmt: skip
    table = pd.DataFrame(rows, columns=list(columns))
    beyond = table["student_same"] - table["controls_same"].fillna(0)
    return table.iloc[np.argsort(-beyond.to_numpy(), kind="stable")].reset_index(drop=True)


# Which examples --------------------------------------------------------------------------------------------------


def _entries(
    agrees: NDArray[np.bool_], others: NDArray[np.bool_], teacher_wrong: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Inherited errors of a network: the teacher is wrong, the network says the same, most of the others do not."""
    return teacher_wrong & agrees & (2 * others.sum(0) < max(len(others), 1))


def _inherited(
    students: Sequence[Pair], controls: Sequence[Pair], names: Sequence[str], ids: NDArray[Any] | None
) -> pd.DataFrame:
    """Inherited errors, those that fewest controls share first; and errors that every network makes, flagged."""
    t, y = students[0].teacher, students[0].labels
    wrong = ~t.right
    theirs = np.array([pair.agrees for pair in controls]).reshape(len(controls), len(y))
    tables = []
    for name, pair in zip(names, students, strict=True):
        listed = _entries(pair.agrees, theirs, wrong)
        everyone = np.array([pair.agrees, *theirs])
        all_agree = wrong & everyone.all(0) if len(controls) else np.zeros(len(y), bool)
        # like with like: the student, and a control in its place, each against one control fewer
        fewer = [np.delete(theirs, i, axis=0) for i in range(len(theirs))] if len(theirs) > 1 else []
        comparable, expected = (
            float(np.mean([_entries(one, others, wrong).sum() for one, others in zip(ones, fewer, strict=True)]))
            if fewer
            else np.nan
            for ones in ([pair.agrees] * len(fewer), theirs[: len(fewer)])
        )
        rows = np.flatnonzero(listed | all_agree)
        same = theirs[:, rows].sum(0)
        sure = pair.network.confidence[rows] if pair.network.confidence is not None else np.zeros(len(rows))
        order = np.lexsort((rows, -sure, same))
        rows, same = rows[order], same[order]
        tables.append(
            pd.DataFrame(
                {
                    "rank": np.arange(1, len(rows) + 1),
                    "student": name,
                    "row": rows,
                    "id": rows if ids is None else ids[rows],
                    "label": y[rows],
                    "predicted": t.classes[rows],
                    "controls_same": same if len(controls) else np.full(len(rows), np.nan),
                    "n_controls": len(controls),
                    "n_comparable": comparable,
                    "n_expected": expected,
                    "all_agree": all_agree[rows],
                    "note": np.where(all_agree[rows], "every network says so: perhaps the label is wrong", "")
                    if len(controls)
                    else NO_CONTROLS,
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


# Networks by themselves ------------------------------------------------------------------------------------------


def _networks(read: Sequence[Predictions], roles: Sequence[str], y: NDArray[np.int64]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "name": [one.name for one in read],
            "role": list(roles),
            "source": [one.source for one in read],
            "kind": [one.kind for one in read],
            "detected": [one.detected for one in read],
            "n": [len(one.classes) for one in read],
            "accuracy": [float((one.classes == y).mean()) for one in read],
        }
    )


def _scores(pairs: Iterable[Pair], names: Sequence[str], roles: Sequence[str]) -> pd.DataFrame:
    rows = []
    for pair, name, role in zip(pairs, names, roles, strict=True):
        for key, measure in MEASURES.items():
            if role == "teacher" and measure.against == "teacher":
                continue
            try:
                value, note = float(np.mean(measure.of(pair))), ""
            except UndefinedMetric as reason:
                value, note = np.nan, str(reason)
            rows.append({"network": name, "role": role, "measure": key, "value": value, "note": note})
    return pd.DataFrame(rows)


def _calibration(observed: Sequence[Observed], names: Sequence[str], roles: Sequence[str]) -> pd.DataFrame:
    """Bins of the top label's probability, (low, high]; those without examples are left out."""
    bins = 15
    columns = ("network", "role", "bin", "low", "high", "n", "confidence", "accuracy")
    rows = []
    for one, name, role in zip(observed, names, roles, strict=True):
        if one.confidence is None:
            continue
        part = np.maximum(np.searchsorted(np.arange(bins + 1) / bins, one.confidence, side="left") - 1, 0)
        n = np.bincount(part, minlength=bins)
        sure, right = (np.bincount(part, values, minlength=bins) for values in (one.confidence, one.right))
        rows += [
            {
                "network": name, "role": role, "bin": b + 1, "low": b / bins, "high": (b + 1) / bins, "n": int(n[b]),
                "confidence": sure[b] / n[b], "accuracy": right[b] / n[b],
            }
            for b in np.flatnonzero(n)
        ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(columns))
