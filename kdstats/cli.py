"""The commands: parse, print, exit. What they do lies in ``kdstats.pipeline``; heavy rooms are imported when needed."""

import contextlib
import errno
import functools
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from kdstats import __version__
from kdstats.errors import UserError
from kdstats.surroundings import draw_without_a_screen, speak_plainly

if TYPE_CHECKING:
    from kdstats.datasets import Dataset
    from kdstats.pipeline import Options, Status
    from kdstats.plan import Plan
    from kdstats.training.workers import Progress

app = typer.Typer(
    name="kdstats",
    help="Statistical hypothesis tests for knowledge distillation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


Device = Literal["auto", "cpu", "cuda", "mps"]
Engine = Literal["auto", "eager"]
Direction = Literal["greater", "less", "two-sided", "not-less", "not-greater", "equivalent"]
Method = Literal["sign-flip", "wilcoxon", "paired-t", "mann-whitney"]
Teachers = Literal["recipe", "these", "each"]
Missing = Literal["refuse", "drop", "worst"]


ProtocolFile = Annotated[Path, typer.Argument(metavar="PROTOCOL", help="The protocol, a YAML file.")]
RunDir = Annotated[Path | None, typer.Option(metavar="DIR", help="The run's own folder; default runs/NAME.")]
ReportDir = Annotated[Path | None, typer.Option(metavar="DIR", help="The report's own folder; default reports/NAME.")]
DataDir = Annotated[Path | None, typer.Option(metavar="DIR", help="Where datasets lie; default KDSTATS_DATA.")]
StoreDir = Annotated[Path | None, typer.Option("--store", metavar="DIR", help="Replicates that several runs share.")]
DeviceName = Annotated[Device, typer.Option(help="Where to train.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Training processes; default one a core on the CPU.")]
EngineName = Annotated[Engine, typer.Option(help="How steps are made: auto measures captured ones on CUDA.")]
Fast = Annotated[bool, typer.Option("--fast", help="On CUDA: quicker kernels, which are not deterministic; recorded.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
AllowMixed = Annotated[bool, typer.Option("--allow-mixed", help="Compare replicates of different devices; marked.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]

DISK = (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EPERM, errno.EDQUOT, errno.ENAMETOOLONG)

# Exit codes
INVALID, USER_ERROR, NOT_MET, INTERRUPTED = 1, 2, 3, 130


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Turn what the user must change into a sentence and exit code 2, and an interrupt into one and 130."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except UserError as error:
            stop(f"error: {error}", USER_ERROR)
        except KeyboardInterrupt:
            again = shlex.join(["kdstats", *sys.argv[1:]])
            stop(f"interrupted; what was finished is kept, and the same command continues: {again}", INTERRUPTED)
        except BrokenPipeError:
            raise SystemExit(0) from None
        except OSError as error:
            if error.errno not in DISK:
                raise
            stop(f"error: {error.filename or 'the disk'}: cannot be written or read ({error.strerror})", USER_ERROR)

    return run


def stop(sentence: str, code: int) -> None:
    print(sentence, file=sys.stderr, flush=True)
    raise SystemExit(code)


def main() -> None:
    """Entry point of the console script."""
    speak_plainly()
    draw_without_a_screen()
    app()


def _version(asked: bool) -> None:
    if asked:
        print(f"kdstats {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    pass


def _options(**given: Any) -> "Options":
    from kdstats.pipeline import Options

    return Options(**given)


@app.command()
@guarded
def run(
    protocol: ProtocolFile,
    run_dir: RunDir = None,
    report_dir: ReportDir = None,
    data_dir: DataDir = None,
    store: StoreDir = None,
    device: DeviceName = "auto",
    workers: Workers = None,
    engine: EngineName = "auto",
    fast: Fast = False,
    allow_mixed: AllowMixed = False,
    quiet: Quiet = False,
) -> None:
    """Plan, train what is missing, score, test, report. The same command again continues."""
    from kdstats.pipeline import run_protocol, run_study
    from kdstats.study import study_of

    options = _options(
        run_dir=run_dir, report_dir=report_dir, data_dir=data_dir, store=store, device=device, workers=workers,
        engine=engine, fast=fast, allow_mixed=allow_mixed,
    )  # fmt: skip
    study = study_of(protocol)
    with progress(quiet) as show:
        if study:
            page = run_study(study, protocol, options, say(quiet), show)
        else:
            page = run_protocol(protocol, options, say(quiet), show)
    if not quiet:
        print_verdicts(page.parent)


@app.command()
@guarded
def plan(protocol: ProtocolFile, run_dir: RunDir = None, data_dir: DataDir = None) -> None:
    """Say what a protocol would train and what its hypotheses can reach; nothing is written."""
    from kdstats.pipeline import of_study, plan_protocol
    from kdstats.study import floors, study_of

    options = _options(run_dir=run_dir, data_dir=data_dir)
    study = study_of(protocol)
    if study is None:
        print_plan(*plan_protocol(protocol, options)[:2])
        return
    print(f"study {study.name}, hash {study.hash[:12]}, over {study.over}; what its runs share is trained once")
    for _, one, own in of_study(study, options):
        print_plan(*plan_protocol(protocol, own, one)[:2])
    print(f"{len(study.trends)} trends, level {study.level:g}, correction {study.correction}:")
    for trend, lowest, adjusted in floors(study):
        reach = f"smallest p {lowest:.3g}, adjusted {adjusted:.3g}"
        print(f"  {trend.name}: {trend.metric} of {trend.arm} {trend.direction}, {reach}")


def print_plan(made: "Plan", dataset: "Dataset") -> None:
    """What one protocol would train, and what its hypotheses can reach."""
    from kdstats.catalog import SWAPPED
    from kdstats.claims import of_swaps
    from kdstats.plan import sizes
    from kdstats.protocol import grows

    p = made.protocol
    teachers = sum(replicate.role == "teacher" for replicate in made.replicates)
    students = len(made.replicates) - teachers
    steps = len(made.replicates) * p.recipe.epochs * (len(dataset.y_train) // p.recipe.batch_size)
    print(f"protocol {p.name}, hash {made.hash[:12]}")
    images = f"{len(dataset.y_train)} training, {len(dataset.y_test)} {p.dataset.split} images"
    print(f"dataset {p.dataset.name}: {images}, {dataset.classes} classes")
    print(dataset.note) if dataset.note else None
    print(
        f"{len(made.replicates)} replicates: {teachers} teachers ({p.teacher.model}),"
        f" {students} students ({p.student.model})"
    )
    print(f"{len(made.replicates) * p.recipe.epochs:,} epochs, {steps:,} steps")
    for point in p.points:
        print(f"  arm {point}")
    if p.stop:
        looks = sizes(p)
        print(
            f"stop: looks after {looks[0]}, {looks[0] + looks.step}, … at most {looks[-1]} {grows(p.hypotheses)} seeds"
        )
    print(f"{len(made.floors)} hypotheses, level {p.level:g}, correction {p.correction}:")
    said = ""  # once, where a hypothesis has several points
    for floor in made.floors:
        reach = f"smallest p {floor.smallest_p:.3g}, adjusted {floor.smallest_adjusted:.3g}"
        print(f"  {floor.hypothesis.name}: {floor.hypothesis.test}, {floor.units} units, {reach}")
        if (metric := floor.hypothesis.metric) in SWAPPED:
            words = of_swaps(metric, floor.hypothesis.direction, floor.hypothesis.margin, p.rules)
            print(f"    {words}") if words != said else None
            said = words


@app.command()
@guarded
def train(
    protocol: ProtocolFile,
    run_dir: RunDir = None,
    data_dir: DataDir = None,
    store: StoreDir = None,
    device: DeviceName = "auto",
    workers: Workers = None,
    engine: EngineName = "auto",
    fast: Fast = False,
    quiet: Quiet = False,
) -> None:
    """Train what is missing. Needs torch and numpy and no statistics package."""
    from kdstats.pipeline import freeze_study, of_study
    from kdstats.pipeline import train as train_protocol
    from kdstats.study import study_of

    options = _options(
        run_dir=run_dir, data_dir=data_dir, store=store, device=device, workers=workers, engine=engine, fast=fast
    )  # fmt: skip
    study = study_of(protocol)
    with progress(quiet) as show:
        if study:
            freeze_study(study, protocol, options)
            for value, one, own in of_study(study, options):
                say(quiet)(f"{study.over} = {value}")
                train_protocol(protocol, own, say(quiet), show, one)
            return
        folder, made = train_protocol(protocol, options, say(quiet), show)
    say(quiet)(
        f"{folder}: all {len(made.replicates)} replicates are there; next: kdstats report {shlex.quote(str(folder))}"
    )


@app.command()
@guarded
def status(run: RunFolder) -> None:
    """Say how far a run is; changes nothing."""
    from kdstats.pipeline import STUDY
    from kdstats.pipeline import status as status_of
    from kdstats.study import read_study

    if (run / STUDY).exists():
        for value in read_study(run / STUDY).values:
            if (run / value / "protocol.yaml").exists():
                print_status(status_of(run / value))
            else:
                print(f"{value}: not begun")
        return
    print_status(status_of(run))


def print_status(s: "Status") -> None:
    of = f"{s.trained - s.failed} of {s.total} replicates trained, {s.failed} failed"
    print(f"protocol {s.name}, hash {s.hash[:12]}: {of}")
    for damage in s.damaged:
        print(f"damaged: {damage}")
    print("tested and reported" if s.tested else "not tested yet")


@app.command()
@guarded
def test(
    target: Annotated[Path, typer.Argument(metavar="RUN|SCORES.csv", help="A run directory, or a table of scores.")],
    arm: Annotated[str | None, typer.Option(help="Of a table: the arm.")] = None,
    control: Annotated[
        list[str] | None, typer.Option(help="Of a table: its control; may be given several times.")
    ] = None,
    metric: Annotated[str | None, typer.Option(help="Of a table: the metric.")] = None,
    alternative: Annotated[Direction, typer.Option(help="What is claimed of arm minus control.")] = "two-sided",
    method: Annotated[Method, typer.Option("--test", help="The test.")] = "sign-flip",
    scope: Annotated[Teachers, typer.Option(help="Which teachers the claim is about.")] = "recipe",
    margin: Annotated[float | None, typer.Option(help="Margin of equivalence, in the metric's unit.")] = None,
    designs: Annotated[
        bool, typer.Option("--designs", help="Of a table: say what it can be asked; test nothing.")
    ] = False,
    hypotheses: Annotated[Path | None, typer.Option(metavar="FILE", help="Of a table: the protocol's block.")] = None,
    missing: Annotated[
        Missing | None,
        typer.Option(
            help="Of a table: networks without a score were never logged (drop) or may have failed (worst);"
            " default refuse."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Write contrasts.csv and verdicts.csv there.")] = None,
    allow_mixed: AllowMixed = False,
) -> None:
    """Test the hypotheses of a run, or of any tidy table of scores (arm, seed, metric, value)."""
    from kdstats import pipeline
    from kdstats.protocol import one_hypothesis, read_hypotheses

    told = alternative != "two-sided" or method != "sign-flip" or scope != "recipe" or margin is not None
    flags = arm or control or metric or told
    if missing and target.is_dir():
        raise UserError(
            f"{target}: a run knows which of its networks failed, and takes them at their worst where the arm fails"
            " more often; --missing is for a scores CSV"
        )
    if missing and designs:
        raise UserError("--designs tests nothing, so nothing can be missing: leave out --missing")
    if target.is_dir():
        if flags or hypotheses or designs:
            raise UserError(
                f"{target}: a run has its hypotheses in its protocol; --arm, --designs and the like are for a scores"
                f" CSV, such as {target / 'scores.csv'}"
            )
        results = pipeline.evaluate(target, allow_mixed, say(quiet=False))
        contrasts, verdicts = results.contrasts, results.verdicts
    elif designs:
        one = control[0] if control else None
        for _, claim in pipeline.designs_of(target, arm, one, metric).iterrows():
            print_design(claim)
        return
    elif hypotheses:
        if flags:
            raise UserError("--hypotheses FILE says what is tested; leave out --arm, --control, --metric and the like")
        contrasts, verdicts = pipeline.judge_scores(target, read_hypotheses(hypotheses), missing or "refuse")
    else:
        if not target.exists():
            raise UserError(f"{target}: there is no such run directory or table")
        if not (arm and control and metric):
            raise UserError("a table of scores needs --arm, --control and --metric, or --hypotheses FILE")
        asked = one_hypothesis(metric, arm, control, alternative, method, scope, margin)
        contrasts, verdicts = pipeline.judge_scores(target, asked, missing or "refuse")
    for _, row in verdicts.iterrows():
        print(f"{row['hypothesis']}: {row['verdict']}. {row['sentence']}")
    if out is not None:
        pipeline.write_tables(out, contrasts=contrasts, verdicts=verdicts)
        print(f"tables: {out}")


@app.command()
@guarded
def power(
    protocol: ProtocolFile,
    effect: Annotated[float | None, typer.Option(help="The difference to find, in the metric's own unit.")] = None,
    teacher_sd: Annotated[float | None, typer.Option(min=0, help="Spread of differences between teachers.")] = None,
    student_sd: Annotated[float | None, typer.Option(min=0, help="Spread between students of one teacher.")] = None,
    pilot: Annotated[Path | None, typer.Option(metavar="RUN", help="A run directory whose spreads are taken.")] = None,
    target: Annotated[float, typer.Option(help="The power to reach.")] = 0.8,
    seed: Annotated[int, typer.Option(min=0, help="Of the simulated tests.")] = 0,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write power.csv, power.md and power.svg there.")
    ] = None,
) -> None:
    """Say how many teachers and seeds a protocol's hypotheses need for a given effect."""
    from kdstats import sizing
    from kdstats.protocol import read_protocol

    table = sizing.power_table(
        read_protocol(protocol), effect=effect, teacher_sd=teacher_sd, student_sd=student_sd, pilot=pilot,
        target=target, seed=seed,
    )  # fmt: skip
    for sentence in sizing.sentences(table):
        print(sentence)
    if out is not None:
        sizing.write_power(out, table)
        print(f"table and curve: {out}")


@app.command()
@guarded
def validate(
    cell: Annotated[list[str] | None, typer.Option(help="Run this cell alone; may be given several times.")] = None,
    protocols: Annotated[
        int | None, typer.Option(min=100, help="Simulated protocols a cell; default each cell's.")
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="The subset that the tests run.")] = False,
    workers: Workers = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the study there; default reports/validity.")
    ] = None,
    only: Annotated[
        Literal["cells", "inheritance"] | None, typer.Option(help="This part of the study alone.")
    ] = None,
) -> None:
    """Simulate protocols whose truth is known, and hold every test and interval against it."""
    from kdstats import validation

    failed = validation.validate(
        out, cells=cell, protocols=protocols, fast=fast, workers=workers, say=say(quiet=False), only=only
    )
    if failed:
        stop(f"{len(failed)} cells are not what they should be: {', '.join(failed)}", INVALID)


@app.command()
@guarded
def audit(
    file: Annotated[
        Path | None, typer.Argument(metavar="[AUDIT.yaml]", help="The options below as a file; not both.")
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(metavar="FILE", help="Predictions, a replicate's folder, or CHECKPOINT:ARCHITECTURE.")
    ] = None,
    student: Annotated[list[str] | None, typer.Option(metavar="FILE", help="The same; several are seeds.")] = None,
    control: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="A network in the student's place without this teacher.")
    ] = None,
    control_teacher: Annotated[
        str | None, typer.Option(metavar="FILE", help="The teacher of all controls: what was inherited, W and K.")
    ] = None,
    labels: Annotated[str | None, typer.Option(metavar="FILE", help="The true labels.")] = None,
    data: Annotated[
        str | None, typer.Option(metavar="NAME|FILE|DIR", help="Dataset, .npz or image folder, for checkpoints.")
    ] = None,
    image_size: Annotated[int | None, typer.Option(min=1, help="Of an image folder: pixels, after the crop.")] = None,
    mean: Annotated[
        str | None, typer.Option(metavar="M,M,M", help="Of the checkpoints' images; default --data's.")
    ] = None,
    std: Annotated[str | None, typer.Option(metavar="S,S,S", help="The same; on the scale of 0 to 1.")] = None,
    groups: Annotated[list[str] | None, typer.Option(metavar="FILE[:COLUMN]", help="Groups of examples.")] = None,
    margin: Annotated[str | None, typer.Option(metavar="0.5pp", help="Of accuracy against the teacher.")] = None,
    control_kind: Annotated[
        Literal["plain", "neutral", "kd-other"],
        typer.Option(help="Controls of labels alone, of the regularisation without a teacher, of another teacher."),
    ] = "plain",
    controls_exchangeable: Annotated[
        bool,
        typer.Option("--controls-exchangeable", help="The controls share the student's recipe but for the teacher."),
    ] = False,
    primary: Annotated[str, typer.Option(help="The measure that then gets a rank p-value.")] = "negative_transfer",
    paired: Annotated[bool, typer.Option("--paired", help="Student i and control i share their seed.")] = False,
    level: Annotated[float, typer.Option(min=0.0001, max=0.4999, help="Of verdicts.")] = 0.05,
    seed: Annotated[int, typer.Option(min=0, help="Of the sample on which many classes are ranked.")] = 0,
    require: Annotated[list[str] | None, typer.Option(metavar="EXPRESSION", help="Must hold, or exit code 3.")] = None,
    fail_if: Annotated[
        list[str] | None, typer.Option("--fail-if", metavar="EXPRESSION", help="Must not hold, or exit code 3.")
    ] = None,
    form: Annotated[Literal["text", "json", "github"], typer.Option("--format", help="What is printed.")] = "text",
    out: Annotated[str | None, typer.Option(metavar="DIR", help="Write tables, figures and a page there.")] = None,
    data_dir: DataDir = None,
    device: DeviceName = "auto",
) -> None:
    """Audit networks that exist: what did the student inherit, and is it as good as its teacher and controls?"""
    from kdstats import auditfile

    given = {
        "teacher": teacher, "students": student, "controls": control, "control_teacher": control_teacher,
        "labels": labels, "data": data,
        "image_size": image_size, "mean": _channels(mean), "std": _channels(std), "groups": groups, "margin": margin,
        "control_kind": control_kind, "controls_exchangeable": controls_exchangeable, "primary": primary,
        "paired": paired, "level": level, "seed": seed, "require": require, "fail_if": fail_if,
    }  # fmt: skip
    what = auditfile.asked(file, given)
    folder = None if out is None else Path(out)
    if folder is not None:
        from kdstats.reporting import refuse_foreign

        if not out:
            raise UserError("--out: an empty name")
        refuse_foreign(folder, "--out")
    done = auditfile.perform(what, data_dir, device)
    if folder is not None:
        from kdstats.reporting import audits, write_files

        write_files(audits.files(done.audit, done.outcomes), folder, "--out")
    for line in auditfile.printed(done, form):
        print(line)
    if folder is not None and form == "text":
        print(f"report: {folder / 'index.html'}")
    if done.failed:
        lines = "\n".join(f"failed: {outcome.expression}: {outcome.reason}" for outcome in done.failed)
        stop(lines, NOT_MET)


@app.command()
@guarded
def report(run: RunFolder, report_dir: ReportDir = None, allow_mixed: AllowMixed = False, quiet: Quiet = False) -> None:
    """Test a run and write its tables, figures and page."""
    from kdstats.pipeline import STUDY, report_again
    from kdstats.pipeline import report as report_run

    make = report_again if (run / STUDY).exists() else report_run
    make(run, report_dir, allow_mixed, say(quiet))


def _channels(text: str | None) -> tuple[float, ...] | None:
    """0.5,0.5,0.5 as numbers."""
    try:
        return None if text is None else tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"{text!r}: a number a channel, separated by commas, such as 0.5,0.5,0.5") from None


# What is printed -------------------------------------------------------------------------------------------------


def say(quiet: bool) -> Callable[[str], None]:
    return (lambda text: None) if quiet else functools.partial(print, flush=True)


def print_verdicts(folder: Path) -> None:
    """The verdicts of a report, one line each."""
    import csv

    of_study = folder / "tables" / "trends.csv"
    table = of_study if of_study.exists() else folder / "tables" / "verdicts.csv"
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        print(f"{row.get('hypothesis') or row.get('trend')}: {row['verdict']}")


def print_design(claim: Any) -> None:
    """One claim that a table could carry: about what, on which units, by which tests."""
    sides = [f"{claim[side]} {claim[f'{side}_params']}".strip() for side in ("arm", "control")]
    about = " − ".join(filter(None, sides)) + (f" on {claim['dataset']}" if claim["dataset"] else "")
    scope = f"{claim['scope_teachers']}" + (f", {claim['scope_datasets']} dataset(s)" if claim["dataset"] else "")
    print(f"{about} ({claim['metric']}): {claim['design']}; about {scope}")
    if claim["tests"]:
        print(
            f"    {claim['n_units']} {claim['units']}; {claim['tests']}; smallest one-sided p {claim['smallest_p']:.3g}"
        )
    if claim["note"]:
        print(f"    {claim['note']}")


@contextlib.contextmanager
def progress(quiet: bool) -> Iterator[Callable[["Progress"], None]]:
    """How training goes: a bar on a terminal, a line now and then elsewhere."""
    if quiet:
        yield lambda state: None
    elif sys.stdout.isatty():
        with _bar() as show:
            yield show
    else:
        yield _lines()


@contextlib.contextmanager
def _bar() -> Iterator[Callable[["Progress"], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("replicates", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("left", markup=False), TimeRemainingColumn(),
    )  # fmt: skip
    with Bar(*columns, speed_estimate_period=600) as bar:
        task = bar.add_task("", total=None, visible=False)

        def show(state: "Progress") -> None:
            bar.update(task, total=state.total, completed=state.completed, visible=True)

        yield show


def _lines() -> Callable[["Progress"], None]:
    """A line every tenth of the replicates or half a minute; the time left is told from what was trained so far."""
    start = time.monotonic()
    first: float | None = None
    shown, shown_at = 0, start

    def show(state: "Progress") -> None:
        nonlocal first, shown, shown_at
        now, done = time.monotonic(), len(state.done)
        first = state.completed if first is None else first
        tenth = done > shown and (done - shown >= state.total / 10 or done == state.total)
        if not tenth and now - shown_at < 30:
            return
        shown, shown_at = done, now
        fresh, ahead = state.completed - first, state.total - state.completed
        left = f", about {(now - start) / fresh * ahead:.0f} s left" if fresh > 0 and ahead > 0 else ""
        print(f"{done} of {state.total} replicates after {now - start:.0f} s{left}", flush=True)

    return show
