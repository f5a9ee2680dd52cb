"""Results go between processes: an interval that is asked for later must still be there."""

import pickle

import numpy as np
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
