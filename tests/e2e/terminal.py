"""Runs a program in a terminal of its own and plays a script with it: `terminal.py STEPS PROGRAM ARGUMENT...`.

STEPS is JSON, a list of: ["expect", TEXT], ["send", TEXT], ["size", ROWS, COLUMNS], ["signal", NUMBER], ["end", STATUS].
Ends with an error, and with what the terminal showed, when a text does not come within a minute, when the program ends
otherwise, or when it leaves the terminal in another mode than it found it in.
"""

import fcntl
import json
import os
import pty
import select
import struct
import sys
import termios
import time

DEADLINE = 60


def resize(fd, rows, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def fail(why):
    sys.exit(f"{why}; the terminal showed: {shown!r}")


def take(wait):
    global shown
    if select.select([master], [], [], wait)[0]:
        try:
            shown += os.read(master, 65536).decode(errors="replace")
        except OSError:
            return False
    return True


steps, program = json.loads(sys.argv[1]), sys.argv[2:]
master, slave = pty.openpty()
resize(slave, 24, 80)
before = termios.tcgetattr(slave)
shown, seen = "", 0
child = os.fork()
if child == 0:
    os.close(master)
    os.login_tty(slave) if hasattr(os, "login_tty") else None
    if not hasattr(os, "login_tty"):
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        for fd in range(3):
            os.dup2(slave, fd)
    os.execvp(program[0], program)

for kind, *what in steps:
    until = time.monotonic() + DEADLINE
    if kind == "expect":
        while what[0] not in shown[seen:]:
            take(0.5)
            if time.monotonic() > until:
                fail(f"{what[0]!r} did not come")
        seen = shown.index(what[0], seen) + len(what[0])
    elif kind == "send":
        os.write(master, what[0].encode())
    elif kind == "size":
        resize(master, *what)
    elif kind == "signal":
        os.kill(child, what[0])
    elif kind == "end":
        while True:
            take(0.05)
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > until:
                os.kill(child, 9)
                fail("the program did not end")
        status = os.waitstatus_to_exitcode(status)
        if status != what[0]:
            fail(f"the program ended with {status} and not with {what[0]}")
if termios.tcgetattr(slave) != before:
    fail("the terminal was left in another mode")
print(shown)
