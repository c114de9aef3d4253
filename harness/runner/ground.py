"""What a run stands on: it is only continued, and its parts only joined, while that is the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from harness.errors import UsageError
from harness.journal import Journaled
from harness.records import Environment, Plan
from harness.runner.digests import code_digest, content, files_at, paths_in, said

MOST_TOLD = 20
DIGITS = 16
"""Of a plan's digest: enough to see that it changed."""


@dataclass(frozen=True)
class Ground:
    """What must not change between a run and its continuation."""

    code: str
    """Digest of the harness's sources."""
    cases: Mapping[str, str]
    """Case id to the digest of its plan, in the order of the suites."""
    files: Mapping[str, str]
    """Path below the root to the digest of a file that plans name."""
    keep_outputs: bool
    shard: str | None


def ground(plans: Iterable[Plan], root: Callable[[str], Path], *, keep_outputs: bool, shard: str | None) -> Ground:
    """What a run of these plans stands on; `root` gives the root of a suite's file."""
    cases: dict[str, str] = {}
    named: dict[str, Path] = {}
    roots = cache(root)
    for plan in plans:
        here, text = roots(plan.case.location.file), said(plan)
        named |= dict.fromkeys(paths_in(text), here)
        movable = text.replace(f"{json.dumps(str(here))[:-1]}/", '"')
        cases[plan.case.id] = sha256(movable.encode()).hexdigest()[:DIGITS]
    files = {
        str(file.relative_to(here)): content(file) for path, here in named.items() for file in files_at(path, here)
    }
    return Ground(code_digest(), cases, files, keep_outputs, shard)


def changes(then: Ground, now: Ground) -> list[str]:
    """Everything that is not as it was, in words."""
    found = []
    if then.code != now.code:
        found.append("the harness: its own code is another")
    if then.shard != now.shard:
        found.append(f"--shard: {then.shard or 'none'} then, {now.shard or 'none'} now")
    if then.keep_outputs != now.keep_outputs:
        found.append(f"--keep-outputs: {'given' if then.keep_outputs else 'not given'} then, and the reverse now")
    found += [
        f"{name}: {_became(then.files.get(name), now.files.get(name))}"
        for name in sorted(then.files.keys() | now.files.keys())
        if then.files.get(name) != now.files.get(name)
    ]
    found += [f"{case}: the suites do not make it any more" for case in then.cases if case not in now.cases]
    found += [f"{case}: it is new, or now selected" for case in now.cases if case not in then.cases]
    found += [
        f"{case}: its plan (model, shapes, inputs, limits, options) is another"
        for case, digest in now.cases.items()
        if then.cases.get(case, digest) != digest
    ]
    return found


def _became(then: str | None, now: str | None) -> str:
    if then is None:
        return "was not there"
    return "is gone" if now is None else "holds something else"


def other_machine(then: Mapping[str, Environment], now: Mapping[str, Environment]) -> list[str]:
    """In what environments of the same name differ, in words; another machine of the same class is the same."""
    found = []
    for name in [name for name in then if name in now]:
        before, here = then[name], now[name]
        if before.fingerprint != here.fingerprint:
            found.append(f"environment '{name}': machine class {before.fingerprint} then, {here.fingerprint} now")
        found += [
            f"environment '{name}': {key} {before.versions[key]} -> {here.versions[key]}"
            for key in sorted(before.versions.keys() & here.versions.keys())
            if before.versions[key] != here.versions[key]
        ]
    return found


def lost(then: Mapping[str, Environment], now: Mapping[str, Environment]) -> list[str]:
    """What environments had then and have not now, in words."""
    return [
        f"environment '{name}': {key} {version} -> not there"
        for name, before in then.items()
        for key, version in sorted(before.versions.items())
        if name not in now or key not in now[name].versions
    ]


def refuse(what: str, found: Sequence[str], advice: str) -> None:
    """UsageError that says what is wrong, lists where, and gives advice; nothing where nothing was found."""
    if found:
        more = [f"and {len(found) - MOST_TOLD} more"] if len(found) > MOST_TOLD else []
        raise UsageError("\n".join([f"{what}:", *(f"  {words}" for words in [*found[:MOST_TOLD], *more]), advice]))


def environments_of(known: Journaled) -> dict[str, Environment]:
    """The environments that a journal tells of, by name; UsageError where a line holds none."""
    return {str(one.data().get("name")): one.decoded(Environment, "environment") for one in known.environments}
