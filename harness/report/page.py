"""report.html: one file that opens from disk and asks nothing of any network."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness.foreign import visible
from harness.records import Run
from harness.report import format as form
from harness.report.comparison import Comparison
from harness.report.packing import Payload
from harness.report.payload import payload
from harness.report.policy import content_policy
from harness.report.rows import label, rows
from harness.report.sections import SECTIONS, Page
from harness.report.trend import Past
from harness.report.verdict import verdict
from harness.signatures import Checked

SCRIPTS = ("dom", "data", "filter", "charts", "table", "fusion", "case", "compare", "tradeoffs", "theme", "page")
"""In the order in which they stand in the page, as one script."""


def html(
    run: Run, comparison: Comparison | None = None, signed: Sequence[Checked] = (), past: Past | None = None
) -> str:
    """The report of a run; with a comparison, its changes; with who signed it off; with a past, trends."""
    past = past or Past()
    page = Page(run, rows(run.records), comparison, render, tuple(signed), past)
    sections = {name: data for name in SECTIONS if (data := SECTIONS.load(name)(page)) is not None}
    return whole("page.html", SCRIPTS, payload(page), run=run, verdict=verdict(run), sections=sections)


def whole(template: str, scripts: Sequence[str], payload: Payload, **values: object) -> str:
    """A page with all that it needs in it: style, scripts, packed data, and a policy that lets nothing else in."""
    style, script = _asset("report.css"), Markup("\n").join(_asset(f"{name}.js") for name in scripts)
    policy = content_policy(style, script)
    return render(template, payload=payload, style=style, script=script, policy=policy, **values)


def render(template: str, **values: object) -> Markup:
    """One template with everything escaped that is not itself the output of a template."""
    return Markup(_templates().get_template(template).render(values))  # noqa: S704 - autoescaped


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("harness.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(_FILTERS)
    return environment


def _visible(value: object) -> object:
    """Foreign text that stands in a page cannot turn round what stands beside it."""
    return visible(value) if type(value) is str else value


_HALVES = re.compile("[\ud800-\udfff]")
_FILTERS: Mapping[str, object] = {
    "number": form.number,
    "digits": form.digits,
    "milliseconds": form.milliseconds,
    "seconds": form.seconds,
    "change": form.change,
    "moment": form.moment,
    "value_text": form.value_text,
    "label": label,
    "link": lambda id_: "#case=" + quote(_HALVES.sub("\ufffd", id_), safe="/:"),
}


@cache
def _asset(name: str) -> Markup:
    return Markup((files("harness.report") / "assets" / name).read_text("utf-8"))  # noqa: S704 - our own file
