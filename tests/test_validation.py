"""The study as a command: its fast subset, one cell again, the report's files, and the committed table."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kdstats import validation
from kdstats.errors import UserError
from kdstats.stats import validity
from kdstats.stats.validity import Outcome
from kdstats.validation import CELLS, validate

COMMITTED = Path(__file__).parents[1] / "reports" / "validity"
FEW = ["sign-flip-5-spread-0.2", "t-interval-5", "power-t-5x4", "pooled-students"]


def test_the_fast_subset_holds(capsys):
    assert validate(fast=True, workers=1) == []
    said = capsys.readouterr().out.splitlines()
    assert len(said) == sum(cell.fast for cell in CELLS.values()) > 20
    assert sum("fails as it must" in line for line in said) == 1
    assert {"size", "coverage"} <= {line.split(": ")[1].split()[0] for line in said}


def test_a_report_is_the_same_whatever_the_number_of_workers(tmp_path):
    for workers in (1, 2):
        assert validate(tmp_path / str(workers), cells=FEW, protocols=500, workers=workers, say=lambda line: None) == []
    one, two = (
        {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        for folder in (tmp_path / "1", tmp_path / "2")
    )
    assert one == two
    figures = [f"figures/{name}.{kind}" for name in ("coverage", "power", "sizes") for kind in ("pdf", "svg")]
    assert sorted(one) == ["README.md", *figures, "tables/cells.csv", "tables/cells.md"]
    table = pd.read_csv(tmp_path / "1" / "tables" / "cells.csv")
    assert table["cell"].tolist() == FEW and (table["protocols"] == 500).all()
    assert np.allclose(table["rate"], table["rejections"] / 500)
    interval = table[table["cell"] == "t-interval-5"].iloc[0]
    assert interval["misses_below"] + interval["misses_above"] == interval["rejections"]


def test_part_of_the_study_is_printed_and_not_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert validate(cells=["t-5-spread-0.2"], protocols=2000) == []
    assert capsys.readouterr().out.startswith("t-5-spread-0.2: size 0.0")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_cell_is_refused_with_those_near_it():
    with pytest.raises(UserError, match=r"--cell sign-flip-10-spread-0\.3: there is no such cell; near it are .*"):
        validate(cells=["sign-flip-10-spread-0.3"])


def test_cells_that_fail_are_named(monkeypatch):
    bad = validity.Cell("bad", "none", 1, "", "at most", lambda rng, m: Outcome(rng.random(m) < 0.2))
    tame = validity.Cell("tame", "none", 1, "", "negative control", lambda rng, m: Outcome(rng.random(m) < 0.01))
    monkeypatch.setattr(validation, "CELLS", {"bad": bad, "tame": tame})
    said: list[str] = []
    assert validate(cells=["bad", "tame"], protocols=200, workers=1, say=said.append) == ["bad", "tame"]
    assert all(line.endswith("failed (rerun with 2,000)") for line in said)


def test_whole_protocols_are_judged():
    row = validity.run_cell(CELLS["protocol-holm-supported"], 20)
    assert row.verdict == "ok" and row.test == "judge (holm)"
    always = validation.whole_protocol(("supported",), effects={"kd": 0.1})
    assert always(np.random.default_rng(0), 2).wrong.all()
    beaten = validation.whole_protocol(("supported",), controls=("ce", "rcd"), effects={"kd": 0.1}, truly=("kd",))
    assert not beaten(np.random.default_rng(0), 2).wrong.any()


def test_the_committed_table_is_of_these_cells_and_none_failed():
    with (COMMITTED / "tables" / "cells.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = ["cell", "test", "n", "null", "protocols", "rejections", "expected", "low", "high"]
    assert list(rows[0])[:9] == columns
    assert [row["cell"] for row in rows] == list(CELLS)
    for row in rows:
        cell = CELLS[row["cell"]]
        assert (row["test"], int(row["n"]), row["null"], row["bound"]) == (cell.test, cell.n, cell.null, cell.bound)
        assert int(row["protocols"]) == cell.protocols * (10 if row["reruns"] == "1" else 1)
        rate = int(row["rejections"]) / int(row["protocols"])
        if cell.bound == "negative control":
            assert rate > float(row["high"])
        elif cell.bound != "published":
            assert float(row["low"]) <= rate <= float(row["high"])
