"""Where a worker makes what its cases need: their files and feeds, what is built of them, and open sessions."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from harness.backends.base import Artefact, Backend, BuildSpec, Session
from harness.cache import Cache
from harness.codec import encode
from harness.environment import describe
from harness.inputs.feeds import feeds
from harness.records import Environment, Plan, Source
from harness.runner import kept
from harness.runner.expected import check_task
from harness.runner.flip import check_flip
from harness.runner.prepared import Prepared
from harness.runner.profiles import profile
from harness.runner.stages import Stages
from harness.sources import SOURCES, Fetched
from harness.sources.inspect import inspect
from harness.variants.prepare import prepare


class Workshop:
    """Prepares cases and opens their sessions; engines that cases share are built once."""

    finds = True
    """Whether engines are looked for in the cache and kept there."""

    def __init__(self, cache: Path, scratch: Path, announce: Callable[[str], None]) -> None:
        self._cache, self._scratch = cache, scratch
        self._warnings: list[str] = []
        self._announce = announce
        self._artefacts: dict[str, Artefact] = {}
        self._environment = describe()

    @property
    def environment(self) -> Environment:
        """This machine and interpreter."""
        return self._environment

    @property
    def scratch(self) -> Path:
        """A folder for what nobody keeps."""
        return self._scratch

    def gpu(self, backend: Backend) -> str | None:
        """UUID of the GPU that the backend runs on; None for the CPU."""
        gpus = self._environment.gpus
        return gpus[0].uuid if backend.device == "cuda" and gpus else None

    def stages(self, backend: Backend) -> Stages:
        """Those of one case on the backend's device."""
        return Stages(self._announce, self.gpu(backend))

    def prepare(self, plan: Plan, stages: Stages) -> Prepared:
        """The model at the precision of the plan, with its inputs."""
        cache = Cache(self._cache, plan.kept_since, self._warnings)
        with stages("prepare"):
            fetched: Fetched = SOURCES.load(plan.source.kind)(plan.source, self._cache)
            info = inspect(fetched.model)
            check_task(plan.task, info)
            check_flip(plan.flip, info)
            variant = prepare(plan, fetched, info, cache)
            fed = feeds(plan, info, fetched.test_sets, cache)
            spec = BuildSpec(
                case=plan.case.id,
                model=variant.path,
                precision=plan.case.precision,
                profile=profile(plan, info, fed.batches),
                dtypes={tensor.name: tensor.dtype for tensor in (*info.inputs, *info.outputs)},
                options=plan.options,
                source=_of_framework(plan),
                weights=fetched.weights,
            )
        return Prepared(fetched, info, variant, fed, spec, cache, plan.builds, plan.trusted)

    def build(self, backend: Backend, prepared: Prepared, stages: Stages, number: int = 1) -> Artefact:
        """The artefact of one build of the case; builds of other numbers are never served for it."""
        spec = prepared.spec
        name = type(backend).__name__
        built_of = [prepared.variant.digest, encode(spec.source)]  # modules that differ can have the same export
        key = json.dumps([name, *built_of, spec.precision, spec.profile, spec.options, number])
        if spec.options.get("script") or key not in self._artefacts:
            folder = self._scratch / sha256(key.encode()).hexdigest()[:16]
            folder.mkdir(exist_ok=True)
            with stages("build"):
                keep = self.finds and number == 1
                find = keep and prepared.builds == 1
                self._artefacts[key] = kept.own_engine(backend, prepared) or kept.engine(
                    backend, prepared, self._environment, folder, find=find, keep=keep
                )
        return self._artefacts[key]

    def open(self, backend: Backend, prepared: Prepared, stages: Stages, number: int = 1) -> tuple[Session, Artefact]:
        """A session on one build of the case, for the caller to close; and the build."""
        artefact = self.build(backend, prepared, stages, number)
        with stages("load"):
            return backend.open(artefact, prepared.spec), artefact


def _of_framework(plan: Plan) -> Source | None:
    """The model that its framework runs; None where the case is of another file than what was exported from it."""
    other = plan.case.chain or plan.case.precision in plan.files
    return None if other or plan.source.export is None else plan.source
