"""The run directory: what is trained, frozen and amended. A replicate is there whole, or not at all."""

import contextlib
import datetime
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from kdstats.errors import UserError
from kdstats.protocol import Protocol, compare, dump, protocol_hash, read_protocol

SUMS = "SHA256SUMS"
UNFINISHED = ".unfinished"


class Damaged(Exception):
    """A replicate whose files are missing, truncated or altered; the message names the file."""


@dataclass(frozen=True)
class Stored:
    """A replicate as it lies on disk.

    Attributes
    ----------
    meta : arm, parameters, seeds, device, versions, losses, status ("trained" or "failed", with step and reason)
    logits : (n, classes) float32, None where training failed
    labels : (n,) int64, of the evaluation set
    sums : sha256 of the replicate's SHA256SUMS, so of all its files
    """

    meta: dict[str, Any]
    logits: NDArray[np.float32] | None
    labels: NDArray[np.int64]
    sums: str


@contextlib.contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn what a full, read-only or foreign disk raises into a sentence."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{error.filename2 or error.filename or folder}: cannot be written ({error.strerror or error}); free space"
            " or choose another place (--run-dir, --store, --report-dir, --out). What was finished is kept"
        ) from None


# Replicates ------------------------------------------------------------------------------------------------------


def write_replicate(
    root: Path,
    id: str,
    meta: Mapping[str, Any],
    labels: NDArray[np.int64],
    logits: NDArray[np.float32] | None,
    weights: Mapping[str, NDArray[Any]] | None = None,
    features: NDArray[Any] | None = None,
) -> None:
    """Write a replicate beside its place, sync it, rename it: it appears whole or not at all.

    Call it with the replicate's lock held.
    """
    for left_over in root.glob(f".{id}-*"):  # of a process that was killed: the lock is ours now
        shutil.rmtree(left_over, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{id}-", dir=root))
    try:
        arrays: dict[str, NDArray[Any]] = {"labels": labels}
        if logits is not None:
            arrays["logits"] = logits
        files = {
            "meta.json": (json.dumps(meta, indent=1, sort_keys=True, allow_nan=False) + "\n").encode(),
            "predictions.safetensors": safetensors.numpy.save(arrays),
        }
        if weights is not None:
            files["weights.safetensors"] = safetensors.numpy.save(dict(weights))
        if features is not None:
            files["features.safetensors"] = safetensors.numpy.save({"features": features})
        files[SUMS] = "".join(f"{_sha256(content)}  {name}\n" for name, content in files.items()).encode()
        for name, content in files.items():
            write_synced(folder / name, content)
        folder.chmod(0o755)
        _sync_folder(folder)
        folder.rename(root / id)
        _sync_folder(root)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def read_replicate(root: Path, id: str) -> Stored:
    """A replicate whose every file has the checksum that was written with it.

    Raises
    ------
    Damaged
        Names the file that is missing, truncated or altered.
    """
    files = _verified(root / id)
    arrays = safetensors.numpy.load(files["predictions.safetensors"])
    return Stored(json.loads(files["meta.json"]), arrays.get("logits"), arrays["labels"], _sha256(files[SUMS]))


def read_weights(root: Path, id: str) -> dict[str, NDArray[Any]]:
    """A teacher's trained weights, verified."""
    files = _verified(root / id)
    if "weights.safetensors" not in files:
        raise Damaged(f"{root / id / 'weights.safetensors'}: missing")
    return safetensors.numpy.load(files["weights.safetensors"])


def read_features(root: Path, id: str) -> NDArray[Any]:
    """A network's activations on the evaluation set, (n, D), verified."""
    files = _verified(root / id)
    if "features.safetensors" not in files:
        raise Damaged(f"{root / id / 'features.safetensors'}: missing")
    return safetensors.numpy.load(files["features.safetensors"])["features"]


def _verified(folder: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    try:
        files[SUMS] = (folder / SUMS).read_bytes()
        listed = [line.split("  ", 1) for line in files[SUMS].decode("ascii").splitlines()]
    except (OSError, UnicodeDecodeError):
        raise Damaged(f"{folder / SUMS}: missing or unreadable") from None
    if not {"meta.json", "predictions.safetensors"} <= {line[-1] for line in listed} or any(
        len(x) != 2 for x in listed
    ):
        raise Damaged(f"{folder / SUMS}: altered")
    for expected, name in listed:
        try:
            files[name] = (folder / Path(name).name).read_bytes()
        except OSError:
            raise Damaged(f"{folder / name}: missing") from None
        if _sha256(files[name]) != expected:
            raise Damaged(f"{folder / name}: truncated or altered (its checksum is not the one in {SUMS})")
    return files


def write_state(root: Path, id: str, made_on: str, state: Mapping[str, NDArray[Any]]) -> None:
    """Keep a network in the middle of its training; call it with the replicate's lock held."""
    (root / UNFINISHED).mkdir(exist_ok=True)
    content = safetensors.numpy.save(dict(state))
    write_whole(root / UNFINISHED / id, _sha256(made_on.encode() + content).encode() + content)


def read_state(root: Path, id: str, made_on: str) -> dict[str, NDArray[Any]] | None:
    """A network in the middle of its training; None where there is none, a damaged one, or one made on another machine.

    None costs time and changes no result: the training begins anew.
    """
    try:
        kept = (root / UNFINISHED / id).read_bytes()
    except OSError:
        return None
    digest, content = kept[:64], kept[64:]
    if digest != _sha256(made_on.encode() + content).encode():
        return None
    return safetensors.numpy.load(content)


def remove_state(root: Path, id: str) -> None:
    (root / UNFINISHED / id).unlink(missing_ok=True)


def complete(root: Path, id: str) -> bool:
    """Whether the replicate has appeared; it may still turn out to be damaged when it is read."""
    return (root / id / SUMS).exists()


def remove_replicate(root: Path, id: str) -> None:
    """Take a damaged replicate out of the way."""
    if (root / id).is_symlink() or (root / id).is_file():
        (root / id).unlink()
    with contextlib.suppress(FileNotFoundError):
        (root / id).rename(root / f".{id}-damaged")
    shutil.rmtree(root / f".{id}-damaged", ignore_errors=True)


@contextlib.contextmanager
def locked(root: Path, id: str) -> Iterator[bool]:
    """Try a kernel lock on one replicate; yields whether it was free. The kernel frees it when its holder dies."""
    locks = root / ".locks"
    locks.mkdir(exist_ok=True)
    handle = os.open(locks / id, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(handle)


def link_replicates(store: Path, root: Path, ids: Iterable[str]) -> None:
    """Bring replicates from a shared store into the run directory: hard links, copies across file systems."""
    for id in ids:
        if complete(root, id) or not complete(store, id):
            continue
        folder = Path(tempfile.mkdtemp(prefix=f".{id}-", dir=root))
        for file in (store / id).iterdir():
            try:
                os.link(file, folder / file.name)
            except OSError:
                shutil.copy2(file, folder / file.name)
        folder.chmod(0o755)
        try:
            folder.rename(root / id)
        except OSError:  # another process was quicker
            shutil.rmtree(folder)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write_synced(file: Path, content: bytes) -> None:
    """Write and sync one file."""
    with file.open("wb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())


def write_whole(file: Path, content: bytes) -> None:
    """Replace a file in one step: readers see the old or the new one."""
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        write_synced(beside, content)
        beside.replace(file)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# The frozen protocol ---------------------------------------------------------------------------------------------


def read_json(file: Path) -> Any:
    """A JSON file of a run directory, or a sentence about it."""
    try:
        return json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{file}: is missing; is {file.parent} a run directory?") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read ({error})") from None


def write_json(file: Path, content: Any) -> None:
    write_whole(file, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())


@dataclass(frozen=True)
class Frozen:
    """The protocol of a run directory, and how it came to be.

    Attributes
    ----------
    protocol : with all amendments
    hash : of the protocol
    environment : versions and the like, from when it was frozen first
    amendments : what was added, when, which hash it gave, whether replicates or scores existed
    """

    protocol: Protocol
    hash: str
    environment: dict[str, Any]
    amendments: tuple[dict[str, Any], ...] = ()

    @property
    def fingerprint(self) -> str:
        """Of the data."""
        return self.environment["data_fingerprint"]

    @property
    def late(self) -> frozenset[Any]:
        """What was declared after training: hypothesis points, points (arm, parameters), ("seeds",), ("networks",)."""
        return _late(self.environment, self.amendments)


def _late(environment: Mapping[str, Any], amendments: Iterable[Mapping[str, Any]]) -> frozenset[Any]:
    after = [a["added"] for a in amendments if a["replicates_existed"] or a["scores_existed"]]
    late: set[Any] = {name for added in after for name in added.get("hypotheses", ())}
    late |= {tuple(point) for added in after for point in added.get("points", ())}
    late |= {("seeds",)} if any(added.get("teacher_seeds") or added.get("student_seeds") for added in after) else set()
    return frozenset(late | ({("networks",)} if environment.get("students_existed") else set()))


def _records(run: Path) -> tuple[dict[str, Any], tuple[dict[str, Any], ...]]:
    """environment.json and amendments.json, whose shape is checked."""
    environment = read_json(run / "environment.json")
    if not isinstance(environment, dict) or not {"protocol_hash", "data_fingerprint"} <= environment.keys():
        raise UserError(
            f"{run / 'environment.json'}: is damaged (it lacks protocol_hash or data_fingerprint). {REMEDY}"
        )
    amendments = read_json(run / "amendments.json") if (run / "amendments.json").exists() else []
    needed = {"hash", "added", "replicates_existed", "scores_existed"}
    if not isinstance(amendments, list) or not all(isinstance(a, dict) and needed <= a.keys() for a in amendments):
        raise UserError(f"{run / 'amendments.json'}: is damaged (it is no list of amendments). {REMEDY}")
    return environment, tuple(amendments)


REMEDY = "Restore it from a copy, or start a new run directory; --store OLD/replicates keeps what was trained"


def read_frozen(run: Path) -> Frozen:
    """The frozen protocol of a run directory.

    Raises
    ------
    UserError
        Where there is none, or it is not the one that was recorded (its hash is in environment.json).
    """
    file = run / "protocol.yaml"
    if not file.is_file() and not (run / "environment.json").exists():
        raise UserError(f"{run}: is no run directory (it has no protocol.yaml); `kdstats run PROTOCOL` makes one")
    environment, amendments = _records(run)
    recorded = (amendments[-1]["hash"] if amendments else environment["protocol_hash"])[:12]
    restores = f"`kdstats run` with the protocol of hash {recorded} writes it again"
    try:
        protocol = read_protocol(file, frozen=True)
    except UserError as error:
        raise UserError(f"{file}: the frozen protocol is missing or damaged; {restores} ({error})") from None
    found = protocol_hash(protocol)
    if not found.startswith(recorded):
        raise UserError(
            f"{file}: was changed after it was frozen (its hash is {found[:12]}, recorded is {recorded}); {restores}."
            " Change your own protocol, so that the change is recorded as an amendment"
        )
    return Frozen(protocol, found, environment, amendments)


def freeze(
    run: Path, protocol: Protocol, fingerprint: str, environment: Mapping[str, Any], students_existed: int = 0
) -> Frozen:
    """Fix a protocol in its run directory before anything trains, or record what it adds to the one that is there.

    Parameters
    ----------
    fingerprint : of the data
    environment : versions and the like, written the first time
    students_existed : students of this protocol that are there already, in a shared store say: their scores may have
        been seen before the hypotheses were written, and every row will say so

    Raises
    ------
    UserError
        Where the directory belongs to another protocol: another name, dataset, recipe, or something taken away.
    """
    with disk_errors(run), run_lock(run):
        file = run / "protocol.yaml"
        if not file.exists() and not (run / "environment.json").exists():
            record = {"protocol_hash": protocol_hash(protocol), "data_fingerprint": fingerprint}
            record |= dict(environment) | {"students_existed": students_existed, "rules": protocol.rules}
            write_json(run / "environment.json", record)
            write_whole(file, dump(protocol).encode())
            return Frozen(protocol, record["protocol_hash"], record)
        records, amendments = _records(run)
        rules = records.get("rules", 1)  # verdicts keep the rules that they were declared under
        same = protocol.model_copy(update={"rules": rules})
        if protocol_hash(protocol) == (amendments[-1]["hash"] if amendments else records["protocol_hash"]):
            if not _reads_as(file, same):
                write_whole(file, dump(same).encode())  # killed before it was written, or damaged since
            return _same_data(run, read_frozen(run), fingerprint)
        old = _same_data(run, read_frozen(run), fingerprint)
        amendment = amend(run, old, protocol)
        amendments = (
            *amendments,
            {"when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), **amendment},
        )
        write_json(run / "amendments.json", amendments)
        write_whole(file, dump(same).encode())
        return Frozen(same, amendment["hash"], old.environment, amendments)


def _reads_as(file: Path, protocol: Protocol) -> bool:
    """Whether a frozen file holds this protocol."""
    try:
        return dump(read_protocol(file, frozen=True)) == dump(protocol)
    except UserError:
        return False


def freeze_study(run: Path, study: str, trends: Mapping[str, str], values: Sequence[str]) -> frozenset[str]:
    """Fix a study in its run directory before anything trains; the names of trends that were declared later.

    Raises
    ------
    UserError
        Where the directory belongs to another study, or a trend was changed or taken away.
    """
    file = run / "study.json"
    with disk_errors(run), run_lock(run):
        frozen = read_json(file) if file.exists() else {"hash": study, "values": list(values), "trends": {}, "late": []}
        if not isinstance(frozen, dict) or not {"values", "trends", "late"} <= frozen.keys():
            raise UserError(f"{file}: is damaged. {REMEDY}")
        if frozen["values"] != list(values):
            raise UserError(
                f"{run}: belongs to a study over {', '.join(frozen['values'])}, not {', '.join(values)}. Choose another"
                " --run-dir; --store keeps what was trained"
            )
        changed = [name for name, trend in frozen["trends"].items() if trends.get(name) != trend]
        if changed:
            raise UserError(f"{run}: the trend {changed[0]} was changed or taken away; what was declared stays")
        trained = any(run.glob(f"*/replicates/*/{SUMS}"))
        added = [name for name in trends if name not in frozen["trends"]]
        frozen |= {"hash": study, "trends": dict(trends), "late": [*frozen["late"], *(added if trained else [])]}
        write_json(file, frozen)
        return frozenset(frozen["late"])


def _same_data(run: Path, frozen: Frozen, fingerprint: str) -> Frozen:
    if frozen.fingerprint != fingerprint:
        raise UserError(
            f"{run}: its data had the fingerprint {frozen.fingerprint[:12]}, the data found now have"
            f" {fingerprint[:12]}; it is another dataset. Choose another --run-dir"
        )
    return frozen


def amend(run: Path, old: Frozen, protocol: Protocol) -> dict[str, Any]:
    """The amendment that a protocol makes to a frozen one; nothing is written.

    Raises
    ------
    UserError
        Where it is another protocol.
    """
    change = compare(old.protocol, protocol)
    if change.refusals:
        raise UserError(
            f"{run}: belongs to another protocol: {'; '.join(change.refusals)}."
            " Choose another --run-dir, or give the protocol another name"
        )
    return {
        "hash": protocol_hash(protocol),
        "added": change.added(),
        "replicates_existed": any((run / "replicates").glob(f"*/{SUMS}")),
        "scores_existed": (run / "scores.csv").exists(),
    }


def read_size(run: Path) -> int | None:
    """To how many teachers, or student seeds, a protocol with `stop` has grown here; None before it has."""
    file = run / "size.json"
    if not file.exists():
        return None
    size = read_json(file)
    if not isinstance(size, int):
        raise UserError(f"{file}: is damaged (it is no whole number); delete it, and the run grows to it again")
    return size


def late_with(run: Path, protocol: Protocol) -> frozenset[Any]:
    """What would be late if this protocol were frozen into this directory now; nothing is written."""
    if not (run / "environment.json").exists():
        return frozenset()
    environment, amendments = _records(run)
    if protocol_hash(protocol) != (amendments[-1]["hash"] if amendments else environment["protocol_hash"]):
        amendments = (*amendments, amend(run, read_frozen(run), protocol))
    return _late(environment, amendments)


@contextlib.contextmanager
def run_lock(run: Path) -> Iterator[None]:
    """One process at a time freezes, amends or writes the results of a run directory."""
    run.mkdir(parents=True, exist_ok=True)
    handle = os.open(run / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
