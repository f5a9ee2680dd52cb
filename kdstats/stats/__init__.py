"""Inference on paired scores: arrays in, results out. Knows nothing of training."""

from kdstats.stats.designs import Inference, Units, infer, to_units, two_way
from kdstats.stats.effects import dz, hedges_correction, hedges_g, paired_cles, rank_biserial
from kdstats.stats.multiplicity import adjust
from kdstats.stats.paired import (
    bayes_factor,
    differences,
    paired_t,
    sign_flip,
    tost,
    wilcoxon,
)
from kdstats.stats.results import TestResult

__all__ = [
    "Inference",
    "TestResult",
    "Units",
    "adjust",
    "bayes_factor",
    "differences",
    "dz",
    "hedges_correction",
    "hedges_g",
    "infer",
    "paired_cles",
    "paired_t",
    "rank_biserial",
    "sign_flip",
    "to_units",
    "tost",
    "two_way",
    "wilcoxon",
]
