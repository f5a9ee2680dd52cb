"""What may be imported where: a light command line, training without statistics, statistics without torch."""

import importlib
import pkgutil
import subprocess
import sys

import pytest

import kdstats
from tests.conftest import SMALL, environment

HEAVY = ("torch", "torchvision", "pandas", "scipy", "sklearn", "statsmodels", "pingouin", "seaborn", "matplotlib")
BLOCK = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ImportError(name + " is not installed here")
sys.meta_path.insert(0, Blocked())
"""


def run(code, cwd=None):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, env=environment())
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "code", ["import kdstats, kdstats.cli", "import kdstats.protocol, kdstats.plan, kdstats.pipeline"]
)
def test_the_command_line_imports_nothing_heavy(code):
    assert run(f"{code}\nimport sys\nprint([m for m in {HEAVY!r} if m in sys.modules])").strip() == "[]"


def test_metrics_and_statistics_need_no_torch():
    names = ("torch", "torchvision", "seaborn", "matplotlib")
    run(BLOCK.format(names=names) + "import kdstats.metrics, kdstats.stats, kdstats.scoring, kdstats.verdicts")
    run(BLOCK.format(names=(*HEAVY,)) + "import kdstats.metrics; kdstats.metrics.agreement([[1., 0.]], [[1., 0.]])")


def test_training_needs_no_statistics_package(tmp_path):
    (tmp_path / "small.yaml").write_text(SMALL.replace("epochs: 6", "epochs: 1"))
    names = ("torchvision", "pandas", "scipy", "sklearn", "statsmodels", "pingouin", "seaborn", "matplotlib", "jinja2")
    absent = f"import sys\nsys.modules.update(dict.fromkeys({names!r}))"
    (tmp_path / "sitecustomize.py").write_text(absent)  # in the workers, too
    command = [sys.executable, "-m", "kdstats", "train", "small.yaml", "--device", "cpu"]
    env = environment() | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("runs/small/replicates/*/SHA256SUMS"))) == 90


def test_no_module_bears_the_name_of_a_public_function():
    modules = [name for _, name, _ in pkgutil.walk_packages(kdstats.__path__, "kdstats.")]
    for name in modules:
        if not name.endswith("__main__"):
            importlib.import_module(name)
    for package in ("kdstats.metrics", "kdstats.stats"):
        exported = importlib.import_module(package)
        for public in getattr(exported, "__all__", ()):
            assert callable(getattr(exported, public)), f"{package}.{public} is {getattr(exported, public)}"
