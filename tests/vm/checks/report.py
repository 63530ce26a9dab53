"""What the checks say, on the port that the machine outside reads: a line for each, as it is known."""

import contextlib
import os
import subprocess
import time
import traceback

PORT = "/dev/virtio-ports/checks"

failures = 0


class Failed(Exception):
    """A check that did not hold, in words."""


def say(line):
    with open(PORT, "a", encoding="utf-8") as port:
        port.write(line + "\n")


def tell_journal():
    """What the machine said since its start, for whoever looks for why a check failed."""
    journal = sh("journalctl -b --no-pager -o short-precise")
    with open(PORT, "a", encoding="utf-8") as port:
        port.writelines(f"LOG {line}\n" for line in journal.splitlines())


@contextlib.contextmanager
def check(name):
    """What follows holds: it says so, or what is wrong, and lets the next check begin."""
    began = time.monotonic()
    try:
        yield
    except Exception as error:  # whatever it is, it is why the check failed
        global failures
        failures += 1
        ours = [frame for frame in traceback.extract_tb(error.__traceback__) if "/checks/" in frame.filename][-1]
        kind = "" if isinstance(error, Failed) else f"{type(error).__name__}: "
        say(f"FAILED {name}")
        for line in f"{ours.filename.rsplit('/', 1)[-1]}:{ours.lineno}: {kind}{error}".splitlines():
            say(f"  {line}")
    else:
        say(f"OK {name} ({time.monotonic() - began:.0f} s)")


def expect(holds, text):
    if not holds:
        raise Failed(text() if callable(text) else str(text))


def wait(what, seconds, ask):
    """Asks until the answer is true, and gives it; errors of the last answer are told when the time is over."""
    until = time.monotonic() + seconds
    while True:
        why = None
        try:
            if answer := ask():
                return answer
        except Failed as error:
            why = error
        if time.monotonic() > until:
            raise Failed(f"{what}: not within {seconds} s" + (f": {why}" if why else ""))
        time.sleep(1)


def sh(command, seconds=600, fine=(0,)):
    """The output of a shell command that ends as expected."""
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=seconds, env=os.environ)
    expect(done.returncode in fine, f"{command}\nstatus {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()
