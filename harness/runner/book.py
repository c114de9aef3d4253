"""What a run finds, kept as it comes: on disk at once, its records together at the end; also over an interruption."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.codec import encode
from harness.errors import UsageError
from harness.journal import Journal, Journaled
from harness.judge import first_line
from harness.records import Contestant, Duel, Environment, Outcome, Plan, Record, Screening
from harness.runner.decided import Memory, Pending, Undecided
from harness.runner.duels import Match
from harness.runner.recorder import outcome_of


class Earlier:
    """What was found out before a run was interrupted; nothing of it is decoded before it is asked for."""

    def __init__(self, known: Journaled, plans: Sequence[Plan], *, decided_anew: bool = False) -> None:
        """`plans` are all that are to be measured; `decided_anew` where what was decided does not hold any more."""
        self._known = known
        self._plans = {plan.case.id: plan for plan in plans}
        cases = known.measured.keys() | known.undecided.keys() | known.records.keys()
        self.missing = [plan for plan in plans if plan.case.id not in cases]
        """Plans that nothing is known of."""
        self._found = [plan for plan in plans if plan.case.id in cases]
        # a correction for many cases at once holds only for exactly these cases
        whole = not self.missing and known.undecided.keys() <= known.records.keys()
        self._final = frozenset() if decided_anew else known.records.keys() - (() if whole else known.undecided.keys())

        self.settled = whole and not decided_anew
        """Whether nothing is left to be measured or decided."""

    def __len__(self) -> int:
        return len(self._found)

    def outcome(self, case: str) -> Outcome:
        """What was measured of a case."""
        if case in self._known.measured:
            return self._known.measured[case].decoded(Outcome, "outcome")
        line = self._known.records.get(case) or self._known.undecided[case]
        return outcome_of(line.decoded(Record))

    def final(self, plan: Plan) -> Record | None:
        """The record of a case that is decided for good."""
        case = plan.case.id
        return self._known.records[case].decoded(Record) if case in self._final else None

    def found(self) -> Sequence[Plan]:
        """The plans of which something is known."""
        return self._found

    def has_undecided(self, case: str) -> bool:
        """Whether the journal holds what is known of an undecided case."""
        return case in self._known.undecided

    def model(self, plan: Plan) -> str | None:
        """The digest of the model that a plan's case was measured with, by any case of the same model."""
        for other in self._found:
            if other.source == plan.source and (digest := self.outcome(other.case.id).digests.model):
                return digest
        return None

    def launches(self, match: Match) -> list[Duel]:
        """The launches of a duel between the same two sides."""
        sides = (("a", match.a), ("b", match.b))
        return [
            line.decoded(Duel, "duel")
            for line in self._known.launches.get(match.plan.case.id, ())
            if all(line.decoded(Contestant, side) == one for side, one in sides)
        ]

    def screening(self, plan: Plan) -> Screening | None:
        """What a case was compared with earlier runs by, as far as it came."""
        line = self._known.screenings.get(plan.case.id)
        return line.decoded(Screening, "screening") if line else None


class Book:
    """Writes down what a run finds; a record is told when it is written."""

    def __init__(
        self,
        journal: Journal,
        pending: Pending,
        earlier: Earlier,
        environment: Callable[[str], Environment],
        tell: Callable[[str, str, str, Record | None], None],
    ) -> None:
        """`tell` gets a status, a case's id, words, and the record of a decided case."""
        self._journal, self._pending, self._earlier = journal, pending, earlier
        self._environment, self._tell = environment, tell
        self._environments: dict[str, Environment] = {}
        self._models: dict[object, str | None] = {}
        self.records: list[Record] = []
        """In the order in which they were decided."""

    def done(self, plan: Plan, outcome: Outcome) -> None:
        """Keep what was measured of a case; HarnessError when that is impossible."""
        self._refuse_other_model(plan, outcome)
        self.note_environment(plan.case.environment)
        self._journal.write("measured", {"case": plan.case.id, "outcome": outcome}, wait=False)
        found = self._pending.take(plan, outcome)
        if isinstance(found, Record):
            return self.keep(found)
        if found.so_far is not None:
            self._journal.write("undecided", found.so_far)
        else:
            self._journal.sync()
        return self._tell("measured", plan.case.id, found.words, None)

    def keep(self, record: Record) -> None:
        """Keep a decided case."""
        self.records.append(record)  # first: what cannot be written to the journal is still in the run
        self._journal.append(record)
        self._tell(record.status, record.case.id, first_line(record.headline), record)

    def decide(self) -> None:
        """Decide what is left; it is timed again now, as far as that was not done before the interruption."""
        memory = Memory(self._earlier.launches, self._earlier.screening, self._launched, self._screened)
        for record in self._pending.decided(memory):
            self.keep(record)

    def undecided(self) -> None:
        """Take what is left as far as it is known, because the run ends; a continuation decides it."""
        for record in self._pending.undecided({record.case.id for record in self.records}):
            self.records.append(record)
            self._tell(record.status, record.case.id, first_line(record.headline), record)

    def take_up(self) -> None:
        """Go on with what was found out before the interruption."""
        for plan in self._earlier.found():
            record = self._earlier.final(plan)
            if record is not None:
                self.records.append(record)
                self._pending.recall(plan, self._earlier.outcome, record)
                continue
            found = self._pending.take(plan, self._earlier.outcome(plan.case.id))
            if isinstance(found, Record):
                self.keep(found)
            elif isinstance(found, Undecided) and found.so_far and not self._earlier.has_undecided(plan.case.id):
                self._journal.write("undecided", found.so_far)

    def note_environment(self, name: str) -> None:
        """Write down an environment that is not known yet, or of which more is known now."""
        found = self._environment(name)
        if self._environments.get(name) != found:
            self._environments[name] = found
            self._journal.write("environment", {"name": name, "environment": found}, wait=False)

    def _launched(self, match: Match, duel: Duel) -> None:
        case = match.plan.case.id
        self._journal.write("launch", {"case": case, "a": match.a, "b": match.b, "duel": duel})

    def _screened(self, plan: Plan, screening: Screening) -> None:
        self._journal.write("screening", {"case": plan.case.id, "screening": screening})

    def _refuse_other_model(self, plan: Plan, outcome: Outcome) -> None:
        """A run is of one model; of large files and weights beside them nothing tells before they are measured."""
        if not len(self._earlier) or outcome.digests.model is None:
            return
        key = json.dumps(encode(plan.source), sort_keys=True)  # a factory of one name can lie beside several suites
        if key not in self._models:
            self._models[key] = self._earlier.model(plan)
        then = self._models[key]
        if then is not None and then != outcome.digests.model:
            raise UsageError(
                f"{plan.case.id}: its model {Path(plan.source.path).name} is {outcome.digests.model[:12]}, and "
                f"{then[:12]} in the cases measured before: restore it, or start a run in another folder with -o"
            )
