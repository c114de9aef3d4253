"""A suite made from another one: one model of it, built otherwise."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq

from harness.errors import UsageError
from harness.metrics import LOWER_TASKS


@dataclass(frozen=True)
class Build:
    """One way to build a model: a precision, and the steps of a chain before it."""

    precision: str
    steps: tuple[str, ...] = ()
    makes_precision: bool = False
    """The last step says the precision itself."""

    @property
    def chain(self) -> list[str]:
        """The chain as a suite says it."""
        return [*self.steps] if self.makes_precision else [*self.steps, self.precision]


def derived(text: str, model: str, backend: str, build: Build, max_drop: float, suite: str) -> str:
    """The text of a suite, which was checked, with one model, built so on a backend, and its task's largest drop.

    Beside the build stands the plain model, so that both are seen. Raises UsageError where the model has no task.
    """
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 110
    yaml.indent(mapping=2, sequence=4, offset=2)
    document = yaml.load(text)
    entry = next(one for one in document["models"] if one["name"] == model)
    defaults = document.get("defaults") or {}
    task = (entry.get("accuracy") or {}).get("task") or (defaults.get("accuracy") or {}).get("task")
    if not task:
        raise UsageError(
            f"model '{model}': has no task to be judged by: give it one in the suite, for example accuracy: {{task: "
            "{metric: top1, output: …, labels: …, max_drop: 0.01}}"
        )
    document["suite"] = suite
    document["models"] = [entry]
    entry["backends"] = _inline([backend])
    entry["precisions"] = _inline(["fp32"] if build.steps else dict.fromkeys(["fp32", build.precision]))
    entry["variants"] = _inline([_inline(build.chain)])
    if not build.steps:
        del entry["variants"]
        defaults.pop("variants", None)
    _set_task(entry, task, max_drop)
    for one in (entry, defaults):
        (one.get("accuracy") or {}).pop("variants", None)
        one.pop("exclude", None)
    stream = StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()


def _inline(values: Iterable[Any]) -> CommentedSeq:
    made = CommentedSeq(values)
    made.fa.set_flow_style()
    return made


def _set_task(entry: Any, task: Any, max_drop: float) -> None:
    accuracy = entry.get("accuracy") or {}
    accuracy["task"] = {**task, "max_rise" if task["metric"] in LOWER_TASKS else "max_drop": max_drop}
    entry["accuracy"] = accuracy
