"""How often an audit's verdicts are false alarms, and its intervals cover the truth: 1,000 simulated audits a scenario.

    python benchmarks/audit_calibration.py [--audits 1000] [--out reports/audit_calibration]

About half an hour on two cores. One student, 10 controls, 3,000 examples of 10 classes; accuracy varies by two points
between networks (tests/audits.py).
"""

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kdstats.auditing import audit
from tests.audits import SCENARIOS, cases

N, CONTROLS = 3000, 10


def one(job: tuple[str, int, int]) -> list[dict[str, object]]:
    scenario, number, seed = job
    rows: list[dict[str, object]] = []
    for case in cases(scenario, number, N, CONTROLS, seed):
        found = audit(case.teacher, case.student, case.labels, case.controls, control_kind=case.kind)  # type: ignore[arg-type]
        numbers = found.measures.set_index(["measure", "estimator"])
        row: dict[str, object] = {"scenario": scenario}
        for measure, estimator in (
            ("copy_probability", "share"), ("accuracy", "excess"), ("negative_transfer", "excess"),
        ):  # fmt: skip
            it = numbers.loc[(measure, estimator)]
            row[f"{measure}.{estimator}"] = it["estimate"]
            row[f"{measure}.{estimator} low"], row[f"{measure}.{estimator} high"] = it["ci_low"], it["ci_high"]
        rows.append(row | dict(zip(found.verdicts["question"], found.verdicts["verdict"], strict=True)))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--audits", type=int, default=1000)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    share = 50
    jobs = [(scenario, share, i) for scenario in SCENARIOS for i in range(max(1, asked.audits // share))]
    with ProcessPoolExecutor() as pool:
        table = pd.DataFrame([row for rows in pool.map(one, jobs) for row in rows])
    lines = []
    for scenario, rows in table.groupby("scenario", sort=False):
        line = {"scenario": scenario, "audits": len(rows)}
        for name in ("accuracy.excess", "negative_transfer.excess"):
            there = rows[rows[f"{name} low"].notna()]
            line[f"{name}: no interval"] = 1 - len(there) / len(rows)
            line[f"{name}: 0 inside"] = ((there[f"{name} low"] <= 0) & (there[f"{name} high"] >= 0)).mean()
        line["copied share"] = rows["copy_probability.share"].mean()
        for question in ("Accuracy against the controls", "The teacher's errors"):
            for verdict, number in rows[question].value_counts().items():
                line[f"{question}: {verdict}"] = number / len(rows)
        lines.append(line)
    summary = pd.DataFrame(lines).fillna(dict.fromkeys(pd.DataFrame(lines).columns[1:], 0.0))
    print(summary.round(3).T.to_string())
    if asked.out is not None:
        asked.out.mkdir(parents=True, exist_ok=True)
        summary.to_csv(asked.out / "summary.csv", index=False, float_format="%.4g")


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    main()
