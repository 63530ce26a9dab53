"""Tries to connect to every ADDRESS:PORT again and again and prints `<seconds> <address> open|shut` for each try.

A try waits 150 ms for an answer, so a change is seen within that. Runs until it is killed.
"""

import socket
import sys
import threading
import time


def watch(target):
    address, port = target.rsplit(":", 1)
    while True:
        begin = time.time()
        try:
            socket.create_connection((address, int(port)), 0.15).close()
            seen = "open"
        except OSError:
            seen = "shut"
        # One write a line: threads share the output. What was seen held at its beginning or later.
        sys.stdout.write(f"{begin:.3f} {address} {seen}\n")
        time.sleep(0.02)


for each in sys.argv[1:]:
    threading.Thread(target=watch, args=[each]).start()
