"""The libraries that compare.py knows, and the settings each is best with.

Single node: shared memory. Several nodes: every library is held to TCP on loopback. MPICH is told of
the nodes; the other peers know no way to split a machine, so with more ranks than nodes they use
TCP between all ranks.
"""

import os
import shutil

import report
from launch import Program


def hfreduce(program, cluster):
    env = {}
    if cluster.congestion:
        env["HFREDUCE_TCP_CONGESTION"] = cluster.congestion

    def rank_env(rank, of):
        return {"HFREDUCE_HOSTID": f"node{rank // of.local_ranks}"}

    return [Program("hfreduce", [program], True, env, rank_env)]


def hfreduce_cuda(program, cluster):
    return hfreduce(program, cluster)


def nccl(program, _cluster):
    """The program itself makes ranks that share a GPU pass for machines of their own."""
    return [Program("nccl", [program], True)]


def openmpi(program, cluster):
    launcher = shutil.which("mpirun.openmpi") or shutil.which("mpirun")
    start = [launcher, "-n", str(cluster.num_ranks), "--bind-to", "none", "--oversubscribe"]
    env = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    ucx_env = dict(env)
    if cluster.over_tcp:
        own = ["--mca", "pml", "ob1", "--mca", "btl", "tcp,self", "--mca", "btl_tcp_if_include", "lo"]
        ucx_env.update(UCX_TLS="tcp,self")
    else:
        own = ["--mca", "pml", "ob1", "--mca", "btl", "vader,self"]
        ucx_env.update(UCX_TLS="shm,self")
    # Without these two, the component steps back where there is no fast network.
    ucx = ["--mca", "pml", "ucx", "--mca", "pml_ucx_tls", "any", "--mca", "pml_ucx_devices", "any"]
    return [
        Program("openmpi", start + own + [program], False, env),
        Program("openmpi-ucx", start + ucx + [program], False, ucx_env),
    ]


def mpich(program, cluster):
    launcher = shutil.which("mpirun.mpich") or shutil.which("mpirun")
    env = {}
    if cluster.over_tcp:
        # Debian builds it over UCX, others over libfabric.
        env = {"UCX_TLS": "tcp,self", "FI_PROVIDER": "tcp", "FI_TCP_IFACE": "lo"}
        if cluster.local_ranks == 1:
            env["MPIR_CVAR_NOLOCAL"] = "1"
        else:
            env["MPIR_CVAR_NUM_CLIQUES"] = str(cluster.num_nodes)
    return [Program("mpich", [launcher, "-n", str(cluster.num_ranks), program], False, env)]


def gloo(program, _cluster):
    """TCP is its only transport here, within a node too."""
    return [
        Program("gloo", [program], True),
        Program("gloo-busy", [program, "--variant", "busy"], True),
    ]


def ucc(program, cluster):
    env = {"UCX_TLS": "tcp,self" if cluster.over_tcp else "shm,self"}
    return [Program("ucc", [program], True, env)]


def oneccl(program, cluster):
    # The caller makes progress: a worker thread has no core of its own here, and waiting for it
    # costs milliseconds.
    env = {"CCL_PROCESS_LAUNCHER": "none", "CCL_WORKER_OFFLOAD": "0", "CCL_ATL_TRANSPORT": "ofi"}
    if cluster.over_tcp:
        env.update(CCL_ATL_SHM="0", FI_PROVIDER="tcp", FI_TCP_IFACE="lo")
    else:
        env.update(CCL_ATL_SHM="1", FI_PROVIDER="shm")

    def rank_env(rank, of):
        return {"CCL_LOCAL_RANK": str(rank % of.local_ranks), "CCL_LOCAL_SIZE": str(of.local_ranks)}

    return [Program("oneccl", [program], True, env, rank_env)]


def limit(program, cluster):
    """No library: what the machine lets two ranks do."""
    if cluster.num_ranks != 2:
        return []
    variant = "sockets" if cluster.over_tcp else "memory"
    return [Program(report.LIMIT, [program, "--variant", variant], True)]


KNOWN = {
    "host": [hfreduce, limit, openmpi, mpich, gloo, ucc, oneccl],
    "cuda": [hfreduce_cuda, nccl],
}


def find_programs(folder, cluster):
    """Programs of the libraries for this device whose binaries were built."""
    programs = []
    for library in KNOWN[cluster.device]:
        binary = os.path.join(folder, f"allreduce_{library.__name__}")
        if os.access(binary, os.X_OK):
            programs += library(binary, cluster)
    return programs
