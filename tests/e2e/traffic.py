"""Constant requests to the tasks of a service, as a client without a load balancer makes them.

    traffic.py SERVICE HOSTS CLIENTS PACE

HOSTS is a JSON object: container instance ARN to address. Each of CLIENTS threads makes one request after the other, to
the tasks in turn, with PACE seconds between two. Tasks are those that the API shows as RUNNING and HEALTHY and not to
be stopped, looked at all the time; a request that does not get the whole page counts as failed. A line of JSON with
the counts is printed ten times a second, until SIGTERM.
"""

import json
import signal
import socket
import sys
import threading
import time

import boto3

SERVICE, HOSTS, CLIENTS, PACE = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])

over = threading.Event()
lock = threading.Lock()
endpoints = []
counts = {"requests": 0, "pages": {}, "failed": [], "slowest": 0.0, "tasks": 0}


def look():
    ecs = boto3.client("ecs")
    arns = ecs.list_tasks(serviceName=SERVICE, desiredStatus="RUNNING")["taskArns"]
    tasks = ecs.describe_tasks(tasks=arns)["tasks"] if arns else []
    found = []
    for task in tasks:
        if task["lastStatus"] != "RUNNING" or task["desiredStatus"] != "RUNNING" or task["healthStatus"] != "HEALTHY":
            continue
        binding = task["containers"][0]["networkBindings"][0]
        found.append((HOSTS[task["containerInstanceArn"]], binding["hostPort"], task["taskArn"].rsplit("/")[-1]))
    return found


def keep_looking():
    global endpoints
    ecs_errors = 0
    while not over.is_set():
        try:
            endpoints = look()
            ecs_errors = 0
        except Exception as error:  # The API may restart; a client goes on with what it knows.
            ecs_errors += 1
            if ecs_errors > 50:
                raise error
        counts["tasks"] = len(endpoints)
        over.wait(0.1)


def get(address, port):
    with socket.create_connection((address, port), 5) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        connection.settimeout(10)
        answer = b""
        while part := connection.recv(4096):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b" 200 " in head.split(b"\r\n")[0] and body.endswith(b"\n"), answer
    return body.decode().strip()


def client(number):
    turn = number
    while not over.is_set():
        known = endpoints
        if not known:
            time.sleep(0.01)
            continue
        turn += 1
        address, port, task = known[turn % len(known)]
        began = time.monotonic()
        try:
            page, failure = get(address, port), None
        except Exception as error:
            page, failure = None, f"{time.time():.3f} task {task}: {error!r}"
        took = time.monotonic() - began
        with lock:
            counts["requests"] += 1
            counts["slowest"] = max(counts["slowest"], took)
            if failure:
                counts["failed"].append(failure)
            else:
                counts["pages"][page] = counts["pages"].get(page, 0) + 1
        time.sleep(PACE)


signal.signal(signal.SIGTERM, lambda *_: over.set())
for work in [keep_looking] + [lambda n=n: client(n) for n in range(CLIENTS)]:
    threading.Thread(target=work, daemon=True).start()
while not over.wait(0.1):
    with lock:
        print(json.dumps(counts), flush=True)
