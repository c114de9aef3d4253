"""junit.xml: one suite a suite, one test case a record."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree as ET

from harness.foreign import plain
from harness.records import Record, Run
from harness.report.format import excerpt
from harness.report.rows import label, row

_ELEMENTS = {
    "failed": "failure",
    "regressed": "failure",
    "missing": "failure",
    "error": "error",
    "skipped": "skipped",
    "acknowledged": "skipped",
}
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(run: Run) -> str:
    """A run as JUnit XML; statuses that do not block pass and stand among the properties.

    A case that a merged run lacks is an error: without it a run that does not pass would look green.
    """
    told = {record.case.id for record in run.records}
    untold = [case for case in run.lacking if case not in told]
    root = ET.Element("testsuites", {"name": _clean(run.id), **_totals(run.records, len(untold))})
    for name in dict.fromkeys([*(record.case.suite for record in run.records), *map(_suite, untold)]):
        records = [record for record in run.records if record.case.suite == name]
        lacking = [case for case in untold if _suite(case) == name]
        attributes = {"name": _clean(name), "timestamp": _clean(run.started), **_totals(records, len(lacking))}
        suite = ET.SubElement(root, "testsuite", attributes)
        for record in records:
            _testcase(suite, run, record)
        for case in lacking:
            element = ET.SubElement(suite, "testcase", classname=_clean(name), name=_clean(case.partition("/")[2]))
            ET.SubElement(element, "error", type="lacking", message="no part of the merged run holds it")
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(case: str) -> str:
    return case.partition("/")[0]


def _totals(records: Sequence[Record], lacking: int) -> dict[str, str]:
    elements = [_ELEMENTS.get(record.status) for record in records]
    return {
        "tests": str(len(records) + lacking),
        "failures": str(elements.count("failure")),
        "errors": str(elements.count("error") + lacking),
        "skipped": str(elements.count("skipped")),
        "time": f"{sum(map(_seconds, records)):.3f}",
    }


def _seconds(record: Record) -> float:
    return sum(record.stages.values())


def _testcase(suite: ET.Element, run: Run, record: Record) -> None:
    case = record.case
    name = case.id.removeprefix(f"{case.suite}/")
    attributes = {"classname": _clean(case.suite), "name": _clean(name), "time": f"{_seconds(record):.3f}"}
    element = ET.SubElement(suite, "testcase", attributes)
    properties = ET.SubElement(element, "properties")
    for key, value in _properties(run, record):
        ET.SubElement(properties, "property", name=_clean(plain(key)), value=_clean(plain(value)))
    tag = _ELEMENTS.get(record.status)
    if tag:
        kind = record.error.kind if record.error else record.status
        result = ET.SubElement(element, tag, type=_clean(kind), message=_clean(plain(record.headline)))
        result.text = _clean("\n".join(_reasons(record)))


def _properties(run: Run, record: Record) -> Iterator[tuple[str, str]]:
    """What a case is, where it ran, its latency, every limit with its value, and the digests of what was used."""
    line, case = row(record), record.case
    environment = run.environments.get(record.environment)
    values = {
        "status": record.status,
        "location": f"{case.location.file}:{case.location.line}",
        "model": case.model,
        "backend": case.backend,
        "precision": case.built_as,
        "shape": case.shape,
        "fingerprint": environment.fingerprint if environment else None,
        "clock": line.clock,
        "p50_ms": _digits(line.p50_ms),
        "baseline_p50_ms": _digits(line.baseline_p50_ms),
        "ratio": _digits(line.ratio),
        "reproduce": record.reproduce,
        **{f"version.{name}": version for name, version in (environment.versions if environment else {}).items()},
        **{f"digest.{name}": digest for name, digest in vars(record.digests).items()},
    }
    yield from ((key, value) for key, value in values.items() if value)
    for check in record.checks:
        if check.limit is not None:
            yield f"limit.{label(check)}", _digits(check.limit) or ""
            yield f"value.{label(check)}", _digits(check.value) or ""


def _digits(value: float | None) -> str | None:
    return f"{value:.5g}" if value is not None else None


def _reasons(record: Record) -> Iterator[str]:
    yield record.headline
    yield from (f"{check.name}: {check.reason}" for check in record.checks if not check.ok)
    if record.error:
        yield f"{record.error.kind} while in {record.error.stage}: {record.error.message}"
        yield excerpt(record.error.log)
    if record.reproduce:
        yield f"reproduce: {record.reproduce}"


def _clean(text: str) -> str:
    """Text without the characters that XML 1.0 forbids."""
    return _FORBIDDEN.sub("", text)
