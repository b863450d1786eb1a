"""What a trial is, and how it is drawn from a seed. Pure: the same seed gives the same trial on every machine."""
import dataclasses
import random as random_module

MOST_RANKS = 8
PATIENT_MS = 60_000  # a deadline that must not pass


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of fault."""

    text: str
    needs: str | None = None  # the ability without which it cannot be made (machine.py)
    wire: str = "any"  # what must join the ranks: relay, namespaces
    ridden_out: bool = False  # the job must end as if there were none
    weight: int = 2  # how often it is drawn
    whole: bool = False  # in force from the beginning: it has no moment


_NET = {"needs": "namespaces", "wire": "namespaces", "weight": 1}
KINDS = {
    "kill": Kind("a rank is killed (SIGKILL)", weight=6),
    "stop": Kind("a rank is stopped (SIGSTOP), for good"),
    "pause": Kind("a rank is stopped, and goes on within the deadline", ridden_out=True, weight=3),
    "long_pause": Kind("a rank is stopped for longer than the deadline, and goes on"),
    "reset": Kind("a rank's TCP connection is reset", needs="sockets", weight=4),
    "setup_delay": Kind("set-up messages come late", wire="relay", ridden_out=True, weight=1, whole=True),
    "setup_reorder": Kind("set-up messages of different ranks overtake each other, in pieces", wire="relay", ridden_out=True, whole=True),
    "setup_reset": Kind("a rank's connection to the rendezvous is reset", wire="relay", whole=True),
    "setup_stall": Kind("a rank's connection to the rendezvous carries no more", wire="relay", whole=True),
    "packet_delay": Kind("packets between nodes come late", **_NET, ridden_out=True, whole=True),
    "packet_reorder": Kind("packets between nodes overtake each other", **_NET, ridden_out=True, whole=True),
    "packet_double": Kind("packets between nodes come twice", **_NET, ridden_out=True, whole=True),
    "packet_loss": Kind("up to 3 % of the packets between nodes are lost", **_NET, ridden_out=True, whole=True),
    "heavy_loss": Kind("10 to 40 % of the packets between nodes are lost", **_NET, whole=True),
    "link_cut": Kind("a node is cut off for less than the deadline", **_NET, ridden_out=True),
    "link_down": Kind("a node is cut off, for good", **_NET),
    "packet_reset": Kind("a connection between nodes is reset both ways", **_NET),
    "disk_full": Kind("records, traces, logs are on a disk that has little room, or few inodes", needs="mounts", whole=True),
    "disk_fills": Kind("that disk becomes full meanwhile", needs="mounts"),
    "descriptors": Kind("a rank's limit on open files leaves few", weight=4, whole=True),
    "memory": Kind("a rank's limit on memory (RLIMIT_AS) leaves little", weight=4, whole=True),
    "locked_memory": Kind("no memory may be locked", ridden_out=True, weight=1, whole=True),
}


@dataclasses.dataclass
class Fault:
    kind: str
    rank: int = 0  # whom it strikes, or whose progress its moment hangs on
    # The moment: delay_us after the rank is in this phase of this life, and has made so many steps.
    phase: str = "training"  # joining, training, shrinking, suspending, growing, ending
    life: int = 0
    steps: int = 0
    delay_us: int = 0
    amount: float = 0  # milliseconds, bytes, descriptors, a probability: as the kind has it
    amount_2: float = 0


@dataclasses.dataclass
class Trial:
    name: str  # SEED:NUMBER
    seed: int  # of the ranks' steps
    nodes: int
    ranks_per_node: int
    wire: str  # plain: loopback alone; relay; namespaces
    mtu: int
    timeout_ms: int
    expect: str  # right: all sums, no error. survive: right sums on all that are left. any: right sums or a named error
    program: dict  # arguments of chaos_rank
    settings: dict  # environment
    one_cpu: bool
    disk: dict  # of the disk for records, traces and logs; empty: none
    faults: list
    new_nodes: list = dataclasses.field(default_factory=list)  # of the ranks that join in growths: on which node they are

    @property
    def num_first(self):
        """Ranks that there are from the beginning."""
        return self.nodes * self.ranks_per_node

    @property
    def num_ranks(self):
        return self.num_first + len(self.new_nodes)

    def node_of(self, rank):
        return rank // self.ranks_per_node if rank < self.num_first else self.new_nodes[rank - self.num_first]

    @property
    def last_change(self):
        """The step after which the ranks suspend or grow for the last time; -1: they do not."""
        changes = (self.program.get("suspend", "") + "," + self.program.get("grow", "")).split(",")
        return max([int(change.split(":")[0]) for change in changes if change], default=-1)

    def to_dict(self):
        return dataclasses.asdict(self)

    @staticmethod
    def from_dict(values):
        return Trial(**{**values, "faults": [Fault(**fault) for fault in values["faults"]]})


class _Draw(random_module.Random):
    """random() and seeding by a string are the same in every Python 3; the rest is made of them here."""

    def below(self, limit):
        return int(self.random() * limit)

    def between(self, low, high):
        return low + self.below(high - low + 1)

    def one_of(self, items):
        return list(items)[self.below(len(items))]

    def chance(self, probability):
        return self.random() < probability

    def size(self, low, high):
        """Every order of magnitude alike."""
        return int(low * (high / low) ** self.random())


def draw_trial(seed, number, can, only=None):
    """`can(kind)`: whether this machine can make it. What it cannot is drawn again, so that a seed gives the same trials wherever all
    can be made. `only`: kinds to draw from."""
    attempt = 0
    while True:
        trial = _draw(_Draw(f"{seed}:{number}:{attempt}"), f"{seed}:{number}", only or list(KINDS))
        if all(can(fault.kind) for fault in trial.faults):
            return trial
        attempt += 1


def _draw(draw, name, kinds):
    pool = [kind for kind in kinds for _ in range(KINDS[kind].weight)]
    first = draw.one_of(pool)
    chosen = [] if draw.chance(0.02) and len(kinds) > 1 else [first]
    while chosen and len(chosen) < 3 and draw.chance(0.3):
        chosen.append("kill" if first == "kill" and draw.chance(0.5) else draw.one_of(pool))
    chosen = [kind for idx, kind in enumerate(chosen) if not KINDS[kind].whole or kind not in chosen[:idx]]
    wires = {KINDS[kind].wire for kind in chosen} - {"any"}
    if len(wires) > 1:  # they exclude each other
        chosen = [kind for kind in chosen if KINDS[kind].wire in ("any", KINDS[first].wire)]
        wires = {KINDS[kind].wire for kind in chosen} - {"any"}
    wire = wires.pop() if wires else "plain"

    nodes = draw.between(2 if wire == "namespaces" else 1, 4)
    ranks_per_node = draw.between(1, MOST_RANKS // nodes if nodes < 3 else 2)
    if nodes * ranks_per_node == 1:
        ranks_per_node = 2
    num_ranks = nodes * ranks_per_node
    recover = draw.chance(0.5)
    suspend, grow, new_nodes = _draw_changes(draw, nodes, wire)
    lives = 2 if draw.chance(0.15) and not grow else 1
    by_id = wire == "plain" and draw.chance(0.3)
    phases = (["training"] * 5 + ["joining"] * 3 + ["ending"] * 2 + ["shrinking"] * (2 if recover else 0) + ["suspending"] * (5 if suspend else 0)
              + ["growing"] * (5 if grow else 0))
    faults = [_draw_fault(draw, kind, num_ranks, len(new_nodes), lives, phases) for kind in chosen]

    if any(fault.phase == "shrinking" for fault in faults) and not any(f.kind == "kill" and f.phase == "training" for f in faults):
        # Somebody has to fail, or nobody shrinks.
        faults.insert(0, Fault("kill", rank=draw.below(num_ranks), steps=draw.between(0, 20), delay_us=draw.size(1, 5_000)))

    expect, timeout_ms = "any", draw.between(1_500, 4_000)
    if all(KINDS[fault.kind].ridden_out for fault in faults):
        expect, timeout_ms = "right", PATIENT_MS
    elif recover and all(_may_be_survived(fault, num_ranks) for fault in faults) and len(faults) < num_ranks:
        expect, timeout_ms = "survive", PATIENT_MS
    for fault in faults:
        if fault.kind == "long_pause":
            fault.amount = timeout_ms + draw.between(100, 2_500)
    return Trial(
        name=name, seed=draw.below(2**53), nodes=nodes, ranks_per_node=ranks_per_node, wire=wire,
        mtu=draw.one_of([1500, 9000, 32000]), timeout_ms=timeout_ms, expect=expect,
        program={
            "max_bytes": draw.size(16 * 1024, 2 * 1024 * 1024 if wire != "namespaces" else 256 * 1024),
            "recover": int(recover), "lives": lives, "by_id": int(by_id), "non_blocking": int(draw.chance(0.2)),
            "heap": draw.one_of([0, 0, 0, 1, 2]), "split": int(draw.chance(0.25)), "suspend": suspend, "grow": grow,
        },
        settings=_draw_settings(draw, wire), one_cpu=draw.chance(0.2), disk=_draw_disk(draw, chosen), faults=faults, new_nodes=new_nodes)


def _may_be_survived(fault, num_first):
    """With a deadline that must not pass: so no new rank is killed that the others then wait for."""
    return fault.kind == "kill" and (fault.phase in ("training", "shrinking", "suspending")
                                     or fault.phase == "growing" and fault.rank < num_first)


def _draw_changes(draw, nodes, wire):
    """After which steps the ranks suspend; after which they grow, and by how many; and the nodes of those."""
    suspend = sorted({draw.between(0, 15) for _ in range(draw.between(1, 3))}) if draw.chance(0.25) else []
    grow, new_nodes = [], []
    if draw.chance(0.25):
        for step in sorted({draw.between(0, 15) for _ in range(draw.between(1, 2))}):
            num_new = draw.between(1, 2)
            grow.append(f"{step}:{num_new}")
            # Where nodes are namespaces there is none for a further one.
            new_nodes += [draw.below(nodes + (wire != "namespaces")) for _ in range(num_new)]
    return ",".join(str(step) for step in suspend), ",".join(grow), new_nodes


def _draw_fault(draw, kind, num_ranks, num_new, lives, phases):
    fault = Fault(kind, rank=draw.below(num_ranks))
    if not KINDS[kind].whole:
        fault.phase = draw.one_of(phases)
        fault.life = draw.below(lives) if fault.phase == "joining" else 0
        fault.steps = draw.between(0, 20) if fault.phase == "training" else 0
        fault.delay_us = draw.size(1, {"training": 5_000, "joining": 40_000, "ending": 10_000, "shrinking": 40_000, "suspending": 20_000,
                                        "growing": 20_000}[fault.phase])
        if fault.phase in ("training", "growing", "ending"):
            fault.rank = draw.below(num_ranks + num_new)
    elif kind in ("descriptors", "memory"):
        fault.rank = draw.below(num_ranks + num_new)
    if kind == "pause":
        fault.amount = draw.size(5, 800 if fault.phase == "joining" else 1_500)
    elif kind == "link_cut":
        fault.amount = draw.size(20, 2_000)
    elif kind == "setup_delay":
        fault.amount = draw.size(1, 200)
    elif kind == "setup_reorder":
        fault.amount, fault.amount_2 = draw.size(5, 400), draw.one_of([0, 1, 7, 64])
    elif kind in ("setup_reset", "setup_stall"):
        fault.amount, fault.amount_2 = draw.below(num_ranks - 1), draw.size(1, 1_500)
    elif kind == "packet_delay":
        fault.amount = draw.size(1, 40)
    elif kind == "packet_reorder":
        fault.amount = draw.size(1, 40)
    elif kind == "packet_double":
        fault.amount = draw.random() * 0.5
    elif kind == "packet_loss":
        fault.amount = draw.random() * 0.03
    elif kind == "heavy_loss":
        fault.amount = 0.1 + draw.random() * 0.3
    elif kind == "descriptors":
        fault.amount = draw.below(24)
        fault.steps = draw.one_of([0, 0, draw.between(1, 10)])
    elif kind == "memory":
        fault.amount = draw.size(16 * 1024, 512 * 1024 * 1024)
        fault.steps = draw.one_of([0, 0, draw.between(1, 10)])
    elif kind == "reset":
        fault.amount = draw.random()  # which of its connections
    return fault


def _draw_settings(draw, wire):
    choices = {
        "HFREDUCE_CHUNK_BYTES": [4096, 16384, 131072],
        "HFREDUCE_WINDOW": [2, 4, 8],
        "HFREDUCE_FOREST": ["tree", "ring"],
        "HFREDUCE_FLAT_BYTES": [1, 4096],
        "HFREDUCE_DIRECT": [0],
        "HFREDUCE_CHECK": ["crc"],
        "HFREDUCE_HUGE_PAGES": ["off"],
        "HFREDUCE_BIND": ["none"],
        "HFREDUCE_SPIN_US": [1, 1000],
        "HFREDUCE_TCP_CONNECTIONS": [2, 3],
        "HFREDUCE_RECORDER_SIGNAL": ["USR1"],
        "HFREDUCE_METRICS": ["unix"],  # job.py makes an address of it
        "HFREDUCE_TRACE": ["file"],
        "HFREDUCE_LOG_LEVEL": ["debug"],
    }
    settings = {name: str(draw.one_of(values)) for name, values in choices.items() if draw.chance(0.2)}
    settings["HFREDUCE_TRANSPORT"] = draw.one_of(["auto", "tcp"]) if wire == "plain" else "tcp"
    settings["HFREDUCE_HEAP_BYTES"] = "64M"
    return settings


def _draw_disk(draw, chosen):
    if "disk_full" in chosen:
        return {"bytes": draw.size(4 * 1024, 4 * 1024 * 1024), "inodes": draw.one_of([0, 0, draw.between(2, 12)]),
                "holds": draw.one_of(["records", "trace", "log", "all"])}
    if "disk_fills" in chosen:
        return {"bytes": 64 * 1024 * 1024, "inodes": 0, "holds": draw.one_of(["records", "trace", "log", "all"])}
    return {}
