"""Plan, train what is missing, score, test, report: the one room that knows both training and reporting.

Heavy rooms are imported where they are used: a run that has nothing to train imports no torch, one that has nothing
to report no seaborn.
"""

import contextlib
import hashlib
import itertools
import json
import os
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import kdstats
from kdstats import catalog, store
from kdstats.catalog import ARMS, ASYMMETRY, INHERITANCE, METRICS, SWAPPED
from kdstats.datasets import Dataset, load_dataset
from kdstats.documents import at
from kdstats.errors import UserError
from kdstats.plan import Plan, Replicate, clusters, make_plan, refuse_unattainable, sizes, swaps_teachers, teaching
from kdstats.protocol import (
    FEWEST_PAIRS,
    NEEDED,
    Point,
    Protocol,
    grows,
    hypothesis_points,
    ladders,
    parameters_text,
    read_protocol,
    resolved,
    same_point,
)

if TYPE_CHECKING:
    from kdstats.comparisons import Comparison
    from kdstats.contrasts import Evidence
    from kdstats.protocol import Hypotheses, Hypothesis, HypothesisPoint
    from kdstats.reporting import Results
    from kdstats.scoring import Networks, ScoreTable
    from kdstats.study import Study
    from kdstats.training.workers import Progress

Say = Callable[[str], None]
Show = Callable[["Progress"], None]
Missing = Literal["refuse", "drop", "worst"]


@dataclass(frozen=True)
class Options:
    """Where things are and how they run; nothing here changes what is trained.

    Attributes
    ----------
    run_dir, report_dir : default runs/NAME and reports/NAME
    data_dir : where named datasets lie
    store : a folder of replicates that runs share
    device : auto, cpu, cuda or mps
    workers : processes that train; default one a core on the CPU, one on an accelerator
    engine : auto, which measures captured steps on CUDA, or eager
    fast : on CUDA kernels that are quicker than deterministic ones: other last digits, recorded with every replicate
    allow_mixed : compare replicates that were made on different devices or versions, and mark the report
    """

    run_dir: Path | None = None
    report_dir: Path | None = None
    data_dir: Path | None = None
    store: Path | None = None
    device: str = "auto"
    workers: int | None = None
    engine: str = "auto"
    fast: bool = False
    allow_mixed: bool = False


WRONG_CLASSES = {"derived_average", "derived_spread", "inherent_variance"}

# Plan and train --------------------------------------------------------------------------------------------------


def dataset_loader(protocol: Protocol, file: Path, data_dir: Path | None) -> Callable[[], Dataset]:
    """How this protocol's dataset is read; can be sent to a worker."""
    d = protocol.dataset
    path = file.parent / d.path if d.path else None
    return partial(
        load_dataset, d.name, path=path, data_dir=data_dir, train=d.train, test=d.test, split=d.split,
        held_out=d.held_out,
    )  # fmt: skip


def plan_protocol(
    file: Path, options: Options, protocol: Protocol | None = None
) -> tuple[Plan, Dataset, Callable[[], Dataset]]:
    """Read a protocol and its data, and plan; nothing is written.

    Parameters
    ----------
    protocol : one of those of a study, whose file it is

    Raises
    ------
    UserError
        Where the protocol, the data or an unattainable hypothesis must be changed first.
    """
    protocol = protocol or read_protocol(file)
    load = dataset_loader(protocol, file, options.data_dir)
    with at(file, "dataset"):
        dataset = load()
    _check_fit(protocol, dataset, file)
    late = store.late_with(run_folder(protocol.name, options), protocol)
    plan = make_plan(protocol, dataset.fingerprint, late)
    with at(file, "hypotheses"):
        refuse_unattainable(plan, late)
    return plan, dataset, load


def _check_fit(protocol: Protocol, dataset: Dataset, file: Path) -> None:
    """Whether the protocol can be trained on these images: batch, architectures, layers."""
    size = protocol.recipe.batch_size
    with at(file, "recipe", "batch_size"):
        if size > len(dataset.y_train):
            raise UserError(f"{size} is more than the {len(dataset.y_train)} training images; choose a smaller batch")
    for role in ("teacher", "student"):
        with at(file, role, "model"):
            _check_model(getattr(protocol, role).model, dataset, size)
    if features := protocol.features:
        from kdstats.training.features import check_activations

        for role in ("teacher", "student"):
            model = getattr(protocol, role).model
            with at(file, "features", "layer"):
                dimensions = check_activations(
                    model, dataset.shape, dataset.classes, features.layer, f"{role}.model {model}"
                )
            most = min(dimensions, len(dataset.y_test) - 1)
            with at(file, "features", "components"):
                if features.components > most:
                    raise UserError(
                        f"{features.components}, but {features.layer} of {role}.model {model} has {dimensions}"
                        f" dimensions on {len(dataset.y_test)} images: take at most {most}"
                    )
    if dataset.classes < 3:
        for i, hypothesis in enumerate(protocol.hypotheses):
            if hypothesis.metric == ASYMMETRY:
                with at(file, "hypotheses", i, "metric"):
                    raise UserError(
                        "asymmetry is made of answers that are neither teacher's, and with two classes there are none:"
                        " inherits_errors and inherits_knowledge are what can be claimed"
                    )
        for name in WRONG_CLASSES.intersection(protocol.metrics):
            with at(file, "metrics", name):
                raise UserError(f"{name} is of several wrong classes; with two classes there is one")
    for point in protocol.points:
        parameters = dict(point.parameters)
        with at(file, "arms", point.arm, "permuted"):
            if dataset.classes < 3 and (parameters.get("permuted") or point.kind == "dkpp"):
                raise UserError("with two classes there is one wrong one, and nothing to shuffle")
        if isinstance(parameters.get("layer"), str):
            from kdstats.training.features import check_layers

            its = "layer" if parameters["teacher_layer"] == "same" else "teacher_layer"
            for role, key in (("student", "layer"), ("teacher", its)):
                model = getattr(protocol, role).model
                with at(file, "arms", point.arm, key):
                    check_layers(model, dataset.shape, parameters[key], f"{role}.model {model}")


def _check_model(name: str, dataset: Dataset, batch_size: int) -> None:
    if ours := catalog.model(name):
        if min(dataset.shape[:2]) < ours.smallest:
            raise UserError(
                f"{name} needs images of {ours.smallest}×{ours.smallest} and more,"
                f" these have {dataset.shape[0]}×{dataset.shape[1]}"
            )
        return
    from kdstats.training.architectures import check_model

    check_model(name, dataset.shape, dataset.classes, batch_size)


def run_folder(name: str, options: Options) -> Path:
    return options.run_dir or Path("runs") / name


def report_folder(name: str, options: Options) -> Path:
    return options.report_dir or Path("reports") / name


def freeze_protocol(
    file: Path, options: Options, protocol: Protocol | None = None
) -> tuple[Plan, Dataset, Callable[[], Dataset], store.Frozen]:
    """Plan a protocol, and fix it in its run directory before anything trains."""
    plan, dataset, load = plan_protocol(file, options, protocol)
    run = run_folder(plan.protocol.name, options)
    with store.disk_errors(run):
        run.mkdir(parents=True, exist_ok=True)
    homes = (run / "replicates", options.store or run / "replicates")
    students = [replicate.id for replicate in plan.replicates if replicate.role == "student"]
    existed = sum(any(store.complete(home, id) for home in homes) for id in students)
    return plan, dataset, load, store.freeze(run, plan.protocol, dataset.fingerprint, environment(options), existed)


def train(file: Path, options: Options, say: Say, show: Show, protocol: Protocol | None = None) -> tuple[Path, Plan]:
    """Freeze the protocol in its run directory and train every replicate that is not there.

    A protocol with `stop` is looked at after every seed, until all its verdicts are reached.
    """
    if options.device in ("cuda", "mps"):
        from kdstats.training.engine import choose_device

        choose_device(options.device)
    plan, dataset, load, frozen = freeze_protocol(file, options, protocol)
    say(dataset.note) if dataset.note else None
    run = run_folder(plan.protocol.name, options)
    root = run / "replicates"
    home = options.store or root
    if frozen.environment.get("students_existed"):
        say(f"{run}: students of this protocol existed before it was frozen; the report says so in every row")
    if frozen.amendments:
        say(f"{run}: the protocol has {len(frozen.amendments)} amendment(s); the report marks what they added")
    if plan.protocol.stop is None:
        _train_plan(plan, root, home, load, dataset.fingerprint, options, say, show)
        return run, plan
    begun = store.read_size(run) or 0
    for size in sizes(plan.protocol):
        if size < begun:
            continue
        now = make_plan(plan.protocol, dataset.fingerprint, frozen.late, size)
        _train_plan(now, root, home, load, dataset.fingerprint, options, say, show)
        with store.disk_errors(run):
            store.write_json(run / "size.json", size)
        undecided = _undecided(run, frozen, now, options.allow_mixed)
        at = f"{size} {'teachers' if grows(plan.protocol.hypotheses) == 'teacher' else 'student seeds'}"
        if not undecided:
            say(f"{at}: every verdict is reached, training stops")
            break
        say(f"{at}: {len(undecided)} of {len(now.floors)} hypotheses are inconclusive, the first {undecided[0]}")
    return run, now


def _undecided(run: Path, frozen: store.Frozen, plan: Plan, allow_mixed: bool) -> list[str]:
    """Hypotheses without a verdict so far."""
    try:
        from kdstats import scoring, verdicts
    except ImportError as error:
        raise UserError(
            f"`stop` looks at the verdicts while training, which needs the statistics packages ({error.name} is"
            " missing): install them, or take `stop` out of the protocol"
        ) from None
    networks = scoring.read_networks(run, plan)
    _devices(networks, allow_mixed)
    evidence = _evidence(frozen, networks, scoring.scores(networks))
    protocol = plan.protocol
    _, found = verdicts.judge(evidence, hypothesis_points(protocol), protocol.level, protocol.correction)
    return list(found["hypothesis"][found["verdict"] == "inconclusive"])


def _train_plan(
    plan: Plan,
    root: Path,
    home: Path,
    load: Callable[[], Dataset],
    fingerprint: str,
    options: Options,
    say: Say,
    show: Show,
) -> None:
    """Train what is missing of a plan, in ``home``, and link it into the run directory's ``root``."""
    with store.disk_errors(home):
        root.mkdir(exist_ok=True)
        home.mkdir(parents=True, exist_ok=True)
        for folder in {root, home}:
            remove_damaged(plan, folder, say)
        store.link_replicates(home, root, (r.id for r in plan.replicates)) if home != root else None
    missing = [replicate for replicate in plan.replicates if not store.complete(home, replicate.id)]
    if missing:
        _train_missing(plan, missing, root.parent, home, load, fingerprint, options, say, show)
    if home != root:
        with store.disk_errors(root.parent):
            store.link_replicates(home, root, (r.id for r in plan.replicates))


def _train_missing(
    plan: Plan,
    missing: Sequence[Replicate],
    run: Path,
    home: Path,
    load: Callable[[], Dataset],
    fingerprint: str,
    options: Options,
    say: Say,
    show: Show,
) -> None:
    from kdstats.training.engine import check_precision, choose_device
    from kdstats.training.workers import Job, Progress, choose_engine, default_workers, device_name, train_missing

    device = choose_device(options.device)
    if slow := check_precision(plan.protocol.recipe.precision, device):
        say(slow)
    if options.fast and device.type != "cuda":
        say(f"--fast changes nothing on {device.type}")
    workers = min(options.workers or default_workers(device.type), len(missing))
    say(
        f"training {len(missing)} of {len(plan.replicates)} replicates on {device_name(device, options.fast)} with"
        f" {workers} worker{'s' if workers > 1 else ''}"
    )
    job = Job(plan, home, load, fingerprint, str(device), workers, fast=options.fast)
    job, why = choose_engine(job, options.engine, run / "engine.json")
    if device.type == "cuda":
        say(f"engine: {job.engine}, {job.side_by_side} replicates at a time ({why})")
    there = {replicate.id for replicate in plan.replicates} - {replicate.id for replicate in missing}
    train_missing(job, show, Progress(len(plan.replicates), plan.protocol.recipe.epochs, there))


def remove_damaged(plan: Plan, root: Path, say: Say) -> None:
    """Name damaged replicates and take them away, to be trained again."""
    needed = teaching(plan)
    for replicate in plan.replicates:
        if not store.complete(root, replicate.id) and not (root / replicate.id).exists():
            continue
        try:
            found = store.read_replicate(root, replicate.id)
            if replicate.id in needed and found.logits is not None:
                store.read_weights(root, replicate.id)  # a student that teaches, trained where it taught nobody
        except store.Damaged as damage:
            with store.locked(root, replicate.id) as ours:
                if ours:
                    say(f"{damage}; {replicate} is trained again")
                    store.remove_replicate(root, replicate.id)


def environment(options: Options) -> dict[str, Any]:
    """Versions and machine, for environment.json; no dates, no paths."""
    import importlib.metadata as installed
    import platform

    versions = {}
    for package in ("torch", "torchvision", "numpy", "scipy", "statsmodels", "pandas", "pingouin", "safetensors"):
        try:
            versions[package] = installed.version(package)
        except installed.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "versions": {"kdstats": kdstats.__version__, "python": platform.python_version(), **versions},
        "platform": f"{platform.system()} {platform.machine()}",
        "device_asked_for": options.device,
        "deterministic": not options.fast,
        "git_commit": _git_commit(),
    }


def _git_commit() -> str | None:
    """The commit of the kdstats that runs, if it runs from a checkout of its own."""
    here = Path(__file__).resolve().parent
    if not (here.parent / ".git").exists():
        return None
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


# Score and test --------------------------------------------------------------------------------------------------

# Hundreds of rows of sign flips: Holm over them is out of reach of any affordable number of teachers, and their
# dependence is not known. C's sister paper takes this correction too.
EXPLORATORY = "by"
STAMP = "results.json"
STUDY = "study.yaml"
TABLES = ("scores", "contrasts", "verdicts", "inheritance", "ladder", "transfers", "curves", "failures")


def plan_of(run: Path, frozen: store.Frozen) -> Plan:
    """The plan of a run directory, as far as its protocol has grown."""
    return make_plan(frozen.protocol, frozen.fingerprint, frozen.late, store.read_size(run))


def evaluate(run: Path, allow_mixed: bool, say: Say) -> "Results":
    """Score every replicate of a run, test its hypotheses, and write the tidy tables into the run directory."""
    import pandas as pd

    from kdstats import decomposition, inheritance_table, interactions, mistakes, scoring, verdicts
    from kdstats.reporting import Results

    frozen = store.read_frozen(run)
    record = frozen.environment
    plan = plan_of(run, frozen)
    networks = scoring.read_networks(run, plan)
    made_on = _devices(networks, allow_mixed)
    table = scoring.scores(networks)
    evidence = _evidence(frozen, networks, table)
    protocol = plan.protocol
    described: dict[str, pd.DataFrame] = {}
    if protocol.features:
        joined = interactions.join(networks)
        evidence = replace(
            evidence, exchange=partial(interactions.exchange, joined), thresholds=interactions.thresholds(joined)
        )
        if joined:
            described = interactions.describe(joined, evidence.identity)
    inherited = inheritance_table.describe(evidence, protocol.points, 1 - protocol.level)
    if described or any("confusion" in str(ARMS[point.kind].target) for point in protocol.points):
        described["mistakes"] = mistakes.describe(networks, evidence.identity)
    confirmatory, verdict_table = verdicts.judge(
        evidence, hypothesis_points(protocol), protocol.level, protocol.correction
    )
    exploratory = verdicts.explore(evidence, list(_exploratory(protocol)), protocol.level, EXPLORATORY)
    contrasts = pd.concat([confirmatory, exploratory], ignore_index=True) if len(exploratory) else confirmatory
    results = Results(
        protocol=resolved(protocol),
        protocol_hash=frozen.hash,
        # the commit stays in environment.json: a report is the same at every commit that gives the same numbers
        environment={key: value for key, value in record.items() if key != "git_commit"} | {"made_on": made_on},
        amendments=list(frozen.amendments),
        scores=table,
        contrasts=contrasts,
        verdicts=verdict_table,
        ladder=decomposition.decompose(evidence, ladders(protocol), protocol.metrics, protocol.level),
        transfers=scoring.transfers(networks, list(controls_of(protocol.points))),
        curves=scoring.curves(networks),
        failures=scoring.failures(networks),
        features=described,
        inheritance=inherited,
    )
    if not os.access(run, os.W_OK):
        say(f"{run}: is read-only; its own tables stay as they are")
        return results
    with store.disk_errors(run), store.run_lock(run):
        for name in TABLES:
            store.write_whole(run / f"{name}.csv", getattr(results, name).to_csv(index=False).encode())
        for name, table in results.features.items():
            store.write_whole(run / f"{name}.csv", table.to_csv(index=False).encode())
    return results


def _evidence(frozen: store.Frozen, networks: "Networks", table: Any) -> "Evidence":
    from kdstats import scoring
    from kdstats.contrasts import Evidence

    protocol = networks.plan.protocol
    return Evidence(
        table,
        tuple(itertools.product(protocol.teacher.seeds, protocol.student.seeds)),
        clusters(protocol),
        partial(scoring.per_example, networks),
        partial(scoring.agreements, networks),
        partial(scoring.swapped, networks),
        plain_of(protocol.points),
        frozen.late,
        {
            "protocol": protocol.name,
            "protocol_hash": frozen.hash,
            "dataset": protocol.dataset.name,
            "split": protocol.dataset.split,
        },
        classes=next((one.logits.shape[1] for one in networks.stored.values() if one.logits is not None), 0),
        rules=frozen.protocol.rules,
        control_floor=protocol.control_floor,
    )


def plain_of(points: Iterable[Point]) -> Point | None:
    """The arm of labels alone, against whose accuracy controls are held: of the teacher's weights before fresh ones."""
    plain = [point for point in points if ARMS[point.kind].plain]
    return min(plain, key=lambda point: point.initialisation != "teacher", default=None)


def controls_of(points: Iterable[Point]) -> Iterable[tuple[Point, Point]]:
    """Each arm with the controls that the field would ask for at its point: CE, noise, another teacher."""
    ladder = ("own_teacher", "other_teacher", "noise", "neutral")

    def rung(point: Point) -> int:
        arm, target = ARMS[point.kind], "neutral" if point.kind == "neutral" else str(ARMS[point.kind].target)
        return len(ladder) if arm.plain else ladder.index(target) if target in ladder else -1

    points = tuple(points)
    for arm, control in itertools.product(points, points):
        paired = rung(control) > max(rung(arm), 0) and arm.initialisation == control.initialisation
        if paired and (ARMS[control.kind].plain or same_point(arm, control)):
            yield arm, control


def _exploratory(protocol: Protocol) -> Iterable["Comparison"]:
    """Every metric of every arm against its controls, at the widest scope that the design allows."""
    from kdstats import inheritance
    from kdstats.comparisons import Comparison

    teachers, students = len(protocol.teacher.seeds), len(protocol.student.seeds)
    for arm, control in controls_of(protocol.points):
        paired = "other" in (ARMS[arm.kind].learns_from, ARMS[control.kind].learns_from)
        scope = "recipe" if teachers // (2 if paired else 1) >= 2 else "these"
        if scope == "these" and students < 2:
            continue
        base = Comparison("", arm, control, scope, paired_teachers=paired)
        for name in (name for name in METRICS if name in protocol.metrics):
            if METRICS[name].examples == "new" and not protocol.stop:
                yield replace(base, metric=name, scope_examples="new", test="two-way-t")
            else:
                yield replace(base, metric=name, test="anytime" if protocol.stop else "sign-flip")
        if not {"positive_transfer", "negative_transfer"} <= set(protocol.metrics):
            continue
        other = ARMS[control.kind].learns_from == "other"
        if other and ARMS[arm.kind].target == "own_teacher" and teachers >= 2 * FEWEST_PAIRS:
            for name in () if protocol.stop else INHERITANCE:
                yield replace(
                    base, metric=name, scope_examples="new", test="two-way-t", estimator=inheritance.BALANCED
                )  # fmt: skip
        described = "headroom" if other else "raw" if ARMS[control.kind].plain else None
        if described and ARMS[arm.kind].target == "own_teacher":
            one = replace(base, metric=ASYMMETRY, estimator=described)
            new = replace(one, scope_examples="new", test="two-way-t")
            yield replace(one, test="anytime") if protocol.stop else new


def _devices(networks: "Networks", allow_mixed: bool) -> list[str]:
    """On what the replicates were made; pairs whose two sides differ are refused unless they are allowed."""
    made_on = {
        id: f"{one.meta['device']}, torch {one.meta['versions']['torch']}" for id, one in networks.stored.items()
    }
    pairs: dict[tuple[int, int | None], set[str]] = {}
    for (_, _, teacher, seed), replicate in networks.by_key.items():
        if seed is not None:
            pairs.setdefault((teacher, seed), set()).add(made_on[replicate.id])
    for (teacher, seed), devices in pairs.items():
        if len(devices) > 1 and not allow_mixed:
            raise UserError(
                f"the students of teacher {teacher}, seed {seed} were made on different devices or versions"
                f" ({'; '.join(sorted(devices))}): arm and control would differ in more than the arm."
                " Train them on one, or give --allow-mixed, which marks the report"
            )
    return sorted(set(made_on.values()))


# Report and run --------------------------------------------------------------------------------------------------


def report(run: Path, report_dir: Path | None, allow_mixed: bool, say: Say) -> Path:
    """Test a run and write its report; the index page's path."""
    from kdstats.reporting import write_report

    results = evaluate(run, allow_mixed, say)
    folder = report_dir or Path("reports") / results.protocol["name"]
    writable = os.access(run, os.W_OK)
    with store.disk_errors(folder), store.run_lock(run) if writable else contextlib.nullcontext():
        write_report(results, folder)
    say(f"report: {folder / 'index.html'}")
    if writable:
        frozen = store.read_frozen(run)
        inputs = _inputs(run, plan_of(run, frozen), allow_mixed)
        with store.disk_errors(run):
            store.write_json(run / STAMP, {"inputs": inputs, "outputs": _outputs(run, folder)})
    return folder / "index.html"


def run_protocol(file: Path, options: Options, say: Say, show: Show, protocol: Protocol | None = None) -> Path:
    """All of it; the same command again completes what is missing, and does nothing where nothing is.

    Returns
    -------
    The report's page.
    """
    run, plan = train(file, options, say, show, protocol)
    folder = report_folder(plan.protocol.name, options)
    inputs = _inputs(run, plan, options.allow_mixed)
    if _stamped(run) == {"inputs": inputs, "outputs": _outputs(run, folder)}:
        say(f"nothing to do: {len(plan.replicates)} replicates, tests and report are up to date")
        say(f"report: {folder / 'index.html'}")
        return folder / "index.html"
    say(f"testing {len(plan.floors)} hypotheses on {len(plan.replicates)} replicates")
    return report(run, folder, options.allow_mixed, say)


# Studies ---------------------------------------------------------------------------------------------------------


def of_study(study: "Study", options: Options) -> list[tuple[str, Protocol, Options]]:
    """Each value, its protocol, and where its run and report are: RUN/VALUE, REPORT/VALUE, one store for all."""
    run, folder = run_folder(study.name, options), report_folder(study.name, options)
    home = options.store or run / "replicates"
    return [
        (value, protocol, replace(options, run_dir=run / value, report_dir=folder / value, store=home))
        for value, protocol in zip(study.values, study.protocols, strict=True)
    ]


def freeze_study(study: "Study", file: Path, options: Options) -> frozenset[str]:
    """Fix a study and all its protocols before anything trains; the trends that were declared after training."""
    run = run_folder(study.name, options)
    with store.disk_errors(run):
        run.mkdir(parents=True, exist_ok=True)
    declared = {trend.name: trend.model_dump_json() for trend in study.trends}
    late = store.freeze_study(run, study.hash, declared, study.values)
    with store.disk_errors(run):
        store.write_whole(run / STUDY, file.read_bytes())
    for _, protocol, own in of_study(study, options):  # all of them: what they share is there when the second begins
        freeze_protocol(file, own, protocol)
    return late


def run_study(study: "Study", file: Path, options: Options, say: Say, show: Show) -> Path:
    """Run a study's protocols one after the other, judge its trends, and report both.

    Each value has its run in RUN/VALUE and its report in REPORT/VALUE; what they have in common is trained once.

    Returns
    -------
    The study's page.
    """
    late = freeze_study(study, file, options)
    for value, protocol, own in of_study(study, options):
        say(f"{study.over} = {value}")
        run_protocol(file, own, say, show, protocol)
    run, folder = run_folder(study.name, options), report_folder(study.name, options)
    return report_study(study, run, folder, late, options.allow_mixed, say)


def report_again(run: Path, report_dir: Path | None, allow_mixed: bool, say: Say) -> Path:
    """Test and report a study that lies in a run directory, its runs first."""
    from kdstats.study import read_study

    study = read_study(run / STUDY)
    folder = report_dir or Path("reports") / study.name
    late = frozenset(store.read_json(run / "study.json")["late"])
    for value in study.values:
        report(run / value, folder / value, allow_mixed, say)
    return report_study(study, run, folder, late, allow_mixed, say)


def report_study(study: "Study", run: Path, folder: Path, late: frozenset[str], allow_mixed: bool, say: Say) -> Path:
    """Judge the trends of a study whose runs are there, and write its page."""
    from kdstats import scoring, trends
    from kdstats.reporting.studies import StudyResults, write_study

    networks = []
    for value in study.values:
        of = scoring.read_networks(run / value, plan_of(run / value, store.read_frozen(run / value)))
        _devices(of, allow_mixed)
        networks.append(of)
    scores = [scoring.scores(of) for of in networks]
    rows, levels, units = trends.judge(study, scores, networks, late)
    described = trends.describe(study, networks)
    with store.disk_errors(run):
        for name, table in (("trends", rows), ("levels", levels), ("units", units), ("capacities", described)):
            store.write_whole(run / f"{name}.csv", table.to_csv(index=False).encode())
    made_on = sorted({one for of in networks for one in _devices(of, True)})
    page = write_study(StudyResults(study, rows, levels, units, described, made_on), folder)
    say(f"report: {page}")
    return page


def _stamped(run: Path) -> Any:
    """What the stamp says; it only saves work, so one that is missing or damaged says nothing."""
    try:
        return json.loads((run / STAMP).read_text("utf-8"))
    except (OSError, ValueError):
        return None


def _inputs(run: Path, plan: Plan, allow_mixed: bool) -> str:
    """All that the results depend on: frozen protocol and amendments, every replicate's checksums, this code."""
    root = run / "replicates"
    code = sorted(Path(__file__).parent.rglob("*.py")) + sorted((Path(__file__).parent / "reporting").glob("page.*"))
    files = [run / name for name in ("protocol.yaml", "environment.json", "amendments.json", "size.json")]
    files += [root / replicate.id / store.SUMS for replicate in plan.replicates] + code
    return _digest([repr(allow_mixed).encode(), *(file.read_bytes() for file in files if file.exists())])


def _outputs(run: Path, folder: Path) -> str:
    """All that came of them: the tidy tables and the report, so that what was deleted or edited is made again."""
    files = [run / f"{name}.csv" for name in TABLES] + sorted(file for file in folder.rglob("*") if file.is_file())
    return _digest(str(file.name).encode() + file.read_bytes() for file in files if file.exists())


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


@dataclass(frozen=True)
class Status:
    """How far a run is."""

    name: str
    hash: str
    trained: int
    total: int
    failed: int
    damaged: tuple[str, ...]
    tested: bool


def status(run: Path) -> Status:
    """How far a run directory is; reads and verifies, changes nothing."""
    frozen = store.read_frozen(run)
    plan = plan_of(run, frozen)
    trained, failed, damaged = 0, 0, []
    for replicate in plan.replicates:
        if store.complete(run / "replicates", replicate.id):
            try:
                failed += store.read_replicate(run / "replicates", replicate.id).logits is None
                trained += 1
            except store.Damaged as damage:
                damaged.append(str(damage))
    stamped = _stamped(run)
    inputs = {_inputs(run, plan, allow_mixed) for allow_mixed in (False, True)}
    tested = isinstance(stamped, dict) and stamped.get("inputs") in inputs and trained == len(plan.replicates)
    tested = tested and all((run / f"{name}.csv").exists() for name in TABLES)
    return Status(frozen.protocol.name, frozen.hash, trained, len(plan.replicates), failed, tuple(damaged), tested)


# Scores of others ------------------------------------------------------------------------------------------------


def judge_scores(file: Path, hypotheses: "Hypotheses", missing: Missing = "refuse") -> tuple[Any, Any]:
    """Contrasts and verdicts of a tidy scores table that others made; of several datasets, a claim each.

    A table without teachers speaks of the seeds that it has: every scope becomes "these", and the rows say so.

    Parameters
    ----------
    missing : what it means that a network has no score, whether it has no row, an empty value, or rows of other metrics
        alone. drop: it was never logged, so that its pair is left out; worst: it might have scored anything between the
        metric's bounds; refuse: nobody has said

    Raises
    ------
    UserError
        As ``scoring.read_scores``; a hypothesis that the table cannot carry; with refuse, the networks without a score.
    """
    from kdstats import contrasts, scoring, verdicts

    cases = {}
    for dataset, table in scoring.read_scores(file).items():
        at = f"{file}: {dataset}" if dataset else str(file)
        points = [point for hypothesis in hypotheses.hypotheses for point in _points_of(at, table, hypothesis)]
        pairs = tuple(dict.fromkeys(zip(table.scores["teacher"], table.scores["seed"], strict=True)))
        if missing == "refuse":
            _refuse_missing(at, table, points)
        evidence = contrasts.Evidence(
            table.scores, pairs, table.clusters, recorded=False, identity=table.identity,
            missing="worst" if missing == "refuse" else missing,
        )  # fmt: skip
        cases[dataset] = evidence, points
    return verdicts.judge_datasets(cases, hypotheses.level, hypotheses.correction)


def _refuse_missing(at: str, table: "ScoreTable", points: Iterable["HypothesisPoint"]) -> None:
    """Refuse a table in which a network has no score though a hypothesis asks for one, and nothing says why."""
    from kdstats import contrasts

    scores = contrasts.tabulate(table.scores)
    lacking: dict[str, dict[Any, None]] = {}  # metric -> networks, each once
    for point in points:
        for control in point.controls:
            found = contrasts.without_score(scores, point.metric, point.arm, control, point.test == "mann-whitney")
            lacking.setdefault(point.metric, {}).update(dict.fromkeys(found))
    said = [
        f"{contrasts.network_names(list(found), table.scores['teacher'].nunique() > 1)}"
        f" {'has' if len(found) == 1 else 'have'} no {metric}"
        for metric, found in lacking.items()
        if found
    ]
    if said:
        raise UserError(
            f"{at}: {'; '.join(said)}, and nothing says why. If it was never logged, for a reason that has nothing to"
            " do with the score, --missing drop leaves its pair out; if the network may have failed, --missing worst"
            " takes the worst that it might have scored"
        )


def designs_of(file: Path, arm: str | None, control: str | None, metric: str | None) -> Any:
    """What a scores table can be asked: ``kdstats.stats.designs_of``, as a table.

    Raises
    ------
    UserError
        Where the table is no table of scores, or has nothing to compare.
    """
    import pandas as pd

    from kdstats import scoring, stats

    scoring.read_scores(file)  # for its sentences
    try:
        table = pd.read_csv(file, keep_default_na=False, na_values=[""])  # an arm may be called null
        return stats.designs_of(table, arm=arm, control=control, metric=metric)
    except ValueError as error:
        raise UserError(f"{file}: {error}") from None


def _points_of(at: str, table: "ScoreTable", hypothesis: "Hypothesis") -> Iterable["HypothesisPoint"]:
    """A hypothesis at the points of a table, or the sentence that says what the table lacks."""
    from kdstats.protocol import Mistakes, expand

    metrics = set(table.scores["metric"][table.scores["value"].notna()])
    if hypothesis.metric in SWAPPED:
        raise UserError(
            f"{at}: hypothesis {hypothesis.name}: {hypothesis.metric} compares students of swapped teachers answer by"
            " answer, which a table of scores does not hold: test the run directory, or audit the predictions"
        )
    needed = set(NEEDED.get(hypothesis.metric, (hypothesis.metric,)))
    if not metrics >= needed:
        raise UserError(
            f"{at}: hypothesis {hypothesis.name}: has no scores of {', '.join(sorted(needed - metrics))};"
            f" it has {', '.join(sorted(metrics))}"
        )
    if hypothesis.scope.examples == "new":
        raise UserError(
            f"{at}: hypothesis {hypothesis.name}: a table of scores has no values per example, so nothing can be"
            " said of new examples; write scope: {examples: this test set}, or test the run directory"
        )
    try:
        expanded = expand(hypothesis, table.points)
    except Mistakes as mistakes:
        raise UserError(
            "\n".join(f"{at}: hypothesis {hypothesis.name}: {said}" for _, said in mistakes.found)
        ) from None
    for point in expanded:
        recipe = point.scope_teachers == "recipe"
        if recipe and table.has_teachers and not table.clusters and _swaps_known(point):
            raise UserError(
                f"{at}: hypothesis {point.name}: students of kd-other share teachers, so the unit of a claim"
                " about the recipe is a group of teachers; add a column cluster that names each teacher's group"
            )
        for control in point.controls:
            _refuse_pairing(f"{at}: hypothesis {point.name}", table, point, control)
        yield point if table.has_teachers else replace(point, scope_teachers="these")


def _refuse_pairing(at: str, table: "ScoreTable", point: "HypothesisPoint", control: Point) -> None:
    """Paired tests need replicates in common, an unpaired test networks that share no teacher."""
    scores = table.scores
    rows = [
        scores[(scores["arm"] == side.arm) & (scores["arm_params"] == parameters_text(side.parameters))]
        for side in (point.arm, control)
    ]
    teachers, pairs = zip(*((set(r["teacher"]), _pairs_with(r, point.metric)) for r in rows), strict=True)
    names = f"{point.arm.arm} and {control.arm}"
    if point.test == "mann-whitney" and table.has_teachers and teachers[0] & teachers[1]:
        raise UserError(
            f"{at}: {names} share teacher {min(teachers[0] & teachers[1])}, so they are paired; take sign-flip,"
            " wilcoxon or paired-t"
        )
    if point.test == "mann-whitney" and table.has_teachers and point.scope_teachers != "recipe":
        raise UserError(
            f"{at}: students of one teacher are not independent, so mann-whitney counts teachers, the means of their"
            " students: scope recipe"
        )
    if point.test != "mann-whitney" and all(pairs) and not pairs[0] & pairs[1]:
        advice = "for unpaired scores take the test mann-whitney"
        if table.has_teachers and teachers[0] & teachers[1]:
            advice = "but they share teachers, which are pairs: average over the seeds of each, one row a teacher"
        raise UserError(f"{at}: {names} have no teacher and seed in common, so no students are paired; {advice}")


def _pairs_with(rows: Any, metric: str) -> set[tuple[int, int]]:
    """Teacher and seed of the rows that have a value of a metric."""
    there = rows[(rows["metric"] == metric) & rows["value"].notna()]
    return set(zip(there["teacher"], there["seed"], strict=True))


def _swaps_known(point: "HypothesisPoint") -> bool:
    return any(side.kind in ARMS and swaps_teachers(side.kind) for side in (point.arm, *point.controls))


def write_tables(folder: Path, **tables: Any) -> None:
    """Tables as CSV files in a folder."""
    with store.disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, table in tables.items():
            store.write_whole(folder / f"{name}.csv", table.to_csv(index=False).encode())
