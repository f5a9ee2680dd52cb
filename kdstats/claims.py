"""What a hypothesis on swapped teachers claims, in words: for plans, tables and pages."""

from kdstats.catalog import ASYMMETRY, INHERITANCE, SWAPPED

WITHDRAWN_H = "Withdrawn: a claim on the asymmetry h, which bears no verdict any more (docs/errors-and-knowledge.md)"
WORDS: dict[str, str] = {  # short, for a page; in the order in which they build on each other
    "Split example": "a test image on which exactly one of two teachers is right, whose students were swapped: some"
    " learned from the one, some from the other, all else equal.",
    "Right-taught": "on a split example, the students of the teacher that is right there.",
    "Wrong-taught": "the students of the teacher that is wrong there.",
    "W, inherited errors": "in points: on how many more of 100 split examples wrong-taught students give the wrong"
    " teacher's answer than right-taught students do; 0 where it makes no difference who taught them.",
    "K, inherited right answers": "in points: on how many more of 100 split examples right-taught students give the"
    " right answer than wrong-taught students do.",
    "Third answer": "an answer to a split example that is neither teacher's; W − K is how much more often right-taught"
    " students give one than wrong-taught students.",
    "θ₀, firmness of errors": "log ratio of the third answers of right-taught to those of wrong-taught students,"
    " where both teachers are equally sure (of their answer, and of leaving out third classes); above 0, errors are"
    " held to more firmly than right answers, and below 0 it says nothing.",
}


def of_swaps(metric: str, direction: str, margin: float | None, rules: int = 2) -> str:
    """What a hypothesis on W, K or θ₀ claims, without its arms.

    Parameters
    ----------
    metric : one of ``catalog.SWAPPED``
    direction : one of ``catalog.DIRECTIONS``
    margin : where the direction has one, as a share
    rules : edition of the rules for verdicts; before 2, asymmetry is h, which is withdrawn

    Raises
    ------
    ValueError
        The metric is none of students of swapped teachers.

    Examples
    --------
    >>> of_swaps("inherits_errors", "greater", None)
    'Students of the wrong one of two teachers give its wrong answer more often than students of the right one (W > 0)'
    >>> of_swaps("inherits_knowledge", "equivalent", 0.05)  # doctest: +ELLIPSIS
    'Students of the right one ... as often as students of the wrong one, to within 5 points (K within ±0.05)'
    """
    if metric not in SWAPPED:
        raise ValueError(f"{metric} is not about students of swapped teachers: {', '.join(SWAPPED)} are")
    if metric == ASYMMETRY:
        if rules < 2:
            return WITHDRAWN_H
        return (
            "Errors are held to more firmly than right answers (θ₀ > 0): taught wrongly, students break away from both"
            " teachers' answers less often than taught rightly, where both teachers are equally sure"
        )
    symbol = INHERITANCE[metric][-1]
    who, whom = ("wrong", "right") if metric == "inherits_errors" else ("right", "wrong")
    m = margin or 0.0
    points = in_points(m)
    than = f"than students of the {whom} one"
    often, formula = {
        "greater": (f"more often {than}", f"{symbol} > 0"),
        "less": (f"less often {than}", f"{symbol} < 0"),
        "two-sided": (f"more or less often {than}", f"{symbol} ≠ 0"),
        "not-less": (f"not less often, by {points} or more, {than}", f"{symbol} > −{m:g}"),
        "not-greater": (f"not more often, by {points} or more, {than}", f"{symbol} < {m:g}"),
        "equivalent": (f"as often as students of the {whom} one, to within {points}", f"{symbol} within ±{m:g}"),
    }[direction]
    return f"Students of the {who} one of two teachers give its {who} answer {often} ({formula})"


def in_points(share: float) -> str:
    """A share as percentage points, with the word.

    Examples
    --------
    >>> in_points(0.05), in_points(0.01)
    ('5 points', '1 point')
    """
    return f"{100 * share:.3g} point{'' if share == 0.01 else 's'}"
