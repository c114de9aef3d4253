"""Python imports this in every process of a run under test, before anything else: it fails where the fault says so.

FAULT_INSIDE is JSON: `at`, a list of {process, event, path, nth, do, mark, when}; `clock`, {mark, by_s}; `sabotage`, a
list of names in SABOTAGE. An event is one of sys.addaudithook, or `os.write` or `os.fsync` with the path of their
file. `mark` is a file that is made when the place is reached; where it is there already nothing happens, so a
resumption goes on.
"""

import datetime
import errno
import fnmatch
import json
import os
import signal
import sys
import time

WORKER = "harness.runner.worker"


def _name(value):
    if isinstance(value, int):
        try:
            return os.readlink(f"/proc/self/fd/{value}")
        except OSError:
            return ""
    return os.fsdecode(value) if isinstance(value, (str, bytes, os.PathLike)) else str(value)


class Place:
    """One place in a process at which something happens, once."""

    def __init__(self, process, event, path, do, mark, nth=1, when=""):
        self.mine = process == ("worker" if WORKER in sys.orig_argv else "run")
        name, _, value = when.partition("=")
        self.mine = self.mine and (not when or os.environ.get(name) == value)
        self.event, self.path, self.do, self.mark, self.left = event, path, do, mark, nth

    def reached(self, arguments):
        """Whether this is the place, and nobody has been here before."""
        names = [_name(value) for value in arguments[:2]]
        if not any(fnmatch.fnmatch(name, self.path) for name in names):
            return False
        self.left -= 1
        if self.left or os.path.exists(self.mark):
            return False
        os.close(os.open(self.mark, os.O_CREAT | os.O_WRONLY, 0o644))
        return True

    def act(self):
        if self.do == "mark":
            return
        if self.do == "hang":
            while True:
                time.sleep(3600)
        if self.do == "abort":
            os.abort()
        if number := getattr(signal, self.do, None):
            os.kill(os.getpid(), number)
            return
        raise OSError(getattr(errno, self.do), os.strerror(getattr(errno, self.do)))


def watch(places):
    """Look at every event of this process; and at writing, which raises none."""
    busy = []

    def look(event, arguments):
        if busy or event not in events:
            return
        busy.append(event)
        try:
            found = [place for place in places if place.event == event and place.reached(arguments)]
        finally:
            busy.clear()
        for place in found:
            place.act()

    events = {place.event for place in places}
    if "os.fsync" in events:
        sync = os.fsync
        os.fsync = lambda file: (look("os.fsync", (file,)), sync(file))[1]
    if "os.write" in events:
        write = os.write

        def half(file, data):
            """A process that is killed while it writes."""
            try:
                for place in places:
                    if place.event == "os.write" and place.reached((file,)):
                        write(file, bytes(data)[: len(data) // 2])
                        place.act()
            except FileNotFoundError:
                pass
            return write(file, data)

        os.write = half
    sys.addaudithook(look)


def jump(mark, by_s):
    """The clock of the wall is another one as soon as the file `mark` is there."""
    now, real = time.time, datetime.datetime

    class Jumped(real):
        @classmethod
        def now(cls, tz=None):
            return real.now(tz) + datetime.timedelta(seconds=by_s if os.path.exists(mark) else 0)

    time.time = lambda: now() + (by_s if os.path.exists(mark) else 0)
    datetime.datetime = Jumped


def begin(told):
    if places := [place for place in (Place(**one) for one in told.get("at", ())) if place.mine]:
        watch(places)
    if clock := told.get("clock"):
        jump(**clock)
    if wanted := told.get("sabotage"):
        from sabotage import SABOTAGE

        for name in wanted:
            SABOTAGE[name]()


if "FAULT_INSIDE" in os.environ:
    begin(json.loads(os.environ["FAULT_INSIDE"]))
