"""Inference on paired scores: arrays or tidy tables in, results out. Knows nothing of training."""

from kdstats.stats.counts import (
    mantel_haenszel,
    mcnemar,
    non_inferiority_proportions,
    odds_ratio,
    risk_difference,
    tost_proportions,
    tost_ratio_proportions,
)
from kdstats.stats.designs import Inference, Units, infer, to_units, two_way
from kdstats.stats.effects import dz, hedges_correction, hedges_g, paired_cles, rank_biserial
from kdstats.stats.multiplicity import adjust
from kdstats.stats.paired import bayes_factor, differences, paired_t, sign_flip, tost, wilcoxon
from kdstats.stats.planning import power, smallest_n, variance_components
from kdstats.stats.ranks import cliffs_delta, friedman, friedman_pairs, jonckheere, mann_whitney, page_l
from kdstats.stats.ratios import fieller
from kdstats.stats.resampling import bootstrap, max_t
from kdstats.stats.results import TestResult

__all__ = [
    "Inference",
    "TestResult",
    "Units",
    "adjust",
    "bayes_factor",
    "bootstrap",
    "cliffs_delta",
    "differences",
    "dz",
    "fieller",
    "friedman",
    "friedman_pairs",
    "hedges_correction",
    "hedges_g",
    "infer",
    "jonckheere",
    "mann_whitney",
    "mantel_haenszel",
    "max_t",
    "mcnemar",
    "non_inferiority_proportions",
    "odds_ratio",
    "page_l",
    "paired_cles",
    "paired_t",
    "power",
    "rank_biserial",
    "risk_difference",
    "sign_flip",
    "smallest_n",
    "to_units",
    "tost",
    "tost_proportions",
    "tost_ratio_proportions",
    "two_way",
    "variance_components",
    "wilcoxon",
]
