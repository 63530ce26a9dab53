#!/usr/bin/env python3
"""boot.py DIRECTORY SECONDS: boots the machine whose disks are there, shows what its checks say, and ends with status 0
when all of them held. The machine is ended with this program, however that ends; it reaches nothing outside itself.

LONGSHORE_VM_SHELL=FILE puts a root shell on that socket, and keeps the machine when a check failed.
"""

import os
import signal
import subprocess
import sys
import time


def command(directory, base, shell):
    disk = "format=raw,if=virtio,cache=unsafe"
    return [
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none",
        "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "Nehalem", "-smp", "2", "-m", "3072",
        "-kernel", f"{base}/vmlinuz", "-initrd", f"{base}/initrd",
        "-append", "root=LABEL=root console=ttyS0 mitigations=off panic=5 quiet",
        "-serial", f"file:{directory}/console.log",
        "-serial", f"unix:{shell},server=on,wait=off" if shell else "null",
        "-device", "virtio-serial-pci", "-chardev", f"file,id=checks,path={directory}/checks.log",
        "-device", "virtserialport,chardev=checks,name=checks",
        "-device", "virtio-rng-pci", "-nic", "user,model=virtio-net-pci,restrict=on",
        # What is written to it is forgotten: the next run begins with the same system.
        "-drive", f"file={base}/root.img,snapshot=on,{disk}",
        "-drive", f"file={directory}/docker.img,{disk}",
        "-drive", f"file={directory}/build.img,{disk}",
    ]


def follow(log, journal, machine, until):
    """Prints the lines of the log as they come, but for the machine's journal, which goes to a file of its own; gives
    how many checks failed, or why there was no end."""
    checks = failed = 0
    rest = ""
    with open(log, encoding="utf-8", errors="replace") as lines, open(journal, "w", encoding="utf-8") as entries:
        while True:
            over = machine.poll() is not None or time.monotonic() > until
            rest += lines.read()
            *whole, rest = rest.split("\n")
            for line in whole:
                if line.startswith("LOG "):
                    entries.write(line[4:] + "\n")
                    continue
                if line == "END":
                    print(f"{checks - failed} of {checks} checks hold", flush=True)
                    return failed if checks else "there were no checks"
                print(line, flush=True)
                checks += line.startswith(("OK ", "FAILED "))
                failed += line.startswith("FAILED ")
            if over:
                return "the machine ended early" if machine.poll() is not None else "the time is over"
            time.sleep(0.5)


def main():
    directory, base, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3])
    shell = os.environ.get("LONGSHORE_VM_SHELL")
    log = f"{directory}/checks.log"
    open(log, "w", encoding="utf-8").close()
    os.environ["TMPDIR"] = directory
    # Whoever ends this program ends the machine.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    until = time.monotonic() + seconds
    machine = subprocess.Popen(command(directory, base, shell), stdin=subprocess.DEVNULL)
    try:
        result = follow(log, f"{directory}/journal.log", machine, until)
        if result and shell:
            print(f"the machine stays, with a shell at {shell}, until it is switched off", flush=True)
            machine.wait()
        elif result == 0:
            machine.wait(timeout=120)
    finally:
        if machine.poll() is None:
            machine.kill()
            machine.wait()
    if isinstance(result, str):
        print(f"{result}; what the machine said last is in {directory}/console.log", flush=True)
        with open(f"{directory}/console.log", encoding="utf-8", errors="replace") as console:
            print("".join(console.readlines()[-20:]))
    return 1 if result else 0


if __name__ == "__main__":
    sys.exit(main())
