"""Protections of the harness that are taken away, to see that the faults they are for are found then."""

from contextlib import suppress


def no_guard():
    """Workers are bound to nobody."""
    from harness.runner import guard

    guard.bind_to_parent = lambda: 0
    guard.dismiss = lambda _: None


def no_sums():
    """Lines of a journal are believed."""
    from harness import journal

    journal.crc32 = lambda _: 0
    journal.int = lambda *_: 0


def no_digests():
    """What is in the cache is believed."""
    from harness import artefacts

    artefacts.held = lambda folder, digest: (
        artefacts._main(place) if (place := artefacts._place(folder, digest)).is_dir() else None
    )


def no_patience():
    """A stream that takes nothing is not expected."""
    from harness.commands import results

    results.OSError = ZeroDivisionError


def no_sweeping():
    """What killed runs left is left."""
    from harness.runner import scratch

    scratch._remove_left = lambda _: None


def no_watchdog():
    """Nobody looks at memory."""
    from harness.runner import watchdog

    watchdog.Watchdog.look = lambda _: None


def no_lock():
    """A folder is never in use."""
    from harness.journal import Journal

    Journal.lock = lambda _: True


def no_second_start():
    """A worker that does not start is given up."""
    from harness.runner import workers

    workers.KILLED = frozenset()


def no_marks():
    """What workers started is not looked for."""
    from harness.runner import client, guard, processes

    for module in (client, guard, processes):
        with suppress(AttributeError):
            module.end_marked = lambda *_: None


def no_deadline():
    """Stages may take any time."""
    from harness.runner.client import WorkerProcess

    wait = WorkerProcess._next
    WorkerProcess._next = lambda self, deadline: wait(self, deadline and deadline + 3600)


SABOTAGE = {name: made for name, made in globals().items() if name.startswith("no_")}
