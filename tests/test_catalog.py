"""The catalogue names what there is, and all of it."""

import inspect
from typing import get_args

from kdstats import catalog, metrics, plan
from kdstats.datasets import CLASSES, READERS
from kdstats.metrics.features import Mode
from kdstats.protocol import SEED_ONLY
from kdstats.reporting.page import FIGURES, TABLES
from kdstats.stats import designs, multiplicity, swap_labels
from kdstats.training.objectives import FEATURE_OBJECTIVES, OBJECTIVES
from kdstats.training.targets import TARGETS

KEYWORD = inspect.Parameter.KEYWORD_ONLY


def test_arms():
    assert {arm.objective for arm in catalog.ARMS.values()} == OBJECTIVES.keys() | FEATURE_OBJECTIVES.keys()
    assert {arm.target for arm in catalog.ARMS.values()} - {None} == set(TARGETS)
    for kind, arm in catalog.ARMS.items():  # every parameter of a loss can be set, and has the loss's default
        if arm.objective in OBJECTIVES and kind not in (
            "label-smoothing",
            "ps-kd",
            "confusion-distillation",
        ):  # KD's loss at other defaults
            taken = inspect.signature(OBJECTIVES[arm.objective]).parameters
            settable = {name: field.default for name, field in arm.parameters.model_fields.items()}
            defaults = {name: parameter.default for name, parameter in taken.items() if parameter.kind == KEYWORD}
            assert defaults.items() - settable.items() <= {("target_is", "logits"), ("warmup", 1.0)}


def test_metrics_and_datasets():
    for name, metric in catalog.METRICS.items():
        parameters = inspect.signature(getattr(metrics, metric.function or name)).parameters
        assert next(iter(parameters)) == {"teacher": "teacher", "activations": "x"}.get(metric.against, "logits")
    assert set(catalog.DATASETS) == {"digits", "npz", *READERS} and set(READERS) == set(CLASSES)


def test_tests_and_corrections():
    here = {*designs.TESTS, *designs.T_TESTS, "mann-whitney", "label-exchange"}
    assert set(catalog.TESTS) == here == {*SEED_ONLY, "two-way-t"}
    assert inspect.signature(swap_labels).parameters["permutations"].default == plan.EXCHANGES
    for correction in set(catalog.CORRECTIONS) - {"max-t"}:  # which takes differences, not p-values
        assert multiplicity.adjust([0.5], correction).tolist() == [0.5]


def test_features():
    assert set(catalog.FEATURE_MODES) == set(get_args(Mode))


def test_tables_and_figures():
    assert {"verdicts", "arms", "inheritance"} <= set(TABLES) and {"slopes", "estimates", "inherited"} <= set(FIGURES)
