"""Statistical hypothesis tests for knowledge distillation.

``kdstats.metrics`` and ``kdstats.stats`` work alone, on numpy arrays; ``kdstats.audit`` compares networks that exist.
All are imported when they are first used.
"""

import importlib
from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "audit", "metrics", "stats"]


def __getattr__(name: str) -> Any:
    if name == "audit":
        return importlib.import_module("kdstats.auditing").audit
    if name in ("metrics", "stats"):
        return importlib.import_module(f"kdstats.{name}")
    raise AttributeError(f"module 'kdstats' has no attribute {name!r}")
