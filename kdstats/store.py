"""The run directory: what is trained, frozen and amended. A replicate is there whole, or not at all."""

import contextlib
import datetime
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from kdstats.errors import UserError
from kdstats.protocol import Protocol, compare, dump, protocol_hash, read_protocol

SUMS = "SHA256SUMS"


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
            f"{error.filename or folder}: cannot be written ({error.strerror or error}); free space or choose another"
            " place with --run-dir, --store or --report-dir. What was finished is kept"
        ) from None


# Replicates ------------------------------------------------------------------------------------------------------


def write_replicate(
    root: Path,
    id: str,
    meta: Mapping[str, Any],
    labels: NDArray[np.int64],
    logits: NDArray[np.float32] | None,
    weights: Mapping[str, NDArray[Any]] | None = None,
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


def complete(root: Path, id: str) -> bool:
    """Whether the replicate has appeared; it may still turn out to be damaged when it is read."""
    return (root / id / SUMS).exists()


def remove_replicate(root: Path, id: str) -> None:
    """Take a damaged replicate out of the way."""
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
    amendments : what was added, when, which hash it gave, whether replicates or scores existed
    """

    protocol: Protocol
    hash: str
    amendments: tuple[dict[str, Any], ...]


def read_frozen(run: Path) -> Frozen:
    """The frozen protocol of a run directory.

    Raises
    ------
    UserError
        Where there is none, or it was changed by hand (its hash is in environment.json).
    """
    file = run / "protocol.yaml"
    if not file.is_file():
        raise UserError(f"{run}: is no run directory (it has no protocol.yaml); `kdstats run PROTOCOL` makes one")
    protocol = read_protocol(file)
    amendments = tuple(read_json(run / "amendments.json")) if (run / "amendments.json").exists() else ()
    frozen = Frozen(protocol, protocol_hash(protocol), amendments)
    recorded = amendments[-1]["hash"] if amendments else read_json(run / "environment.json")["protocol_hash"]
    if recorded != frozen.hash:
        raise UserError(
            f"{file}: was changed after it was frozen (hash {frozen.hash[:12]}, recorded {recorded[:12]});"
            " change your own protocol and run it again, so that the change is recorded as an amendment"
        )
    return frozen


def freeze(run: Path, protocol: Protocol, fingerprint: str, environment: Mapping[str, Any]) -> Frozen:
    """Fix a protocol in its run directory before anything trains, or record what it adds to the one that is there.

    Parameters
    ----------
    fingerprint : of the data
    environment : versions and the like, written the first time

    Raises
    ------
    UserError
        Where the directory belongs to another protocol: another name, dataset, recipe, or something taken away.
    """
    with disk_errors(run), run_lock(run):
        file = run / "protocol.yaml"
        if not file.exists():
            record = {"protocol_hash": protocol_hash(protocol), "data_fingerprint": fingerprint} | dict(environment)
            write_json(run / "environment.json", record)
            write_whole(file, dump(protocol).encode())
            return Frozen(protocol, record["protocol_hash"], ())
        _finish_amendment(run, protocol)
        old = read_frozen(run)
        change = compare(old.protocol, protocol)
        if change.refusals:
            raise UserError(
                f"{run}: belongs to another protocol: {'; '.join(change.refusals)}."
                " Choose another --run-dir, or give the protocol another name"
            )
        there = read_json(run / "environment.json")["data_fingerprint"]
        if there != fingerprint:
            raise UserError(
                f"{run}: its data had the fingerprint {there[:12]}, the data found now have {fingerprint[:12]};"
                " it is another dataset. Choose another --run-dir"
            )
        if old.hash == protocol_hash(protocol):
            return old
        amendment: dict[str, Any] = {
            "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "hash": protocol_hash(protocol),
            "added": change.added(),
            "replicates_existed": any((run / "replicates").glob(f"*/{SUMS}")),
            "scores_existed": (run / "scores.csv").exists(),
        }
        amendments = (*old.amendments, amendment)
        write_json(run / "amendments.json", amendments)
        write_whole(file, dump(protocol).encode())
        return Frozen(protocol, amendment["hash"], amendments)


def _finish_amendment(run: Path, protocol: Protocol) -> None:
    """Write the protocol of an amendment whose process was killed between its record and its file."""
    if not (run / "amendments.json").exists():
        return
    first = read_json(run / "environment.json")["protocol_hash"]
    hashes = [first, *(amendment["hash"] for amendment in read_json(run / "amendments.json"))]
    there = protocol_hash(read_protocol(run / "protocol.yaml"))
    if there == hashes[-2] != hashes[-1] == protocol_hash(protocol):
        write_whole(run / "protocol.yaml", dump(protocol).encode())


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
