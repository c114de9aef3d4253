"""Names of benchmarks as case ids, which hold slashes only between their parts and only what `-k` can name."""

from __future__ import annotations

from urllib.parse import quote

from harness.interchange.schema import TOOL, Benchmark
from harness.records import Case, Location

SUITE = "pytest"
"""The suite of benchmarks that name none."""
PRECISION, STATIC = "as-is", "static"


def case_of(suite: str, benchmark: Benchmark, location: Location) -> Case:
    """`tests/test_x.py::TestY::test_z[a/b]` as `suite/tests/test_x.py/TestY/test_z/pytest-benchmark/as-is/a+2Fb`.

    Two benchmarks never share an id: what an id cannot hold is escaped, not left out.
    """
    place, param = _split(benchmark)
    model = "/".join(_escaped(part, "/") for part in place.split("::"))
    shape = STATIC if param is None else _shape(param)
    id_ = f"{suite}/{model}/{TOOL}/{PRECISION}/{shape}"
    return Case(id_, suite, model, TOOL, PRECISION, shape, (), location)


def _split(benchmark: Benchmark) -> tuple[str, str | None]:
    """What is timed, and the id of its parameters; a name that is built otherwise is all place."""
    ending = f"[{benchmark.param}]"
    if benchmark.param is None or not benchmark.fullname.endswith(ending):
        return benchmark.fullname, None
    return benchmark.fullname.removesuffix(ending), str(benchmark.param)


def _shape(param: str) -> str:
    found = _escaped(param, "")
    return f"+{ord('s'):X}{found[1:]}" if found == STATIC else found or "+"


def _escaped(text: str, safe: str) -> str:
    """Percent encoding with a plus sign, because `-k` has no word with a percent sign in it."""
    return quote(text, safe=f"{safe}[]@:", errors="backslashreplace").replace("%", "+").replace("~", "+7E")
