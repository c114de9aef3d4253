"""The confusion table of a count: per rule and precision, healthy runs that failed and defects that were caught.

cd tests && python -m quality.accuracy.table DIR
"""

from __future__ import annotations

import gzip
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]
CLASSES: dict[str, Callable[[float], bool]] = {
    "below 2": lambda effect: effect <= 2,
    "2 to 10": lambda effect: 2 < effect <= 10,
    "10 to 100": lambda effect: 10 < effect <= 100,
    "above 100": lambda effect: effect > 100,
}
"""Defects by effect: their distance in multiples of what healthy runs differ by."""

SUMS = {
    "healthy": "healthy failed",
    "unfit": "unfit failed",
    "above 2": "caught above 2",
    "large": "caught above 2 and above the precision's own error",
    "below 2": "caught below 2",
}


def write(rows: Sequence[Row], folder: Path) -> str:
    """Writes table.md and table.json to a folder; the Markdown."""
    found = summary(rows)
    text = markdown(found)
    (folder / "table.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    (folder / "table.md").write_text(text, encoding="utf-8")
    return text


def read(path: Path) -> list[Row]:
    """The rows of a count."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Counts by precision and rule, and by family; pairs are [caught or failed, all]."""
    judged = [row for row in rows if "verdicts" in row]
    rules = list(judged[0]["verdicts"]) if judged else []
    healthy = [row for row in judged if row["family"] == "healthy" and not row["unfit"]]
    unfit = [row for row in judged if row["family"] == "healthy" and row["unfit"]]
    defects = [row for row in judged if row["family"] != "healthy" and not row["identical"]]
    precisions = list(dict.fromkeys(row["precision"] for row in judged))
    return {
        "runs": len(rows),
        "healthy": len(healthy),
        "unfit": len(unfit),
        "defects": len(defects),
        "without effect": sum(row.get("identical", False) and row["family"] != "healthy" for row in judged),
        "not run": len(rows) - len(judged),
        "rules": {
            rule: {
                precision: _counts(rule, *(_at(precision, some) for some in (healthy, unfit, defects)))
                for precision in precisions
            }
            for rule in rules
        },
        "families": _families(rules, defects),
        "healthy failed": [_named(row) for row in healthy if not row["verdicts"].get("harness auto", True)],
    }


def _counts(rule: str, healthy: list[Row], unfit: list[Row], defects: list[Row]) -> dict[str, list[int]]:
    found = {"healthy": _caught(rule, healthy), "unfit": _caught(rule, unfit)}
    for name, holds in CLASSES.items():
        found[name] = _caught(rule, (row for row in defects if holds(row["effect"])))
    found["above 2"] = _caught(rule, (row for row in defects if row["effect"] > 2))
    found["large"] = _caught(rule, (row for row in defects if row["effect"] > 2 and row["cost_times"] > 1))
    return found


def _at(precision: str, rows: list[Row]) -> list[Row]:
    return [row for row in rows if row["precision"] == precision]


def _caught(rule: str, rows: Iterable[Row]) -> list[int]:
    verdicts = [row["verdicts"][rule] for row in rows]
    return [verdicts.count(False), len(verdicts)]


def _families(rules: list[str], defects: list[Row]) -> dict[str, dict[str, Any]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in defects:
        groups[f"{row['family']} {row['strength']}"].append(row)
    return {
        name: {
            "above 2": {rule: _caught(rule, (row for row in group if row["effect"] > 2)) for rule in rules},
            "below 2": {rule: _caught(rule, (row for row in group if row["effect"] <= 2)) for rule in rules},
            "median effect": _rounded(sorted(row["effect"] for row in group)[len(group) // 2]),
        }
        for name, group in groups.items()
    }


def _rounded(value: float) -> float | str:
    return float(f"{value:.3g}") if value < float("inf") else "infinite"


def _named(row: Row) -> str:
    return f"{row['model']} {row['precision']} {row['path']}: {', '.join(row['failed']) or 'budget'}"


def markdown(found: dict[str, Any]) -> str:
    """The tables for people."""
    words = (
        f"{found['healthy']} healthy runs; {found['unfit']} more of models for which the precision is unfit (its very "
        f"twin is beyond the default budget); {found['defects']} runs with a defect that changes an output "
        f"({found['without effect']} more change nothing, {found['not run']} could not be run)."
    )
    parts = [words, _overall(found), *(_of_precision(found, precision) for precision in _precisions(found))]
    return "\n\n".join([*parts, _hiding(found)]) + "\n"


def _precisions(found: dict[str, Any]) -> list[str]:
    return list(next(iter(found["rules"].values()), {}))


def _overall(found: dict[str, Any]) -> str:
    rows = []
    for rule, counts in found["rules"].items():
        sums = {key: [sum(one[key][i] for one in counts.values()) for i in (0, 1)] for key in SUMS}
        rows.append([rule, *map(_pair, sums.values())])
    return "## All precisions\n\n" + _grid(["rule", *SUMS.values()], rows)


def _of_precision(found: dict[str, Any], precision: str) -> str:
    columns = ["healthy", "unfit", "above 2", "large", *CLASSES]
    rows = [[rule, *(_pair(counts[precision][key]) for key in columns)] for rule, counts in found["rules"].items()]
    heads = ["rule", *(SUMS.get(column, column) for column in columns)]
    return f"## {precision}\n\n" + _grid(heads, rows)


def _hiding(found: dict[str, Any]) -> str:
    rows = []
    for name, family in sorted(found["families"].items()):
        above, below = family["above 2"], family["below 2"]
        rows.append(
            [name, str(family["median effect"]), *map(_pair, above.values()), str(next(iter(below.values()))[1])]
        )
    return "## Families, effect above 2\n\n" + _grid(["defect", "median effect", *found["rules"], "runs below 2"], rows)


def _pair(pair: list[int]) -> str:
    return f"{pair[0]}/{pair[1]}" if pair[1] else "-"


def _grid(heads: Sequence[str], rows: list[list[str]]) -> str:
    lines = [list(heads), ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Draws the tables of a finished count again."""
    folder = Path(sys.argv[1])
    print(write(read(folder / "count.jsonl.gz"), folder))


if __name__ == "__main__":
    main()
