"""Mistakes are named by file, line and key; what is read is what was meant; additions are told from changes."""

import math
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from kdstats.catalog import ARMS, CORRECTIONS, DIRECTIONS, METRICS, MODELS, SCHEDULES, USUAL
from kdstats.documents import core_scalar, read_document, write_document
from kdstats.errors import UserError
from kdstats.protocol import (
    Hypotheses,
    Point,
    Protocol,
    compare,
    dump,
    expand,
    hypothesis_points,
    one_hypothesis,
    protocol_hash,
    read_hypotheses,
    read_protocol,
    resolved,
)

BASE = """\
name: digits
dataset: digits
teacher: {model: cnn, seeds: 10}
student:
  seeds: 2
recipe: {epochs: 20, learning_rate: 1e-3}
arms:
  siddo:
  ce:
  kd: {alpha: [.1, .5, 9e-1]}
  kd-other:
    alpha: [.1, .5, .9]
  rcd: {alpha: [.1, .5, .9], noise: [gaussian, uniform]}
hypotheses:
  - name: kd-agrees
    metric: agreement
    arm: kd
    controls: [siddo, kd-other, rcd]
    direction: greater
    margin: 0.01
  - {metric: asymmetry, arm: kd, control: kd-other, direction: "greater"}
"""


def read(folder: Path, text: str | bytes) -> Protocol:
    file = folder / "p.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_protocol(file)


def refusal(folder: Path, text: str | bytes) -> list[str]:
    """The lines of the error, without the file's folder."""
    with pytest.raises(UserError) as caught:
        read(folder, text)
    return str(caught.value).replace(f"{folder}/", "").split("\n")


def base(old: str = "", new: str = "") -> str:
    assert old in BASE
    return BASE.replace(old, new, 1)


def protocol(**changes: Any) -> Protocol:
    plain = yaml.safe_load(BASE) | {"recipe": {}, "arms": {"siddo": None, "ce": None, "kd": {"alpha": [0.1, 0.5]}}}
    plain["hypotheses"] = [
        {"name": "h", "metric": "agreement", "arm": "kd", "control": "siddo", "direction": "greater"}
    ]
    return Protocol.model_validate(plain | changes)


# Mistakes --------------------------------------------------------------------------------------------------------

MISTAKES = [
    # what is replaced, by what, the place and a part of the sentence
    ("name: digits", "nam: digits", "p.yaml:1: `name` is required"),
    ("name: digits", "nam: digits", "p.yaml:1: nam: unknown key", "did you mean name?"),
    ("name: digits", "name: -x", "p.yaml:1: name: '-x' is not allowed: letters, digits"),
    ("name: digits", f"name: {'x' * 65}", "p.yaml:1: name: ", "at most 64"),
    ("name: digits", "name: 2024", "p.yaml:1: name: 2024 is not allowed", "needs quotes"),
    ("name: digits", "name: a\nseed: -1", "p.yaml:2: seed: -1 is not allowed: a whole number of at least 0"),
    ("name: digits", "name: a\nseed: true", "p.yaml:2: seed: true is not allowed: a whole number"),
    ("name: digits", "name: a\nalpha: .05", "p.yaml:2: alpha: ", "the significance level is `level`"),
    ("name: digits", "name: a\nlevel: .7", "p.yaml:2: level: 0.7 is not allowed: a number above 0 and below 0.5"),
    ("name: digits", "name: a\nlevel: .nan", "p.yaml:2: level: nan is not allowed"),
    ("name: digits", "name: a\nlevel: 1e999", "p.yaml:2: level: inf is not allowed"),
    ("name: digits", "name: a\ncorrection: Holmes", "p.yaml:2: correction: 'Holmes'", "bh, by; did you mean holm?"),
    ("name: digits", "name: a\nmetrics: [accuracy, accuracy]", "p.yaml:2: metrics[1]: 'accuracy' is here twice"),
    ("name: digits", "name: a\nmetrics: [agreemnt]", "p.yaml:2: metrics[0]: ", "did you mean agreement?"),
    ("name: digits", "name: a\nmetrics: accuracy", "p.yaml:2: metrics: 'accuracy' is not allowed: a list of metrics"),
    ("dataset: digits", "dataset: digitz", "p.yaml:2: dataset: 'digitz' is not allowed", "did you mean digits?"),
    ("dataset: digits", "dataset: {name: digitz}", "p.yaml:2: dataset.name: 'digitz' is not allowed"),
    ("dataset: digits", "dataset: npz", "p.yaml:2: dataset: `path` is required"),
    ("dataset: digits", "dataset: {name: digits, path: x.npz}", "p.yaml:2: dataset.path: belongs to dataset npz"),
    ("dataset: digits", 'dataset: {name: npz, path: "a\\0b"}', "p.yaml:2: dataset.path: 'a\\x00b' is not allowed"),
    ("dataset: digits", "dataset: {name: digits, train: 0}", "p.yaml:2: dataset.train: 0", "of at least 1"),
    ("dataset: digits", "dataset: {name: digits, train: 1.0}", "p.yaml:2: dataset.train: 1.0", "a whole number"),
    ("dataset: digits", "dataset: {name: digits, split: val}", "p.yaml:2: dataset.split: ", "test, validation"),
    ("model: cnn", "model: resnet21", "p.yaml:3: teacher.model: 'resnet21'", "resnet20", "did you mean resnet"),
    ("seeds: 10", "seeds: 0", "p.yaml:3: teacher.seeds: 0 is not allowed: a number of seeds"),
    ("seeds: 10", "seeds: []", "p.yaml:3: teacher.seeds: an empty list is not allowed"),
    ("seeds: 10", "seeds: 99999999999999999999", "p.yaml:3: teacher.seeds: ", "1 to 10,000"),
    ("seeds: 10", "seeds: true", "p.yaml:3: teacher.seeds: true is not allowed"),
    ("seeds: 10", "seeds: [1, 2, 1, 3]", "p.yaml:3: teacher.seeds[2]: seed 1 is here twice"),
    ("seeds: 10", "seeds: [1, 2.0]", "p.yaml:3: teacher.seeds[1]: 2.0 is not allowed: a whole number"),
    ("seeds: 10", "seeds: 9", "p.yaml:11: arms.kd-other: ", "must be even", "has 9; 8 or 10 would do"),
    ("seeds: 10", "seeds: [4]", "p.yaml:11: arms.kd-other: ", "has 1; 2 would do"),
    ("  seeds: 2", "  seed: 2", "p.yaml:5: student.seed: unknown key, allowed are model, seeds; did you mean seeds?"),
    ("  seeds: 2", "  model: mlp", "p.yaml:8: arms.siddo: ", "not cnn (teacher) and mlp (student): use ce"),
    ("epochs: 20", "epoch: 20", "p.yaml:6: recipe.epoch: unknown key", "did you mean epochs?"),
    ("epochs: 20", "epochs: 0", "p.yaml:6: recipe.epochs: 0 is not allowed: a whole number of at least 1"),
    ("epochs: 20", "momentum: .9", "p.yaml:6: recipe.momentum: belongs to optimiser sgd, not adamw"),
    ("epochs: 20", "optimiser: adam", "p.yaml:6: recipe.optimiser: 'adam'", "sgd, adamw, adamax; did you mean adam"),
    ("epochs: 20", "optimiser: sgd, nesterov: true, momentum: 0", "p.yaml:6: recipe.nesterov: needs a momentum"),
    ("epochs: 20", "milestones: [3]", "p.yaml:6: recipe.milestones: belong to schedule multi-step, not cosine"),
    ("epochs: 20", "schedule: multi-step", "p.yaml:6: recipe.schedule: multi-step needs `milestones`"),
    ("epochs: 20", "schedule: multi-step, milestones: [5, 5]", "p.yaml:6: recipe.milestones: must increase"),
    ("epochs: 20", "schedule: multi-step, milestones: [30]", "p.yaml:6: recipe.milestones: must lie below epochs (30)"),
    ("model: cnn", "model: wrn-17-2", "p.yaml:3: teacher.model: 'wrn-17-2'", "of width D), torch"),
    ("model: cnn", "model: 'tim:resnet18'", "p.yaml:3: teacher.model: 'tim:resnet18' is not allowed"),
    ("epochs: 20", "schedule: one-cycle, warmup_epochs: 1", "p.yaml:6: recipe.warmup_epochs: belong to the other"),
    ("epochs: 20", "ema: 1.5", "p.yaml:6: recipe.ema: "),
    ("epochs: 20", "label_smoothing: 0", "p.yaml:6: recipe.label_smoothing: "),
    ("epochs: 20", "epochs: 5, warmup_epochs: 5", "p.yaml:6: recipe.warmup_epochs: 5 must lie below epochs (5)"),
    ("1e-3", "0", "p.yaml:6: recipe.learning_rate: 0 is not allowed: a number above 0"),
    ("1e-3", "fast", "p.yaml:6: recipe.learning_rate: 'fast' is not allowed: a number above 0"),
    ("  ce:", "  teacher:", "p.yaml:9: arms.teacher: the name teacher is reserved: teachers are trained anyway"),
    ("  ce:", "  cee:", "p.yaml:9: arms.cee: is no kind of arm, so it needs `kind`", "did you mean ce?"),
    ("  ce:", "  'a b': {kind: ce}", "p.yaml:9: arms.'a b': 'a b' is no name for an arm"),
    ("  ce:", "  mine: {kind: kdother}", "p.yaml:9: arms.mine.kind: 'kdother'", "did you mean kd-other?"),
    ("  ce:", "  ce: {initialisation: teacher}", "p.yaml:9: arms.ce.initialisation: ce always has fresh"),
    ("  ce:", "  ce: {initialisation: zero}", "p.yaml:9: arms.ce.initialisation: 'zero'", "teacher, fresh"),
    ("  ce:", "  ce: {alpha: .5}", "p.yaml:9: arms.ce.alpha: unknown key, allowed are kind, initialisation"),
    ("  ce:", "  ce: 5", "p.yaml:9: arms.ce: 5 is not allowed: a mapping"),
    ("  ce:", "  twin: {kind: siddo}", "p.yaml:9: arms.twin: twin would be the same networks as siddo"),
    ("9e-1]", "1.5]", "p.yaml:10: arms.kd.alpha[2]: 1.5 is not allowed: a number from 0 to 1"),
    ("[.1, .5, 9e-1]", "-0.1", "p.yaml:10: arms.kd.alpha: -0.1 is not allowed: a number from 0 to 1"),
    ("[.1, .5, 9e-1]", "[]", "p.yaml:10: arms.kd.alpha: an empty list"),
    ("[.1, .5, 9e-1]", "[.1, .1]", "p.yaml:10: arms.kd.alpha: a value is here twice"),
    ("[.1, .5, 9e-1]", "[.1, .10000001]", "p.yaml:10: arms.kd.alpha: a value is here twice"),
    ("[.1, .5, 9e-1]", "yes", "p.yaml:10: arms.kd.alpha: 'yes' is not allowed: a number from 0 to 1"),
    ("[.1, .5, 9e-1]", ".5, temperature: 0", "p.yaml:10: arms.kd.temperature: 0 is not allowed: a number above 0"),
    ("kd: {alpha: [", "kd: {alfa: [", "p.yaml:10: arms.kd.alfa: unknown key", "did you mean alpha?"),
    ("[gaussian, uniform]", "gausian", "p.yaml:13: arms.rcd.noise: 'gausian'", "did you mean gaussian?"),
    ("[gaussian, uniform]", "gaussian, scale: [teacher, -1]", "p.yaml:13: arms.rcd.scale[1]: -1", "teacher or"),
    ("[gaussian, uniform]", "uniform, scale: 2, space: probabilities", "p.yaml:13: arms.rcd: scale belongs to space"),
    ("    metric: agreement\n", "", "p.yaml:15: hypotheses[0]: `metric` is required"),
    ("metric: agreement", "metric: agreemnt", "p.yaml:16: hypotheses[0].metric: 'agreemnt'", "did you mean agreement?"),
    ("metric: agreement", "metric: []", "p.yaml:16: hypotheses[0].metric: an empty list is not allowed"),
    ("metric: agreement", "metric: capa\n    scope: {examples: new}", "p.yaml:17: hypotheses[0].scope.examples: capa"),
    ("arm: kd\n", "arm: kdd\n", "p.yaml:17: hypotheses[0].arm: 'kdd' is no arm here", "did you mean kd?"),
    ("[siddo, kd-other, rcd]", "[siddo, sido]", "p.yaml:18: hypotheses[0].controls[1]: 'sido'", "did you mean siddo?"),
    ("[siddo, kd-other, rcd]", "[siddo, kd]", "p.yaml:18: hypotheses[0].controls[1]: 'kd' is the arm itself"),
    ("[siddo, kd-other, rcd]", "[siddo, siddo]", "p.yaml:18: hypotheses[0].controls[1]: 'siddo' is here twice"),
    ("[siddo, kd-other, rcd]", "[]", "p.yaml:18: hypotheses[0].controls: an empty list is not allowed"),
    ("[siddo, kd-other, rcd]", "ce", "p.yaml:18: hypotheses[0].controls: ", "with kd pair: siddo, kd-other, rcd"),
    ("    controls:", "    control: ce\n    controls:", "p.yaml:18: hypotheses[0].control: ", "two spellings"),
    ("direction: greater", "direction: up", "p.yaml:19: hypotheses[0].direction: 'up' is not allowed: greater, less"),
    ("margin: 0.01", "margin: 0", "p.yaml:20: hypotheses[0].margin: 0 is not allowed: a number above 0"),
    ("margin: 0.01", "test: t", "p.yaml:20: hypotheses[0].test: 't' is not allowed: sign-flip, wilcoxon, paired-t"),
    ("margin: 0.01", "test: two-way-t", "p.yaml:20: hypotheses[0].test: ", "for this test set take sign-flip"),
    ("margin: 0.01", "scope: new", "p.yaml:20: hypotheses[0].scope: 'new' is not allowed: each, these, recipe"),
    ("margin: 0.01", "scope: {teachers: all}", "p.yaml:20: hypotheses[0].scope.teachers: 'all' is not allowed"),
    ("margin: 0.01", "scope: {examples: old}", "p.yaml:20: hypotheses[0].scope.examples: 'old'", "this test set, new"),
    ("margin: 0.01", "family: exploratory", "p.yaml:20: hypotheses[0].family: exploratory is the family"),
    ("margin: 0.01", "alpha: 0.01", "p.yaml:20: hypotheses[0].alpha: alpha is only the teacher's weight"),
    ('"greater"}', 'greater, test: wilcoxon}', "p.yaml:21: hypotheses[1].test: ", "for new examples take two-way-t"),
    ('"greater"}', 'greater, name: kd-agrees}', "p.yaml:21: hypotheses[1]: a second hypothesis 'kd-agrees'"),
    ("control: kd-other", "control: siddo", "p.yaml:21: hypotheses[1].control: ", "write `control: kd-other`"),
    ("control: kd-other", "controls: [kd-other, rcd]", "p.yaml:21: hypotheses[1].controls[1]: ", "taught by no other"),
    ('"greater"}', "less}", "p.yaml:21: hypotheses[1].direction: less: ", "looks like a student that blends"),
    ('"greater"}', "two-sided}", "p.yaml:21: hypotheses[1].direction: two-sided: ", "greater"),
    ('"greater"}', "greater, margin: .1}", "p.yaml:21: hypotheses[1].margin: ", "leave the margin out"),
    ('"greater"}', "greater, scope: these}", "p.yaml:21: hypotheses[1].scope: ", "{teachers: recipe, examples: new}"),
    ('"greater"}', "greater, scope: each}", "p.yaml:21: hypotheses[1].scope", "speaks of no teacher alone"),
    ("seeds: 10", "seeds: 4", "p.yaml:21: hypotheses[1]: ", "needs 3 swapped pairs", "teacher: {seeds: 6}"),
    ("name: digits", "name: digits\ncontrol_floor: 2", "p.yaml:2: control_floor: 2 is not allowed"),
    ("name: digits", "name: digits\nrules: 9", "p.yaml:2: rules: 9 is not allowed"),
    ("    alpha: [.1, .5, .9]", "    alpha: [.1, .9]", "p.yaml:18: hypotheses[0].controls[1]: ", "alpha=0.5"),
    ("  ce:", "\tce:", "p.yaml:9:1: malformed YAML: a tab cannot stand here"),
    ("9e-1]", "9e-1", "p.yaml:10:28: malformed YAML: expected ',' or ']'"),
    ("  ce:", "  ce: !!python/object/apply:os.system [ls]", "p.yaml:9: arms.ce: tags (here tag:yaml.org,2002:python"),
    ("  ce:", "  ce: !x", "p.yaml:9: arms.ce: tags (here !x) are not read"),
    ("  ce:", "  kd:", "p.yaml:10: arms.kd: this key is here twice"),
    ("  ce:", "  ce: {<<: {alpha: 1}}", "p.yaml:9: arms.ce.'<<': merge keys are not read"),
    ("  ce:", "  ? [a]\n  :", "p.yaml:9: arms: a key must be plain text"),
    ("  ce:", "  ce: *nobody", "p.yaml:9: the alias *nobody stands for nothing"),
    ("  ce:", "  ce: &me [*me]", "p.yaml:9: the alias *me stands for nothing that is complete"),
    ("  ce:", "  ce: \a", "p.yaml:9: the character '\\x07' is not allowed"),
    ("  ce:", '  ce: "\\ud800"', "p.yaml:9: arms.ce: half of a surrogate pair"),
    ("hypotheses:\n", "---\nhypotheses:\n", "p.yaml:14: a second document begins here"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "place", "parts"), [(*m[:3], m[3:]) for m in MISTAKES])
def test_mistake_is_named_with_line_key_and_what_is_allowed(
    tmp_path: Path, old: str, new: str, place: str, parts: tuple[str, ...]
) -> None:
    lines = refusal(tmp_path, base(old, new))
    assert any(line.startswith(place) and all(part in line for part in parts) for line in lines), lines


def test_one_mistake_gives_one_line(tmp_path: Path) -> None:
    read(tmp_path, BASE)
    two = {"nam: digits", "    alpha: [.1, .9]"}  # a key both missing and unknown; a point that two hypotheses need
    for old, new, *_ in MISTAKES:
        lines = refusal(tmp_path, base(old, new))
        assert len(lines) == (2 if new in two else 1), lines


def test_all_mistakes_are_told_in_the_order_of_lines(tmp_path: Path) -> None:
    text = (
        base("control: kd-other", "control: kd").replace("epochs: 20", "epochs: x").replace("name: digits", "name: /")
    )
    text = text.replace("9e-1", "9").replace("seeds: 2", "seeds: 2\n  seeds: 3")
    starts = ("1: name", "6: student.seeds", "7: recipe.epochs", "11: arms.kd.alpha[2]", "22: hypotheses[1].control")
    lines = refusal(tmp_path, text)
    assert len(lines) == len(starts)
    for line, start in zip(lines, starts, strict=True):
        assert line.startswith(f"p.yaml:{start}: ")


def test_the_only_hypothesis_is_not_counted_as_none(tmp_path: Path) -> None:
    text = BASE.partition("  - {metric: asymmetry")[0]
    for old, new in (("direction: greater", "direction: up"), ("[siddo, kd-other, rcd]", "[3]")):
        (line,) = refusal(tmp_path, text.replace(old, new))
        assert "is not allowed" in line


def test_many_mistakes_are_cut(tmp_path: Path) -> None:
    lines = refusal(tmp_path, BASE + "".join(f"key{i}:\n" for i in range(80)))
    assert (len(lines), lines[-1]) == (51, "p.yaml: and 30 more")


def test_hostile_text_stays_on_one_line(tmp_path: Path) -> None:
    (line,) = refusal(tmp_path, base("  ce:", '  "a\\nb\\e[31m": 1'))
    assert line.startswith(r"p.yaml:9: arms.'a\nb\x1b[31m': ")


def test_value_below_its_key_has_its_own_line(tmp_path: Path) -> None:
    (line,) = refusal(tmp_path, base("[.1, .5, 9e-1]}", "\n      [.1,\n       7]}"))
    assert line.startswith("p.yaml:12: arms.kd.alpha[1]: 7 is not allowed")


def test_alias_is_named_where_it_stands(tmp_path: Path) -> None:
    text = base("[.1, .5, 9e-1]", "&a [.1, .5, .9]").replace("    alpha: [.1, .5, .9]", "    temperature: *a")
    assert read(tmp_path, base("[.1, .5, 9e-1]", "&a [.1, .5, .9]").replace(": [.1, .5, .9]", ": *a")) == read(
        tmp_path, BASE
    )
    assert refusal(tmp_path, text)[0].startswith(
        "p.yaml:18: hypotheses[0].controls[1]: kd-other has no point at alpha=0.1"
    )


@pytest.mark.parametrize(
    ("arms", "start"),
    [
        ("[siddo, ce, {kd: {alpha: 2}}]", "p.yaml:1: arms[2].kd.alpha: 2 is not allowed: a number from 0 to 1"),
        ("[siddo, ce, kdd]", "p.yaml:1: arms[2]: is no kind of arm"),
        ("[siddo, kd, siddo]", "p.yaml:1: arms[2]: a second arm 'siddo'; names are unique"),
        ("[siddo, {kd: {}, ce: {}}]", "p.yaml:1: arms[1]: a mapping is not allowed: the name of an arm"),
        ("[siddo, 5]", "p.yaml:1: arms[1]: 5 is not allowed: the name of an arm"),
        ("[]", "p.yaml:1: arms: an empty list is not allowed: a mapping of arms"),
        ("kd", "p.yaml:1: arms: 'kd' is not allowed: a mapping of arms"),
        ("{}", "p.yaml:1: arms: an empty mapping is not allowed"),
        ("{kd: {alpha: [" + ",".join(f"{i / 2000}" for i in range(1001)) + "]}}", "p.yaml:1: arms.kd: a sweep of more"),
    ],
)
def test_arms_as_a_list(tmp_path: Path, arms: str, start: str) -> None:
    hypothesis = "{metric: agreement, arm: kd, control: siddo, direction: greater}"
    lines = refusal(tmp_path, f"arms: {arms}\nname: x\ndataset: digits\nhypotheses: [{hypothesis}]\n")
    assert lines[0].startswith(start)


@pytest.mark.parametrize(
    ("arm", "parts"),
    [
        ("tf-kd-self: {initialisation: fresh}", ("taught by its twin, which ce trains: add the arm ce",)),
        ("born-again: {generation: [1, 3]}", ("taught by generation 2, which is not here", "[1, 2, 3]")),
        ("dkd: {warmup_epochs: 21}", ("21 epochs, and the recipe has 20", "at most 20")),
        ("ats: {tau_true: 0}", ("above 0",)),
        ("fitnet: {layer: ''}", ("is not allowed",)),
        ("label-smoothing: {epsilon: 1}", ("below 1",)),
    ],
)
def test_arms_that_lack_what_they_need_are_refused(tmp_path: Path, arm: str, parts: tuple[str, ...]) -> None:
    lines = refusal(tmp_path, base("  ce:\n", f"  {arm}\n"))
    assert any(all(part in line for part in parts) for line in lines), lines


def test_arms_that_need_each_images_class_do_not_go_with_mixup(tmp_path: Path) -> None:
    text = base("  ce:\n", "  cs-kd:\n").replace("epochs: 20", "mixup: 0.2, epochs: 20")
    assert any("cs-kd needs the true class of each image, which mixup" in line for line in refusal(tmp_path, text))


def test_an_arm_with_another_loss_is_compared_at_its_own_parameters(tmp_path: Path) -> None:
    arms = {"ce": None, "kd": {"alpha": 0.9, "temperature": 4}, "ats": None, "logit-std": {"temperature": [1, 2]}}
    claims = [
        {"metric": "accuracy", "arm": arm, "control": "kd", "direction": "greater"} for arm in ("ats", "logit-std")
    ]
    points = hypothesis_points(protocol(arms=arms, hypotheses=claims, initialisation="fresh"))
    assert [len(point.controls) for point in points] == [1, 1, 1]  # the temperatures mean different things
    swept = protocol(
        arms=arms | {"kd": {"alpha": 0.9, "temperature": [1, 2]}}, hypotheses=claims[1:], initialisation="fresh"
    )
    assert [dict(point.controls[0].parameters)["temperature"] for point in hypothesis_points(swept)] == [1, 2]


def test_asymmetry_of_an_arm_without_its_own_teacher_is_refused(tmp_path: Path) -> None:
    (line,) = refusal(tmp_path, base("arm: kd, control", "arm: siddo, control"))
    assert line.startswith("p.yaml:21: hypotheses[1].arm: asymmetry is of an arm taught by its own teacher;")


def test_identical_claims_are_refused(tmp_path: Path) -> None:
    again = "  - {metric: agreement, arm: kd, controls: [rcd, siddo, kd-other], direction: greater, margin: 1e-2}\n"
    (line,) = refusal(tmp_path, BASE + again)
    assert line == "p.yaml:22: hypotheses[2]: claims the same as kd-agrees; a claim is counted once"


# Files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "p.yaml: is empty"),
        (b"# nothing\n", "p.yaml: is empty"),
        (b"name: a\nb: \xff\n", "p.yaml:2: is not UTF-8; save it in that encoding"),
        ("name: ä".encode("utf-16"), "p.yaml:1: is not UTF-8; save it in that encoding"),
        (b"#" * 1_000_001, "p.yaml: is larger than 1,000,000 bytes, the most that is read"),
        (b"[kd]", "p.yaml:1: a mapping with the keys name, "),
        (b"null", "p.yaml:1: a mapping with the keys name, "),
        (b'a: "\\U99999999"', "p.yaml: malformed YAML: an escape"),
        (b"%YAML 1." + b"9" * 5000 + b"\n---\n", "p.yaml: malformed YAML: an escape or a version number"),
    ],
)
def test_files_that_are_no_protocol(tmp_path: Path, content: bytes, sentence: str) -> None:
    (line,) = refusal(tmp_path, content)
    assert line.startswith(sentence)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, sentence in (
        (tmp_path / "absent.yaml", "there is no such file"),
        (tmp_path, "is a directory"),
        ("a\0b", "cannot be read"),
    ):
        with pytest.raises(UserError, match=sentence):
            read_protocol(path)


def test_byte_order_mark_is_no_key(tmp_path: Path) -> None:
    assert read(tmp_path, BASE.encode("utf-8-sig")) == read(tmp_path, BASE)


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 10)}]\n" for i in range(12)
)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (LAUGHS, "more than 10,000 values"),
        ("[" * 300_000, "nested more than 20 levels"),
        ("- " * 300_000, "nested more than 20 levels"),
        (
            "".join(f"a{i}: &a{i} [[[[[[[[[*a{i - 1}]]]]]]]]]\n" if i else "a0: &a0 1\n" for i in range(9)),
            "nested more than",
        ),
        ("- 1\n" * 200_000, "more than 10,000 values"),
        ("".join(f"k{i}: &k{i} 1\n" for i in range(50_000)), "more than 10,000 values"),
    ],
    ids=["laughs", "deep flow", "deep block", "deep by aliases", "long", "anchors"],
)
def test_what_grows_is_refused_quickly(tmp_path: Path, text: str, sentence: str) -> None:
    start = time.perf_counter()
    (line,) = refusal(tmp_path, text)
    assert sentence in line
    assert time.perf_counter() - start < 5  # measured: 0.3 s at most


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001), (".5", 0.5), ("5.", 5.0), ("-1.5E+2", -150.0), ("+7", 7), ("010", 10), ("0", 0),
        ("true", True), ("False", False), ("TRUE", True), ("on", "on"), ("yes", "yes"), ("no", "no"), ("off", "off"),
        ("y", "y"), ("null", None), ("~", None), ("", None), ("none", "none"), ("1:30", "1:30"), ("1_000", "1_000"),
        ("2024-01-01", "2024-01-01"), ("0x10", "0x10"), ("0o17", "0o17"), ("0b1", "0b1"), ("1e", "1e"), (".", "."),
        ("e3", "e3"), ("--1", "--1"), ("١", "١"), ("=", "="), ("-.inf", -math.inf), (".INF", math.inf), ("inf", "inf"),
        ("nan", "nan"), ("1e999", math.inf), ("9" * 5000, math.inf), ("tRUE", "tRUE"),
    ],
)  # fmt: skip
def test_plain_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    # by hand from YAML 1.2.2, 10.3.2; 0x and 0o are left text, so that neither is a number by surprise
    read = core_scalar(text)
    assert (type(read), read) == (type(value), value)


def test_nan_and_quotes(tmp_path: Path) -> None:
    assert math.isnan(core_scalar(".nan"))  # type: ignore[arg-type]
    (tmp_path / "q.yaml").write_text(
        """a: ["1", '~', 'true', "1e-3", |-\n  5\n ]\nb: [1, ~, true]""".replace("|-\n  5\n ", "'5'")
    )
    assert read_document(tmp_path / "q.yaml").root.plain() == {
        "a": ["1", "~", "true", "1e-3", "5"],
        "b": [1, None, True],
    }


# Reading gives what was meant ------------------------------------------------------------------------------------


def test_defaults(tmp_path: Path) -> None:
    p = read(tmp_path, BASE)
    assert (p.dataset.train, p.dataset.test, p.dataset.split, p.seed, p.level, p.correction) == (
        300, None, "test", 0, 0.05, "holm",
    )  # fmt: skip
    assert (p.teacher.seeds, p.student.model, p.student.seeds) == (tuple(range(10)), "cnn", (0, 1))
    assert (p.initialisation, p.metrics) == ("teacher", USUAL)
    assert [arm.initialisation for arm in p.arms] == ["teacher", "fresh", "teacher", "teacher", "teacher"]
    assert len(p.points) == 1 + 1 + 3 + 3 + 6
    kd = Point("kd", "kd", (("alpha", 0.9), ("temperature", 4.0)), "teacher")
    assert kd in p.points
    assert str(kd) == "kd[alpha=0.9 temperature=4]"
    first, second = p.hypotheses
    assert (first.scope.teachers, first.scope.examples, first.test, first.family) == (
        "recipe", "this test set", "sign-flip", "confirmatory",
    )  # fmt: skip
    assert (second.name, second.scope.examples, second.test) == ("asymmetry-kd-vs-kd-other", "new", "two-way-t")


def test_two_architectures_default_to_fresh_initialisation() -> None:
    p = protocol(
        student={"model": "mlp"}, arms=["ce", "kd"],
        hypotheses=[{"metric": "agreement", "arm": "kd", "control": "ce", "direction": "greater"}],
    )  # fmt: skip
    assert {point.initialisation for point in p.points} == {"fresh"}


def test_arm_with_its_own_initialisation_pairs_with_ce() -> None:
    arms = {"ce": None, "kd-fresh": {"kind": "kd", "initialisation": "fresh"}, "siddo": None}
    h = {"metric": "agreement", "arm": "kd-fresh", "direction": "less"}
    assert protocol(arms=arms, hypotheses=[h | {"control": "ce"}]).points[1].initialisation == "fresh"
    with pytest.raises(ValueError, match="with kd-fresh pair: ce"):
        protocol(arms=arms, hypotheses=[h | {"control": "siddo"}])


@pytest.mark.parametrize("scope", ["these", {"teachers": "these", "examples": "this-test-set"}, {"teachers": "these"}])
def test_spellings_of_scope(scope: Any) -> None:
    h = {"metric": "agreement", "arm": "kd", "control": "siddo", "direction": "less", "scope": scope}
    (read,) = protocol(hypotheses=[h]).hypotheses
    assert (read.scope.teachers, read.scope.examples, read.test) == ("these", "this test set", "sign-flip")


def test_metrics_that_hypotheses_need_are_measured() -> None:
    h = {"arm": "kd", "control": "siddo", "direction": "less"}
    assert protocol(metrics=["capa", "accuracy"], hypotheses=[h | {"metric": "agreement"}]).metrics == (
        "accuracy", "agreement", "capa",
    )  # fmt: skip
    arms = ["kd", "kd-other"]
    for metric in ("inherits_errors", "asymmetry"):
        swapped = h | {"metric": metric, "control": "kd-other", "direction": "greater"}
        needed = protocol(metrics=[], arms=arms, hypotheses=[swapped]).metrics
        assert needed == ("positive_transfer", "negative_transfer")


def test_optimisers_bring_their_defaults() -> None:
    assert protocol(recipe={"optimiser": "sgd"}).recipe.momentum == 0.9
    assert protocol(recipe={"optimiser": "sgd", "momentum": 0.5}).recipe.momentum == 0.5
    assert protocol(recipe={"optimiser": "adamax"}).recipe.momentum == 0


def test_nothing_changes_afterwards() -> None:
    p = protocol()
    with pytest.raises(ValueError, match="frozen"):
        p.level = 0.1
    assert hash(p) == hash(protocol())


def test_long_default_names_are_valid_and_differ() -> None:
    arms = {f"{'kd' * 30}{i}": {"kind": "kd", "alpha": 0.1 * (i + 1)} for i in range(2)} | {"siddo": None}
    names = [f"{'kd' * 30}{i}" for i in range(2)]
    p = protocol(arms=arms, hypotheses=[
        {"metric": "agreement", "arm": name, "control": "siddo", "direction": "less"} for name in names
    ])  # fmt: skip
    assert len({h.name for h in p.hypotheses}) == 2
    assert all(len(h.name) <= 64 for h in p.hypotheses)


# Points ----------------------------------------------------------------------------------------------------------


def test_swept_arm_is_one_hypothesis_a_point_with_controls_at_the_same_point(tmp_path: Path) -> None:
    points = hypothesis_points(read(tmp_path, BASE))
    assert [point.name for point in points] == [
        *(f"kd-agrees[alpha={alpha}]" for alpha in (0.1, 0.5, 0.9)),
        *(f"asymmetry-kd-vs-kd-other[alpha={alpha}]" for alpha in (0.1, 0.5, 0.9)),
    ]
    middle = points[1]
    assert (middle.hypothesis, dict(middle.arm.parameters)["alpha"], middle.margin) == ("kd-agrees", 0.5, 0.01)
    settings = [dict(control.parameters) for control in middle.controls]
    assert [control.arm for control in middle.controls] == ["siddo", "kd-other", "rcd", "rcd"]
    assert [s.get("alpha") for s in settings] == [None, 0.5, 0.5, 0.5]
    assert {s.get("noise") for s in settings[2:]} == {"gaussian", "uniform"}


def test_arms_of_one_kind_differ_in_what_neither_sweeps() -> None:
    arms = {
        "kd": {"alpha": [0.1, 0.5]},
        "hot": {"kind": "kd", "alpha": [0.1, 0.5, 0.9], "temperature": 10},
        "hottest": {"kind": "kd", "alpha": 0.5, "temperature": 20},
    }
    h = {"metric": "agreement", "arm": "kd", "direction": "less"}
    (low, high) = hypothesis_points(protocol(arms=arms, hypotheses=[h | {"control": "hot"}]))
    assert [str(c) for c in (*low.controls, *high.controls)] == [
        "hot[alpha=0.1 temperature=10]",
        "hot[alpha=0.5 temperature=10]",
    ]
    with pytest.raises(ValueError, match=r"hottest has no point at alpha=0\.1, where kd has one; it has alpha=0\.5"):
        protocol(arms=arms, hypotheses=[h | {"control": "hottest"}])
    one = h | {"arm": "hottest", "control": "kd"}
    (point,) = hypothesis_points(protocol(arms=arms, hypotheses=[one]))
    assert [str(c) for c in point.controls] == ["kd[alpha=0.5 temperature=4]"]


def test_kinds_meet_at_equal_alpha_even_without_a_sweep() -> None:
    arms = {"kd": {"alpha": 0.5}, "rcd": {"alpha": 0.9}}
    h = {"metric": "agreement", "arm": "kd", "control": "rcd", "direction": "less"}
    with pytest.raises(ValueError, match=r"rcd has no point at alpha=0\.5 temperature=4"):
        protocol(arms=arms, hypotheses=[h])


@given(
    alphas=st.lists(st.sampled_from([0.1, 0.3, 0.5, 0.9]), min_size=1, unique=True),
    temperatures=st.lists(st.sampled_from([1, 2.5, 4, 10]), min_size=1, unique=True),
)
def test_every_point_meets_exactly_its_own_setting(alphas: list[float], temperatures: list[float]) -> None:
    sweep = {"alpha": alphas, "temperature": temperatures}
    p = protocol(
        arms={"kd": sweep, "kd-other": dict(reversed(sweep.items()))},
        hypotheses=[{"metric": "agreement", "arm": "kd", "control": "kd-other", "direction": "less"}],
    )
    points = hypothesis_points(p)
    assert len({point.name for point in points}) == len(points) == len(alphas) * len(temperatures)
    for point in points:
        assert [control.parameters for control in point.controls] == [point.arm.parameters]


# Hypotheses on a table -------------------------------------------------------------------------------------------


def test_hypotheses_without_a_protocol(tmp_path: Path) -> None:
    file = tmp_path / "h.yaml"
    one = "{metric: my metric, arm: KD (ours), control: CE, direction: greater}"
    file.write_text(f"- {one}\n")
    alone = read_hypotheses(file)
    assert (alone.level, alone.correction, alone.hypotheses[0].arm) == (0.05, "holm", "KD (ours)")
    assert alone.hypotheses[0].name == "my-metric-KD-ours--vs-CE"
    file.write_text(f"level: .01\nhypotheses: [{one}]\n")
    assert (read_hypotheses(file).level, read_hypotheses(file).hypotheses) == (0.01, alone.hypotheses)
    table = [Point("KD (ours)", "", (("alpha", a),), "") for a in (0.1, 0.9)] + [Point("CE", "", (), "")]
    low, _high = expand(alone.hypotheses[0], table)
    assert (low.name, low.controls) == ("my-metric-KD-ours--vs-CE[alpha=0.1]", (table[2],))
    with pytest.raises(ValueError, match="'CE' is no arm here"):
        expand(alone.hypotheses[0], table[:2])


@pytest.mark.parametrize(
    ("text", "start"),
    [
        (
            "- {metric: m, arm: a, control: b}",
            "h.yaml:1: hypotheses[0]: `direction` is required: greater, less, two-sided",
        ),
        ("- {metric: m, arm: a, control: b, direction: less}\n" * 2, "h.yaml:2: hypotheses[1]: a second hypothesis"),
        (
            "- {metric: m, arm: a, control: a, direction: less}",
            "h.yaml:1: hypotheses[0].control: 'a' is the arm itself",
        ),
        ("[]", "h.yaml:1: hypotheses: an empty list is not allowed"),
        ("kd", "h.yaml:1: a mapping with the keys hypotheses, level, correction is needed at the top"),
        ("{hypothesis: []}", "h.yaml:1: `hypotheses` is required"),
    ],
)
def test_mistakes_in_hypotheses(tmp_path: Path, text: str, start: str) -> None:
    (tmp_path / "h.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        read_hypotheses(tmp_path / "h.yaml")
    assert str(caught.value).replace(f"{tmp_path}/", "").startswith(start)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"controls": ["b", "a"]}, "--control: 'a' is the arm itself; a control is another arm"),
        ({"controls": []}, "--control: an empty list is not allowed: an arm, or a list of arms"),
        ({"direction": "more"}, f"--alternative: 'more' is not allowed: {', '.join(DIRECTIONS)}"),
        ({"margin": math.nan}, "--margin: nan is not allowed: a number above 0"),
        ({"teachers": "all"}, "--scope: 'all' is not allowed: each, these, recipe"),
        ({"metric": ""}, "--metric: '' is not allowed: text"),
    ],
)
def test_one_hypothesis_names_the_option(changes: dict[str, Any], line: str) -> None:
    good: dict[str, Any] = {"metric": "m", "arm": "a", "controls": ["b", "c"]}
    assert one_hypothesis(**good).hypotheses[0].controls == ("b", "c")
    assert one_hypothesis(**good | {"metric": "negative_transfer"}).hypotheses[0].scope.examples == "this test set"
    with pytest.raises(UserError) as caught:
        one_hypothesis(**good | changes)
    assert str(caught.value) == line


# Round trip and hash ---------------------------------------------------------------------------------------------

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True).filter(lambda name: name != "teacher")
WEIGHTS = st.floats(0, 1).map(lambda x: float(f"{x:.5g}"))
TEMPERATURES = st.floats(1e-9, 1e9).map(lambda x: float(f"{x:.5g}"))


def sweep(values: st.SearchStrategy[float]) -> st.SearchStrategy[Any]:
    return values | st.lists(values, min_size=1, max_size=4, unique_by=lambda x: f"{x:g}")


@st.composite
def protocols(draw: st.DrawFn) -> Protocol:
    """Valid protocols of many shapes; names include on, 1e3, 0x1 and the like."""
    tricky = st.sampled_from(
        ["on", "no", "1e3", "1.", "0o17", "0x1", "null", "12", "1_0", "true", "2024-01-01", "y", "1e-3"]
    )
    first, second = draw(st.lists(NAMES | tricky, min_size=2, max_size=2, unique=True))
    arms = {
        first: {"kind": "kd", "alpha": draw(sweep(WEIGHTS)), "temperature": draw(sweep(TEMPERATURES))},
        second: {"kind": "siddo"},
    }
    path = draw(st.text(st.characters(blacklist_categories=["Cc", "Cs"]), min_size=1).filter(str.isprintable) | tricky)
    plain: dict[str, Any] = {
        "name": draw(NAMES | tricky),
        "seed": draw(st.integers(0, 10**30)),
        "dataset": draw(st.sampled_from(["digits", "mnist"]) | st.just({"name": "npz", "path": path, "test": 7})),
        "teacher": {
            "model": draw(st.sampled_from([*MODELS, "wrn-28-10", "torchvision:resnet18", "timm:vit_tiny"])),
            "seeds": draw(st.integers(1, 20) | st.lists(st.integers(0, 2**32 - 1), min_size=1, unique=True)),
        },
        "recipe": {
            "optimiser": draw(st.sampled_from(["sgd", "adamw", "adamax"])),
            "learning_rate": draw(st.floats(1e-300, 1e3)),
            "schedule": draw(st.sampled_from([s for s in SCHEDULES if s != "multi-step"])),
        },
        "arms": arms,
        "hypotheses": [
            {
                "name": draw(NAMES | tricky),
                "metric": draw(st.sampled_from([name for name, metric in METRICS.items() if metric.per_example])),
                "arm": first,
                "control": second,
                "direction": draw(st.sampled_from(["greater", "less", "two-sided"])),
                "margin": draw(st.none() | st.floats(1e-300, 1e300)),
                "family": draw(NAMES.filter(lambda name: name != "exploratory") | tricky),
                "scope": draw(st.sampled_from(["each", "these", "recipe"])),
            }
        ],
        "level": draw(st.floats(1e-300, 0.499)),
        "correction": draw(st.sampled_from([name for name in CORRECTIONS if name != "max-t"])),
    }
    return Protocol.model_validate(plain)


@given(p=protocols())
@settings(max_examples=60, deadline=None)
def test_dump_reads_back_equal(p: Protocol, tmp_path_factory: pytest.TempPathFactory) -> None:
    again = read(tmp_path_factory.mktemp("round"), dump(p))
    assert again == p
    assert protocol_hash(again) == protocol_hash(p)
    assert hypothesis_points(again) == hypothesis_points(p)
    assert compare(p, again).refusals == ()
    assert compare(p, again).added() == {}
    assert Protocol.model_validate(resolved(p)) == p


def test_resolved_writes_every_default(tmp_path: Path) -> None:
    plain = resolved(read(tmp_path, BASE))
    assert plain["arms"]["rcd"] == {
        "kind": "rcd", "initialisation": "teacher", "alpha": [0.1, 0.5, 0.9], "noise": ["gaussian", "uniform"],
        "redraw": False, "scale": "teacher", "space": "logits", "temperature": 4.0,
    }  # fmt: skip
    absent = {"features", "stop", "ladder", "control_floor"}  # so that older protocols keep their hash
    assert set(plain) == set(Protocol.model_fields) - absent
    assert plain["hypotheses"][1]["scope"] == {"teachers": "recipe", "examples": "new"}


def test_hash_is_of_what_is_tested_not_of_how_it_is_written(tmp_path: Path) -> None:
    here = protocol_hash(read(tmp_path, BASE))
    for old, new in (
        ("seeds: 10", "seeds: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]"),
        ("  seeds: 2", "  seeds: [1, 0]"),
        ("9e-1", "0.90"),
        ("[siddo, kd-other, rcd]", "[rcd, siddo, kd-other]"),
        ("[.1, .5, 9e-1]", "[.9, .1, .5]"),
        ("dataset: digits", "dataset: {name: digits, train: 300}\nlevel: 5e-2"),
    ):
        assert protocol_hash(read(tmp_path, base(old, new))) == here
    others = [
        ("seeds: 10", "seeds: [1, 0, 2, 3, 4, 5, 6, 7, 8, 9]"),  # other pairs of teachers
        ("seeds: 10", "seeds: 12"), ("epochs: 20", "epochs: 21"), ("direction: greater", "direction: less"),
        ("margin: 0.01", "margin: 0.02"), ("name: digits", "name: digits\nlevel: .01"), ("9e-1", ".91, 9e-1"),
        ("margin: 0.01", "family: f"), ("name: digits", "name: digits\nseed: 1"),
    ]  # fmt: skip
    texts = [base(old, new).replace("    alpha: [.1, .5, .9]", "    alpha: [.1, .5, .9, .91]") for old, new in others]
    texts = [text.replace("rcd: {alpha: [.1, .5, .9]", "rcd: {alpha: [.1, .5, .9, .91]") for text in texts]
    assert len({here} | {protocol_hash(read(tmp_path, text)) for text in texts}) == len(others) + 1


def test_a_claim_that_changed_its_meaning_has_another_hash_and_no_other_has(tmp_path: Path) -> None:
    """The values are those of the commit before rules had editions: runs of then must still be found."""
    before = "name: digits", "name: digits\nrules: 1"
    texts = [base(*before), BASE.partition("  - {metric: asymmetry")[0]]
    hashes = [protocol_hash(read(tmp_path, text)) for text in texts]
    assert [one[:12] for one in hashes] == ["47c4a9a866cb", "4ebf767a9c6b"]
    assert protocol_hash(read(tmp_path, BASE)) != hashes[0]


def test_a_frozen_protocol_without_rules_has_the_first(tmp_path: Path) -> None:
    file = tmp_path / "protocol.yaml"
    file.write_text(BASE.replace('"greater"', "two-sided"))  # which h could be claimed in
    assert read_protocol(file, frozen=True).rules == 1
    with pytest.raises(UserError, match="blends"):
        read_protocol(file)


def test_a_run_that_claimed_h_is_no_run_of_the_new_claim(tmp_path: Path) -> None:
    old, new = read(tmp_path, base("name: digits", "name: digits\nrules: 1")), read(tmp_path, BASE)
    (refusal_,) = compare(old, new).refusals
    assert "withdrawn" in refusal_ and "--run-dir" in refusal_ and "--store" in refusal_
    plain = read(tmp_path, BASE.partition("  - {metric: asymmetry")[0])
    assert compare(plain.model_copy(update={"rules": 1}), plain).refusals == ()
    (added,) = compare(plain.model_copy(update={"rules": 1}), new).refusals
    assert "earlier rules" in added


def test_zero_has_no_sign() -> None:
    plus, minus = (protocol(arms={"siddo": None, "kd": {"alpha": zero}}) for zero in (0.0, -0.0))
    assert protocol_hash(plus) == protocol_hash(minus)


def test_path_of_the_data_is_not_hashed() -> None:
    one, two = (protocol(dataset={"name": "npz", "path": path}) for path in ("a.npz", "/b/c.npz"))
    assert protocol_hash(one) == protocol_hash(two)
    assert compare(one, two).refusals == ()


# Amendments ------------------------------------------------------------------------------------------------------


def test_additions() -> None:
    old = protocol(metrics=["accuracy"])
    h = resolved(old)["hypotheses"]
    more = {"name": "more", "metric": "capa", "arm": "kd", "control": "siddo", "direction": "less"}
    new = protocol(
        metrics=["accuracy"],
        teacher={"seeds": 12},
        student={"seeds": [0, 1, 7]},
        arms={"siddo": None, "ce": None, "kd": {"alpha": [0.1, 0.5, 0.9]}},
        hypotheses=[more, *h],
    )
    change = compare(old, new)
    assert change.refusals == ()
    assert change.added() == {
        "points": [["kd", "alpha=0.9 temperature=4"]],
        "teacher_seeds": [10, 11],
        "student_seeds": [7],
        "hypotheses": ["more[alpha=0.1]", "more[alpha=0.5]", "more[alpha=0.9]", "h[alpha=0.9]"],
        "metrics": ["capa"],
    }


def test_hypothesis_whose_arm_becomes_swept_is_the_same_one() -> None:
    old = protocol(arms={"siddo": None, "kd": {"alpha": 0.5}})
    change = compare(old, protocol(arms={"siddo": None, "kd": {"alpha": [0.1, 0.5]}}))
    assert (change.refusals, change.hypotheses) == ((), ("h[alpha=0.1]",))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": "other"}, 'name was "digits", is "other"'),
        ({"seed": 1}, "seed was 0, is 1"),
        ({"dataset": {"name": "digits", "train": 200}}, "dataset.train was 300, is 200"),
        ({"dataset": "mnist"}, 'dataset.name was "digits", is "mnist"'),
        ({"recipe": {"epochs": 31}}, "recipe.epochs was 30, is 31"),
        ({"level": 0.01}, "level was 0.05, is 0.01"),
        ({"correction": "bh"}, 'correction was "holm", is "bh"'),
        ({"teacher": {"model": "mlp"}}, 'teacher.model was "cnn", is "mlp"'),
        ({"teacher": {"seeds": 9}}, "teacher.seeds must begin with the old ones in their order"),
        ({"teacher": {"seeds": [10, *range(10)]}}, "teacher.seeds must begin with the old ones in their order"),
        ({"student": {"seeds": [1, 0]}}, "student.seeds must begin with the old ones"),
        ({"arms": {"siddo": None, "kd": {"alpha": [0.1, 0.5]}}}, "the arm ce is no longer there"),
        ({"arms": ["siddo", "ce", "kd"]}, "the arm kd[alpha=0.1 temperature=4] is no longer there"),
        ({"metrics": ["accuracy"]}, "the metric cross_entropy is no longer there"),
    ],
)
def test_other_changes_are_another_protocol(changes: dict[str, Any], sentence: str) -> None:
    assert any(refusal.startswith(sentence) for refusal in compare(protocol(), protocol(**changes)).refusals)


@pytest.mark.parametrize("key", ["direction", "margin", "scope", "test", "family", "name"])
def test_changed_hypothesis_is_refused(key: str) -> None:
    changed = {"direction": "less", "margin": 0.1, "scope": "these", "test": "wilcoxon", "family": "f", "name": "g"}
    h = {"name": "h", "metric": "agreement", "arm": "kd", "control": "siddo", "direction": "greater"} | {
        key: changed[key]
    }
    refusals = compare(protocol(), protocol(hypotheses=[h])).refusals
    assert "the hypothesis h[alpha=0.1] was changed or taken away" in refusals


# Nothing but UserError -------------------------------------------------------------------------------------------

LINE = re.compile(r".*p\.yaml(:\d+)?(:\d+)?: \S")
JARGON = re.compile(r"pydantic|Input should|constrained|literal\[|validation error|https?:|_type\b|object at 0x")


def survives(folder: Path, content: bytes) -> None:
    try:
        read(folder, content)
    except UserError as error:
        for line in str(error).split("\n"):
            assert LINE.match(line), line
            assert not JARGON.search(line), line
            assert line.isprintable()


@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
@settings(max_examples=300, deadline=None)
def test_any_bytes(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    survives(tmp_path_factory.getbasetemp(), content)


YAML_PIECES = st.sampled_from([*"[]{}:,-?&*!|>%@`#'\"\n\t ~<.0e\\", "<<: ", "- ", "&a ", "*a", "!!x ", "---\n", "null"])


@given(cuts=st.lists(st.tuples(st.integers(0, len(BASE)), st.integers(0, 12), YAML_PIECES), min_size=1, max_size=4))
@settings(max_examples=300, deadline=None)
def test_any_damage_to_a_valid_file(cuts: list[tuple[int, int, str]], tmp_path_factory: pytest.TempPathFactory) -> None:
    text = BASE
    for at, length, piece in cuts:
        text = text[:at] + piece + text[at + length :]
    survives(tmp_path_factory.getbasetemp(), text.encode())


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.sampled_from(
    [*ARMS, "capa", "agreement", "asymmetry", "new", "this test set", "each", "teacher", "npz", "sgd", "multi-step"]
)  # fmt: skip
VALUES = st.recursive(SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=9), v, max_size=3))


def replaced(draw: st.DrawFn, data: Any) -> Any:
    """The same data with one value, somewhere, exchanged."""
    if not data or not isinstance(data, dict | list) or draw(st.integers(0, 3)) == 0:
        return draw(VALUES)
    key = draw(st.sampled_from(list(data) if isinstance(data, dict) else range(len(data))))
    copy = data.copy()
    copy[key] = replaced(draw, data[key])
    return copy


@st.composite
def exchanged(draw: st.DrawFn) -> Any:
    data = {key: core for key, core in resolved(PROTOCOL).items() if draw(st.integers(0, 9))}
    for _ in range(draw(st.integers(1, 3))):
        data = replaced(draw, data)
    return data


PROTOCOL = protocol(arms=["siddo", "kd", "kd-other", "rcd"])


@given(data=exchanged())
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_exchanged_value(data: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    assume(data is not None)
    folder = tmp_path_factory.getbasetemp()
    text = write_document(data)
    survives(folder, text.encode())
    if isinstance(data, dict) and isinstance(data.get("hypotheses"), list):
        (folder / "p.yaml").write_text(write_document(data["hypotheses"]))
        try:
            assert isinstance(read_hypotheses(folder / "p.yaml"), Hypotheses)
        except UserError as error:
            assert not JARGON.search(str(error))


@given(data=st.dictionaries(st.text(max_size=9), VALUES, max_size=4))
@settings(max_examples=150, deadline=None)
def test_written_documents_read_back(data: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    assume("<<" not in repr(data))
    file = tmp_path_factory.getbasetemp() / "data.yaml"
    file.write_bytes(write_document(data).encode())
    assert repr(read_document(file).root.plain()) == repr(data)


# Weight ----------------------------------------------------------------------------------------------------------


def test_checking_a_protocol_needs_nothing_heavy() -> None:
    code = (
        "import sys, kdstats.protocol;"
        "heavy = {'torch', 'numpy', 'pandas', 'scipy', 'statsmodels', 'pingouin', 'seaborn', 'sklearn'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_recipe_that_is_not_asked_for_more_has_the_hash_that_it_always_had():
    plain = protocol().recipe.plain()
    assert "mixup" not in plain and "ema" not in plain
    more = protocol(recipe={"mixup": 0.2})
    assert more.recipe.plain()["mixup"] == 0.2 and protocol_hash(more) != protocol_hash(protocol())
