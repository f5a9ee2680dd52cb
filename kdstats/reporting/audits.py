"""All files of an audit's report: its page, each table and figure by itself, and a summary in Markdown.

The page reads from the verdicts down: scope, gate, answers, tables, what could not be measured, where it came from.
"""

import base64
import io
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import seaborn as sns
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

import kdstats
from kdstats.metrics.swaps import FEWEST_PAIRS
from kdstats.reporting.figures import COLUMN, GREY, LIGHT, PAGE, Drawing
from kdstats.reporting.files import tables_and_figures
from kdstats.reporting.page import HERE
from kdstats.reporting.results import Row, clean, listed, plural, records
from kdstats.reporting.tables import NONE, Table, decimals, interval_text, number, p_text
from kdstats.reporting.writers import markdown, markdown_text

if TYPE_CHECKING:
    from kdstats.auditing import Audit
    from kdstats.gate import Outcome

MEAN, PLACE = "mean of controls", "a control in its place"
NEEDS_CONTROL = (
    "Two networks trained apart on the same data share errors too, because some examples are hard. Without controls,"
    " networks in the student's place that never met this teacher, it cannot be said what the student took over from"
    " it, or whether it makes more of its teacher's errors than it would have made anyway"
)
MAIN = (
    "accuracy", "agreement", "error_consistency", "copy_probability", "capa", "fidelity_kl", "positive_transfer",
    "negative_transfer", "negative_flip_rate", "expected_calibration_error",
)  # fmt: skip

INHERITS = ("repeated_errors", "inherits_errors", "inherits_knowledge")


def files(audit: "Audit", gates: Sequence["Outcome"] = ()) -> dict[str, bytes]:
    """Every file of the report by its path, index.html first; the same audit gives the same bytes.

    Parameters
    ----------
    audit : what was found
    gates : what the conditions of a release came to
    """
    audit = tidy(audit)
    tables, drawings, written = tables_and_figures(audit, TABLES, FIGURES, "audit", signature(audit))
    return {"index.html": _html(audit, gates, tables, drawings).encode(), **written}


def github(audit: "Audit", gates: Sequence["Outcome"] = ()) -> str:
    """The summary for a job's page, in Markdown: verdicts, gate, scope, main numbers.

    Parameters
    ----------
    audit : what was found
    gates : what the conditions of a release came to
    """
    audit = tidy(audit)
    lines = [f"# {markdown_text(_title(audit))}", ""]
    lines += [f"- **{markdown_text(row['verdict'])}**: {markdown_text(row['sentence'])}" for row in _verdicts(audit)]
    lines += ["", *(f"> {markdown_text(warning)}\n" for warning in _warnings(audit))]
    if gates:
        lines += [f"## {_gate_title(gates)}", "", "| | condition | found |", "| --- | --- | --- |"]
        lines += [
            f"| {'passed' if gate.passed else '**failed**'} | {_code(gate.expression)}"
            f" | {markdown_text(clean(gate.reason))} |"
            for gate in gates
        ]
        lines.append("")
    main = [row for row in records(audit.measures) if row["measure"] in (*INHERITS, *MAIN)]
    return "\n".join([*lines, markdown(_numbers(audit, "Main numbers", main)), " ".join(_scope(audit)), ""])


def _code(text: str) -> str:
    """Text as code in a cell of Markdown, where only bars and backticks could end it."""
    return f"<code>{markdown_text(clean(text))}</code>"


def tidy(audit: "Audit") -> "Audit":
    """The audit with each text on one line that all formats hold, files without their folders, classes by name."""
    frames = {f.name: getattr(audit, f.name) for f in fields(audit)}
    frames = {name: _one_line(frame) for name, frame in frames.items() if isinstance(frame, pd.DataFrame)}
    if "source" in frames["networks"]:
        frames["networks"]["source"] = [_file(source) for source in frames["networks"]["source"]]
    if names := list(map(clean, audit.class_names)):
        for table, column in (("confusions", "label"), ("confusions", "predicted"), ("inherited", "label"),
                              ("inherited", "predicted")):  # fmt: skip
            frames[table][column] = [names[number] for number in frames[table][column]]
        of_class = frames["where"]["by"] == "class"
        named = [names[int(level)] for level in frames["where"].loc[of_class, "level"]]
        frames["where"].loc[of_class, "level"] = named
    return replace(audit, **frames)


def _one_line(frame: pd.DataFrame) -> pd.DataFrame:
    """Numbers as they are."""
    numeric = pd.api.types.is_numeric_dtype
    return pd.DataFrame({name: of if numeric(of) else list(map(clean, of)) for name, of in frame.items()})


def _file(source: str) -> str:
    """A file's name, with the key or architecture that follows it.

    Examples
    --------
    >>> _file("runs/x/teacher.npz:logits"), _file("a/net.pth:timm:org/vit"), _file("runs/digits/")
    ('teacher.npz:logits', 'net.pth:timm:org/vit', 'digits')
    """
    return re.sub(r"^(?:[A-Za-z]:)?[^:]*[/\\]", "", source.rstrip("/\\"))


# What is in the audit --------------------------------------------------------------------------------------------


def _measured(audit: "Audit", measure: str, estimator: str = "value") -> Row | None:
    """A row of the measures; none where it could not be measured."""
    for row in records(audit.measures):
        if (row["measure"], row["estimator"]) == (measure, estimator) and not pd.isna(row["estimate"]):
            return row
    return None


def _scored(audit: "Audit", measure: str, role: str) -> list[float]:
    rows = [row for row in records(audit.scores) if (row["measure"], row["role"]) == (measure, role)]
    return [row["value"] for row in rows if math.isfinite(row["value"])]


def _students(audit: "Audit") -> int:
    return int(audit.settings["students"])


def _controls(audit: "Audit") -> int:
    return int(audit.settings["controls"])


def _counted(audit: "Audit") -> tuple[Row | None, Row | None]:
    """Counts of the students against all controls, mean over students; and of a control in their place."""
    rows = records(audit.transfers)
    placed = [row for row in rows if row["student"] == PLACE]
    own = [row for row in rows if row["student"] != PLACE and row["control"] != MEAN]
    counts = ("n_correct", "n_wrong", "repaired", "broken", "infected", "cured")
    mean = {name: float(np.mean([row[name] for row in own])) for name in counts} if own else None
    return mean, placed[0] if placed else None


def _significant(row: Row, level: float) -> bool:
    """By the adjusted p where there is one, else by the interval that holds for the whole family."""
    if not pd.isna(row["p_adjusted"]):
        return bool(row["p_adjusted"] <= level)
    return bool(row["ci_low"] > 0 or row["ci_high"] < 0)


def _verdicts(audit: "Audit") -> list[dict[str, Any]]:
    return [{**row, "tone": TONES.get(row["verdict"], "inconclusive")} for row in records(audit.verdicts)]


TONES = {  # of a verdict -> how page.css shows it
    "equivalent": "equivalent", "non-inferior": "equivalent", "inferior": "refuted",
    "better": "supported", "worse": "refuted", "supported": "supported", "refuted": "refuted",
    "fewer than controls": "supported", "more than controls": "refuted",
}  # fmt: skip
SYMBOLS = {"supported": "✓", "refuted": "!", "equivalent": "=", "inconclusive": "?"}

# Words -----------------------------------------------------------------------------------------------------------


def signature(audit: "Audit") -> str:
    """How the numbers were made, in one line."""
    parts = (
        f"n = {audit.settings['n']:,} examples",
        f"{_level_words(audit)} intervals",
        f"kdstats {kdstats.__version__}",
    )
    return " · ".join(parts)


def _level_words(audit: "Audit") -> str:
    return f"{100 * (1 - audit.settings['level']):g} %"


def _title(audit: "Audit") -> str:
    names = [row["name"] for row in records(audit.networks) if row["role"] == "student"]
    shown = listed(names) if len(names) < 4 else f"{names[0]} and {len(names) - 1} other students"
    return f"Audit of {shown or 'a student'}"


def _about(audit: "Audit") -> Iterator[tuple[str, str]]:
    """What was compared, as terms and descriptions."""
    settings = audit.settings
    for role, term in (("teacher", "Teacher"), ("student", "Student"), ("control", "Controls")):
        found = [row for row in records(audit.networks) if row["role"] == role]
        yield term, listed([f"{row['name']} (accuracy {number(row['accuracy'], 3)})" for row in found]) or "none"
    taught = [row for row in records(audit.networks) if row["role"] == "control teacher"]
    if taught:
        yield "Their teacher", f"{taught[0]['name']} (accuracy {number(taught[0]['accuracy'], 3)})"
    if (pairs := settings["pairs"]) > 1:
        yield "Swapped pairs", f"{pairs}; W and K are of all of them, everything else of the first"
    if _controls(audit):
        kinds = {
            "plain": "trained on labels alone",
            "neutral": "trained with the same regularisation and without a teacher's labels (neutral)",
            "kd-other": "distilled from another teacher (kd-other)",
        }
        yield "Controls are", kinds[settings["control_kind"]]
    yield "Test set", f"{settings['n']:,} examples, {plural(settings['classes'], 'class', 'classes')}"
    margin = settings["margin"]
    yield "Margin", "none declared" if margin is None else f"{100 * margin:g} pp of accuracy"
    yield "Level", f"{settings['level']:g} for all verdicts together, which are one family (Holm)"


def _scope(audit: "Audit") -> Iterator[str]:
    students, controls = _students(audit), _controls(audit)
    if students == 1:
        yield (
            "Numbers of the student, and those against its teacher, speak of this network on new examples of the same"
            " kind: their intervals count which examples happened to be in this test set."
        )
    else:
        yield (
            f"Numbers of the students, and those against their teacher, speak of networks like these {students} on new"
            " examples of the same kind: their intervals count how students and examples vary."
        )
    if students == controls == 1:
        yield (
            "Numbers against the control speak of these two networks: with one control nothing shows how networks"
            " differ that were made the same way."
        )
    elif controls:
        yield (
            "Numbers against controls speak of networks like these: their intervals also count how networks of one side"
            " differ among themselves, supposing that students differ as much as controls do."
        )
    yield "Counts, flips and lists of examples are those of this test set."
    if audit.settings["pairs"] >= FEWEST_PAIRS:
        yield "W, K and θ₀ speak of teachers of this recipe, whose pairs are their units; nothing else does."
    else:
        yield "Nothing here speaks of the method: that needs students of several teachers, as in a protocol run."


def _warnings(audit: "Audit") -> Iterator[str]:
    """What a reader must know before quoting a verdict."""
    controls, settings = _controls(audit), audit.settings
    if not controls:
        yield f"There are no controls. {NEEDS_CONTROL}."
    elif settings["control_kind"] == "plain":
        yield (
            "The controls were trained on labels alone, as far as is said. Against such controls a change of accuracy"
            " alone can move how often a student repeats its teacher's errors: nothing here says what was inherited."
        )
    if controls == 1:
        yield "One control does not show how controls differ among themselves, so no verdict rests on it."
    if settings["controls_exchangeable"] and controls:
        yield (
            f"The p-value of {settings['primary']} rests on a declaration: that the controls follow the student's"
            f" recipe in everything but the teacher. It is a rank among {controls + 1} networks and cannot be smaller"
            f" than {1 / (controls + 1):.3g}."
        )


def _percent(row: Row, unit: str = "%") -> str:
    """Estimate and interval of a share, in percent or points."""
    return f"{interval_text({name: 100 * row[name] for name in ('estimate', 'ci_low', 'ci_high')})} {unit}"


def _its(audit: "Audit") -> str:
    return "its control" if _controls(audit) == 1 else "its controls"


def _between(row: Row | None, scale: float = 1, unit: str = "") -> str:
    """The span of the controls: ``0.31 to 0.35``; of one control its number."""
    if row is None or pd.isna(row["controls_low"]):
        return ""
    low, high = scale * row["controls_low"], scale * row["controls_high"]
    places = decimals((high - low) / 2 if high > low else abs(high) / 10)
    ends = dict.fromkeys([number(low, places), number(high, places)])
    return " to ".join(ends) + unit


# The seven answers -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """A question, the sentences that answer it, how to read them, and what is shown beside them."""

    key: str
    question: str
    says: Callable[["Audit"], Iterable[str]]
    reading: Callable[["Audit"], str]
    tables: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()


def _fidelity(audit: "Audit") -> Iterator[str]:
    if agreement := _measured(audit, "agreement"):
        controls = _between(_measured(audit, "agreement", "excess"), 100, " %")
        than = f"; {_its(audit)} {'does' if _controls(audit) == 1 else 'do'} so on {controls}" if controls else ""
        yield f"The student gives its teacher's answer on {_percent(agreement)} of the examples{than}."
    if given := _measured(audit, "agreement_given_class"):
        yield (
            f"Above answers that depend on the class alone its agreement is {interval_text(given)}, where 0 is none and"
            " 1 is agreement on every example."
        )
    if copied := _measured(audit, "copy_probability"):
        if share := _measured(audit, "copy_probability", "share"):
            controls = _between(_measured(audit, "copy_probability", "excess"))
            yield (
                f"Its copy probability is {interval_text(copied)}; {_its(audit)}, which could not copy it,"
                f" {'has' if _controls(audit) == 1 else 'have'} {controls}."
                f" Beyond what they share with the teacher, the student copies {_percent(share)}."
            )
        elif not _controls(audit):
            yield (
                f"Its copy probability is {interval_text(copied)}: an upper bound, which includes errors that networks"
                " share because examples are hard."
            )


def _fidelity_reading(audit: "Audit") -> str:
    against = "read them against the controls" if _controls(audit) else "without controls nothing says how far"
    return (
        "Agreement, KL and JS improve with accuracy alone. Error consistency, copy probability, CAPA and agreement"
        f" beyond the class allow for accuracy; even they lie above 0 between networks that never met, so {against}."
    )


def _inheritance(audit: "Audit") -> Iterator[str]:
    made, own, other, more = (_measured(audit, "repeated_errors", name) for name in ("made", "own", "other", "more"))
    if made and own is None:
        note = next(row["note"] for row in records(audit.measures) if row["estimator"] == "own")
        yield f"{note[:1].upper()}{note[1:]}: there are no errors that a student could repeat."
    elif made and own:
        whose = "a teacher" if audit.settings["pairs"] > 1 else "the teacher"
        said = (
            f"Of {whose}'s {_count(round(made['estimate'], 1))} errors a student repeats {number(own['estimate'], 1)}"
        )
        if other and more:
            ends: str = (
                "" if pd.isna(more["ci_low"]) else f" [{number(more['ci_low'], 1)}, {number(more['ci_high'], 1)}]"
            )
            who = CONTROL_WORDS[audit.settings["control_kind"]]
            said += f"; {who} {number(other['estimate'], 1)}, difference {number(more['estimate'], 1)}{ends}"
        yield f"{said}."
    for row in records(audit.verdicts):
        if row["question"] in INHERITED:
            yield row["sentence"]
    if firm := _measured(audit, "asymmetry", "firmness"):
        yield f"θ₀ is {interval_text(firm)}."


CONTROL_WORDS = {
    "plain": "a control trained on labels alone",
    "neutral": "a control of the same regularisation without a teacher",
    "kd-other": "a student of another teacher",
}
INHERITED = ("Inherited errors, W", "Inherited right answers, K", "Firmness of errors, θ₀",
             "Inherited errors and right answers")  # fmt: skip


def _inheritance_reading(audit: "Audit") -> str:
    if not audit.settings["pairs"]:
        return "Repeated errors describe. Which of them came from the teacher needs students of another teacher."
    return (
        "W and K are of the examples on which one of two swapped teachers is right, and averaged over which of them it"
        " is, so that a teacher's quality cancels. They are two views of one swap: neither is more than the other."
        " Repeated errors describe."
    )


def _transfer(audit: "Audit") -> Iterator[str]:
    mean, placed = _counted(audit)
    if mean is None:
        yield f"Not measurable. {NEEDS_CONTROL}."
        return
    for measure, where, answer in (
        ("positive_transfer", "right", "right answer"),
        ("negative_transfer", "wrong", "wrong answer"),
    ):
        own, excess = _measured(audit, measure), _measured(audit, measure, "excess")
        if own and excess:
            size = mean["n_correct" if where == "right" else "n_wrong"]
            yield (
                f"Where the teacher is {where} ({size:,.0f} examples) the student gives its {answer} on"
                f" {_percent(own)}, {_its(audit)} on {_between(excess, 100, ' %')}: a difference of"
                f" {_percent(excess, 'points')}."
            )
    yield f"Set against {_its(audit)}, it has {_count_words(mean)}."
    if placed:
        yield f"A control in its place, which this teacher never taught, has {_count_words(placed)}."


def _count_words(row: Row) -> str:
    names = ("repaired", "broken", "infected", "cured")
    return listed(
        [f"{count} {name}" for count, name in zip(_counts([row[name] for name in names]), names, strict=True)]
    )


def _counts(values: Sequence[float]) -> list[str]:
    """Counts, or with one decimal where any is a mean."""
    return [number(value, int(any(value % 1 for value in values))) for value in values]


def _transfer_reading(audit: "Audit") -> str:
    if not _controls(audit):
        return "With controls this part has gains and the four counts."
    counts = (
        "Between any two networks all four counts are above 0; transfer is what exceeds the counts of a control in the"
        " student's place."
    )
    if audit.settings["pairs"]:
        return (
            f"{counts} These controls are students of one other teacher: what differs may be that teacher's, so what is"
            " inherited is asked of W and K alone."
        )
    return f"{counts} {MAY_CLAIM[audit.settings['control_kind']]}"


MAY_CLAIM = {  # of a kind of control -> what differences from it say
    "plain": "These controls were trained on labels alone: what differs may be the regularisation or the accuracy that"
    " distillation brings with any teacher, so nothing here says what was inherited.",
    "neutral": "These controls had the same regularisation without any teacher's labels: what differs lies beyond this"
    " regularisation.",
    "kd-other": "These controls are students of other teachers by the same recipe. A student that takes over no more"
    " than its teacher's quality differs from them too; inherited errors (W) and right answers (K), for which the"
    " teacher of the controls is needed (--control-teacher), balance that.",
}


def _flips(audit: "Audit") -> Iterator[str]:
    rows = records(audit.flips)
    if rows:
        harmful, beneficial, neutral = (
            number(float(np.mean([row[name] for row in rows])), int(len(rows) > 1))
            for name in ("harmful", "beneficial", "neutral")
        )
        yield (
            f"Of {rows[0]['n']:,} examples the student loses {harmful} that its teacher has right (harmful), gains"
            f" {beneficial} that it has wrong (beneficial), and gives another wrong answer on {neutral} (neutral)"
            f"{', as means over students' if len(rows) > 1 else ''}."
        )
    if relative := _measured(audit, "relative_negative_flip_rate"):
        yield f"Harmful flips are {interval_text(relative)} times those of independent errors of the same accuracy."
    if len(rows) == 1:
        exact, mid = p_text(rows[0]["mcnemar_exact"]), p_text(rows[0]["mcnemar_mid_p"])
        yield f"McNemar's test of equal accuracy: exact p {exact}, mid-p {mid}."
    verdicts = [row["sentence"] for row in records(audit.verdicts) if row["question"] == "Accuracy against the teacher"]
    yield from verdicts


def _flips_reading(audit: "Audit") -> str:
    margin = "" if audit.settings["margin"] else "; declare one with --margin 0.5pp"
    return (
        "A student as accurate as its teacher can still break what worked, and harmful flips count that. That no"
        f" difference is shown is not equivalence, which is decided at a margin alone{margin}."
    )


def _where(audit: "Audit") -> Iterator[str]:
    rows = [row for row in records(audit.where) if not pd.isna(row["estimate"])]
    level = audit.settings["level"]
    for what, words in (
        ("accuracy.difference", "The student's accuracy differs from its teacher's"),
        ("accuracy.excess", "Its accuracy differs from that of controls"),
        ("negative_transfer.excess", "It makes more or fewer of its teacher's errors than controls"),
    ):
        of = [row for row in rows if _what(row) == what and (what == "accuracy.difference" or _controls(audit) > 1)]
        found = sorted((row for row in of if _significant(row, level)), key=lambda row: -abs(row["estimate"]))
        if of:
            places = [f"{row['by']} {row['level']} ({_percent(row, 'points')})" for row in found[:3]]
            most = f": {'the largest are ' if len(found) > 3 else ''}{listed(places)}" if found else ""
            yield f"{words} in {len(found)} of {plural(len(of), 'part')} of the test set, corrected{most}."
    confusions = records(audit.confusions)[:3]
    if confusions:
        pairs = [
            f"{row['label']} taken for {row['predicted']} ({_count(row['student_same'])} of {row['teacher_errors']}"
            + ("" if pd.isna(row["controls_same"]) else f", a control {_count(row['controls_same'])}")
            + ")"
            for row in confusions
        ]
        beyond = "that it has most beyond controls" if _controls(audit) else "that it repeats most often"
        yield f"Of {len(audit.confusions)} confusions of the teacher, those {beyond}: {listed(pairs)}."


def _count(value: float) -> str:
    return number(value, 0 if value % 1 == 0 else 1)


def _where_reading(audit: "Audit") -> str:
    difficulty = (
        " Difficulty is how many controls are right, so by difficulty nothing is told against controls: they would be"
        " yardstick and comparison at once. For the same reason nothing is told against the teacher by its own"
        " confidence: on examples of which it is unsure any other network does better than it."
    )
    return (
        "p-values are corrected by Holm, and intervals hold at once, over the parts of one division (class, a group, …)"
        f" and measure; divisions are not corrected for one another.{difficulty if _controls(audit) else ''}"
    )


def _inherited(audit: "Audit") -> Iterator[str]:
    rows = records(audit.inherited)
    students = _students(audit)
    listed_rows = [row for row in rows if not row["all_agree"]]
    each = " for each student, on average" if students > 1 else ""
    if not _controls(audit):
        yield f"{_count(len(listed_rows) / students)} of the teacher's errors are the student's too{each}."
        yield "Which of them it would make without this teacher cannot be told without controls."
        return
    yield (
        f"{_count(len(listed_rows) / students)} errors of the teacher are repeated by the student and by fewer than"
        f" half of the controls{each}."
    )
    placed = [row for row in rows if not pd.isna(row["n_expected"])]
    if placed:
        own, expected = (float(np.mean([row[name] for row in placed])) for name in ("n_comparable", "n_expected"))
        fewer = placed[0]["n_controls"] - 1
        yield (
            f"Against {plural(int(fewer), 'control')} it has {number(own, 1)} on average, a control in its place"
            f" {number(expected, 1)}."
        )
    if flagged := len({row["row"] for row in rows if row["all_agree"]}):
        yield (
            f"On {plural(flagged, 'example')} all networks give the same answer against the label: perhaps the label is"
            " wrong."
        )


def _inherited_reading(audit: "Audit") -> str:
    if not _controls(audit):
        return "These are shared errors, ranked by the student's confidence."
    return (
        "No single entry is shown to come from the teacher: as many as a control would have are chance, and the surplus"
        " is what the teacher may have passed on. Errors that fewest controls share come first."
    )


def _calibration(audit: "Audit") -> Iterator[str]:
    own = _measured(audit, "expected_calibration_error")
    if own is None:
        yield "Not measurable: the student's predictions hold labels alone, without probabilities."
        return
    teacher = _scored(audit, "expected_calibration_error", "teacher")
    parts = [f"its teacher's {number(teacher[0], 3)}"] if teacher else []
    if controls := _between(_measured(audit, "expected_calibration_error", "excess")):
        parts.append(f"that of its controls {controls}")
    than = f"; {listed(parts)}" if parts else ""
    yield f"The student's calibration error (ECE) is {interval_text(own)}{than}."


def _calibration_reading(audit: "Audit") -> str:
    return (
        "ECE is above 0 even for a calibrated network, the more the fewer the examples, so it compares networks on one"
        " test set. A curve below the diagonal is overconfident, above it underconfident."
    )


ANSWERS = (
    Answer(
        "fidelity", "How close is the student to its teacher?", _fidelity, _fidelity_reading,
        ("answer_fidelity",), ("position",),
    ),
    Answer(
        "inheritance", "What did it inherit of its teacher?", _inheritance, _inheritance_reading,
        ("answer_inheritance",),
    ),
    Answer(
        "transfer", "Where does it side with its teacher?", _transfer, _transfer_reading,
        ("answer_transfer", "transfers"), ("transfer",),
    ),
    Answer(
        "flips", "Is it as good as its teacher where it matters?", _flips, _flips_reading, ("answer_accuracy", "flips")
    ),
    Answer("where", "Where does it differ?", _where, _where_reading, (), ("where",)),
    Answer("inherited", "Which errors may be inherited?", _inherited, _inherited_reading, ("inherited",)),
    Answer(
        "calibration", "Does it know what it does not know?", _calibration, _calibration_reading,
        ("answer_calibration",), ("reliability",),
    ),
)  # fmt: skip

# Tables ----------------------------------------------------------------------------------------------------------

SHOWN = 100  # rows that a page shows of a long table
LEVELS = 20  # parts of one division that a table shows
UNIT = ("value", "difference", "excess")


def _table(
    audit: "Audit", title: str, caption: str, data: pd.DataFrame, shown: Mapping[str, Sequence[str]],
    text: Sequence[str] = (), *, prose: Sequence[str] = (), stub: int = 1, of: int | None = None,
    empty: str = "No rows.",
) -> Table:  # fmt: skip
    """A table whose columns are numbers but for those of ``text`` and ``prose``; a column with nothing is left out.

    ``of`` is how many lines there would be, where that is not the rows of the data.
    """
    there = {name: cells for name, cells in shown.items() if not cells or any(cell not in ("", NONE) for cell in cells)}
    lines, of = max(map(len, shown.values()), default=0), len(data) if of is None else of
    if lines < of:
        caption += f" {lines} of {of:,} lines; the CSV file has all."
    numeric = tuple(name for name in there if name not in (*text, *prose))
    stamped = data.assign(version=kdstats.__version__)
    return Table(title, caption, stamped, there, signature(audit), {}, numeric, tuple(prose), stub, empty)


def _numbers(audit: "Audit", title: str, rows: Sequence[Row]) -> Table:
    """One line a measure: the student, beside its teacher and controls."""
    controls = _controls(audit) > 0
    lines: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        if row["estimator"] in UNIT:
            lines.setdefault((row["measure"], ""), {})[row["estimator"]] = row
        elif controls:
            lines[row["measure"], row["estimator"]] = {"value": row}

    def numbers(kind: str) -> list[str]:
        return [interval_text(line[kind]) if kind in line else NONE for line in lines.values()]

    def joined(name: str, words: Callable[[Any], str], otherwise: str) -> list[str]:
        cells = []
        for line in lines.values():
            found = [words(row[name]) for kind, row in line.items() if controls or kind != "excess"]
            cells.append("; ".join(dict.fromkeys(word for word in found if word and word != NONE)) or otherwise)
        return cells

    shown = {"Measure": [next(iter(line.values()))["label"] for line in lines.values()], "Estimate": numbers("value")}
    if any("difference" in line for line in lines.values()):
        shown["Student − teacher"] = numbers("difference")
    if controls:
        shown["Controls"] = [_between(line.get("excess")) or NONE for line in lines.values()]
        shown["Student − controls"] = numbers("excess")
        shown["Position"] = joined("position", str, NONE)
    shown["p"] = joined("p_value", p_text, NONE)
    shown["Note"] = joined("note", str, "")
    if set(shown["p"]) <= {NONE}:
        del shown["p"]
    caption = f"With {_level_words(audit)} intervals." + (
        " Controls: the smallest and largest."
        + (
            " Position: the student's rank among it and its controls, 1 the largest."
            if audit.settings["students"] == 1
            else ""
        )
        if controls
        else " There are no controls."
    )
    data = pd.DataFrame(rows, columns=list(audit.measures.columns))
    text = ("Measure", "Position")
    return _table(
        audit, title, caption, data, shown, text, prose=["Note"], of=len(lines), empty="Nothing was measured."
    )


def _answering(title: str, *questions: str) -> Callable[["Audit"], Table]:
    def table(audit: "Audit") -> Table:
        return _numbers(audit, title, [row for row in records(audit.measures) if row["question"] in questions])

    return table


def verdicts(audit: "Audit") -> Table:
    rows = records(audit.verdicts)
    shown = {name.capitalize(): [row[name] for row in rows] for name in ("question", "verdict")}
    shown |= {"p, adjusted": [p_text(row["p_adjusted"]) for row in rows], "Sentence": [row["sentence"] for row in rows]}
    caption = f"One family: p-values are corrected by Holm, and all hold together at level {audit.settings['level']:g}."
    return _table(audit, "Verdicts", caption, audit.verdicts, shown, ("Question", "Verdict"), prose=("Sentence",))


def transfers(audit: "Audit") -> Table:
    rows = records(audit.transfers)
    counts = ("repaired", "broken", "infected", "cured", "net_repaired", "net_infected")
    shown = {"Student": [row["student"] for row in rows], "Against": [row["control"] for row in rows]}
    for name in ("n_correct", "n_wrong", *counts):
        head = {"n_correct": "Teacher right", "n_wrong": "Teacher wrong"}.get(name, name.replace("_", " ").capitalize())
        shown[head] = [_count(row[name]) for row in rows]
    return _table(
        audit, "The four counts",
        "Where student and control part: repaired, the teacher right, the student with it and the control not; broken,"
        " the reverse; infected, the teacher wrong, the student with it and the control not; cured, the reverse.",
        audit.transfers, shown, ("Student", "Against"), stub=2, empty="None: there are no controls.",
    )  # fmt: skip


def flips(audit: "Audit") -> Table:
    rows = records(audit.flips)
    shown = {"Student": [row["student"] for row in rows]}
    for name in ("harmful", "beneficial", "neutral", "same", "n"):
        shown[name if name == "n" else name.capitalize()] = [f"{row[name]:,}" for row in rows]
    shown["McNemar, exact p"] = [p_text(row["mcnemar_exact"]) for row in rows]
    shown["Mid-p"] = [p_text(row["mcnemar_mid_p"]) for row in rows]
    caption = (
        "Harmful: the teacher right, the student wrong; beneficial: the reverse; neutral: both wrong, differently;"
        " same: one answer."
    )
    return _table(audit, "Flips against the teacher", caption, audit.flips, shown, ("Student",))


WHERE = {
    "accuracy.difference": "Accuracy, student − teacher",
    "accuracy.excess": "Accuracy, student − controls",
    "negative_transfer.excess": "A⁻, student − controls",
}


def where(audit: "Audit") -> Table:
    divisions = _parts(audit)
    lines = [part for parts in divisions.values() for part in _clearest(parts, LEVELS).values()]
    rows = {what: [part.get(what) for part in lines] for what in WHERE}
    first = [next(iter(part.values())) for part in lines]
    right = [part.get("accuracy.difference") or part.get("accuracy.excess") for part in lines]
    difference, excess, errors = rows.values()
    shown = {
        "By": [row["by"] for row in first],
        "Part": [row["level"] for row in first],
        "n": [f"{row['n']:,}" if row else NONE for row in right],
        WHERE["accuracy.difference"]: [interval_text(row) if row else NONE for row in difference],
        "p, adjusted": [p_text(row["p_adjusted"]) if row else NONE for row in difference],
        WHERE["accuracy.excess"]: [interval_text(row) if row else NONE for row in excess],
        "Teacher's errors": [f"{row['n']:,}" if row else NONE for row in errors],
        WHERE["negative_transfer.excess"]: [interval_text(row) if row else NONE for row in errors],
        "Note": [
            "; ".join(dict.fromkeys(row["note"] for row in part.values() if pd.isna(row["ci_low"]))) for part in lines
        ],
    }
    if not _controls(audit):
        for name in (WHERE["accuracy.excess"], "Teacher's errors", WHERE["negative_transfer.excess"]):
            del shown[name]
    caption = (
        "Parts of the test set. Intervals hold at once for all parts of a division, p-values (McNemar's test where"
        " there is one student) are corrected over them by Holm."
    )
    if (of := sum(map(len, divisions.values()))) > len(lines):
        caption += f" Of a division the {LEVELS} parts that are clearest."
    return _table(audit, "Where", caption, audit.where, shown, ("By", "Part"), prose=["Note"], stub=2, of=of)


Parts = dict[str, dict[str, Row]]  # part -> measure.estimator -> row


def _what(row: Row) -> str:
    return f"{row['measure']}.{row['estimator']}"


def _parts(audit: "Audit") -> dict[str, Parts]:
    """The parts of each division of the test set."""
    found: dict[str, Parts] = {}
    for row in records(audit.where):
        found.setdefault(row["by"], {}).setdefault(row["level"], {})[_what(row)] = row
    return found


def _clearest(parts: Parts, most: int) -> Parts:
    """The parts of which an estimate is largest for its interval, in the order in which they stand."""

    def clear(row: Row) -> float:
        half = (row["ci_high"] - row["ci_low"]) / 2
        return abs(row["estimate"]) / half if math.isfinite(half) and half > 0 else -1.0

    kept = sorted(parts, key=lambda name: -max(map(clear, parts[name].values())))[:most]
    return {name: part for name, part in parts.items() if name in kept}


def confusions(audit: "Audit") -> Table:
    rows = records(audit.confusions)[:SHOWN]
    shown = {
        "Label": [str(row["label"]) for row in rows],
        "Teacher says": [str(row["predicted"]) for row in rows],
        "Teacher's errors": [f"{row['teacher_errors']:,}" for row in rows],
        "Student the same": [_count(row["student_same"]) for row in rows],
        "Controls the same": [_count(row["controls_same"]) for row in rows],
        "Student − controls [interval]": [interval_text({**row, "estimate": row["excess"]}) for row in rows],
        "Note": [row["note"] for row in rows],
    }
    caption = (
        "The teacher's confusions of two examples or more, and how many of them students and controls (means) repeat."
        " Intervals of the difference in share hold at once."
    )
    return _table(audit, "Confusions", caption, audit.confusions, shown, prose=("Note",), stub=2)


def inherited(audit: "Audit") -> Table:
    rows = records(audit.inherited)[:SHOWN]
    text = ["Example"]
    shown = {"Rank": [str(row["rank"]) for row in rows]}
    if _students(audit) > 1:
        text.append("Student")
        shown["Student"] = [row["student"] for row in rows]
    shown["Example"] = [str(row["id"]) for row in rows]
    shown["Label"] = [str(row["label"]) for row in rows]
    shown["Teacher and student say"] = [str(row["predicted"]) for row in rows]
    if _controls(audit):
        text.append("Controls the same")
        shown["Controls the same"] = [f"{row['controls_same']:.0f} of {row['n_controls']}" for row in rows]
        shown["Note"] = [row["note"] for row in rows]
    caption = "Errors of the teacher that the student repeats" + (
        " and most controls do not, those that fewest share first; last, those that every network makes."
        if _controls(audit)
        else "; whether a network without this teacher would make them is unknown."
    )
    return _table(audit, "Inherited errors", caption, audit.inherited, shown, text, prose=("Note",), empty="None.")


def networks(audit: "Audit") -> Table:
    rows = records(audit.networks)
    shown = {
        "Name": [row["name"] for row in rows],
        "Role": [row["role"] for row in rows],
        "File": [row["source"] or "an array" for row in rows],
        "n": [f"{row['n']:,}" for row in rows],
        "Accuracy": [number(row["accuracy"], 4) for row in rows],
        "Read as": [row["detected"] for row in rows],
    }
    caption = "What was compared, and how each file was read."
    return _table(audit, "Networks", caption, audit.networks, shown, ("Name", "Role", "File"), prose=("Read as",))


def scores(audit: "Audit") -> Table:
    rows = records(audit.scores)
    labels = {row["measure"]: row["label"] for row in records(audit.measures) if row["estimator"] == "value"}
    value = {(row["network"], row["measure"]): row["value"] for row in rows}
    names = list(dict.fromkeys(row["network"] for row in rows))
    shown = {"Network": names}
    for measure in dict.fromkeys(row["measure"] for row in rows):
        found = [value.get((name, measure), np.nan) for name in names]
        shown[labels.get(measure, measure)] = [number(one, 4) for one in found]
    caption = "The numbers of each network by itself."
    return _table(audit, "Networks by measure", caption, audit.scores, shown, ["Network"], of=len(names))


def calibration(audit: "Audit") -> Table:
    rows = records(audit.calibration)[:SHOWN]
    shown = {
        "Network": [row["network"] for row in rows],
        "Confidence": [f"{number(row['low'], 3)} to {number(row['high'], 3)}" for row in rows],
        "n": [f"{row['n']:,}" for row in rows],
        "Mean confidence": [number(row["confidence"], 4) for row in rows],
        "Accuracy": [number(row["accuracy"], 4) for row in rows],
    }
    caption = "The curves of the figure: bins of equal width of the largest probability."
    empty = "None: no network has probabilities."
    return _table(audit, "Reliability", caption, audit.calibration, shown, ("Network",), stub=2, empty=empty)


def measures(audit: "Audit") -> Table:
    rows = records(audit.measures)
    shown = {
        "Name": [f"{row['measure']}.{row['estimator']}" for row in rows],
        "Estimate": [number(row["estimate"], 6) for row in rows],
        "ci_low": [number(row["ci_low"], 6) for row in rows],
        "ci_high": [number(row["ci_high"], 6) for row in rows],
        "p_value": [p_text(row["p_value"]) for row in rows],
        "n": [f"{row['n']:,}" for row in rows],
        "Scope": [row["scope"] for row in rows],
        "Note": [row["note"] for row in rows],
    }
    caption = "Every number under the name by which a condition (--require, --fail-if) asks for it."
    return _table(audit, "All measures", caption, audit.measures, shown, ("Name", "Scope"), prose=("Note",))


TABLES: dict[str, Callable[["Audit"], Table]] = {
    "verdicts": verdicts,
    "answer_fidelity": _answering("Fidelity", "fidelity"),
    "answer_inheritance": _answering("Inheritance", "inheritance"),
    "answer_transfer": _answering("Transfer", "transfer"),
    "transfers": transfers,
    "answer_accuracy": _answering("Accuracy and flips", "accuracy", "flips"),
    "flips": flips,
    "inherited": inherited,
    "answer_calibration": _answering("Calibration", "calibration"),
    "where": where,
    "confusions": confusions,
    "scores": scores,
    "calibration": calibration,
    "measures": measures,
    "networks": networks,
}
BELOW = ("where", "confusions", "scores", "calibration", "measures")  # under no answer

# Figures ---------------------------------------------------------------------------------------------------------

BLUE = sns.color_palette("colorblind").as_hex()[0]
PALE = "#a6a6a6"  # controls
STUDENT: dict[str, Any] = {"linestyle": "none", "marker": "D", "color": BLUE, "markersize": 5}
CONTROL: dict[str, Any] = {"linestyle": "none", "marker": "o", "color": PALE, "markersize": 4.5, "alpha": 0.75}
TEACHER: dict[str, Any] = {
    "linestyle": "none", "marker": "|", "color": "black", "markersize": 9, "markeredgewidth": 1.4,
}  # fmt: skip
PARTS = 12  # parts of a division in the figure
DIVISIONS = 6
FEWEST = 10  # examples behind a point of a reliability curve


def position(audit: "Audit") -> Drawing:
    """Each main measure on its own axis: controls, and the student with its interval."""
    title = "Position among controls"
    panels = [
        (value, excess["position"], _scored(audit, name, "control"))
        for name in MAIN
        if (value := _measured(audit, name)) and (excess := _measured(audit, name, "excess"))
    ]
    if not panels:
        return Drawing(
            title, "No position: there are no controls, or nothing that they have in common with the student."
        )
    figure = Figure(figsize=(COLUMN, 0.35 + 0.46 * len(panels)), layout="constrained")
    for ax, (value, place, controls) in zip(np.ravel(figure.subplots(len(panels), 1)), panels, strict=True):
        students, teacher = (_scored(audit, value["measure"], role) for role in ("student", "teacher"))
        _own_axis(ax, [*controls, *students, *teacher, value["estimate"], value["ci_low"], value["ci_high"]])
        ax.plot(controls, np.zeros(len(controls)), markeredgewidth=0, **CONTROL)
        ax.plot(teacher, np.zeros(len(teacher)), **TEACHER)
        if len(students) > 1:
            ax.plot(students, np.zeros(len(students)), markerfacecolor="none", **STUDENT | {"markersize": 3.5})
        _interval(ax, 0, value, BLUE)
        ax.plot([value["estimate"]], [0], **STUDENT)
        ax.set_title(value["label"], loc="left", fontsize="small", pad=3)
        ax.set_title(place, loc="right", fontsize="small", color=GREY, pad=3)
    handles = [Line2D([], [], **kind) for kind in (STUDENT, CONTROL, TEACHER)]
    names = ["student" if _students(audit) == 1 else "students", "controls", "teacher"]
    figure.legend(handles, names, loc="outside lower center", ncols=3, columnspacing=1.2)
    several = "; small and hollow: each student, filled: their mean" if _students(audit) > 1 else ""
    ranks = " Right: the student's place by size, 1 the largest." if _students(audit) == 1 else ""
    return Drawing(
        title,
        f"{plural(_controls(audit), 'control')} and the student with its {_level_words(audit)} interval{several}. The"
        f" teacher is shown where it has the measure itself. Each axis has its own scale.{ranks}",
        figure,
    )


def _own_axis(ax: Axes, values: Iterable[float], zero: bool = False) -> None:
    """A horizontal axis alone, as wide as the values; intervals without end reach its ends."""
    finite = [value for value in values if math.isfinite(value)] + [0.0] * zero
    low, high = min(finite), max(finite)
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    ax.set_xlim(low - margin, high + margin)
    ax.set_ylim(-1, 1)
    ax.yaxis.set_visible(False)
    ax.spines["left"].set_visible(False)
    ax.xaxis.set_major_locator(MaxNLocator(5))


def _interval(ax: Axes, y: float, row: Row, colour: str, scale: float = 1) -> None:
    if not pd.isna(row["ci_low"]):
        ends = np.clip([scale * row["ci_low"], scale * row["ci_high"]], *ax.get_xlim())
        ax.plot(ends, [y, y], color=colour, linewidth=1.3, solid_capstyle="butt")


def transfer(audit: "Audit") -> Drawing:
    """The four counts of the student beside those of a control in its place."""
    title = "What changed hands"
    mean, placed = _counted(audit)
    if mean is None:
        return Drawing(title, "No counts: they need a control.")
    figure = Figure(figsize=(COLUMN, 2.5), layout="constrained")
    sides = (("right", "n_correct", ("repaired", "broken")), ("wrong", "n_wrong", ("infected", "cured")))
    bars = [(mean, BLUE, "", "student")]
    bars += [(placed, LIGHT, "////", PLACE)] if placed else []
    for ax, (side, size, counts) in zip(figure.subplots(2, 1), sides, strict=True):
        height = 0.8 / len(bars)
        for i, (row, colour, hatch, name) in enumerate(bars):
            at = np.arange(2) + (i - (len(bars) - 1) / 2) * height
            values = [row[count] for count in counts]
            look: dict[str, Any] = {"color": colour, "hatch": hatch, "edgecolor": GREY, "linewidth": 0.4, "label": name}
            drawn = ax.barh(at, values, 0.92 * height, **look)
            ax.bar_label(drawn, _counts(values), padding=2, fontsize="small")
        ax.set_yticks([0, 1], counts)
        ax.tick_params(axis="y", length=0)
        ax.invert_yaxis()
        ax.margins(x=0.14)
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        ax.set_title(f"teacher {side} on {mean[size]:,.0f} examples", loc="left", fontsize="small", color=GREY)
    figure.axes[-1].set_xlabel("examples")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    held = (
        "Each control set against the others in the same way gives the hatched bars: what no influence of this teacher"
        " produces."
        if placed
        else "With one control there is none to take the student's place, so nothing says what chance would give."
    )
    return Drawing(
        title,
        "Repaired: the student is right with its teacher and the control is not; broken: the reverse. Infected: the"
        f" student makes its teacher's error and the control does not; cured: the reverse. {held}",
        figure,
    )


def where_figure(audit: "Audit") -> Drawing:
    """Differences from teacher and controls in parts of the test set."""
    title = "Where the student differs"
    every = _parts(audit)
    if not every:
        return Drawing(title, "No parts: the test set was not divided.")
    shown = {by: _clearest(parts, PARTS) for by, parts in list(every.items())[:DIVISIONS]}
    rows = [row for parts in shown.values() for part in parts.values() for row in part.values()]
    columns = [what for what in WHERE if any(_what(row) == what for row in rows)]
    heights = [len(parts) + 0.8 for parts in shown.values()]
    size = (PAGE if len(columns) > 1 else COLUMN, 0.6 + 0.165 * sum(heights) + 0.22 * len(heights))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(shown), len(columns), squeeze=False, height_ratios=heights)
    for column, measure in zip(grid.T, columns, strict=True):
        ends = [100 * row[name] for row in rows if _what(row) == measure for name in ("estimate", "ci_low", "ci_high")]
        drawn = []
        for ax, (by, parts) in zip(column, shown.items(), strict=True):
            own = {name: part[measure] for name, part in parts.items() if measure in part}
            first = measure == columns[0]
            if not own and not first:
                ax.remove()
                continue
            _own_axis(ax, ends, zero=bool(own))
            _part(ax, list(parts), own, audit.settings["level"])
            ax.tick_params(labelbottom=False, labelleft=first)
            if first:
                ax.set_title(f"by {_cut(by)}", loc="left", fontsize="small", color=GREY)
            if own:
                drawn.append(ax)
            else:  # the names of the parts alone
                ax.spines[:].set_visible(False)
                ax.xaxis.set_visible(False)
        drawn[-1].tick_params(labelbottom=True)
        drawn[-1].set_xlabel(f"{WHERE[measure]}\n(points)")
    most = max(map(len, every.values()))
    few = f" Of more than {PARTS} parts the {PARTS} that are clearest." if most > PARTS else ""
    rest = f" Not drawn: {listed(list(every)[DIVISIONS:])}." if len(every) > DIVISIONS else ""
    bare = " A point without a line has no interval." if any(pd.isna(row["ci_low"]) for row in rows) else ""
    about = " A⁻: how often the student repeats its teacher's errors." if "negative_transfer.excess" in columns else ""
    return Drawing(
        title,
        "Differences in points, with intervals that hold at once for the parts of a division. Filled: significant after"
        f" correction over those parts (by the adjusted p, else by the interval); hollow: not.{bare}{about}{few}{rest}",
        figure,
    )


def _part(ax: Axes, names: Sequence[str], rows: Mapping[str, Row], level: float) -> None:
    ax.yaxis.set_visible(True)
    if rows:
        ax.axvline(0, color=GREY, linewidth=0.7, linestyle=(0, (3, 2)), zorder=0)
    for name, row in rows.items():
        y, marked = names.index(name), _significant(row, level)
        _interval(ax, y, row, BLUE if marked else PALE, 100)
        ax.plot(
            [100 * row["estimate"]], [y], marker="o", markersize=4, color=BLUE if marked else GREY,
            markerfacecolor=BLUE if marked else "white", linestyle="none",
        )  # fmt: skip
    ax.set_yticks(range(len(names)), [_cut(name) for name in names])
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(len(names) - 0.4, -0.6)


def _cut(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:23].rstrip()}…"


def reliability(audit: "Audit") -> Drawing:
    """Accuracy by confidence, of every network that has probabilities."""
    title = "Reliability"
    curves: dict[tuple[str, str], list[Row]] = {}
    for row in records(audit.calibration):
        if row["n"] >= FEWEST:
            curves.setdefault((row["role"], row["network"]), []).append(row)
    if not curves:
        return Drawing(title, "No curves: no network has probabilities.")
    figure = Figure(figsize=(COLUMN, 3.3), layout="constrained")
    ax = figure.subplots()
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=0.7, linestyle=(0, (1, 1.5)))
    looks: dict[str, dict[str, Any]] = {
        "control": {"color": "#bdbdbd", "linewidth": 0.8},
        "teacher": {"color": "black", "linewidth": 1.3, "linestyle": (0, (4, 1.5)), "marker": "s", "markersize": 3},
        "student": {"color": BLUE, "linewidth": 1.5, "marker": "D", "markersize": 3.5},
    }  # fmt: skip
    handles: dict[str, Line2D] = {}
    for (role, _), rows in sorted(curves.items(), key=lambda curve: list(looks).index(curve[0][0])):
        (line,) = ax.plot([row["confidence"] for row in rows], [row["accuracy"] for row in rows], **looks[role])
        handles.setdefault(role, line)
    lowest = min(min(row["confidence"], row["accuracy"]) for rows in curves.values() for row in rows)
    ax.set_xlim(max(lowest - 0.05, 0), 1.02)
    ax.set_ylim(max(lowest - 0.05, 0), 1.02)
    ax.set_aspect("equal")
    ax.set_xlabel("Confidence")
    ax.set_ylabel("Accuracy")
    counts = {"student": _students(audit), "control": _controls(audit), "teacher": 1}
    order = [role for role in ("teacher", "student", "control") if role in handles]
    names = [role if counts[role] == 1 else f"{role}s" for role in order]
    figure.legend(handles=[handles[role] for role in order], labels=names, loc="outside lower center", ncols=3)
    return Drawing(
        title,
        "Share right by the probability of the predicted class, in bins of equal width; bins of fewer than"
        f" {FEWEST} examples are left out. Dotted: calibrated.",
        figure,
    )


FIGURES: dict[str, Callable[["Audit"], Drawing]] = {
    "position": position,
    "transfer": transfer,
    "where": where_figure,
    "reliability": reliability,
}

# Pictures --------------------------------------------------------------------------------------------------------

PICTURES = 24  # of inherited errors, and of labels that are perhaps wrong
PIXELS = 96  # of the longer side, at most


def _pictures(audit: "Audit", all_agree: bool) -> list[dict[str, str]]:
    """The first pictures of the list, each as data with its words."""
    if audit.images is None:
        return []
    rows = [(i, row) for i, row in enumerate(records(audit.inherited)) if row["all_agree"] == all_agree]
    return [
        {
            "data": _png(audit.images[i]),
            "example": f"example {row['id']}",
            "words": f"label {row['label']}, said {row['predicted']}"
            + (f"; {row['controls_same']:.0f} of {row['n_controls']} controls the same" if _controls(audit) else ""),
        }
        for i, row in rows[:PICTURES]
    ]


def _png(image: NDArray[np.uint8]) -> str:
    """A picture (H, W) or (C, H, W) as PNG in a data URI; where it has not three channels, their mean."""
    pixels = np.atleast_3d(image) if image.ndim == 2 else np.moveaxis(image, 0, -1)
    grey = pixels.shape[2] != 3
    picture = Image.fromarray(np.rint(pixels.mean(axis=2)).astype(np.uint8) if grey else np.ascontiguousarray(pixels))
    picture.thumbnail((PIXELS, PIXELS))
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


# The page --------------------------------------------------------------------------------------------------------


def _html(
    audit: "Audit", gates: Sequence["Outcome"], tables: Mapping[str, Table], drawings: Mapping[str, tuple[Drawing, str]]
) -> str:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((HERE / "audit.html").read_text("utf-8"))
    css = "".join((HERE / name).read_text("utf-8") for name in ("page.css", "audit.css"))
    return template.render(
        css=Markup(css),
        title=_title(audit),
        signature=signature(audit),
        verdicts=_verdicts(audit),
        symbols=SYMBOLS,
        about=list(_about(audit)),
        scope=list(_scope(audit)),
        warnings=list(_warnings(audit)),
        gates=[{"expression": clean(g.expression), "passed": g.passed, "reason": clean(g.reason)} for g in gates],
        gate_title=_gate_title(gates),
        answers=[(answer, list(answer.says(audit)), answer.reading(audit)) for answer in ANSWERS],
        drawings={name: (drawing, Markup(svg)) for name, (drawing, svg) in drawings.items()},  # ours, and escaped XML
        tables=tables,
        below=BELOW,
        pictures=[
            ("Errors of the teacher that the student repeats, first of the list", _pictures(audit, False)),
            ("Perhaps the label is wrong: every network says the same", _pictures(audit, True)),
        ],
        missing=list(_missing(audit)),
        provenance=list(_provenance(audit)),
        cells=zip,
    )


def _gate_title(gates: Sequence["Outcome"]) -> str:
    failed = sum(not gate.passed for gate in gates)
    if not gates:
        return "Gate"
    return f"Gate: {failed} of {plural(len(gates), 'condition')} failed" if failed else "Gate: passed"


def _missing(audit: "Audit") -> Iterator[tuple[str, str]]:
    """What could not be measured and why, each reason once; then numbers without an interval."""
    rows = records(audit.measures)
    no_number = [row for row in rows if pd.isna(row["estimate"])]
    no_interval = [row for row in rows if pd.isna(row["ci_low"]) and not pd.isna(row["estimate"])]
    for lacking, kind in ((no_number, ""), (no_interval, "Interval of ")):
        for reason in dict.fromkeys(row["note"] for row in lacking):
            names = [f"{row['measure']}.{row['estimator']}" for row in lacking if row["note"] == reason]
            yield kind + listed(names), reason or "no reason is given"
    parts = [row for row in records(audit.where) if pd.isna(row["ci_low"])]
    for reason in dict.fromkeys(row["note"] for row in parts):
        count = sum(row["note"] == reason for row in parts)
        yield f"Interval in {plural(count, 'part')} of the test set", reason


def _provenance(audit: "Audit") -> Iterator[tuple[str, str]]:
    """Settings, versions and checksums; no folder of whoever made it."""
    for part in (audit.settings, audit.provenance):
        for key, value in part.items():
            if isinstance(value, Mapping):
                for name, inner in value.items():
                    yield f"{_file(clean(name))}", f"{clean(key).replace('_', ' ')} {clean(inner)}"
            else:
                text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
                yield _file(clean(key)).replace("_", " "), "none" if text is None else clean(text)
