"""Replicates, seeds and attainable p-values: worked by hand from methods section 4."""

from pathlib import Path

import pytest
from statsmodels.stats.multitest import multipletests

from kdstats.documents import read_document, validated
from kdstats.errors import UserError
from kdstats.plan import (
    LATE_FAMILY,
    SIGN_FLIP_DRAWS,
    SIGN_FLIP_EXACT,
    attainable,
    clusters,
    make_plan,
    partners,
    refuse_unattainable,
    replicates,
    smallest_adjusted,
    smallest_p,
)  # fmt: skip
from kdstats.protocol import Protocol, read_protocol
from kdstats.study import study_of

SHIPPED = (Path(__file__).parent.parent / "protocols").glob("*.yaml")

TEXT = """
name: p
dataset: digits
teacher: {{model: mlp, seeds: {teachers}}}
student: {{model: mlp, seeds: {students}}}
{more}
arms:
  siddo:
  kd: {{alpha: [0.1, 0.9], temperature: 4}}
  kd-other: {{alpha: [0.1, 0.9], temperature: 4}}
hypotheses:
  - {{metric: agreement, arm: kd, control: {control}, direction: {direction}, scope: {scope}, test: {test}}}
"""


def protocol(
    tmp_path, teachers=10, students=2, control="siddo", direction="greater", scope="recipe", test="sign-flip", more=""
):
    file = tmp_path / "p.yaml"
    file.write_text(TEXT.format(**{k: v for k, v in locals().items() if k not in ("tmp_path", "file")}))
    return validated(Protocol, read_document(file))


@pytest.mark.parametrize(
    "file", sorted(p for p in SHIPPED if not p.stem.startswith("audit")), ids=lambda file: file.stem
)
def test_shipped_protocols_are_called_as_their_file_and_can_reach_their_level(file):
    assert f"kdstats run protocols/{file.name}" in file.read_text()
    study = study_of(file)
    for protocol in study.protocols if study else [read_protocol(file)]:
        refuse_unattainable(make_plan(protocol, "any"))


def test_teachers_come_first_and_every_student_knows_its_own(tmp_path):
    made = replicates(protocol(tmp_path, teachers=4), "data")
    assert [r.role for r in made[:4]] == ["teacher"] * 4 and len(made) == 4 + 4 * 2 * 5
    ids = {r.teacher: r.id for r in made[:4]}
    assert len({r.id for r in made}) == len(made)
    for r in made[4:]:
        assert r.own == ids[r.teacher]
        assert r.other == (ids[r.teacher ^ 1] if r.kind == "kd-other" else None)


def test_ids_depend_on_what_determines_the_numbers_alone(tmp_path):
    base = protocol(tmp_path)
    ids = [r.id for r in replicates(base, "data")]
    assert ids != [r.id for r in replicates(base, "other data")]
    renamed = base.model_copy(update={"name": "q", "level": 0.01})
    assert ids == [r.id for r in replicates(renamed, "data")]
    for update in ({"seed": 1}, {"recipe": base.recipe.model_copy(update={"epochs": 1})}):
        assert not set(ids) & {r.id for r in replicates(base.model_copy(update=update), "data")}
    more = protocol(tmp_path, teachers=12, students=3)
    assert set(ids) <= {r.id for r in replicates(more, "data")}


def test_teachers_are_swapped_in_disjoint_pairs(tmp_path):
    p = protocol(tmp_path, teachers="[7, 3, 11, 5]")
    assert partners(p) == {7: 3, 3: 7, 11: 5, 5: 11}
    assert clusters(p) == {7: 7, 3: 7, 11: 11, 5: 11}


@pytest.mark.parametrize(
    ("test", "direction", "n", "p"),
    [
        ("sign-flip", "greater", 10, 1 / 1024),
        ("wilcoxon", "less", 3, 1 / 8),
        ("sign-flip", "two-sided", 5, 1 / 16),
        ("sign-flip", "greater", 1, 1.0),
        ("paired-t", "greater", 2, 0.0),
        ("two-way-t", "two-sided", 1, 1.0),
    ],
)
def test_smallest_p(test, direction, n, p):
    assert smallest_p(test, direction, n) == p


@pytest.mark.parametrize("correction", ["holm", "bh", "by"])
def test_adjusted_floors_are_statsmodels(correction):
    floors = [2**-10, 0.0, 2**-5, 2**-5, 2**-4, 0.5]
    method = {"holm": "holm", "bh": "fdr_bh", "by": "fdr_by"}[correction]
    assert smallest_adjusted(floors, correction) == pytest.approx(
        list(multipletests(floors, method=method)[1]), abs=1e-15
    )


@pytest.mark.parametrize(
    ("arguments", "units", "smallest", "adjusted"),
    [
        ({}, 10, 2**-10, 2 * 2**-10),  # teachers are the units; two points, Holm
        ({"control": "kd-other", "more": "level: 0.1"}, 5, 2**-5, 2 * 2**-5),  # pairs of teachers are
        ({"scope": "these"}, 20, 2**-20, 2 * 2**-20),
        ({"scope": "each", "students": 10}, 10, 2**-10, 20 * 2**-10),  # one claim a teacher
        ({"direction": "two-sided"}, 10, 2**-9, 2 * 2**-9),
        ({"test": "paired-t"}, 10, 0.0, 0.0),
        ({"more": "correction: bh"}, 10, 2**-10, 2**-10),
    ],
)
def test_attainable_by_hand(tmp_path, arguments, units, smallest, adjusted):
    for floor in attainable(protocol(tmp_path, **arguments)):
        assert (floor.units, floor.smallest_p, floor.smallest_adjusted) == (units, smallest, pytest.approx(adjusted))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"teachers": 4}, "what would do: 6 teachers"),  # 2 · 2⁻⁴ = .125, 2 · 2⁻⁶ = .031; an odd number has no pairs
        ({"control": "kd-other"}, "5 pairs of teachers cannot get below p = 0.0312, 0.0625 after holm"),
        ({"scope": "each", "students": 4}, "students a teacher"),  # 20 · 2⁻⁴; 9 students: 20 · 2⁻⁹ = .039
        ({"scope": "each", "students": 4}, "9 student seeds"),
        ({"scope": "these", "students": 1, "test": "paired-t"}, "2 student seeds"),  # nothing varies within a teacher
        ({"teachers": 4, "more": "level: 0.001"}, "level 0.001 is out of reach; what would do: 12 teachers"),
    ],
)
def test_what_cannot_be_reached_is_refused_with_what_would_do(tmp_path, arguments, said):
    with pytest.raises(UserError) as error:
        refuse_unattainable(make_plan(protocol(tmp_path, **arguments), "data"))
    assert said in str(error.value)


def test_late_hypotheses_are_a_family_with_floors_of_its_own(tmp_path):
    p = protocol(tmp_path, teachers=6)
    first, second = attainable(p, late={"agreement-kd-vs-siddo[alpha=0.9]"})
    assert [first.smallest_adjusted, second.smallest_adjusted] == [2**-6, 2**-6]
    assert (first.hypothesis.family, second.hypothesis.family) == ("confirmatory", LATE_FAMILY)


def test_the_sampled_sign_flip_has_its_own_floor():
    import inspect

    from kdstats.stats import paired, sign_flip

    assert inspect.signature(sign_flip).parameters["draws"].default == SIGN_FLIP_DRAWS
    assert paired._EXACT == SIGN_FLIP_EXACT
    n = SIGN_FLIP_EXACT + 1
    off_lattice = [k**0.5 for k in range(2, n + 2)]  # counted differences can reach 2⁻ⁿ: the floor is a bound for any
    assert sign_flip(off_lattice, alternative="greater").p_value == smallest_p("sign-flip", "greater", n) == 1e-5


@pytest.mark.parametrize(
    ("scope", "test", "students", "units", "smallest"),
    [
        ("{examples: this test set}", "sign-flip", 1, 3, 2**-3),  # pairs of teachers
        ("{examples: new}", "two-way-t", 1, 3, 0.0),
        ("{teachers: these, examples: new}", "two-way-t", 1, 12, 0.0),  # each teacher taught one in either arm
        ("{teachers: these, examples: this test set}", "paired-t", 2, 24, 0.0),
    ],
)
def test_the_floors_of_inheritance_count_the_students_of_both_arms(tmp_path, scope, test, students, units, smallest):
    file = tmp_path / "p.yaml"
    text = TEXT.format(
        teachers=6, students=students, control="kd-other", direction="greater", scope=scope, test=test, more=""
    )
    file.write_text(text.replace("metric: agreement", "metric: inherits_errors"))
    p = validated(Protocol, read_document(file))
    assert {(floor.units, floor.smallest_p) for floor in attainable(p)} == {(units, smallest)}
    two_pairs = {floor.smallest_p for floor in attainable(p, teachers=4)}
    assert two_pairs == ({smallest} if "these" in scope else {1.0})  # a claim about the recipe needs three
