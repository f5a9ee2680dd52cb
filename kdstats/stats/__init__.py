"""Inference on paired scores: arrays or tidy tables in, results out. Knows nothing of training."""

from kdstats.stats.counts import (
    mantel_haenszel,
    mcnemar,
    non_inferiority_proportions,
    odds_ratio,
    risk_difference,
    risk_difference_p,
    tost_proportions,
    tost_ratio_proportions,
)
from kdstats.stats.crossed import Anova, anova, dataset_means, designs_of, mixed_model, over_datasets, slopes
from kdstats.stats.designs import Inference, Units, infer, to_units, two_way
from kdstats.stats.effects import (
    dz,
    dz_interval,
    hedges_correction,
    hedges_g,
    hedges_g_interval,
    paired_cles,
    paired_cles_interval,
    rank_biserial,
    rank_biserial_interval,
)
from kdstats.stats.groups import share_of_room, two_groups
from kdstats.stats.labels import shuffle_within, swap_labels
from kdstats.stats.multiplicity import adjust
from kdstats.stats.paired import (
    Rope,
    bayes_factor,
    differences,
    non_inferiority,
    paired_t,
    rope,
    sign_flip,
    tost,
    tost_ratio,
    wilcoxon,
)
from kdstats.stats.pivots import TwoWay
from kdstats.stats.planning import power, smallest_n, variance_components
from kdstats.stats.ranks import cliffs_delta, friedman, friedman_pairs, jonckheere, mann_whitney, page_l
from kdstats.stats.ratios import Ratio, fieller, fieller_of_moments
from kdstats.stats.relations import mantel, stability
from kdstats.stats.resampling import bootstrap, max_t
from kdstats.stats.results import TestResult
from kdstats.stats.sequential import (
    anytime,
    anytime_p_values,
    confidence_sequence,
    e_equivalence,
    e_holm,
    e_non_inferiority,
    e_process,
)

__all__ = [
    "Anova",
    "Inference",
    "Ratio",
    "Rope",
    "TestResult",
    "TwoWay",
    "Units",
    "adjust",
    "anova",
    "anytime",
    "anytime_p_values",
    "bayes_factor",
    "bootstrap",
    "cliffs_delta",
    "confidence_sequence",
    "dataset_means",
    "designs_of",
    "differences",
    "dz",
    "dz_interval",
    "e_equivalence",
    "e_holm",
    "e_non_inferiority",
    "e_process",
    "fieller",
    "fieller_of_moments",
    "friedman",
    "friedman_pairs",
    "hedges_correction",
    "hedges_g",
    "hedges_g_interval",
    "infer",
    "jonckheere",
    "mann_whitney",
    "mantel",
    "mantel_haenszel",
    "max_t",
    "mcnemar",
    "mixed_model",
    "non_inferiority",
    "non_inferiority_proportions",
    "odds_ratio",
    "over_datasets",
    "page_l",
    "paired_cles",
    "paired_cles_interval",
    "paired_t",
    "power",
    "rank_biserial",
    "rank_biserial_interval",
    "risk_difference",
    "risk_difference_p",
    "rope",
    "share_of_room",
    "shuffle_within",
    "sign_flip",
    "slopes",
    "smallest_n",
    "stability",
    "swap_labels",
    "to_units",
    "tost",
    "tost_proportions",
    "tost_ratio",
    "tost_ratio_proportions",
    "two_groups",
    "two_way",
    "variance_components",
    "wilcoxon",
]
