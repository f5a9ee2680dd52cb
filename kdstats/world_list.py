"""The worlds of the study: why W, K or θ₀ could be claimed falsely, and where they are true."""

from collections.abc import Iterator
from typing import Any

from kdstats.worlds import World

COIN: dict[str, Any] = {"true": "WK", "copied": (0.3, 0.3)}
FIRM: dict[str, Any] = {"true": "WKθ₀", "copied": (0.3, 0.6)}
BLEND: dict[str, Any] = {"true": "WK", "blend": 0.4}
QUALITY: dict[str, Any] = {"spread": 0.04, "inherited": 1.0}


def standard() -> Iterator[World]:
    """Those for which the estimators were specified, with 5 pairs × 2 × 2 students and 1,500 examples."""
    yield World("nothing", "nothing is passed on")
    yield World("nothing-3-pairs", "nothing is passed on; 3 pairs", pairs=3)
    yield World("nothing-weaker", "nothing is passed on; students 5 points below teachers", gap=0.05)
    yield World("coin", "3 of 10 answers are the teacher's", **COIN)
    yield World("coin-5-below", "3 of 10 copied; students by themselves 5 points below teachers", gap=0.05, **COIN)
    yield World("coin-2-below", "3 of 10 copied; 2 points below", gap=0.02, **COIN)
    yield World("coin-2-above", "3 of 10 copied; 2 points above", gap=-0.02, **COIN)
    yield World("coin-1-in-10", "1 of 10 answers is the teacher's", "WK", copied=(0.1, 0.1))
    yield World("coin-1-in-20", "1 of 20 answers is the teacher's", "WK", copied=(0.05, 0.05))
    yield World("coin-7-in-10", "7 of 10 answers are the teacher's", "WK", copied=(0.7, 0.7))
    yield World("coin-3-pairs", "3 of 10 copied; 3 pairs", pairs=3, **COIN)
    for points in (1, 2, 4):
        words = f"teachers' accuracies have an SD of {points} points, and students inherit them"
        yield World(f"quality-{points}", words, spread=points / 100, inherited=1.0)
    yield World("quality-4-3-pairs", "SD 4 points, inherited; 3 pairs", pairs=3, **QUALITY)
    yield World(
        "quality-by-class",
        "accuracies in each class have an SD of 4 points, inherited",
        groups="class",
        of_group=0.04,
        inherited=1.0,
    )
    yield World("inverse-4", "the better a teacher (SD 4 points), the worse its students", spread=0.04, inherited=-1.0)
    yield World(
        "coin-inverse-4",
        "the better a teacher (SD 4 points), the worse its students; 3 of 10 copied",
        spread=0.04,
        inherited=-1.0,
        **COIN,
    )
    yield World("coin-quality-4", "SD 4 points, inherited, and 3 of 10 copied", **QUALITY, **COIN)
    yield World("coin-hard", "hard examples are copied twice as often", follows="hard", **COIN)
    yield World("coin-easy", "easy examples are copied twice as often", follows="easy", **COIN)
    yield World("coin-sure", "answers the teacher is sure of are copied twice as often", follows="sure", **COIN)
    yield World("coin-unsure", "answers the teacher is unsure of are copied twice as often", follows="unsure", **COIN)
    yield World(
        "coin-hard-weaker", "hard examples copied twice as often; 5 points below", follows="hard", gap=0.05, **COIN
    )
    yield World("softmax", "half of the answers are drawn from the teacher's softmax, at T = 2", "WK", sampled=0.5)
    yield World("softmax-weaker", "half drawn from the teacher's softmax; 5 points below", "WK", sampled=0.5, gap=0.05)
    yield World("surer", "7 of 10 answers of which the teacher is surer are its own", "WK", surer=0.7)
    yield World("blend", "logits are 4 parts the teacher's and 6 the student's own", **BLEND)
    yield World("blend-noise", "4 parts the teacher's logits, 6 the student's own, and noise", noise=0.5, **BLEND)
    yield World("blend-weaker", "blended; students by themselves 5 points below", gap=0.05, **BLEND)
    yield World("start", "students resemble the teacher whose weights they began with", start=0.5)
    yield World("start-coin", "students resemble where they began; 3 of 10 copied", start=0.5, **COIN)
    yield World("start-blend", "students resemble where they began; blended", start=0.5, **BLEND)
    yield World("start-quality-4", "students resemble where they began; SD 4 points, inherited", start=0.5, **QUALITY)
    for points in (1, 2, 4):
        words = f"students nearly identical to where they began; SD {points} points, inherited"
        yield World(f"start-identical-{points}", words, known="WK", start=0.95, spread=points / 100, inherited=1.0)
    yield World("few-third", "few third answers; 3 of 10 copied", own=0.5, confusable=2.0, **COIN)
    yield World("few-third-nothing", "few third answers; nothing is passed on", own=0.5, confusable=2.0)
    entropy: dict[str, Any] = {"true": "WK", "copied": (0.6, 0.6), "follows": "entropy"}
    yield World("entropy", "copied the more, the lower the teacher's entropy", **entropy)
    yield World(
        "entropy-100",
        "copied the more, the lower the teacher's entropy; 100 classes",
        known="θ₀",
        classes=100,
        **entropy,
    )
    yield World("firm", "errors copied in 6 of 10, right answers in 3 of 10", **FIRM)
    yield World("firm-slightly", "errors copied in 45 of 100, right answers in 30", "WKθ₀", copied=(0.3, 0.45))
    yield World("firm-3-pairs", "errors copied in 6 of 10, right answers in 3 of 10; 3 pairs", pairs=3, **FIRM)
    yield World("loose", "right answers copied in 6 of 10, errors in 3 of 10", "WK", copied=(0.6, 0.3))


def tried() -> Iterator[World]:
    """Those that nobody had tried when the estimators were specified."""
    yield World(
        "quality-by-kind-2",
        "accuracies in each of ten hidden kinds have an SD of 2 points, inherited",
        known="WK",
        groups="kind",
        of_group=0.02,
        inherited=1.0,
    )
    yield World(
        "quality-by-kind-4",
        "accuracies in each of ten hidden kinds have an SD of 4 points, inherited",
        known="WK",
        groups="kind",
        of_group=0.04,
        inherited=1.0,
    )
    yield World("quality-8", "teachers' accuracies have an SD of 8 points, inherited", spread=0.08, inherited=1.0)
    yield World(
        "start-uneven",
        "1 student of the first teacher, 5 of the second, that resemble where they began: 1 of"
        " 1 and 2 of 5 with their own teacher's weights (refused)",
        sides=(1, 5),
        start=0.5,
    )
    yield World(
        "start-even",
        "2 and 6 students that resemble where they began, half with the weights of each",
        sides=(2, 6),
        start=0.5,
    )
    yield World("sides-quality-4", "1 and 5 students; SD 4 points, inherited", sides=(1, 5), **QUALITY)
    yield World(
        "overconfident", "the first teacher of each pair has its logits tripled; nothing is passed on", sure=3.0
    )
    yield World("overconfident-blend", "one teacher of each pair has its logits tripled; blended", sure=3.0, **BLEND)
    yield World(
        "overconfident-weaker",
        "one teacher of each pair has its logits tripled; blended, 5 points below",
        sure=3.0,
        gap=0.05,
        **BLEND,
    )
    yield World(
        "overconfident-coin", "one teacher of each pair has its logits tripled; 3 of 10 copied", sure=3.0, **COIN
    )
    yield World("alike", "students of one teacher are alike", alike=0.6)
    yield World("alike-one", "students of the first teacher of a pair are alike", alike_one=0.8)
    yield World("mislabelled", "in two of ten hidden kinds the test labels are wrong", mislabelled=0.2)
    yield World(
        "mislabelled-coin",
        "in two of ten hidden kinds the test labels are wrong; 3 of 10 copied",
        mislabelled=0.2,
        **COIN,
    )
    yield World("duplicates", "each example four times", duplicates=4)
    yield World(
        "duplicates-alike", "each example four times, and students of one teacher alike", duplicates=4, alike=0.6
    )
    yield World(
        "lean-start", "a leaning to classes that comes with the weights and is not passed on", lean=0.7, start=0.3
    )
    yield World("lean-taught", "a leaning to classes that is passed on", "WK", leans=0.7)
    yield World("imbalance", "each class 1.6 times as frequent as the next", imbalance=1.6)
    yield World(
        "imbalance-quality-4",
        "classes 1.6 times as frequent as the next; SD 4 points, inherited",
        imbalance=1.6,
        **QUALITY,
    )
    yield World("n-300", "300 examples; nothing is passed on", n=300)
    yield World("n-300-quality-4", "300 examples; SD 4 points, inherited", n=300, **QUALITY)
    yield World("n-300-coin", "300 examples; 3 of 10 copied", n=300, **COIN)
    yield World(
        "pairs-lost",
        "the students of 2 of 5 pairs failed; 300 examples, SD 4 points, inherited",
        pairs=3,
        n=300,
        **QUALITY,
    )
    yield World("twins", "one pair of nearly identical teachers; SD 4 points, inherited", twins=1, **QUALITY)
    yield World(
        "twins-4",
        "four pairs of nearly identical teachers, so that one has the weight; SD 4, inherited",
        twins=4,
        **QUALITY,
    )
    yield World(
        "twins-4-start",
        "four such pairs, students resemble where they began; SD 4, inherited",
        twins=4,
        start=0.5,
        **QUALITY,
    )
    yield World(
        "skilled-quality-2",
        "teachers right in 95 of 100, SD 2 points, inherited",
        accuracy=0.95,
        spread=0.02,
        inherited=1.0,
    )
    yield World(
        "skilled-unsure",
        "teachers right in 95 of 100; unsure answers copied twice as often",
        accuracy=0.95,
        follows="unsure",
        **COIN,
    )
    yield World("blend-7-in-10", "logits are 7 parts the teacher's", "WK", blend=0.7)


WORLDS = {world.name: world for world in (*standard(), *tried())}
