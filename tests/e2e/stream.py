"""A steady stream of numbered packets, and the one who counts them.

    stream.py listen PORT            prints a line of JSON with its counts ten times a second
    stream.py send ADDRESS PORT RATE until SIGTERM; then prints how many were sent

Both speak UDP and TCP on the port: datagrams with a number each, and one connection with lines of numbers. Nothing is
ever sent twice, but for what TCP itself does.
"""

import json
import signal
import socket
import struct
import sys
import threading
import time


def listen(port):
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    # Beyond rmem_max: a reader that waits for a processor is no lost packet.
    udp.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
    udp.bind(("", port))
    tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    tcp.bind(("", port))
    tcp.listen()
    seen = {"udp": 0, "twice": 0, "udp_gap": 0.0, "tcp": 0, "tcp_gap": 0.0, "connections": 0}

    def datagrams():
        numbers, last = set(), None
        while True:
            (number,) = struct.unpack("!Q", udp.recv(64))
            now = time.monotonic()
            seen["udp_gap"] = max(seen["udp_gap"], now - (last or now))
            last = now
            seen["twice"] += number in numbers
            numbers.add(number)
            seen["udp"] = len(numbers)

    def lines():
        while True:
            connection = tcp.accept()[0]
            seen["connections"] += 1
            last = None
            for line in connection.makefile("rb"):
                now = time.monotonic()
                seen["tcp_gap"] = max(seen["tcp_gap"], now - (last or now))
                last = now
                assert int(line) == seen["tcp"], (line, seen)
                seen["tcp"] += 1

    for work in (datagrams, lines):
        threading.Thread(target=work, daemon=True).start()
    while True:
        print(json.dumps(seen), flush=True)
        time.sleep(0.1)


def send(address, port, rate):
    over = []
    signal.signal(signal.SIGTERM, lambda *_: over.append(True))
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.connect((address, port))
    tcp = socket.create_connection((address, port), 10)
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sent, next_at = 0, time.monotonic()
    while not over:
        udp.send(struct.pack("!Q", sent))
        tcp.sendall(b"%d\n" % sent)
        sent += 1
        # After a wait for a processor the stream goes on from now: no burst.
        next_at = max(next_at + 1 / rate, time.monotonic() - 0.005)
        time.sleep(max(0.0, next_at - time.monotonic()))
    print(json.dumps({"sent": sent}), flush=True)
    # The connection is not reset while lines are on their way.
    tcp.shutdown(socket.SHUT_WR)
    time.sleep(1)


if sys.argv[1] == "listen":
    listen(int(sys.argv[2]))
else:
    send(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
