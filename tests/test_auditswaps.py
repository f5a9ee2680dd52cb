"""W, K and θ₀ in audits: the numbers of kdstats.metrics, planted worlds, what is refused, the command end to end."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kdstats import metrics
from kdstats.auditing import Audit, audit
from kdstats.errors import UserError
from tests.audits import World, world

Pair = dict[str, Any]


def of(found: Audit, measure: str, estimator: str = "value") -> Any:
    rows = found.measures
    return rows[(rows["measure"] == measure) & (rows["estimator"] == estimator)].iloc[0]


def verdicts(found: Audit) -> Any:
    return found.verdicts.set_index("question")


def swapped(w: World, students: int = 3, controls: int = 4, copied: float = 0.4) -> Pair:
    """Two teachers of one skill, and students that take over a share of their own teacher's answers."""
    t, o = w.network(), w.network()
    return {
        "teacher": t, "students": [w.network(copied=t, right=copied) for _ in range(students)],
        "control_teacher": o, "controls": [w.network(copied=o, right=copied) for _ in range(controls)],
    }  # fmt: skip


def audited(w: World, pairs: list[Pair], **options: Any) -> Audit:
    first, *more = pairs
    return audit(
        first["teacher"], first["students"], w.labels, first["controls"], control_teacher=first["control_teacher"],
        more_pairs=more, **options,
    )  # fmt: skip


def inherited(w: World, pairs: list[Pair]) -> metrics.Inheritance:
    teachers = [p[key] for p in pairs for key in ("teacher", "control_teacher")]
    sides = [p[key] for p in pairs for key in ("students", "controls")]
    by = [i for i, side in enumerate(sides) for _ in side]
    said = [one for side in sides for one in side]
    return metrics.inheritance(teachers, said, w.labels, by, [[2 * q, 2 * q + 1] for q in range(len(pairs))])


@pytest.mark.parametrize("pairs", [1, 2, 3])
def test_an_audit_has_the_numbers_of_the_arrays(pairs: int) -> None:
    w = world(np.random.default_rng(pairs), 1500)
    made = [swapped(w, 2, 3) for _ in range(pairs)]
    found, expected = audited(w, made), inherited(w, made)
    assert of(found, "inherits_errors")["estimate"] == pytest.approx(expected.errors.estimate, abs=1e-12)
    assert of(found, "inherits_knowledge")["estimate"] == pytest.approx(expected.knowledge.estimate, abs=1e-12)
    assert expected.errors_by_class is not None
    assert of(found, "inherits_errors", "by_class")["estimate"] == pytest.approx(expected.errors_by_class.estimate)
    if pairs == 1:  # of the audited teacher alone
        t, s = made[0]["teacher"], made[0]["students"]
        assert of(found, "repeated_errors", "made")["estimate"] == (t != w.labels).sum()
        both = np.mean([((one == t) & (t != w.labels)).sum() for one in s])
        assert of(found, "repeated_errors", "own")["estimate"] == pytest.approx(both)
    else:
        assert of(found, "repeated_errors", "made")["estimate"] == pytest.approx(expected.errors_made.mean())
        more = (expected.repeated_own - expected.repeated_other).mean()
        assert of(found, "repeated_errors", "more")["estimate"] == pytest.approx(more)
    scope = "teachers of this recipe" if pairs == 3 else "these teachers"
    assert of(found, "inherits_errors")["scope"].startswith(scope)


def test_students_that_copy_are_found_and_those_that_do_not_are_not() -> None:
    """Of 20 worlds without copying, W and K together are claimed in at most 4: P(5 or more of .05) = .003."""
    false = 0
    for seed in range(20):
        w = world(np.random.default_rng(seed), 600)
        false += (verdicts(audited(w, [swapped(w, copied=0.0)]))["verdict"] == "supported").any()
    assert false <= 4
    for seed in range(5):
        w = world(np.random.default_rng(seed), 1200)
        said = verdicts(audited(w, [swapped(w)]))
        assert said.loc["Inherited errors, W", "verdict"] == "supported"
        assert said.loc["Inherited right answers, K", "verdict"] == "supported"
        assert "these 2 teachers (7 students)" in said.loc["Inherited errors, W", "sentence"]


def test_a_better_teacher_that_hands_over_only_its_quality_inherits_nothing() -> None:
    """The teachers differ by 8 points or so, and so do their students, who copy no answer."""
    found = 0
    for seed in range(10):
        w = world(np.random.default_rng(seed), 1200)
        made = swapped(w, copied=0.0) | {"teacher": w.network(skill=1.5), "control_teacher": w.network(skill=2.5)}
        made |= {"students": [w.network(skill=1.5) for _ in range(3)]}
        made |= {"controls": [w.network(skill=2.5) for _ in range(3)]}
        found += (verdicts(audited(w, [made]))["verdict"] == "supported").any()
    assert found <= 2  # P(3 or more of .05) = .012


def test_all_verdicts_are_one_family() -> None:
    """Holm by hand over the raw p-values, each of which stands in the table: 1 × largest, 2 × the next, …"""
    w = world(np.random.default_rng(3), 1500)
    found = audited(w, [swapped(w, copied=0.15)], margin=0.03).verdicts.dropna(subset="p_value")
    assert len(found) == 3
    expected, highest = {}, 0.0
    for rank, (i, p) in enumerate(sorted(found["p_value"].items(), key=lambda item: item[1])):
        highest = max(highest, min(1.0, (3 - rank) * p))
        expected[i] = highest
    if found["verdict"].iloc[0] == "equivalent":  # else the family holds the larger p of equivalence
        assert found["p_adjusted"].to_dict() == pytest.approx(expected)
    assert found["sentence"].str.contains("after Holm over 3").all()


def test_one_student_a_side_has_intervals_over_examples_and_no_verdict() -> None:
    w = world(np.random.default_rng(4), 1500)
    found = audited(w, [swapped(w, 1, 1)])
    row = of(found, "inherits_errors")
    assert row["scope"] == "these networks, new examples" and row["ci_low"] < row["estimate"] < row["ci_high"]
    assert np.isnan(row["p_value"])
    said = verdicts(found).loc["Inherited errors and right answers"]
    assert said["verdict"] == "not possible" and "nothing shows how students differ" in said["sentence"]


def test_three_pairs_with_logits_are_asked_for_theta() -> None:
    rng = np.random.default_rng(5)
    w = world(rng, 1200)

    def logits(said: Any) -> Any:
        return 4 * np.eye(10)[said] + rng.normal(size=(len(said), 10))

    made = [swapped(w, 2, 2) for _ in range(3)]
    as_logits = [p | {key: logits(p[key]) for key in ("teacher", "control_teacher")} for p in made]
    found = audited(w, as_logits)
    assert np.isfinite(of(found, "asymmetry", "firmness")["estimate"])
    said = verdicts(found).loc["Firmness of errors, θ₀"]
    assert said["verdict"] in ("supported", "not shown")
    without = audited(w, made)
    assert np.isnan(of(without, "asymmetry", "firmness")["estimate"])
    assert "logits" in of(without, "asymmetry", "firmness")["note"]


def test_a_teacher_without_errors_leaves_empty_values_and_a_reason() -> None:
    w = world(np.random.default_rng(6), 400)
    made = swapped(w) | {"teacher": w.labels.copy()}
    found = audited(w, [made])
    for estimator in ("own", "other", "more"):
        row = of(found, "repeated_errors", estimator)
        assert np.isnan(row["estimate"]) and "wrong on none of the 400" in row["note"]
    row = of(found, "inherits_errors")
    assert np.isnan(row["estimate"]) and row["note"]
    assert "there are no errors that a student could repeat" in found.to_html()


def test_the_first_sentence_on_inheritance_counts_errors() -> None:
    w = world(np.random.default_rng(7), 1000)
    made = swapped(w)
    page = audited(w, [made]).to_html()
    errors = int((made["teacher"] != w.labels).sum())
    assert f"Of the teacher&#39;s {errors} errors a student repeats" in page
    assert "; a student of another teacher" in page and "difference" in page
    assert "than knowledge" not in page.replace("neither is more than", "")


def test_mistakes_of_arrays_are_named() -> None:
    w = world(np.random.default_rng(8), 300)
    p = swapped(w)
    given = (p["teacher"], p["students"], w.labels)
    for options, said in (
        ({"controls": p["controls"], "control_teacher": p["teacher"].copy()}, "swapped teachers are different"),
        ({"control_teacher": p["control_teacher"]}, "control_teacher taught the controls, and there are none"),
        ({"controls": p["controls"], "control_teacher": p["control_teacher"], "control_kind": "neutral"}, "neutral"),
        ({"controls": p["controls"], "more_pairs": [p]}, "the first is teacher, student, control_teacher"),
        ({"controls": p["controls"], "control_teacher": p["control_teacher"],
          "more_pairs": [{"teacher": p["teacher"]}]}, "more_pairs.0. has no students: a pair needs"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=said):
            audit(*given, **options)  # type: ignore[arg-type]


# The command -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three swapped pairs in files: t0, t1 … with students s0_0, s0_1 …, of which the first pair has 2 and 3."""
    place = tmp_path_factory.mktemp("swaps")
    w = world(np.random.default_rng(9), 1000)
    np.savez(place / "y.npz", labels=w.labels)
    for q in range(3):
        made = swapped(w, 2, 3)
        for i, (teacher, students) in enumerate((("teacher", "students"), ("control_teacher", "controls"))):
            np.savez(place / f"t{2 * q + i}.npz", labels=made[teacher])
            for j, one in enumerate(made[students]):
                np.savez(place / f"s{2 * q + i}_{j}.npz", labels=one)
    return place


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "kdstats", "audit", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


NETWORKS = ("--teacher", "t0.npz", "--student", "s0_0.npz", "--student", "s0_1.npz", "--labels", "y.npz")
CONTROLS = tuple(text for i in range(3) for text in ("--control", f"s1_{i}.npz"))
PAIR = "{{teacher: t{0}.npz, students: [s{0}_0.npz, s{0}_1.npz], control_teacher: t{1}.npz, controls: [s{1}_0.npz]}}"


def test_the_teacher_of_the_controls_gives_w_and_k_and_gates_on_them(folder: Path) -> None:
    gates = ("--require", "inherits_errors.ci_low > 5pp and inherits_knowledge > 5pp", "--fail-if",
             "repeated_errors.more > 100000", "--out", "out")  # fmt: skip
    done = run(folder, *NETWORKS, *CONTROLS, "--control-teacher", "t1.npz", *gates)
    assert done.returncode == 0, done.stderr
    assert "students of the wrong one give its wrong answer" in done.stdout
    assert "passed: inherits_errors.ci_low > 5pp" in done.stdout
    assert "a student of another teacher" in (folder / "out" / "index.html").read_text()
    refused = run(folder, *NETWORKS, *CONTROLS, "--fail-if", "asymmetry.headroom.ci_low > 0")
    assert refused.returncode == 2 and "asymmetry bears no gate" in refused.stderr
    missing = run(folder, *NETWORKS, *CONTROLS, "--require", "inherits_errors > 0")
    assert missing.returncode == 3 and "not measurable" in missing.stderr and "control_teacher" in missing.stderr


def test_pairs_of_a_file_speak_of_the_recipe(folder: Path) -> None:
    pairs = "\n".join(f"- {PAIR.format(2 * q, 2 * q + 1)}" for q in range(3))
    (folder / "pairs.yaml").write_text(f"labels: y.npz\npairs:\n{pairs}\n")
    done = run(folder, "pairs.yaml", "--format", "json")
    assert done.returncode == 0, done.stderr
    rows = {(row["measure"], row["estimator"]): row for row in json.loads(done.stdout)["measures"]}
    assert rows["inherits_errors", "value"]["scope"] == "teachers of this recipe, new examples"
    assert len(json.loads(done.stdout)["networks"]) == 3 * (2 + 2 + 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("teacher: t0.npz\nstudent: s0_0.npz\ncontrol_teacher: t1.npz\n", "bad.yaml:3: control_teacher: the teacher"),
        ("teacher: t0.npz\nstudent: s0_0.npz\ncontrols: [s1_0.npz]\ncontrol_teacher: t0.npz\n",
         "bad.yaml:4: control_teacher: t0.npz is the teacher itself: name the other teacher"),
        ("teacher: t0.npz\nstudent: s0_0.npz\ncontrols: [s1_0.npz]\ncontrol_kind: plain\ncontrol_teacher: t1.npz\n",
         "bad.yaml:4: control_kind: plain, and the controls have a teacher: leave it out, or write kd-other"),
        (f"teacher: t0.npz\npairs:\n- {PAIR.format(0, 1)}\n", "bad.yaml:1: teacher: pairs name every network"),
        (f"pairs:\n- {PAIR.format(0, 1)}\n- {PAIR.format(0, 3)}\n",
         "bad.yaml:3: pairs[1].teacher: t0.npz is pairs[0].teacher, too: a teacher is in one pair"),
        ("pairs:\n- {teacher: t0.npz, students: [s0_0.npz]}\n", "bad.yaml:2: pairs[0]"),
        ("pairs:\n- {teacher: t0.npz, students: [], control_teacher: t1.npz, controls: [s1_0.npz]}\n",
         "bad.yaml:2: pairs[0].students: "),
    ],
)  # fmt: skip
def test_mistakes_in_a_file_have_its_line_and_key(folder: Path, text: str, said: str) -> None:
    (folder / "bad.yaml").write_text(text)
    done = run(folder, "bad.yaml")
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_mistakes_in_options_are_named(folder: Path) -> None:
    none = run(folder, *NETWORKS, "--control-teacher", "t1.npz")
    assert none.returncode == 2 and "--control-teacher: the teacher of the controls, and there are none" in none.stderr
    neutral = run(folder, *NETWORKS, *CONTROLS, "--control-teacher", "t1.npz", "--control-kind", "neutral")
    assert neutral.returncode == 2 and "--control-kind: neutral, and the controls have a teacher" in neutral.stderr
    copy = run(folder, *NETWORKS, *CONTROLS, "--control-teacher", "s0_0.npz")
    assert copy.returncode == 2 and "is given twice" in copy.stderr
