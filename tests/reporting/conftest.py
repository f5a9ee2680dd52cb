"""Results as a run of the digits protocol leaves them, from a seeded simulation: plausible numbers, nothing trained."""

from collections.abc import Iterator
from itertools import product

import numpy as np
import pandas as pd
import pytest

from kdstats.catalog import METRICS
from kdstats.decomposition import decompose
from kdstats.protocol import Point
from kdstats.reporting import Results, write_report
from kdstats.verdicts import Evidence

HASH = "3f8a92c41d07be65a1c2d3e4f5061728394a5b6c7d8e9f001122334455667788"
IDENTITY = {"protocol": "digits", "protocol_hash": HASH, "dataset": "digits", "split": "test"}
SCORED = (
    "accuracy", "cross_entropy", "agreement", "activation_distance", "js_divergence", "error_consistency",
    "positive_transfer", "negative_transfer",
)  # fmt: skip
EXTRA = {"rcd": {"noise": "gaussian", "redraw": False, "scale": "teacher", "space": "logits"}}
COMPARED = {("kd", "siddo"), ("kd-other", "siddo"), ("rcd", "siddo"), ("kd", "rcd"), ("kd", "kd-other")}
DECLARED = (  # name, metric, controls, direction, margin, examples, test
    ("agrees-more", "agreement", ("siddo", "rcd"), "greater", None, "this test set", "sign-flip"),
    ("knows-its-teacher", "agreement", ("kd-other",), "greater", None, "new", "two-way-t"),
    ("inherits-errors", "inherits_errors", ("kd-other",), "greater", None, "new", "two-way-t"),
    ("holds-errors-firmer", "asymmetry", ("kd-other",), "greater", None, "new", "two-way-t"),
    ("accuracy-unchanged", "accuracy", ("siddo",), "two-sided", 0.01, "this test set", "sign-flip"),
)


def level_of(arm, alpha):
    """Accuracy, agreement, A⁺, A⁻ of an arm."""
    a = alpha or 0.0
    return {
        "siddo": (0.950, 0.945, 0.972, 0.43),
        "kd": (0.951 + 0.002 * a, 0.950 + 0.018 * a, 0.974 + 0.010 * a, 0.46 + 0.22 * a),
        "kd-other": (0.951 + 0.003 * a, 0.946 + 0.006 * a, 0.973 + 0.006 * a, 0.43 + 0.05 * a),
        "rcd": (0.949 - 0.012 * a, 0.944 - 0.014 * a, 0.971 - 0.012 * a, 0.42 - 0.03 * a),
    }[arm]


def settings(arm, alpha):
    return {} if alpha is None else {"alpha": alpha, "temperature": 4.0, **EXTRA.get(arm, {})}


def params(arm, alpha):
    def text(value):
        return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else value

    return " ".join(f"{key}={text(value)}" for key, value in sorted(settings(arm, alpha).items()))


def make_results(
    teachers=10, seeds=2, alphas=(0.1, 0.5, 0.9), arms=("siddo", "kd", "kd-other", "rcd"), rename=None,
    metrics=SCORED, hypotheses=True, correction="holm",
):  # fmt: skip
    """Results of ``teachers`` × ``seeds`` students of each arm and alpha; ``rename`` maps the arms' names to others."""
    rng = np.random.default_rng(0)
    name = {arm: (rename or {}).get(arm, arm) for arm in arms}
    points = [(arm, alpha) for arm in arms for alpha in ((None,) if arm == "siddo" else alphas)]
    scores, curves, transfers, values = [], [], [], {}
    for t in range(teachers):
        quality = rng.normal(0, 0.004)
        own = {"accuracy": 0.949 + quality, "cross_entropy": 0.2 - 4 * quality}
        for metric in (m for m in metrics if METRICS[m].against == "labels"):
            row = {"arm": "teacher", "teacher": t, "seed": None, "metric": metric, "value": own[metric]}
            scores.append({**IDENTITY, **row, "n": 1497, "note": ""})
        for s, shared in enumerate(rng.normal(0, 0.003, seeds)):
            for arm, alpha in points:
                made = simulate(rng, arm, alpha, quality, shared)
                who = {"arm": name[arm], "teacher": t, "seed": s}
                for metric in metrics:
                    value = values[arm, alpha, metric, t, s] = made[metric]
                    row = {**settings(arm, alpha), "metric": metric, "value": value, "n": 1497, "note": ""}
                    scores.append({**IDENTITY, **who, **row})
                floor = 0.02 + (alpha or 0) * (0.8 if arm == "rcd" else 0.05)
                losses = 2.2 * np.exp(-np.arange(30) / 5) * (1 + (alpha or 0)) + floor
                losses *= np.exp(rng.normal(0, 0.08, 30))
                who = {"arm": name[arm], "arm_params": params(arm, alpha), "teacher": t, "seed": s}
                curves += [{**who, "epoch": e + 1, "loss": loss} for e, loss in enumerate(losses)]
                if arm != "siddo":
                    transfers.append({**IDENTITY, **who, "control": name["siddo"], "control_params": "", **counts(rng)})
    contrasts, verdicts = [], []

    def row(metric, arm, control, alpha, **rest):
        return contrast(values, name, teachers, seeds, correction, metric, arm, control, alpha) | rest

    for label, metric, controls, direction, margin, examples, test in DECLARED if hypotheses else ():
        for alpha in alphas:
            hypothesis = label if len(alphas) == 1 else f"{label}[alpha={alpha:g}]"
            rest = {"hypothesis": hypothesis, "kind": "confirmatory", "direction": direction, "margin": margin}
            rest |= {"scope_examples": examples, "test": test, "family": "confirmatory"}
            rows = [row(metric, "kd", control, alpha, **rest) for control in controls if control in arms]
            worst = max(rows, key=lambda row: row["p_value"])
            supported = worst["p_adjusted"] <= 0.05
            otherwise = "not shown" if metric == "asymmetry" else "equivalent" if margin else "inconclusive"
            verdict = "supported" if supported else otherwise
            for one in rows:
                one |= {"p_adjusted": worst["p_adjusted"], "verdict": verdict}
            contrasts += rows
            text = f"{metric} of {worst['arm']} minus {worst['control']}: {worst['estimate']:.3g}."
            last = {"controls": ", ".join(controls), "level": 0.05, "verdict": verdict, "sentence": text}
            verdicts.append({**worst, "p_refuted": 1.0, **last})
    for (arm, alpha), control in product(points, ("siddo", "rcd", "kd-other")):
        if control not in arms or (arm, control) not in COMPARED:
            continue
        contrasts += [row(metric, arm, control, alpha) for metric in metrics]
        empty = {"kind": "descriptive", "family": "", "correction": "", "scope_examples": "new", "test": "two-way-t"}
        empty |= dict.fromkeys(("p_value", "p_adjusted", "bayes_factor"))
        if "negative_transfer" in metrics and arm == "kd" and control != "rcd":
            estimator = {"siddo": "raw", "kd-other": "headroom"}[control]
            contrasts.append(row("asymmetry", arm, control, alpha, estimator=estimator, **empty))
    blocks = {name[arm]: {"kind": arm} | settings(arm, alphas[0]) for arm in arms}
    protocol = {
        "name": "digits", "dataset": {"name": "digits", "path": None, "train": 300, "split": "test"},
        "teacher": {"model": "cnn", "seeds": list(range(teachers))},
        "student": {"model": "cnn", "seeds": list(range(seeds))},
        "initialisation": "teacher", "recipe": {"optimiser": "adamw", "epochs": 30, "precision": "float32"},
        "arms": blocks, "metrics": list(metrics), "level": 0.05, "correction": correction, "seed": 0,
    }  # fmt: skip
    environment = {
        "versions": {"kdstats": "0.1.0", "torch": "2.15.0"}, "platform": "Linux x86_64", "deterministic": True,
        "git_commit": None, "made_on": ["cpu, torch 2.15.0"],
    }  # fmt: skip
    failures = pd.DataFrame([], columns=["arm", "arm_params", "teacher", "seed", "step", "reason"])
    frames = [pd.DataFrame(rows) for rows in (scores, contrasts, verdicts, transfers, curves)]
    ladder = pd.DataFrame()
    if arms == ("siddo", "kd", "kd-other", "rcd"):
        pairs = tuple(product(range(teachers), range(seeds)))
        table = frames[0][frames[0]["arm"] != "teacher"]
        kind = {renamed: arm for arm, renamed in name.items()}
        texts = [params(kind[n], None if np.isnan(a) else a) for n, a in zip(table["arm"], table["alpha"], strict=True)]
        evidence = Evidence(table.assign(arm_params=texts), pairs, {t: t - t % 2 for t in range(teachers)})
        up = ("siddo", "rcd", "kd-other", "kd")
        rungs = [(f"alpha={a:g}", [point_of(arm, None if arm == "siddo" else a, name) for arm in up]) for a in alphas]
        ladder = decompose(evidence, rungs, metrics, 0.05)
    inherited = [
        row
        for alpha in (
            alphas if {"kd", "kd-other"} <= set(arms) and teachers > 1 and "negative_transfer" in metrics else ()
        )
        for row in inherited_rows(name, alpha, teachers)
    ]
    return Results(protocol, HASH, environment, [], *frames, failures, ladder, pd.DataFrame(inherited))


# part of inheritance.csv: estimate and half its interval at alpha 1, unit
INHERITED = {
    "errors_made": (47.0, 9.0, "errors"), "repeated_own": (40.0, 8.0, "errors"),
    "repeated_other": (22.0, 7.0, "errors"), "repeated_more": (18.0, 3.0, "errors"),
    "inherits_errors": (0.5, 0.08, "share"),
    "inherits_knowledge": (0.4, 0.07, "share"), "inherits_errors_by_class": (0.45, 0.08, "share"),
    "inherits_knowledge_by_class": (0.35, 0.07, "share"), "errors_from_wrong": (0.6, 0.1, "share"),
    "errors_from_right": (0.4, 0.1, "share"), "third": (0.1, 0.3, "log ratio"), "firmness": (0.06, 0.4, "log ratio"),
    "copied_wrong": (0.5, None, "share"), "copied_right": (0.45, None, "share"), "h": (0.2, 0.2, "log ratio"),
    "h_of_copying": (-0.04, None, "log ratio"),
}  # fmt: skip


def inherited_rows(name, alpha, teachers):
    """Rows of ``inheritance.csv`` of kd at one alpha: errors as they are, all else in proportion to alpha."""
    both = {"arm": name["kd"], "control": name["kd-other"]}
    both |= {f"{side}_params": params(arm, alpha) for side, arm in (("arm", "kd"), ("control", "kd-other"))}
    for part, (full, half, unit) in INHERITED.items():
        estimate = full if unit == "errors" else full * alpha
        note = {"h": "h is above 0 under pure copying", "h_of_copying": "an approximation"}.get(part, "")
        yield {
            **IDENTITY, **both, "part": part, "label": part, "unit": unit, "n_teachers": teachers,
            "n_units": teachers // 2, "n_examples": 1497, "estimate": estimate,
            "ci_low": None if half is None else estimate - half, "ci_high": None if half is None else estimate + half,
            "ci_level": 0.95, "note": note, "version": "0.1.0",
            "sentence": f"Repeats 18 more of 47 at {alpha:g}." if part == "repeated_more" else "",
        }  # fmt: skip


def point_of(arm, alpha, name):
    return Point(name[arm], arm, tuple(sorted(settings(arm, alpha).items())), "teacher")


def simulate(rng, arm, alpha, quality, shared):
    accuracy, agreement, right, wrong = level_of(arm, alpha)
    noise = rng.normal(0, 0.0025, 4)
    accuracy, agreement = accuracy + quality + shared + noise[0], agreement + quality + shared + noise[1]
    wrong += 12 * noise[3]
    return {
        "accuracy": accuracy,
        "cross_entropy": 4 * (1 - accuracy),
        "agreement": agreement,
        "activation_distance": 1.9 * (1 - agreement),
        "js_divergence": 0.6 * (1 - agreement),
        "error_consistency": wrong,
        "capa": wrong,
        "positive_transfer": right + shared / 2 + noise[2] / 2,
        "negative_transfer": wrong,
    }


def counts(rng):
    repaired, broken, infected, cured = (int(n) for n in rng.poisson([20, 14, 12, 6]))
    right = int(rng.integers(1415, 1430))
    return {
        "n_correct": right, "n_wrong": 1497 - right, "repaired": repaired, "broken": broken, "infected": infected,
        "cured": cured, "net_repaired": repaired - broken, "net_infected": infected - cured, "version": "0.1.0",
    }  # fmt: skip


def contrast(values, name, teachers, seeds, correction, metric, arm, control, alpha):
    beta = None if control == "siddo" else alpha

    def differences(metric):
        rows = [
            [values[arm, alpha, metric, t, s] - values[control, beta, metric, t, s] for s in range(seeds)]
            for t in range(teachers)
        ]
        return np.array(rows)

    if metric in ("asymmetry", "inherits_errors"):
        table = differences("negative_transfer") - differences("positive_transfer")
    else:
        table = differences(metric)
    units = table.mean(axis=1) if teachers > 1 else table[0]
    if "kd-other" in (arm, control) and teachers > 3:
        units = units.reshape(-1, 2).mean(axis=1)
    n, mean = len(units), float(units.mean())
    sem = float(units.std(ddof=1) / np.sqrt(n)) if n > 1 else np.nan
    z = mean / sem if n > 1 else 0.0
    p = min(1.0, max(2.0**-n, float(np.exp(-0.7 * abs(z) - 0.4 * z * z))))
    return {
        **IDENTITY, "hypothesis": "", "declared": "before training", "kind": "exploratory", "metric": metric,
        "estimator": {"asymmetry": "firmness", "inherits_errors": "balanced"}.get(metric, "mean_difference"),
        "arm": name[arm], "arm_params": params(arm, alpha), "control": name[control],
        "control_params": params(control, beta), "scope_teachers": "recipe" if teachers > 1 else "these",
        "scope_examples": "this test set", "teacher": None, "n_teachers": teachers, "n_units": n,
        "n_pairs": teachers * seeds, "n_failed_arm": 0, "n_failed_control": 0, "direction": "two-sided",
        "estimate": mean, "sem": sem, "df": n - 1, "ci_low": mean - 2.26 * sem, "ci_high": mean + 2.26 * sem,
        "ci_level": 0.95, "test": "sign-flip", "statistic": z, "p_value": p, "p_reverse": 1 - p, "p_equivalence": None,
        "margin": None, "smallest_p": 2.0**-n, "p_adjusted": min(1.0, 6 * p), "family": "exploratory",
        "correction": correction, "dz": z / np.sqrt(n), "hedges_g": z / np.sqrt(n), "rank_biserial": 0.5, "cles": 0.7,
        "bayes_factor": float(np.exp(min(abs(z), 9.0))), "verdict": "", "note": "", "version": "0.1.0",
    }  # fmt: skip


@pytest.fixture(scope="session")
def make():
    return make_results


@pytest.fixture(scope="session")
def digits():
    return make_results()


@pytest.fixture(scope="session")
def report(digits, tmp_path_factory):
    """The folder of the digits report."""
    return write_report(digits, tmp_path_factory.mktemp("reports") / "digits").parent


@pytest.fixture
def python_strings() -> Iterator[None]:
    """Text that may hold a lone surrogate, which Arrow's strings, pandas' choice where pyarrow is installed, cannot."""
    with pd.option_context("mode.string_storage", "python"):
        yield
