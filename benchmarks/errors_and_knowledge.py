"""The figure of docs/errors-and-knowledge.md: h that one copied share predicts, by how accurate untaught students are.

    python benchmarks/errors_and_knowledge.py

Lines: networks that are right on an example of difficulty z ~ N(0, 1) with probability expit(b − 1.5 z), independently
given the example; half of the mistakes are the example's own attractive wrong class, the others spread over eight. A
student gives its teacher's answer with probability c, whatever it is, and its own else. No error is preferred to any
right answer, and h is not 0. Points: h of our own runs (reports/*/tables/inheritance.csv), at the accuracy that their
untaught students have.
"""

from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from scipy import optimize, special

from kdstats.inheritance_table import copied_h

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).resolve().parents[1]
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(80)
WEIGHTS = WEIGHTS / WEIGHTS.sum()
SPREAD, ATTRACTION, OTHERS, TEACHER = 1.5, 0.5, 8, 0.855
RUNS = ("digits", "cifar10_small", "fashion_small")


def right(accuracy: float) -> np.ndarray:
    """Probability of being right by difficulty, such that its mean is the accuracy."""
    b = optimize.brentq(lambda b: WEIGHTS @ special.expit(b - SPREAD * NODES) - accuracy, -40, 40)
    return np.asarray(special.expit(b - SPREAD * NODES))


def differs(one: float, other: float) -> dict[str, float]:
    """P(another network says another class) where the first is right, where it is wrong."""
    t, o = right(one), right(other)
    same_wrong = ATTRACTION**2 + (1 - ATTRACTION) ** 2 / OTHERS
    return {
        "right": 1 - float(WEIGHTS @ (t * o)) / one,
        "wrong": 1 - float(WEIGHTS @ ((1 - t) * (1 - o))) * same_wrong / (1 - one),
    }


def of_runs() -> pd.DataFrame:
    """h, and by how many points untaught students lie below their teachers, of each setting of our runs."""
    rows = []
    for name in RUNS:
        tables = HERE / "reports" / name / "tables"
        if not (tables / "inheritance.csv").exists():
            continue
        found = pd.read_csv(tables / "inheritance.csv")
        arms = pd.read_csv(tables / "arms.csv")
        accuracy = arms[arms["metric"] == "accuracy"].set_index("arm")["mean"]
        gap = float(accuracy["siddo"] - accuracy["teacher"])
        for _, row in found[found["part"] == "h"].iterrows():
            rows.append({"run": name, "gap": gap, **row[["arm_params", "estimate", "ci_low", "ci_high"]]})
    return pd.DataFrame(rows)


def main() -> None:
    gaps = np.linspace(-0.08, 0.04, 61)
    other = differs(TEACHER, TEACHER)
    fig, ax = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    for share, shade in ((0.2, "0.65"), (0.5, "0.4"), (0.8, "0.1")):
        h = [copied_h(share, other, differs(TEACHER, TEACHER + gap)) for gap in gaps]
        ax.plot(100 * gaps, h, color=shade, label=f"{100 * share:.0f} % of all answers copied")
        print(
            f"c = {share}:",
            ", ".join(f"{100 * g:+.0f} points {np.interp(g, gaps, h):+.3f}" for g in (-0.05, -0.02, 0, 0.02)),
        )
    runs = of_runs()
    for (name, rows), colour in zip(
        runs.groupby("run") if len(runs) else (), ("#0072B2", "#D55E00", "#009E73"), strict=False
    ):
        error = np.abs(rows[["ci_low", "ci_high"]].to_numpy().T - rows["estimate"].to_numpy())
        across = 100 * rows["gap"].to_numpy() + np.linspace(-0.15, 0.15, len(rows))
        ax.errorbar(
            across, rows["estimate"], error, fmt="o", ms=4, color=colour, capsize=2, label=f"{name}, h as estimated"
        )
    ax.axhline(0, color="0.8", lw=0.8, zorder=0)
    ax.axvline(0, color="0.8", lw=0.8, zorder=0)
    ax.set_xlabel("accuracy of untaught students minus their teacher's (points)")
    ax.set_ylabel("h against students of another teacher")
    ax.legend(frameon=False, fontsize=8, loc="lower left")
    folder = HERE / "docs" / "figures"
    folder.mkdir(exist_ok=True)
    matplotlib.rcParams["svg.hashsalt"] = "kdstats"
    fig.savefig(folder / "h_of_copying.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
