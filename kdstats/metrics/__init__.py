"""Arrays in; one number of a trained network, or one value per example, out. numpy alone."""

from kdstats.metrics._arrays import UndefinedMetric
from kdstats.metrics.confidence import (
    accuracy,
    brier_score,
    class_wise_calibration_error,
    cross_entropy,
    entropy,
    expected_calibration_error,
)
from kdstats.metrics.similarity import (
    activation_distance,
    agreement,
    capa,
    copy_probability,
    error_consistency,
    fidelity_kl,
    js_divergence,
    negative_flip_rate,
    rank_disagreement,
)
from kdstats.metrics.transfers import (
    Transfer,
    TransferMasks,
    asymmetry_examples,
    asymmetry_influence,
    asymmetry_score,
    negative_transfer,
    positive_transfer,
    transfer,
    transfer_masks,
)

__all__ = [
    "Transfer",
    "TransferMasks",
    "UndefinedMetric",
    "accuracy",
    "activation_distance",
    "agreement",
    "asymmetry_examples",
    "asymmetry_influence",
    "asymmetry_score",
    "brier_score",
    "capa",
    "class_wise_calibration_error",
    "copy_probability",
    "cross_entropy",
    "entropy",
    "error_consistency",
    "expected_calibration_error",
    "fidelity_kl",
    "js_divergence",
    "negative_flip_rate",
    "negative_transfer",
    "positive_transfer",
    "rank_disagreement",
    "transfer",
    "transfer_masks",
]
