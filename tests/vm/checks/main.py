"""Runs in the machine at each of its starts: the next part of the checks, then a reboot; after the last one the end.

What one part leaves for the next is in a file, as the machine itself forgets.
"""

import json
import os
import sys
import traceback

sys.path.insert(0, "/mnt/build/boto")

import boots
import figures
import install
import modes
import report
import restarts
import volumes
from report import say, sh, tell_journal

KEPT = "/var/lib/checks.json"

# Each part, and how the machine is left after it: in order, or with everything lost that is not on its disks.
PARTS = [
    [install, figures, modes, volumes, restarts, boots.before],
    [boots.after_reboot],
    [boots.after_reset, boots.end],
]
LEAVE = ["systemctl reboot", "echo b >/proc/sysrq-trigger", "systemctl poweroff"]


def main():
    kept = {"part": 0}
    if os.path.exists(KEPT):
        with open(KEPT, encoding="utf-8") as file:
            kept = json.load(file)
    part = kept["part"]
    for step in PARTS[part]:
        (step if callable(step) else step.run)(kept)
    kept["part"] = part + 1
    with open(KEPT, "w", encoding="utf-8") as file:
        json.dump(kept, file)
        file.flush()
        os.fsync(file.fileno())
    if report.failures:
        tell_journal()
    if part + 1 == len(PARTS):
        say("END")
    sh(LEAVE[part])


if __name__ == "__main__":
    try:
        main()
    except BaseException:
        say("FAILED the checks themselves")
        say("\n".join("  " + line for line in traceback.format_exc().splitlines()))
        tell_journal()
        say("END")
        sh("systemctl poweroff")
