"""Starting the timing programs, and the kernel setting they run under."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field

CONGESTION_FILE = "/proc/sys/net/ipv4/tcp_congestion_control"
EXIT_UNSUPPORTED = 77
STOP_SECONDS = 5  # for a launcher to end its ranks


class Unsupported(Exception):
    """The library lacks what was asked; not a failure."""


class RunFailed(Exception):
    """The program failed, hung or printed something else; the text says which."""


@dataclass
class Cluster:
    """What every library is given: ranks, spread evenly and in order over emulated nodes."""

    num_ranks: int
    num_nodes: int
    congestion: str = ""
    device: str = "host"  # or cuda: where the buffers are

    @property
    def local_ranks(self):
        return self.num_ranks // self.num_nodes

    @property
    def over_tcp(self):
        return self.num_nodes > 1


@dataclass
class Program:
    """How to run one library. per_rank: started once per rank, with RANK and WORLD_SIZE; else the
    command starts the ranks itself. rank_env gives a rank's own variables. variant_of names the
    library that this is, where it has settings of its own."""

    name: str
    command: list
    per_rank: bool
    env: dict = field(default_factory=dict)
    rank_env: object = None
    variant_of: str = ""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def rank_processes(program, cluster, folder):
    """(environment, label) of every process to start."""
    base = dict(os.environ, **program.env, ALLREDUCE_BENCH_DIR=folder)
    if not program.per_rank:
        return [(base, program.name)]
    base["WORLD_SIZE"] = str(cluster.num_ranks)
    base["HFREDUCE_RENDEZVOUS"] = f"127.0.0.1:{free_port()}"
    base["HFREDUCE_SECRET"] = secrets.token_hex(16)
    processes = []
    for rank in range(cluster.num_ranks):
        own = dict(base, RANK=str(rank))
        if program.rank_env:
            own.update(program.rank_env(rank, cluster))
        processes.append((own, f"{program.name} rank {rank}"))
    return processes


def stop(process):
    """Ends one process that was started here, with what it started. A launcher gets the chance to
    end its ranks."""
    for name in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, name)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)


def wait_for_all(processes, deadline):
    """Returns when all ended, one failed, or the deadline passed."""
    while any(process.poll() is None for process in processes):
        if any(process.poll() not in (None, 0) for process in processes):
            return
        if time.monotonic() > deadline:
            return
        time.sleep(0.02)


def run(program, cluster, arguments, timeout_s):
    """Standard output of the program (of its rank 0). Raises Unsupported or RunFailed."""
    with tempfile.TemporaryDirectory(prefix="allreduce-bench-") as folder:
        files = []
        processes = []
        labels = []
        try:
            for env, label in rank_processes(program, cluster, folder):
                out = open(os.path.join(folder, f"stdout.{len(files)}"), "w+b")
                err = open(os.path.join(folder, f"stderr.{len(files)}"), "w+b")
                files.append((out, err))
                labels.append(label)
                processes.append(
                    subprocess.Popen(
                        program.command + arguments,
                        env=env,
                        stdin=subprocess.DEVNULL,
                        stdout=out,
                        stderr=err,
                        start_new_session=True,
                    )
                )
            wait_for_all(processes, time.monotonic() + timeout_s)
            # Those that went down with another's failure are noise: look before stopping the rest.
            codes = [process.poll() for process in processes]
        except OSError as error:
            raise RunFailed(f"{program.name} could not be started: {error}") from None
        finally:
            for process in processes:
                if process.poll() is None:
                    stop(process)
            texts = []
            for out, err in files:
                texts.append([])
                for file in (out, err):
                    file.seek(0)
                    texts[-1].append(file.read().decode(errors="replace"))
                    file.close()
        if EXIT_UNSUPPORTED in codes:
            text = texts[codes.index(EXIT_UNSUPPORTED)][1]
            raise Unsupported(reason(text, "unsupported: ") or "the program says so")
        for code, label, (_, err) in zip(codes, labels, texts):
            if code:
                raise RunFailed(f"{label} ended with {code}: {reason(err, 'error: ') or last(err)}")
        if None in codes:
            raise RunFailed(f"{labels[codes.index(None)]} was still running after {timeout_s} s")
        return texts[0][0]


def reason(text, prefix):
    for line in text.splitlines():
        if line.startswith(prefix):
            return line[len(prefix) :]
    return ""


def last(text):
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


@contextlib.contextmanager
def signals_unwind():
    """SIGTERM and SIGHUP leave like Ctrl-C does, so that `finally` blocks run."""

    def leave(number, _frame):
        sys.exit(128 + number)

    old = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def congestion_control(name, path=CONGESTION_FILE):
    """New TCP connections of every process use `name` inside the block; the old value comes back
    however the block is left (short of SIGKILL). Empty name: left alone."""
    if not name:
        yield
        return
    with open(path) as file:
        old = file.read().strip()
    if old == name:
        yield
        return
    try:
        with open(path, "w") as file:
            file.write(name)
    except OSError as error:
        raise RunFailed(
            f"cannot set the congestion control to {name} ({path}: {error.strerror}): run as root, "
            f"load tcp_{name}, or leave --congestion out to use {old}"
        ) from None
    try:
        yield
    finally:
        with open(path, "w") as file:
            file.write(old)
