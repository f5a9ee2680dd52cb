"""What every test takes and refuses; and that its result goes between processes."""

import pickle

import numpy as np
import pandas as pd
import pytest

from kdstats import stats

X, Y = np.array([0.1, 0.2, 0.35, 0.4, 0.7]), np.array([0.15, 0.1, 0.3, 0.2, 0.6])
TABLE = np.array([[80, 3], [4, 13]])


@pytest.mark.parametrize(
    "result",
    [
        stats.sign_flip(X, Y),
        stats.wilcoxon(X, Y),
        stats.paired_t(X, Y),
        stats.mann_whitney(X, Y),
        stats.cliffs_delta(X, Y),
        stats.odds_ratio(TABLE),
        stats.risk_difference(TABLE),
        stats.tost_proportions(TABLE, margin=0.1),
        stats.tost_ratio_proportions(TABLE, margin=0.9),
        stats.mantel_haenszel(np.stack([TABLE, TABLE])),
        stats.mantel_haenszel(np.stack([TABLE, TABLE]), method="asymptotic"),
    ],
    ids=lambda result: result.test,
)
def test_a_pickled_result_has_the_same_interval(result: stats.TestResult) -> None:
    again = pickle.loads(pickle.dumps(result))
    assert again == result
    assert again.confidence_interval(0.9) == result.confidence_interval(0.9)


@pytest.mark.parametrize("test", [stats.sign_flip, stats.wilcoxon, stats.paired_t])
def test_single_precision_is_refused_since_it_hides_ties(test: object) -> None:
    # 3 + 2 ties: .92 − .91 and .72 − .71 are one hundredth both; float32 leaves .0099999905 and .0100000501
    x, y = np.array([0.92, 0.72, 0.5]), np.array([0.91, 0.71, 0.4])
    with pytest.raises(ValueError, match=r"x is float32, which keeps 6 digits.*Average in float64"):
        test(x.astype(np.float32), y)  # type: ignore[operator]
    with pytest.raises(ValueError, match="y has masked values"):
        test(x, np.ma.masked_array(y, mask=[False, True, False]))  # type: ignore[operator]


def test_tables_in_single_precision_are_refused_too() -> None:
    y = [0.01, 0.02, 0.03, 0.05, 0.07, 0.09, 0.10, 0.11]
    rows = [(arm, i, v + (arm == "ce") * 0.01) for arm in ("kd", "ce") for i, v in enumerate(y)]
    table = pd.DataFrame(rows, columns=["arm", "seed", "value"]).round(2)
    of = {"arm": "kd", "control": "ce", "margin": 0.01}
    assert stats.non_inferiority(table, **of).p_value == 1.0  # every pair lies at the margin
    for single in ("float32", "Float32"):
        with pytest.raises(ValueError, match="value is float32, which keeps 6 digits"):
            stats.non_inferiority(table.astype({"value": single}), **of)
    with pytest.raises(ValueError, match="value is float32"):
        boxed = pd.Series([np.float32(v) for v in table["value"]], dtype=object)
        stats.non_inferiority(table.assign(value=boxed), **of)


def test_scores_far_from_0_keep_their_ties() -> None:
    y = np.array([0.07, 1.19, 1.82, 2.94, 3.57, 4.69, 5.32, 6.44])
    for offset in (0.0, 1e3, 1e5, 1e6):
        x = (y + offset).round(2)
        assert stats.non_inferiority((x - 0.01).round(2), x, margin=0.01).p_value == 1.0
    rng = np.random.default_rng(0)
    for _ in range(50):
        a, b = rng.integers(0, 60, (2, 10)) / 100
        assert stats.sign_flip((a + 1e6).round(2), (b + 1e6).round(2)).p_value == stats.sign_flip(a, b).p_value


def test_what_cannot_be_paired_is_refused() -> None:
    x = pd.Series(X, index=range(5))
    assert stats.sign_flip(x, pd.Series(Y, index=range(5))).p_value == stats.sign_flip(X, Y).p_value
    with pytest.raises(ValueError, match="Series with different indices"):
        stats.sign_flip(x, pd.Series(Y, index=range(4, -1, -1)))
    with pytest.raises(ValueError, match=r"all -1, 0 or 1.*mcnemar"):
        stats.paired_t(np.tile([1, 0, 0, -1], 50))
    with pytest.raises(ValueError, match="x has type <U1: scores are real numbers"):
        stats.sign_flip(["a", "b"], Y[:2])
    with pytest.raises(ValueError, match="x has type complex128"):
        stats.sign_flip(X * 1j, Y)
    masked = np.ma.masked_array(np.ones((3, 4)), mask=np.eye(3, 4))
    for refused in (stats.two_way, lambda m: stats.to_units(m, [0, 1, 2]), lambda m: stats.mcnemar(m[0], m[1])):
        with pytest.raises(ValueError, match="masked values"):
            refused(masked)


def test_an_order_that_was_declared_stays() -> None:
    sizes = ("small", "medium", "large")
    rows = [(size, f"{size}{t}", 0, t / 10 + i) for i, size in enumerate(sizes) for t in range(4)]
    table = pd.DataFrame(rows, columns=["arm", "teacher", "seed", "value"])
    table["arm"] = pd.Categorical(table["arm"], categories=sizes, ordered=True)
    assert (
        stats.jonckheere(table, by="arm").p_value
        == stats.jonckheere([table["value"][i : i + 4] for i in (0, 4, 8)]).p_value
    )
    with pytest.raises(ValueError, match="scope is 'recipe' and the table has no column teacher"):
        stats.sign_flip(table.drop(columns="teacher"), arm="large", control="small", scope="recipe")
