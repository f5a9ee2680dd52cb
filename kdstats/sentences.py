"""Sentences that say why a verdict is what it is, made of the record that the table prints."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kdstats.catalog import (
    ALONE,
    ASYMMETRY,
    AT_A_MARGIN,
    CORRECTION_NAMES,
    DIRECTIONS,
    INHERITANCE,
    SMALLEST_SHOWN,
    metric_label,
)
from kdstats.comparisons import or_one
from kdstats.inheritance import BY_CLASS

WITHDRAWN = (
    "withdrawn: h against students of another teacher measures how far untaught students lie below their teacher, and"
    " bears no verdict (docs/errors-and-knowledge.md)"
)


def number(value: float) -> str:
    """Three significant digits, never scientific above 0.001."""
    return f"{value:.3g}" if abs(value) >= 0.001 or value == 0 else f"{value:.1e}"


def p_words(p: float) -> str:
    """What follows "p".

    Examples
    --------
    >>> p_words(0.0625), p_words(0.0)
    ('= 0.0625', '< 1e-99')
    """
    return f"= {number(p)}" if p >= SMALLEST_SHOWN else f"< {SMALLEST_SHOWN:g}"


def named(arm: str, params: str) -> str:
    return f"{arm} ({params.replace(' ', ', ')})" if params else arm


def scope_words(row: Mapping[str, Any]) -> str:
    """The scope of a row in words: which teachers, which examples."""
    units = f"{row['n_units']} "
    if row["scope_teachers"] == "recipe":
        paired = row["n_units"] < row["n_teachers"]
        teachers = f"teachers of this recipe ({units}{'pairs of teachers' if paired else 'teachers'})"
    elif row["scope_teachers"] == "these":
        several = row["n_teachers"] > 1  # else of one teacher, or a table that names none
        teachers = f"these {row['n_teachers']} teachers ({units}students)" if several else f"these {units}students"
    else:
        teachers = f"teacher {row['teacher']} alone ({units}students)"
    return f"{teachers}, {'on new examples' if row['scope_examples'] == 'new' else 'on this test set'}"


def sentence(
    verdict: Mapping[str, Any], row: Mapping[str, Any], family_sizes: tuple[int, int], more_failures: bool
) -> str:
    """Why the verdict is what it is, from the record that the table prints.

    Parameters
    ----------
    verdict : the row of the verdicts table
    row : the contrast that decided: the control with the largest p, or the one that refuted
    family_sizes : hypotheses in the family, and those of them with a margin
    more_failures : the arm failed to train more often than a control
    """
    metric = row["metric"]
    if verdict["verdict"] == "withdrawn":
        return f"The asymmetry h of {named(row['arm'], row['arm_params'])} is {WITHDRAWN}."
    label = metric_label(metric)
    arm, control = named(row["arm"], row["arm_params"]), named(row["control"], row["control_params"])
    if row["n_units"] < 2 or np.isnan(row["estimate"]):
        return f"{label} of {arm} minus {control}: not measurable ({row['note']})."
    if metric in INHERITANCE or metric == ASYMMETRY:
        return _of_swaps(verdict, row, family_sizes, more_failures)
    several = ", " in verdict["controls"]
    closest = ", the closest control" if several and verdict["verdict"] != "refuted" else ""
    estimate = f"{label} of {arm} minus {control}{closest}: {number(row['estimate'])}, {interval(row)}"
    reason = _reason(verdict, row, several, family_sizes, more_failures)
    missing = f" ({row['left_out']})" if row["left_out"] else ""
    named_too = "".join(f" {said}" for said in row.get("remarks", ()))
    return f"{estimate}; {reason}. Speaks of {scope_words(row)}{missing}.{named_too}"


def points(share: float) -> str:
    """A share as percentage points, to three digits."""
    return f"{100 * share:.3g}"


def _of_swaps(
    verdict: Mapping[str, Any], row: Mapping[str, Any], family_sizes: tuple[int, int], more_failures: bool
) -> str:
    """What W, K or θ₀ says, in the words of docs/errors-and-knowledge.md."""
    arm = named(row["arm"], row["arm_params"])
    inside = ", ".join(filter(None, (row["arm"], *row["arm_params"].split())))  # answers alone have no arm
    inside = f" ({inside})" if inside else ""
    missing = f" ({row['left_out']})" if row["left_out"] else ""
    scope = f"Speaks of {scope_words(row)}{missing}."
    if row["metric"] == ASYMMETRY:
        named_too = "".join(f" {remark}" for remark in row.get("remarks", ()))
        estimate = f"θ₀{f' of {arm}' if arm else ''}: {number(row['estimate'])}, {interval(row)}"
        reason = _reason(verdict, row, False, family_sizes, more_failures)
        if verdict["verdict"] == "supported":
            return (
                "Taught wrongly, students break away from both teachers' answers less often than taught rightly, on"
                " the same examples, where the teachers are equally confident and leave equally little to third classes"
                f" ({estimate}; {reason}). {scope}{named_too}"
            )
        return (
            f"That errors are held to more firmly than right answers is not shown ({estimate}; {reason}). This test"
            " cannot show the opposite: a student that blends its teacher's outputs with its own looks like that with"
            f" no preference at all. {scope}{named_too}"
        )
    errors = row["metric"] == "inherits_errors"
    between = "" if np.isnan(row["ci_low"]) else f" [{points(row['ci_low'])}, {points(row['ci_high'])}]"
    more = "more" if row["estimate"] >= 0 else "fewer"
    who, whom, what = ("wrong", "right", "its wrong answer") if errors else ("right", "wrong", "its right answer")
    said = (
        f"Where one of two teachers is right, students{inside} of the {who} one give {what} on"
        f" {points(abs(row['estimate']))}{between if row['estimate'] >= 0 else ''} points {more} of these examples than"
        f" students of the {whom} one, both teachers counted equally"
    )
    leaning = ""
    if errors:
        leaning = " What is passed on may be single errors, a leaning to a class or a weakness on a kind of examples."
    reason = _reason(verdict, row, False, family_sizes, more_failures)
    exact = "" if row["estimate"] >= 0 else f" ({interval(row)})"
    named_too = "".join(f" {remark}" for remark in row.get("remarks", ()))
    return f"{said}{exact}; {reason}.{leaning} {scope}{named_too}"


def _reason(
    verdict: Mapping[str, Any],
    row: Mapping[str, Any],
    several: bool,
    family_sizes: tuple[int, int],
    more_failures: bool,
) -> str:
    if more_failures and row.get("missing") == "worst":
        return (
            "what is missing cannot be taken at its worst, since nothing bounds this metric (in this unit): it decides"
            " with --missing drop alone, if the scores were never logged"
        )
    if more_failures:
        return (
            f"{row['n_failed_arm']} of its replicates failed to train against {row['n_failed_control']} of the"
            " control's, and what is left cannot decide"
        )
    if verdict["p_value"] is None and verdict["verdict"] == "inconclusive":
        return f"it could not be tested ({row['note']})"

    if other := row.get("against"):
        if other["estimator"] == BY_CLASS:
            within = (
                f"it is {number(other['estimate'])}, {interval(other)} (p {p_words(other['p_value'])})"
                if other.get("p_value") is not None and not np.isnan(other["p_value"])
                else f"it cannot be estimated ({other['note']})"
            )
            return (
                f"p {p_words(p_of_its_side(row))}, but within the true classes {within}: what is claimed may be a"
                " quality of the teachers that is passed on class by class"
            )
        depends, otherwise = "the correlation that makes a feature", f"with {other['estimator']}"
        if other["estimator"] == ALONE:
            depends, otherwise = "which networks are joined", ALONE
        return (
            f"one-sided p {p_words(p_of_its_side(row))}, but {otherwise} it is"
            f" {number(other['estimate'])} (p {p_words(p_of_its_side(other))}): which way it goes depends on {depends}"
        )

    def after(size: int) -> str:
        return f"after {CORRECTION_NAMES[verdict['correction']]} over {size} hypothes{'is' if size == 1 else 'es'}"

    if barred := row.get("barred_by"):
        return barred
    control = f"{'every' if several else 'the'} control"
    claimed = f"{DIRECTIONS[row['direction']]} {control}"
    if row["direction"] in AT_A_MARGIN:
        claimed += f" (margin {row['margin']:g})"
    p = ""
    if verdict["p_value"] is not None:
        adjusted = p_words(verdict["p_adjusted"]).removeprefix("= ")
        p = f"p {p_words(verdict['p_value'])}, {adjusted} {after(family_sizes[0])}"
    within = ""
    if verdict["p_equivalence"] is not None:
        within = f"within ±{row['margin']:g} (p {p_words(verdict['p_equivalence'])} {after(family_sizes[1])})"
    doubt = ", which other features may do by themselves" if row["metric"] == "mean_frequency" else ""
    if row["metric"] in INHERITANCE:
        claimed = f"{DIRECTIONS[row['direction']]} zero" if row["direction"] not in AT_A_MARGIN else (
            f"{DIRECTIONS[row['direction']]} zero (margin {row['margin']:g})"
        )  # fmt: skip
        control = "zero"
    if verdict["verdict"] == "supported":
        return p if row["metric"] == ASYMMETRY else f"{claimed}, {p}{doubt}"
    if verdict["verdict"] == "negligible":
        return f"significant but {within}: a difference that the protocol calls negligible"
    if verdict["verdict"] == "equivalent":
        return f"{within} of {control}"
    if verdict["verdict"] == "refuted" and row["direction"] in AT_A_MARGIN:
        p = f"p {p_words(verdict['p_refuted'])} {after(family_sizes[0])}"
        return f"beyond the margin of {row['margin']:g} on the side that was claimed not to be, {p}"
    if verdict["verdict"] == "refuted":
        return f"the opposite of what was claimed, p {p_words(verdict['p_refuted'])} {after(family_sizes[0])}{doubt}"
    if row["metric"] == ASYMMETRY:
        return p
    hopeless = row["smallest_p"] > verdict["level"]
    return (
        f"not shown to be {claimed}, {p}"
        + (f", nor to lie {within}" if within else "")
        + (f"; no outcome of this test is below p = {number(row['smallest_p'])}" if hopeless else "")
    )


def _from_to(row: Mapping[str, Any]) -> str:
    arm, control = map(number, row["levels"])
    return f"from {control} to {arm}"


def interval(row: Mapping[str, Any]) -> str:
    """An interval as text, or why there is none."""
    if str(row["test"]).startswith("label exchange"):
        teachers = " and the teachers" if row["metric"] == "shared_features" else ""
        found = f"{_from_to(row)}, {row['n_networks']} networks each, joined with each other{teachers}"
        alone = [other for other in row.get("sensitivity", ()) if other["estimator"] == ALONE and "levels" in other]
        apart = f"; {ALONE} {_from_to(alone[0])}" if alone else ""
        return f"{found} to {row['n_joined']} features{apart}; no interval"
    if np.isnan(row["ci_low"]):
        return "no interval, for want of spread between the units"
    kind = "confidence sequence" if str(row["test"]).startswith("anytime") else "interval"
    return f"{100 * row['ci_level']:g} % {kind} [{number(row['ci_low'])}, {number(row['ci_high'])}]"


def p_of_its_side(row: Mapping[str, Any]) -> float:
    """The one-sided p of the direction in which the estimate lies."""
    if row["direction"] == "two-sided":
        return or_one(row.get("p_value")) / 2
    return min(or_one(row.get("p_value")), or_one(row.get("p_reverse")))
