"""`prunebench cache`."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING

import click

from prunebench.cli.shared import options, output, suite_argument

if TYPE_CHECKING:
    from prunebench.store.collection import Item, Needs, Size, Surplus
    from prunebench.store.entries import Store

SHOWN = 12
"""Maximum number of methods whose states are listed separately."""


@click.command()
@click.argument("suites", nargs=-1, type=suite_argument.SuiteFile())
@click.option("--collect", is_flag=True, help="List entries that none of the suites needs; with --yes, delete them.")
@click.option("--older", is_flag=True, help="List results of older protocols; with --yes, delete them.")
@click.option("--yes", is_flag=True, help="Delete the listed entries.")
@click.option("--check", is_flag=True, help="Verify all checksums, and discard damaged entries.")
@options.suite_options("store", "data", "json")
def command(
    suites: tuple[Path, ...],
    collect: bool,
    older: bool,
    yes: bool,
    check: bool,
    chosen: options.SuiteOptions,
    as_json: bool,
) -> None:
    """Show, verify or clean up the store.

    Without options, the number and size of its entries are shown; with SUITES, also how many of them these suites need.
    `--collect` lists all entries that none of them needs: states, failures and logs of other suites and of earlier
    code, and data sets. `--older` lists results of older protocols, which no run reads. Entries are deleted only with
    --yes, and never while a run uses the store. Pass the same --set, --data and --plugin as to the runs, because a
    changed suite needs other states.
    """
    from prunebench.store.collection import sizes
    from prunebench.store.entries import Store

    if (collect or older or yes) and check:
        raise click.UsageError("--check cannot be combined with --collect, --older or --yes")
    if collect and older:
        raise click.UsageError("--collect and --older cannot be combined")
    if yes and not (collect or older):
        raise click.UsageError("--yes needs --collect or --older")
    if collect and not suites:
        raise click.UsageError("--collect needs the suites whose results are kept, such as suites/*.yaml")
    opened = Store(chosen.store.resolve())
    if check:
        sys.exit(_check(opened, as_json))
    if older:
        _older(opened, yes, as_json)
        return
    wanted = _needs(opened, suites, chosen) if suites else None
    if wanted is not None and collect:
        _collect(opened, wanted, yes, as_json)
    else:
        _show(chosen.store, sizes(opened), _needed(opened, wanted), as_json)
        if not as_json:
            output.note_older(opened)


def _needs(
    store: Store,
    suites: Iterable[Path],
    chosen: options.SuiteOptions,
) -> Needs:
    from prunebench import session
    from prunebench.store.collection import needs

    loaded = [chosen.load(suite) for suite in suites]
    return reduce(
        or_, (needs(one.trials, session.prepared_already(one, chosen.data, store.root), store) for one in loaded)
    )


def _needed(store: Store, wanted: Needs | None) -> dict[str, Size] | None:
    from prunebench.store.collection import sizes_needed

    return None if wanted is None else sizes_needed(store, wanted)


def _show(root: Path, found: Mapping[str, Size], needed: Mapping[str, Size] | None, as_json: bool) -> None:
    from prunebench.cli.shared.progress import bytes_of
    from prunebench.store.collection import Size

    if as_json:
        both = {"size": _plain(found)} | ({} if needed is None else {"needed": _plain(needed)})
        output.show_json({"store": str(root.resolve()), **both})
        return
    output.say(f"{root}: {bytes_of(sum(size.bytes for size in found.values()))}\n")
    table = output.table("kind", "entries", "size", *([] if needed is None else ["needed", "size of that"]))
    for kind, size in found.items():
        own = [] if needed is None else _cells(needed.get(kind, Size()))
        table.add_row(kind, *_cells(size), *own)
    output.show(table)


def _cells(size: Size) -> list[str]:
    from prunebench.cli.shared.progress import bytes_of

    return [f"{size.entries:,}", bytes_of(size.bytes)]


def _plain(found: Mapping[str, Size]) -> dict[str, object]:
    return {kind: asdict(size) for kind, size in found.items()}


# --- collecting


def _collect(store: Store, wanted: Needs, delete: bool, as_json: bool) -> None:
    from prunebench.cli.shared.progress import bytes_of
    from prunebench.store.collection import collect, surplus

    found = surplus(store, wanted)
    lines = [] if as_json else list(_whose(found.items))
    if delete:
        found = collect(store, wanted)
    if as_json:
        output.show_json({"deleted": delete, "size": _plain(found.sizes), "held": [asdict(one) for one in found.held]})
        return
    output.say("no suite needs these:\n" if found.items else "the suites need all entries")
    for line in lines:
        output.say(f"  {line}")
    _say_held(found)
    if found.items:
        summary = f"{len(found.items):,} entries, {bytes_of(found.bytes)}"
        output.say(f"\ndeleted: {summary}" if delete else f"\n{summary}; nothing was deleted: --yes deletes them")


def _older(store: Store, delete: bool, as_json: bool) -> None:
    """List entries of older protocols, or delete them; a run computes what it needs of them again."""
    from prunebench.cli.shared.progress import bytes_of
    from prunebench.store.collection import older, remove_older

    found = older(store)
    lines = [] if as_json else list(_whose(found.items))  # before they are deleted
    if delete and found.items:
        found = remove_older(store)
    if as_json:
        output.show_json({"deleted": delete, "size": _plain(found.sizes)})
        return
    if not found.items:
        click.echo("no results are of an older protocol")
        return
    click.echo("these are of an older protocol, and no run reads them:\n")
    for line in lines:
        click.echo(f"  {line}")
    summary = f"{len(found.items):,} entries, {bytes_of(found.bytes)}"
    click.echo(f"\ndeleted: {summary}" if delete else f"\n{summary}; nothing was deleted: --yes deletes them")


def _say_held(found: Surplus) -> None:
    if found.held:
        output.note(f"{found.held[0].trial} is running and in none of the suites: nothing is deleted until it ends")


def _whose(items: Iterable[Item]) -> Iterable[str]:
    """A line for each kind of entry; states are grouped by task and method."""
    from prunebench.cli.shared.progress import bytes_of
    from prunebench.store.collection import trial_of

    counts, weights = Counter[str](), Counter[str]()
    rest, heavy = Counter[str](), Counter[str]()
    for item in items:
        if item.kind == "states":
            name = "/".join(trial_of(item).split("/")[:2]) or "half-written ones"
            counts[name] += 1
            weights[name] += item.bytes
        else:
            rest[item.kind] += 1
            heavy[item.kind] += item.bytes
    for name, weight in weights.most_common(SHOWN):
        yield f"{bytes_of(weight):>7}  {counts[name]:,} states of {name}"
    if len(weights) > SHOWN:
        others = [name for name, _ in weights.most_common()[SHOWN:]]
        total, number = sum(weights[name] for name in others), sum(counts[name] for name in others)
        yield f"{bytes_of(total):>7}  {number:,} states of {len(others):,} more"
    for kind, weight in heavy.most_common():
        yield f"{bytes_of(weight):>7}  {rest[kind]:,} in {kind}"


# --- checking


def _check(store: Store, as_json: bool) -> int:
    """List damaged entries and discard them; returns 1 if there are any."""
    from prunebench.store.collection import damages, discard

    found = []
    for damage in damages(store):
        found.append({"kind": damage.item.kind, "name": damage.item.name, "reason": damage.text})
        if not as_json:
            output.say(f"damaged: {damage.text}; it is discarded, and a run computes it again")
        discard(damage)
    if as_json:
        output.show_json({"damaged": found})
    elif not found:
        output.say("all states, checkpoints and data sets are intact")
    return 1 if found else 0
