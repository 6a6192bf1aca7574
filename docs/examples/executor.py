"""An executor decides where stages run. This one starts each stage by a command with a prefix, such as `srun`."""

import shlex
import signal
import subprocess
import sys
import time
from typing import Annotated

from typing_extensions import Doc

import prunebench


class Launch(prunebench.Executor):
    """Run each stage as a command with a prefix. The command must see the folder of the store."""

    name = "launch"

    prefix: Annotated[str, Doc("prefix of the command, such as `srun --ntasks=1 --gpus=1`")] = ""

    def open(self, context: prunebench.RunContext) -> prunebench.WorkerPool:
        return Commands(shlex.split(self.prefix), context.workers or 1)


class Commands(prunebench.WorkerPool):
    """The commands that are running."""

    def __init__(self, prefix: list[str], slots: int) -> None:
        self.command = [*prefix, sys.executable, "-m", "prunebench.execution"]
        self.slots = slots
        self.place = f"{slots} at a time: {shlex.join(self.command)}"
        self.running: dict[str, subprocess.Popen[str]] = {}

    @property
    def free(self) -> int:
        return self.slots - len(self.running)

    def submit(self, job: prunebench.JobSpec) -> None:
        with job.log.open("w") as log:
            process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=log, stderr=log, text=True)
        process.stdin.write(job.to_json())
        process.stdin.close()
        self.running[job.key] = process

    def wait(self, timeout: float | None) -> list[prunebench.JobResult]:
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            codes = {key: process.poll() for key, process in self.running.items()}
            ended = [prunebench.JobResult(key, code) for key, code in codes.items() if code is not None]
            if ended or (until is not None and time.monotonic() >= until):
                break
            time.sleep(0.1)
        for result in ended:
            del self.running[result.key]
        return ended

    def cancel(self, key: str) -> None:
        process = self.running.pop(key)
        process.kill()
        process.wait()

    def shutdown(self) -> None:
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        for key in list(self.running):
            try:
                self.running[key].wait(5)
            except subprocess.TimeoutExpired:
                self.cancel(key)


@prunebench.hookimpl
def register_executors():
    return [Launch]
