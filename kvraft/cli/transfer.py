"""The subcommands export and import: keys and values as JSON lines, with any bytes, resumable.

The first line names the format and the revision of the exported state; each other line is one key::

    {"kvraft_export":2,"revision":812,"prefix":""}
    {"key":"user:100","value":"kmarulab"}
    {"key_base64":"/wA=","value_base64":"AAE="}
    {"key":"lamp","value":"on","ttl":2.5}
    {"key":"service/a","value":"10.0.0.7:80","ttl":30.0,"lease":7}
    {"key":"cup","value":"full","gone":true}

An export contains one state of the store: all keys at one revision. An interrupted export that is resumed continues at
the same revision, as long as the history still contains it. Times to live are not part of that state: they are read
right after each page of keys. `ttl` is the number of seconds that the key had left at that moment; for a key with a
lease, it is the full time to live of the lease. A key that was deleted or had expired by that moment is marked `gone`.
"""

import base64
import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import click

from kvraft.cli import statuses
from kvraft.cli.options import cluster_options, fail, key_bytes, member, write_json
from kvraft.cli.progress import Progress
from kvraft.client import Client, Compacted, KeyItem, NoSuchKey, NoSuchLease, OutcomeUnknown, holding
from kvraft.client.blocking import Pending
from kvraft.client.requests import Pages, Request, Span, count, page, ttl

FORMAT: Final = 2
FORMATS: Final = (1, 2)
"""Versions that import can read: version 1 has no `ttl`, `lease` and `gone`."""
TTL_S_MIN: Final = 0.001
"""Shortest time to live that the cluster accepts for a key, seconds."""
BATCH: Final = 500
"""Most keys in one batch of writes."""
BATCH_BYTES: Final = 1024 * 1024
PROGRESS_SUFFIX: Final = ".imported"
"""Suffix of a second file that notes, until the import is complete, how many bytes of the first are imported."""


# --- export ----------------------------------------------------------------------------------------------------------


@click.command("export")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--prefix", default="", help="Only keys with this prefix.")
@click.option("--resume", is_flag=True, help="Continue an interrupted export to FILE.")
@cluster_options
def export_command(file: Path, prefix: str, resume: bool, nodes: str | None, timeout: float, output: str) -> int:
    """Write all keys and values into FILE (- for stdout), one JSON object a line, as they are at one moment.

    With how long they live on, and with their leases.
    """
    is_stdout = str(file) == "-"
    if resume and is_stdout:
        raise click.UsageError("stdout cannot be resumed; name a file")
    start = key_bytes(prefix)
    done, last, revision = _broken_off(file, prefix) if resume else (0, None, None)
    with ExitStack() as stack:
        client = stack.enter_context(Client(nodes, timeout=timeout, exactly_once=False))
        # A line of progress among the lines of the export would make both unreadable.
        shown = "json" if is_stdout and sys.stdout.isatty() else output
        progress = stack.enter_context(Progress("exporting", shown, "keys"))
        progress.total = client.execute(count(Span.prefix(start)))
        sink = sys.stdout if is_stdout else stack.enter_context(_open(file, "a" if resume else "x"))
        lifetimes = _Lifetimes(client)
        try:
            for items in _pages(client, start, last, revision, sink, prefix):
                for item, lifetime in zip(items, lifetimes.of([item.key for item in items]), strict=True):
                    print(json.dumps({**member("key", item.key), **member("value", item.value), **lifetime}), file=sink)
                done += len(items)
                progress.done = done
        except Compacted as error:
            raise fail(
                f"{error}; the state that this export shows is not kept any more: start again, with a larger history "
                "in config.json",
                statuses.REFUSED,
            ) from None
        sink.flush()
    if output == "json" and not is_stdout:
        write_json({"status": "OK", "keys": done})
    elif not is_stdout:
        click.echo(f"{done} keys are in {file}", err=True)
    return statuses.OK


def _open(file: Path, mode: str) -> IO[str]:
    try:
        return file.open(mode, encoding="utf-8")
    except FileExistsError:
        raise fail(f"{file} exists; remove it, or go on with it by --resume", statuses.USAGE) from None


class _Lifetimes:
    """Reads the times to live of keys, and their leases."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._granted: dict[int, float] = {}
        """The full time to live of each lease that was read, seconds."""

    def of(self, keys: Sequence[bytes]) -> list[dict[str, object]]:
        """Return for each key the members that describe its time to live: `ttl`, `lease`, `gone`, or none of them."""
        left = self._asked([ttl(key) for key in keys])
        dying = [key for key, seconds in zip(keys, left, strict=True) if isinstance(seconds, float)]
        leases = dict(zip(dying, self._asked([holding.lease_of(key) for key in dying]), strict=True))
        fresh = sorted({lease for lease in leases.values() if lease} - self._granted.keys())
        self._granted.update(zip(fresh, self._asked([holding.granted_ttl(lease) for lease in fresh]), strict=True))
        return [self._described(seconds, leases.get(key, 0)) for key, seconds in zip(keys, left, strict=True)]

    def _asked(self, asked: Sequence[Request[Any]]) -> list[Any]:
        """Send requests together and return the results; the class NoSuchKey stands for a key or lease that is gone."""
        with self._client.batch() as batch:
            pending = [batch.add(request) for request in asked]
        return [_unless_gone(each) for each in pending]

    def _described(self, seconds: object, lease: int) -> dict[str, object]:
        if seconds is None:
            return {}
        granted = self._granted.get(lease) if lease else seconds
        if not isinstance(granted, float):
            return {"gone": True}
        return {"ttl": granted, "lease": lease} if lease else {"ttl": granted}


def _unless_gone(pending: Pending[Any]) -> Any:
    try:
        return pending.result()
    except (NoSuchKey, NoSuchLease):
        return NoSuchKey


def _pages(
    client: Client, start: bytes, last: bytes | None, revision: int | None, sink: IO[str], prefix: str
) -> Iterator[Sequence[KeyItem]]:
    """Yield the keys after `last` in pages, all at one revision; without a revision, first write the file's header."""
    if revision is None:
        pages = Pages(Span.prefix(start).shown(), None)
        first = client.execute(page(Span.prefix(start).shown(), BATCH))
        header = {"kvraft_export": FORMAT, "revision": first.revision, "prefix": prefix}
        print(json.dumps(header), file=sink)
        yield pages.take(first)
    elif last is None:
        pages = Pages(Span.prefix(start).shown(at=revision), None)
    else:
        pages = Pages(Span.between(last + b"\0", _after_prefix(start)).shown(at=revision), None)
    while (request := pages.next_request()) is not None:
        yield pages.take(client.execute(request))


def _after_prefix(start: bytes) -> bytes | None:
    """Return the first key after all keys with the prefix `start`; None if no key comes after them."""
    stripped = start.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1]) if stripped else None


def _broken_off(file: Path, prefix: str) -> tuple[int, bytes | None, int | None]:
    """Return the number of keys in the file, the last key, and the revision; truncate an incomplete last line."""
    keys, last, end = 0, None, 0
    revision: int | None = None
    try:
        with file.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                described = _read_line(line, keys + 1)
                if revision is None:
                    revision = _header(described, prefix)
                else:
                    keys, last = keys + 1, _bytes(described, "key", keys + 2)
                end += len(line)
        os.truncate(file, end)
    except FileNotFoundError:
        raise fail(f"there is no {file} to go on with", statuses.NO_INPUT) from None
    return keys, last, revision


def _header(described: dict[str, Any], prefix: str | None) -> int:
    if described.get("kvraft_export") not in FORMATS:
        raise fail("this is no export of kvraft that can be read: its first line does not say so", statuses.DATA)
    if prefix is not None and described["prefix"] != prefix:
        raise fail(f"this export is of the prefix {described['prefix']!r}, not {prefix!r}", statuses.USAGE)
    return int(described["revision"])


# --- import ----------------------------------------------------------------------------------------------------------


@click.command("import")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--resume", is_flag=True, help="Continue an interrupted import of FILE.")
@click.option("--gone", is_flag=True, help="Also keys that went while the export ran; they stay.")
@cluster_options
def import_command(file: Path, resume: bool, gone: bool, nodes: str | None, timeout: float, output: str) -> int:
    """Write what export has written into the cluster; FILE may be - for stdin.

    An import that is broken off leaves FILE.imported, and --resume goes on from there. To import a line twice
    does no harm, unless its key was written in between. Keys live on for as long as they would have when they
    were exported, and leases are granted anew, under other numbers.
    """
    is_stdin = str(file) == "-"
    if resume and is_stdin:
        raise click.UsageError("stdin cannot be resumed; name a file")
    notes = file.with_name(file.name + PROGRESS_SUFFIX)
    at, numbers = _noted(notes) if resume and notes.exists() else (0, {})
    with ExitStack() as stack:
        client = stack.enter_context(Client(nodes, timeout=timeout, exactly_once=False))
        try:
            lines: IO[bytes] = sys.stdin.buffer if is_stdin else stack.enter_context(file.open("rb"))
        except FileNotFoundError:
            raise fail(f"there is no {file}", statuses.NO_INPUT) from None
        total = None if is_stdin else file.stat().st_size
        progress = stack.enter_context(Progress("importing", output, "bytes", total))
        header = lines.readline()
        _header(_read_line(header, 1), None)
        if at:
            lines.seek(at)
        at = max(at, len(header))
        keys = 0
        leases = _Leases(client, numbers)
        for items, size in _batches(lines, with_gone=gone):
            _write(client, leases.granted(items))
            keys += len(items)
            at += size
            progress.done = at
            if not is_stdin:
                notes.write_text(json.dumps({"at": at, "leases": leases.numbers}), encoding="ascii")
    notes.unlink(missing_ok=True)
    if output == "json":
        write_json({"status": "OK", "keys": keys, "leases": leases.numbers})
    else:
        click.echo(f"{keys} keys are written")
    return statuses.OK


def _noted(notes: Path) -> tuple[int, dict[str, int]]:
    """Return how many bytes of the file are imported, and the new ids of its leases by their ids in the file."""
    noted = json.loads(notes.read_text(encoding="ascii"))
    return (noted, {}) if isinstance(noted, int) else (noted["at"], noted["leases"])


class _Line(NamedTuple):
    """One key of an export file; `ttl` is in seconds."""

    key: bytes
    value: bytes
    ttl: float | None
    lease: int | None


class _Leases:
    """Grants the leases of an export again, with new ids.

    Args:
        client: the client that grants them.
        numbers: the new ids of the leases that an earlier run granted, by their ids in the export.
    """

    def __init__(self, client: Client, numbers: dict[str, int]) -> None:
        self._client = client
        self.numbers = numbers

    def granted(self, lines: Sequence[_Line]) -> list[_Line]:
        """Return the lines with the new ids of their leases; each of these leases is granted or renewed."""
        for lease, seconds in {line.lease: line.ttl for line in lines if line.lease is not None}.items():
            assert seconds is not None, "a line with a lease says how long that is"
            self._grant(str(lease), seconds)
        return [
            line if line.lease is None else line._replace(ttl=None, lease=self.numbers[str(line.lease)])
            for line in lines
        ]

    def _grant(self, name: str, seconds: float) -> None:
        if name in self.numbers:
            with contextlib.suppress(NoSuchLease):
                self._client.execute(holding.keep_alive(self.numbers[name]))
                return
        self.numbers[name] = self._client.execute(holding.grant(seconds))


def _batches(lines: IO[bytes], *, with_gone: bool) -> Iterator[tuple[list[_Line], int]]:
    """Yield batches of keys, each with the number of bytes of its lines in the file."""
    items: list[_Line] = []
    size = 0
    for number, line in enumerate(lines, 2):
        described = _read_line(line, number)
        size += len(line)
        if described.get("gone") and not with_gone:
            continue
        items.append(_described_key(described, number))
        if len(items) == BATCH or size > BATCH_BYTES:
            yield items, size
            items, size = [], 0
    if items:
        yield items, size


def _described_key(described: dict[str, Any], number: int) -> _Line:
    ttl_s, lease = described.get("ttl"), described.get("lease")
    if ttl_s is not None and (isinstance(ttl_s, bool) or not isinstance(ttl_s, int | float)):
        raise fail(f"line {number} has a ttl that is no number of seconds", statuses.DATA)
    if lease is not None and (not isinstance(lease, int) or ttl_s is None):
        raise fail(f"line {number} has a lease that is no number, or no ttl beside it", statuses.DATA)
    ttl_s = None if ttl_s is None else max(TTL_S_MIN, ttl_s)
    return _Line(_bytes(described, "key", number), _bytes(described, "value", number), ttl_s, lease)


def _write(client: Client, items: list[_Line]) -> None:
    """Write a batch of keys; repeat writes whose outcome is unknown, since to write the same value again does no harm.

    Raises:
        CommandFailed: some outcomes are still unknown after three attempts.
    """
    left = items
    for _ in range(3):
        with client.batch() as batch:
            pending = [batch.set(key, value, ttl=ttl_s, lease=lease) for key, value, ttl_s, lease in left]
        unknown = []
        for item, each in zip(left, pending, strict=True):
            try:
                each.result()
            except OutcomeUnknown:
                unknown.append(item)
        if not unknown:
            return
        left = unknown
    raise fail("the cluster did not confirm what was written; go on with --resume", statuses.UNKNOWN)


def _read_line(line: bytes, number: int) -> dict[str, Any]:
    try:
        described = json.loads(line)
    except ValueError as error:
        raise fail(f"line {number} is no JSON: {error}", statuses.DATA) from None
    if not isinstance(described, dict):
        raise fail(f"line {number} is no JSON object", statuses.DATA)
    return described


def _bytes(described: dict[str, Any], name: str, number: int) -> bytes:
    """Return the member `name` of a line, as text or as base64, as bytes.

    Raises:
        CommandFailed: the line has no such member, or it is malformed.
    """
    try:
        if name in described:
            return str(described[name]).encode()
        return base64.b64decode(described[f"{name}_base64"], validate=True)
    except (KeyError, ValueError, TypeError):
        raise fail(f"line {number} has no {name}: write one as text, or as {name}_base64", statuses.DATA) from None
