"""Runs one trial: starts its ranks, strikes at the drawn moments, and judges how each of them ended."""
import json
import mmap
import os
import resource
import shutil
import signal
import socket
import struct
import subprocess
import time

import judge
import machine
import relay
import switch
from trial import KINDS, _Draw

# rank.cc has the same page.
PHASES = ["started", "joining", "training", "shrinking", "suspending", "growing", "ending", "done"]
_PAGE_BYTES, _RANKS_AT, _RANK_BYTES = 4096, 64 + 6 * 192, 64
_ENOUGH_STEPS = 25
_MOST_TRAINING_S = 4.0  # then the ranks are told to end, whatever has come of the faults
_NEW_RANK_MS = 10_000  # a new rank's deadline where the others must survive, whatever becomes of it


class Page:
    """The page that the ranks share with the driver."""

    def __init__(self, path):
        with open(path, "w+b") as file:
            file.truncate(_PAGE_BYTES)
            self._bytes = mmap.mmap(file.fileno(), _PAGE_BYTES)

    def rank(self, rank):
        """phase, steps, since_ns, promise_ms, life"""
        return struct.unpack_from("<5Q", self._bytes, _RANKS_AT + rank * _RANK_BYTES)

    def stop(self):
        struct.pack_into("<Q", self._bytes, 0, 1)

    @property
    def stopped(self):
        return self._bytes[0] != 0

    def nobody_grows(self):
        struct.pack_into("<Q", self._bytes, 8, 1)


class Strike:
    """A fault on its way: armed, due at a moment, then done; or missed, when its moment never comes."""

    def __init__(self, fault):
        self.fault = fault
        self.state = "armed"  # due, holding (to be taken back), done, missed
        self.at_s = 0.0

    @property
    def over(self):
        return self.state in ("done", "missed")


def _is_past(wanted, phase):
    """Whether a rank in `phase` does not come to `wanted` any more. From all that follows joining it goes back to training."""
    if wanted == "joining":
        return phase not in ("started", "joining")
    return wanted != phase and phase in (("done",) if wanted == "ending" else ("ending", "done"))


class Rank:
    def __init__(self, number):
        self.number = number
        self.pid = 0
        self.status = None  # of waitpid
        self.killed = self.stopped = False  # by us; stopped: now
        self.was_stopped = False
        self.went_on_ns = 0
        self.paused_ms = 0.0
        self.report = {}

    @property
    def alive(self):
        return self.status is None


class Job:
    def __init__(self, trial, program, folder, margin_s, spoil=None):
        self.trial, self._program, self.folder, self.margin_s, self._spoil = trial, program, folder, margin_s, spoil
        self._random = _Draw(f"job {trial.name}")
        self.ranks = [Rank(number) for number in range(trial.num_ranks)]
        self.strikes = [Strike(fault) for fault in trial.faults]
        self.problems = []  # empty: as it should be
        self.left_out = []
        self._page = Page(self._path("page"))
        self._nodes, self._switch, self._relay, self._reserved = [], None, None, None
        self._disk = self._path("disk") if trial.disk else None
        self._port = 0
        on_disk = self._disk and trial.disk["holds"] in ("records", "all")
        self.records = os.path.join(self._disk if on_disk else self.folder, "records")

    def _path(self, name):
        return os.path.join(self.folder, name)

    # ---- from beginning to end

    def run(self):
        with open(self._path("trial.json"), "w", encoding="ascii") as file:
            json.dump(self.trial.to_dict(), file, indent=1)
        try:
            self._prepare()
            for rank in self.ranks:
                self._start(rank)
            # Only now: a process with threads should not fork.
            for carrier in (self._switch, self._relay):
                if carrier:
                    carrier.start()
            self._watch()
        finally:
            self._end_all()
        self._read_reports()
        self._judge()
        return self.outcome()

    def _prepare(self):
        trial = self.trial
        if self._disk:
            os.mkdir(self._disk)
            inodes = f",nr_inodes={trial.disk['inodes']}" if trial.disk["inodes"] else ""
            machine.mount_tmpfs(self._disk, f"size={trial.disk['bytes']},mode=700{inodes}")
        if trial.wire == "namespaces":
            for node in range(trial.nodes):
                self._nodes.append(machine.Node(f"10.77.0.{node + 1}", trial.mtu))
            self._switch = switch.Switch(self._nodes, self._random)
            self._port = 4000
        else:
            # Reserved until rank 0 listens there: bound, but not listening.
            self._reserved = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._reserved.bind(("127.0.0.1", 0))
            self._port = self._reserved.getsockname()[1]
        if trial.wire == "relay":
            self._relay = relay.Relay(("127.0.0.1", self._port), self._random)
        for strike in self.strikes:
            if KINDS[strike.fault.kind].whole:
                self._put_in_force(strike)

    def _put_in_force(self, strike):
        fault = strike.fault
        strike.state = "done"
        if fault.kind == "setup_delay":
            self._relay.delay_s = fault.amount / 1000
        elif fault.kind == "setup_reorder":
            self._relay.hold_s, self._relay.piece_bytes = fault.amount / 1000, int(fault.amount_2)
        elif fault.kind == "setup_reset":
            self._relay.reset_at = (int(fault.amount), fault.amount_2)
        elif fault.kind == "setup_stall":
            self._relay.stall_at = (int(fault.amount), fault.amount_2)
        elif fault.kind == "packet_delay":
            self._switch.delay_s = fault.amount / 1000
        elif fault.kind == "packet_reorder":
            self._switch.jitter_s = fault.amount / 1000
        elif fault.kind == "packet_double":
            self._switch.duplicates = fault.amount
        elif fault.kind in ("packet_loss", "heavy_loss"):
            self._switch.loss = fault.amount

    def _environment(self, rank):
        trial = self.trial
        node = trial.node_of(rank)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HFREDUCE_")}
        port, host = self._port, "127.0.0.1"
        if self._nodes:
            host = self._nodes[0].address
        elif self._relay and rank != 0:
            port = self._relay.port
        places = {"trace": self.folder, "log": None}
        settings = dict(trial.settings)
        if self._disk:
            for name in places:
                if trial.disk["holds"] in (name, "all"):
                    places[name] = self._disk
            if trial.disk["holds"] in ("trace", "all"):
                settings["HFREDUCE_TRACE"] = "file"
            if places["log"]:
                settings["HFREDUCE_LOG_LEVEL"] = "debug"
        if places["log"]:
            settings["HFREDUCE_LOG_FILE"] = os.path.join(places["log"], "log.%r")
        if "HFREDUCE_TRACE" in settings:
            settings["HFREDUCE_TRACE"] = os.path.join(places["trace"], "trace.%r.json")
        if "HFREDUCE_METRICS" in settings:
            settings["HFREDUCE_METRICS"] = "unix:" + self._path("metrics")
        return {
            **kept, **settings, "RANK": str(rank), "WORLD_SIZE": str(trial.num_first), "HFREDUCE_HOSTID": f"chaos-{os.getpid()}-{node}",
            "HFREDUCE_RENDEZVOUS": f"{host}:{port}", "HFREDUCE_SECRET": f"chaos {trial.name}",
            "HFREDUCE_RECORDER_DIR": self.records,
            # Where ranks meet by an id, it has an address of the loopback device, too.
            **({} if self._nodes else {"HFREDUCE_SOCKET_IFNAME": "lo"}),
        }

    def _arguments(self, rank):
        trial = self.trial
        arguments = {**trial.program, "page": self._path("page"), "seed": trial.seed, "timeout_ms": trial.timeout_ms}
        if rank >= trial.num_first and trial.expect == "survive":
            arguments["timeout_ms"] = _NEW_RANK_MS
        for fault in trial.faults:
            if fault.kind in ("descriptors", "memory") and fault.rank == rank:
                resource_name = "nofile" if fault.kind == "descriptors" else "as"
                arguments["limit"] = f"{resource_name}:{int(fault.amount)}:{fault.steps}"
        if self._spoil:
            arguments["spoil"] = self._spoil
        return [self._program] + [f"{name}={value}" for name, value in arguments.items()]

    def _start(self, rank):
        environment, arguments = self._environment(rank.number), self._arguments(rank.number)
        rank.pid = os.fork()
        if rank.pid != 0:
            return
        try:
            machine.die_with_parent()
            os.setsid()
            for target, name in ((0, os.devnull), (1, self._path(f"rank.{rank.number}.out")), (2, self._path(f"rank.{rank.number}.err"))):
                os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), target)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            if any(fault.kind == "locked_memory" for fault in self.trial.faults):
                resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
            if self.trial.one_cpu:
                os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
            if self._nodes:
                machine.enter_namespace(self._nodes[self.trial.node_of(rank.number)].namespace, machine.CLONE_NEWNET)
            os.execve(self._program, arguments, environment)
        except BaseException as error:
            os.write(2, f"cannot start: {error}\n".encode())
        finally:
            os._exit(126)

    # ---- watching and striking

    def _watch(self):
        training_from = None
        seen_faults_at = {}
        while any(rank.alive for rank in self.ranks):
            now = time.monotonic()
            for rank in self.ranks:
                if rank.alive:
                    pid, status = os.waitpid(rank.pid, os.WNOHANG)
                    if pid:
                        rank.status = status
            for strike in self.strikes:
                self._advance(strike, now)
            running = [rank for rank in self.ranks if rank.alive and not rank.stopped]
            if not running:
                if not any(strike.state == "holding" for strike in self.strikes) and not self._end_stopped():
                    break
                time.sleep(0.002)
                continue
            if training_from is None and any(self._page.rank(rank.number)[0] >= 2 for rank in self.ranks):
                training_from = now
            if not self._page.stopped and self._seen_enough(now, training_from, seen_faults_at):
                self._page.stop()
            if not any(self._may_grow(rank) for rank in self.ranks[:self.trial.num_first]):
                self._page.nobody_grows()
            if any(self._hangs(rank) for rank in running):
                break
            time.sleep(0.0002 if any(s.state in ("armed", "due") for s in self.strikes) else 0.002)

    def _may_grow(self, rank):
        return rank.alive and not rank.stopped and PHASES[self._page.rank(rank.number)[0]] not in ("ending", "done")

    def _seen_enough(self, now, training_from, seen):
        """All that strikes before the end has, and the ranks went on for a while, as far as they can."""
        pending = [s for s in self.strikes if not s.over and s.fault.phase in ("joining", "training", "suspending", "growing")]
        if training_from is not None and now > training_from + _MOST_TRAINING_S:
            return True
        if pending:
            return False
        steps = [self._page.rank(rank.number)[1] for rank in self.ranks]
        if not seen:
            seen["steps"] = max(steps)
        return max(steps) >= max(seen["steps"] + 5, _ENOUGH_STEPS, self.trial.last_change + 5)

    def _advance(self, strike, now):
        fault = strike.fault
        victim = self.ranks[fault.rank]
        if strike.state == "armed":
            phase, steps, _, _, life = self._page.rank(fault.rank)
            phase = PHASES[phase]
            if phase == fault.phase and life >= fault.life and steps >= fault.steps:
                strike.state, strike.at_s = "due", now + fault.delay_us / 1e6
            elif not victim.alive or (life >= fault.life and _is_past(fault.phase, phase)):
                strike.state = "missed"
        if strike.state == "due" and now >= strike.at_s:
            self._hit(strike, victim)
        if strike.state == "holding" and now >= strike.at_s:
            self._take_back(strike, victim)

    def _hit(self, strike, victim):
        fault = strike.fault
        strike.state = "done"
        if fault.kind in ("kill", "stop", "pause", "long_pause", "reset") and not victim.alive:
            strike.state = "missed"
        elif fault.kind == "kill":
            self._kill(victim)
        elif fault.kind in ("stop", "pause", "long_pause"):
            os.kill(victim.pid, signal.SIGSTOP)
            victim.stopped = victim.was_stopped = True
            if fault.kind != "stop":
                strike.state, strike.at_s = "holding", time.monotonic() + fault.amount / 1000
        elif fault.kind == "reset":
            if not self._reset_one(victim, fault.amount):
                strike.state = "armed"  # it has none yet, or not any more
        elif fault.kind == "link_cut":
            self._switch.cut = self._switch.cut | {self.trial.node_of(fault.rank)}
            strike.state, strike.at_s = "holding", time.monotonic() + fault.amount / 1000
        elif fault.kind == "link_down":
            self._switch.cut = self._switch.cut | {self.trial.node_of(fault.rank)}
        elif fault.kind == "packet_reset":
            self._switch.resets += 1
        elif fault.kind == "disk_fills":
            self._fill_disk()

    def _take_back(self, strike, victim):
        strike.state = "done"
        if strike.fault.kind == "link_cut":
            down = {self.trial.node_of(s.fault.rank) for s in self.strikes
                    if s.fault.kind == "link_down" and s.state == "done" or s.fault.kind == "link_cut" and s.state == "holding"}
            self._switch.cut = frozenset(down)
        elif victim.alive and not any(s.fault.kind == "stop" and s.state == "done" and s.fault.rank == victim.number or
                                      s.fault.kind in ("pause", "long_pause") and s.state == "holding" and s.fault.rank == victim.number
                                      for s in self.strikes):
            self._continue(victim, strike.fault.amount)

    def _continue(self, rank, paused_ms):
        rank.stopped = False
        rank.paused_ms += paused_ms
        rank.went_on_ns = time.monotonic_ns()
        os.kill(rank.pid, signal.SIGCONT)

    def _end_stopped(self):
        """All others have ended. Half of those that were stopped for good go on now, and must end, too. False: there are none."""
        stopped = [rank for rank in self.ranks if rank.alive and rank.stopped]
        for rank in stopped:
            if self._random.chance(0.5):
                self._continue(rank, 1e12)  # whatever time its call took
            else:
                self._kill(rank)
        self._page.stop()
        return bool(stopped)

    @staticmethod
    def _kill(rank):
        rank.killed = True
        os.kill(rank.pid, signal.SIGKILL)
        rank.stopped = False

    def _reset_one(self, victim, which):
        connections = machine.sockets_of(victim.pid)
        try:
            if not connections:
                return False
            machine.reset(connections[int(which * len(connections))])
            return True
        except OSError:
            return False
        finally:
            for connection in connections:
                connection.close()

    def _fill_disk(self):
        try:  # to create the file too: the ranks or a strike before may have left no room
            with open(os.path.join(self._disk, "filler"), "ab", buffering=0) as file:
                while True:
                    file.write(b"\0" * 65536)
        except OSError:
            pass

    def _hangs(self, rank):
        _, _, since_ns, promise_ms, _ = self._page.rank(rank.number)
        now = time.monotonic_ns()
        begun = max(since_ns, rank.went_on_ns) if since_ns else 0
        if since_ns == 0 or now - begun < (promise_ms / 1000 + self.margin_s) * 1e9:
            return False
        self.problems.append(f"rank {rank.number} hangs: its call promised to be back after {promise_ms / 1000} s and has not been "
                             f"for {(now - begun) / 1e9:.1f} s")
        for other in self.ranks:
            if other.alive:
                self._picture(other)
        return True

    def _picture(self, rank):
        """Where a process is, before it is killed."""
        with open(self._path(f"rank.{rank.number}.stacks"), "w", encoding="utf-8") as file:
            if shutil.which("gdb") and not rank.stopped:
                subprocess.run(["gdb", "-p", str(rank.pid), "-batch", "-ex", "thread apply all bt"], stdout=file, stderr=file, check=False,
                               timeout=60)
                return
            for task in sorted(os.listdir(f"/proc/{rank.pid}/task")):
                for what in ("comm", "wchan", "syscall"):
                    try:
                        with open(f"/proc/{rank.pid}/task/{task}/{what}", encoding="ascii") as proc:
                            file.write(f"{task} {what}: {proc.read().strip()}\n")
                    except OSError:
                        pass

    # ---- the end

    def _end_all(self):
        for rank in self.ranks:
            if rank.pid and rank.alive:
                os.kill(rank.pid, signal.SIGKILL)
                rank.status = os.waitpid(rank.pid, 0)[1]
                rank.killed = True
        self._end_orphans()
        for carrier in (self._switch, self._relay):
            if carrier:
                carrier.stop()
        for node in self._nodes:
            node.close()
        if self._reserved:
            self._reserved.close()

    def _end_orphans(self):
        """What ranks started and left comes to us, as we adopt orphans."""
        while True:
            with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
                children = [int(pid) for pid in file.read().split()]
            for pid in children:
                self.problems.append(f"process {pid} was left behind")
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            if not children:
                return

    def _read_reports(self):
        for rank in self.ranks:
            try:
                with open(self._path(f"rank.{rank.number}.out"), encoding="utf-8", errors="replace") as file:
                    lines = [line for line in file if line.startswith("{")]
                rank.report = json.loads(lines[-1]) if lines else {}
            except (OSError, ValueError) as error:
                self.problems.append(f"rank {rank.number}'s report cannot be read: {error}")

    # ---- judging

    def _judge(self):
        for strike in self.strikes:
            if not self._came_true(strike):
                strike.state = "missed"
        self.problems += judge.problems(self)

    def close(self):
        """After the last look at what lies in its folders."""
        if self._disk and os.path.ismount(self._disk):
            machine.unmount(self._disk)

    def _came_true(self, strike):
        """Of what was put in force: whether anything came of it."""
        fault = strike.fault
        if fault.kind in ("setup_reset", "setup_stall"):
            return fault.kind.replace("setup_", "") + "_at" in self._relay.struck
        if fault.kind in ("descriptors", "memory"):
            return self.ranks[fault.rank].report.get("limited", True)
        if fault.kind == "packet_reset":
            return strike.state == "done" and self._switch.resets == 0
        return strike.state in ("done", "holding")

    def outcome(self):
        if self.problems:
            return "FAILED"
        reports = [rank.report for rank in self.ranks if rank.report and not rank.killed]
        if any(report["outcome"] in ("error", "unable") for report in reports):
            return "named error"
        if any(report["failures"] > 0 for report in reports):
            return "went on"
        return "right sum"
