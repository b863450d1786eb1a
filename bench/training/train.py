"""One rank of a data-parallel training run whose gradients one library averages: see steps.py.

A stack of transformer blocks. Gradients lie in buckets, in the order in which the backward pass
makes them, and each bucket is averaged as soon as all of it is there, beside the rest of the pass.

Prints `alone_us step_us` per batch of steps, on rank 0: a step without averaging, and with it.
Before and after, averages are checked against those of a float64 sum, and at the end all ranks
must have the same weights, bit by bit.
"""

import argparse
import ctypes
import os
import sys
import time

EXIT_UNSUPPORTED = 77


class Unsupported(Exception):
    """What was asked for is not on this machine."""


try:
    import torch
    import torch.distributed as dist
    import torch.nn.functional as F
except ImportError:
    print("unsupported: no PyTorch in this Python", file=sys.stderr)
    sys.exit(EXIT_UNSUPPORTED)


def parse_arguments(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", choices=["hfreduce", "nccl", "gloo"], required=True)
    parser.add_argument("--hfreduce-library", default="libhfreduce.so", help="a path")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="bfloat16")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--sequence", type=int, default=1024)
    parser.add_argument("--samples", type=int, default=4, help="a step's, on each rank")
    parser.add_argument("--bucket-bytes", type=int, default=64 << 20)
    parser.add_argument("--steps", type=int, default=10, help="in a batch")
    parser.add_argument("--batches", type=int, default=5)
    return parser.parse_args(argv)


class Block(torch.nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm_1 = torch.nn.LayerNorm(width)
        self.norm_2 = torch.nn.LayerNorm(width)
        self.qkv = torch.nn.Linear(width, 3 * width, bias=False)
        self.out = torch.nn.Linear(width, width, bias=False)
        self.up = torch.nn.Linear(width, 4 * width, bias=False)
        self.down = torch.nn.Linear(4 * width, width, bias=False)

    def forward(self, x):
        samples, sequence, width = x.shape
        heads = self.qkv(self.norm_1(x)).view(samples, sequence, 3, self.heads, -1)
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(samples, sequence, width))
        return x + self.down(F.gelu(self.up(self.norm_2(x))))


class Hfreduce:
    """The C library (include/hfreduce/hfreduce.h), by ctypes."""

    DEVICE_HOST, DEVICE_CUDA = 1, 2
    AVG = 4
    DTYPES = {torch.bfloat16: 9, torch.float32: 10}

    class Options(ctypes.Structure):
        _fields_ = [
            ("size", ctypes.c_size_t),
            ("non_blocking", ctypes.c_int),
            ("timeout_ms", ctypes.c_uint32),
            ("chunk_bytes", ctypes.c_size_t),
            ("window", ctypes.c_uint32),
            ("host_id", ctypes.c_char_p),
            ("device", ctypes.c_int),
            ("reserved", ctypes.c_uint32),
            ("service_level", ctypes.c_uint32),
            ("traffic_class", ctypes.c_uint32),
        ]

    def __init__(self, args):
        try:
            self.library = ctypes.CDLL(args.hfreduce_library)
        except OSError as error:
            raise Unsupported(f"{error}: give --hfreduce-library") from None
        self.library.hfr_get_last_error.restype = ctypes.c_char_p
        self.on_cuda = args.device == "cuda"
        options = self.Options(size=ctypes.sizeof(self.Options), timeout_ms=60_000)
        options.device = self.DEVICE_CUDA if self.on_cuda else self.DEVICE_HOST
        self.comm = ctypes.c_void_p()
        # The GPU that is current in this thread.
        self.check(self.library.hfr_comm_init_env(ctypes.byref(self.comm), ctypes.byref(options)))
        number = ctypes.c_int()
        self.check(self.library.hfr_get_version(ctypes.byref(number)))
        major, minor = divmod(number.value // 100, 100)
        self.version = f"HFReduce {major}.{minor}.{number.value % 100}"
        self.stream = torch.cuda.Stream() if self.on_cuda else None
        self.requests = []

    def check(self, status):
        if status != 0:
            raise RuntimeError(self.library.hfr_get_last_error(self.comm).decode())

    def average(self, bucket):
        """Starts: in the library's stream, behind what is in the current one."""
        stream = None
        request = None
        if self.on_cuda:
            self.stream.wait_stream(torch.cuda.current_stream())
            stream = ctypes.c_void_p(self.stream.cuda_stream)
        else:
            request = ctypes.c_uint64()
            self.requests.append(request)
        address = ctypes.c_void_p(bucket.data_ptr())
        self.check(
            self.library.hfr_all_reduce(
                address,
                address,
                ctypes.c_size_t(bucket.numel()),
                self.DTYPES[bucket.dtype],
                self.AVG,
                self.comm,
                stream,
                None if request is None else ctypes.byref(request),
            )
        )

    def finish(self):
        """What comes later in the current stream sees the averages."""
        if self.on_cuda:
            torch.cuda.current_stream().wait_stream(self.stream)
        for request in self.requests:
            self.check(self.library.hfr_wait(self.comm, request))
        self.requests.clear()

    def close(self):
        self.check(self.library.hfr_comm_finalize(self.comm))
        self.library.hfr_comm_destroy(self.comm)


class Torch:
    """NCCL or Gloo, by torch.distributed."""

    def __init__(self, args):
        self.group = dist.new_group(backend=args.library)
        # Gloo has no average.
        self.divisor = dist.get_world_size() if args.library == "gloo" else 0
        self.version = "Gloo"
        if args.library == "nccl":
            self.version = "NCCL " + ".".join(str(part) for part in torch.cuda.nccl.version())
        self.version += f" in PyTorch {torch.__version__}"
        self.works = []

    def average(self, bucket):
        op = dist.ReduceOp.SUM if self.divisor else dist.ReduceOp.AVG
        work = dist.all_reduce(bucket, op=op, group=self.group, async_op=True)
        self.works.append((work, bucket))

    def finish(self):
        for work, bucket in self.works:
            work.wait()
            if self.divisor:
                bucket /= self.divisor
        self.works.clear()

    def close(self):
        dist.destroy_process_group(self.group)


class Buckets:
    """All gradients, as views of a few large tensors."""

    def __init__(self, model, most_bytes, library):
        self.library = library
        self.enabled = True
        self.buckets = []
        pending = []
        for parameter in reversed(list(model.parameters())):
            size = sum(p.numel() for p in pending) * parameter.element_size()
            if pending and size + parameter.numel() * parameter.element_size() > most_bytes:
                self.add(pending)
                pending = []
            pending.append(parameter)
        self.add(pending)

    def add(self, parameters):
        first = parameters[0]
        bucket = torch.zeros(
            sum(p.numel() for p in parameters), dtype=first.dtype, device=first.device
        )
        entry = {"data": bucket, "of": len(parameters), "left": len(parameters)}
        at = 0
        for parameter in parameters:
            parameter.grad = bucket[at : at + parameter.numel()].view_as(parameter)
            parameter.register_post_accumulate_grad_hook(lambda _, entry=entry: self.ready(entry))
            at += parameter.numel()
        self.buckets.append(entry)

    def ready(self, entry):
        entry["left"] -= 1
        if entry["left"] == 0:
            entry["left"] = entry["of"]
            if self.enabled:
                self.library.average(entry["data"])

    def zero(self):
        for entry in self.buckets:
            entry["data"].zero_()

    def samples(self):
        """Some elements of each bucket, in float64 in host memory."""
        picked = []
        for entry in self.buckets:
            data = entry["data"]
            picked.append(data[:: max(1, data.numel() // 16384)].double().cpu())
        return torch.cat(picked)

    @property
    def num_bytes(self):
        return sum(entry["data"].numel() * entry["data"].element_size() for entry in self.buckets)


class Training:
    def __init__(self, args, rank, library):
        self.args = args
        self.rank = rank
        self.device = torch.device(args.device)
        dtype = getattr(torch, args.dtype)
        torch.manual_seed(1)  # the same weights on all ranks
        blocks = [Block(args.width, args.heads) for _ in range(args.layers)]
        self.model = torch.nn.Sequential(*blocks).to(self.device, dtype)
        self.buckets = Buckets(self.model, args.bucket_bytes, library)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-4, momentum=0.9)
        torch.manual_seed(100 + rank)
        shape = (args.samples, args.sequence, args.width)
        self.inputs = torch.randn(shape, device=self.device, dtype=dtype)
        self.targets = torch.randn(shape, device=self.device, dtype=dtype)

    def backward(self, average):
        self.buckets.enabled = average
        self.buckets.zero()
        F.mse_loss(self.model(self.inputs).float(), self.targets.float()).backward()
        if average:
            self.buckets.library.finish()

    def step(self, average):
        self.backward(average)
        self.optimizer.step()

    def synchronize(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def check_averages(self):
        """The library's averages of this step's gradients against float64's."""
        self.backward(False)
        mine = self.buckets.samples()
        ranks = dist.get_world_size()
        exact = mine.clone()
        dist.all_reduce(exact)
        exact /= ranks
        magnitude = mine.abs()
        dist.all_reduce(magnitude)
        # The averages of the same gradients: the pass once more would round differently.
        self.synchronize()
        for entry in self.buckets.buckets:
            self.buckets.library.average(entry["data"])
        self.buckets.library.finish()
        self.synchronize()
        wrong = (self.buckets.samples() - exact).abs()
        # Each of up to `ranks` sums, and the quotient, is rounded to nearest.
        allowed = (magnitude / ranks) * torch.finfo(self.dtype).eps * (ranks + 1) / 2
        allowed += torch.finfo(self.dtype).tiny
        if not bool((wrong <= allowed).all()):
            worst = (wrong / allowed).max().item()
            raise RuntimeError(f"averages are {worst:.3g} times as far off as rounding explains")

    @property
    def dtype(self):
        return getattr(torch, self.args.dtype)

    def check_weights(self):
        """All ranks have the same bits."""
        bits = torch.int16 if self.dtype == torch.bfloat16 else torch.int32
        sums = [p.detach().view(bits).long().sum().cpu() for p in self.model.parameters()]
        mine = torch.stack(sums)
        all_sums = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
        dist.all_gather(all_sums, mine)
        if any(not torch.equal(mine, theirs) for theirs in all_sums):
            raise RuntimeError("the ranks' weights differ after training")

    def time_steps(self, average):
        """Microseconds of a step, of the slowest rank."""
        self.step(average)
        self.synchronize()
        dist.barrier()
        start = time.perf_counter()
        for _ in range(self.args.steps):
            self.step(average)
        self.synchronize()
        elapsed = torch.tensor((time.perf_counter() - start) / self.args.steps * 1e6)
        dist.all_reduce(elapsed, op=dist.ReduceOp.MAX)
        return elapsed.item()


def train(args):
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if args.device == "cuda":
        if not torch.cuda.is_available():
            raise Unsupported("PyTorch finds no GPU")
        torch.cuda.set_device(rank % torch.cuda.device_count())
        torch.zeros(1, device="cuda")  # makes the context that hfr_comm_init_env takes
        if ranks > torch.cuda.device_count():
            # NCCL refuses two ranks on a GPU of one machine: each passes for a machine of its own.
            os.environ.setdefault("NCCL_HOSTID", f"rank{rank}")
            os.environ.setdefault("NCCL_SOCKET_IFNAME", "lo")
    # Where the ranks meet, and what the checks use.
    store = "file://" + os.path.join(os.environ["ALLREDUCE_BENCH_DIR"], "store")
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=ranks)
    library = Hfreduce(args) if args.library == "hfreduce" else Torch(args)
    training = Training(args, rank, library)
    if rank == 0:
        print(f"# {library.version}, {training.buckets.num_bytes / 1e6:.1f} MB of gradients in "
              f"{len(training.buckets.buckets)} buckets")
    training.check_averages()
    weights = {p: p.detach().clone() for p in training.model.parameters()}
    for _ in range(args.batches):
        alone = training.time_steps(False)
        # Without averages the ranks' weights have gone apart.
        with torch.no_grad():
            for parameter, value in weights.items():
                parameter.copy_(value)
        training.optimizer.state.clear()
        step = training.time_steps(True)
        if rank == 0:
            print(f"{alone:.3f} {step:.3f}", flush=True)
        training.check_weights()
    training.check_averages()
    library.close()
    dist.destroy_process_group()


def main(argv):
    try:
        train(parse_arguments(argv))
    except Unsupported as error:
        print(f"unsupported: {error}", file=sys.stderr)
        return EXIT_UNSUPPORTED
    except Exception as error:
        print(f"error: {error}", file=sys.stderr)
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
