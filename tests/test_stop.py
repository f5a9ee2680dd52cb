"""`stop: anytime` through the command line: it ends early, resumes, and looks the same from a shared store."""

import json

import pandas as pd
import pytest

from tests.conftest import kdstats

STOP = """
name: looking
dataset: {name: digits, train: 100, test: 200}
teacher: {model: mlp, seeds: 6}
student: {model: mlp, seeds: 1}
stop: {rule: anytime, max_seeds: 14}
recipe: {optimiser: adamw, learning_rate: 0.01, epochs: 3, batch_size: 25}
arms:
  siddo:
  kd: {alpha: 1.0, temperature: 4}
hypotheses:
  - {name: worse, metric: accuracy, arm: kd, control: siddo, direction: less}
"""


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stopped")
    (folder / "looking.yaml").write_text(STOP)
    done = kdstats("run", "looking.yaml", "--device", "cpu", "--workers", "1", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_training_stops_when_the_verdict_is_there(stopped):
    folder, said = stopped
    run = folder / "runs" / "looking"
    teachers = json.loads((run / "size.json").read_text())
    assert 6 < teachers < 14 and f"{teachers} teachers: every verdict is reached" in said
    assert f"{teachers - 1} teachers: 1 of 1 hypotheses are inconclusive" in said
    scores, verdicts = pd.read_csv(run / "scores.csv"), pd.read_csv(run / "verdicts.csv")
    assert scores["teacher"].nunique() == teachers and verdicts.loc[0, "verdict"] == "supported"
    contrasts = pd.read_csv(run / "contrasts.csv")
    assert contrasts["test"].dropna().str.startswith(("anytime", "none")).all()
    assert set(contrasts["declared"]) == {"before training"}
    assert "confidence sequence" in verdicts.loc[0, "sentence"]


def test_its_scores_alone_are_tested_as_what_they_are(stopped):
    """A test of a fixed number of teachers would take the stopped number for planned."""
    folder, _ = stopped
    scores = folder / "runs" / "looking" / "scores.csv"
    done = kdstats("test", scores, "--hypotheses", "looking.yaml", "--out", "again", cwd=folder)
    assert done.returncode == 0, done.stderr
    columns = ["test", "p_value", "ci_low", "ci_high", "verdict"]
    again, first = (pd.read_csv(f / "contrasts.csv") for f in (folder / "again", scores.parent))
    pd.testing.assert_frame_equal(again[columns], first[first["kind"] == "confirmatory"][columns], check_exact=False)
    refused = kdstats("test", scores.parent, "--designs", cwd=folder)
    assert refused.returncode == 2 and "--designs" in refused.stderr


def test_the_same_command_again_does_nothing(stopped):
    folder, _ = stopped
    again = kdstats("run", "looking.yaml", cwd=folder)
    assert (
        again.returncode == 0 and "nothing to do" in again.stdout and "training" not in again.stdout.split("stops")[-1]
    )


def test_a_lost_size_grows_to_the_same_place(stopped):
    folder, _ = stopped
    run = folder / "runs" / "looking"
    size, verdicts = (run / "size.json").read_text(), (run / "verdicts.csv").read_bytes()
    (run / "size.json").unlink()
    again = kdstats("run", "looking.yaml", cwd=folder)
    assert again.returncode == 0, again.stderr
    assert (run / "size.json").read_text() == size and (run / "verdicts.csv").read_bytes() == verdicts


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("direction: less}", "direction: less, test: sign-flip}"), "sign-flip holds its level at one look"),
        (("max_seeds: 14", "max_seeds: 1"), "stop.max_seeds: 1 is not allowed: a whole number from 2 to 10000"),
        (("rule: anytime", "rule: sometime"), "stop.rule: 'sometime' is not allowed: anytime"),
        (("name: looking", "name: looking\ncorrection: bh"), "bh is not valid at every look"),
        (("seeds: 6}", "seeds: 3}", "max_seeds: 14", "max_seeds: 4"), "out of reach"),
        (
            ("stop: {rule: anytime, max_seeds: 14}", "", "direction: less}", "direction: less, test: anytime}"),
            "anytime belongs",
        ),
    ],
)
def test_mistakes(tmp_path, change, said):
    text = STOP
    for old, new in zip(change[::2], change[1::2], strict=True):
        text = text.replace(old, new)
    (tmp_path / "p.yaml").write_text(text)
    planned = kdstats("plan", "p.yaml", cwd=tmp_path)
    assert planned.returncode == 2 and "Traceback" not in planned.stderr
    assert said in planned.stderr


def test_a_plan_says_when_it_looks(tmp_path):
    (tmp_path / "p.yaml").write_text(STOP)
    planned = kdstats("plan", "p.yaml", cwd=tmp_path)
    assert planned.returncode == 0 and "looks after 6, 7, … at most 14 teacher seeds" in planned.stdout
