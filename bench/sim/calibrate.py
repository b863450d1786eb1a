#!/usr/bin/env python3
"""Sets what `hfreduce sim` predicts for this machine beside what `hfreduce perf` measures on it.

Each round describes the machine anew (`hfreduce topo --cluster`), measures every case and simulates it, so that the two
meet the same weather; a round's ratio is of its own two numbers. Printed are medians and the least and most of all
rounds. A machine with GPUs is described by a file (--cluster), and perf is told so (--device cuda). docs/simulator.md has
the results.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile


def parse_shape(text):
    """'2x1' -> (2, 1): nodes and ranks of each."""
    nodes, _, ranks = text.partition("x")
    if not (nodes.isdigit() and ranks.isdigit() and int(nodes) > 0 and int(ranks) > 0):
        raise argparse.ArgumentTypeError(f"'{text}' is no shape; write NODESxRANKS, as 2x1")
    return int(nodes), int(ranks)


def spread(values):
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def summary(rounds):
    """Of one case's [(measured, predicted)]: spreads of both and of their ratio."""
    measured, predicted = zip(*rounds)
    return {"measured": spread(measured), "predicted": spread(predicted),
            "ratio": spread([p / m for m, p in rounds])}


def row(name, size, result):
    def cell(values):
        return f"{values['median']:.2f} ({values['least']:.2f} to {values['most']:.2f})"

    return (f"{name:>6} {size:>6}  {cell(result['measured']):>22} {cell(result['predicted']):>22} "
            f"{cell(result['ratio']):>22}")


def run(command, environment):
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def measure(hfreduce, shape, size, device, folder, environment):
    """Algorithm bandwidth in place, GB/s: the simulated operation is in place, too."""
    path = os.path.join(folder, "perf.json")
    run([hfreduce, "perf", "--nodes", str(shape[0]), "--ranks-per-node", str(shape[1]), "--device", device, "-b", size,
         "-e", size, "-c", "0", "-J", path], environment)
    with open(path) as file:
        return in_place_algbw(json.load(file))


def in_place_algbw(report):
    return report["results"][0]["in_place"]["algbw"]


def predict(hfreduce, cluster, num_ranks, size, folder, environment):
    path = os.path.join(folder, "sim.json")
    run([hfreduce, "sim", "--cluster", cluster, "--gpus", str(num_ranks), "--size", size, "--json", path], environment)
    with open(path) as file:
        return json.load(file)["results"][0]["algbw"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--hfreduce", required=True, help="the command")
    parser.add_argument("--shapes", type=parse_shape, nargs="+", default=[(2, 1)], help="NODESxRANKS (2x1)")
    parser.add_argument("--sizes", nargs="+", default=["1M", "8M", "64M"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cluster", help="description of this machine, with as many ranks a node as the shapes have")
    parser.add_argument("--device", choices=["host", "cuda"], default="host")
    parser.add_argument("--json", help="write all rounds to this file")
    options = parser.parse_args()
    # Emulated nodes speak TCP, which is what is simulated.
    environment = dict(os.environ, HFREDUCE_TRANSPORT="tcp")
    cases = [(shape, size) for shape in options.shapes for size in options.sizes]
    rounds = {case: [] for case in cases}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.rounds):
            for shape in options.shapes:
                cluster = options.cluster
                if cluster is None:
                    cluster = os.path.join(folder, "machine.json")
                    run([options.hfreduce, "topo", "--nodes", str(shape[0]), "--ranks-per-node", str(shape[1]),
                         "--cluster", cluster], environment)
                for size in options.sizes:
                    measured = measure(options.hfreduce, shape, size, options.device, folder, environment)
                    predicted = predict(options.hfreduce, cluster, shape[0] * shape[1], size, folder, environment)
                    rounds[shape, size].append((measured, predicted))
    print(f"{'shape':>6} {'size':>6}  {'measured (GB/s)':>22} {'predicted (GB/s)':>22} {'predicted / measured':>22}")
    results = []
    for (nodes, ranks), size in cases:
        result = summary(rounds[(nodes, ranks), size])
        print(row(f"{nodes}x{ranks}", size, result))
        results.append({"nodes": nodes, "ranks_per_node": ranks, "size": size, "rounds": rounds[(nodes, ranks), size],
                        **result})
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"device": options.device, "results": results}, file, indent=2)


if __name__ == "__main__":
    main()
