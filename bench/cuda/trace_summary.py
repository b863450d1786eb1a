#!/usr/bin/env python3
"""Where an all-reduce's time went, from the files that HFREDUCE_TRACE wrote (one a rank, all of them).

    HFREDUCE_TRACE=/tmp/trace-%r.json cuda_pipeline --ranks 2 --mib 64 --types float
    trace_summary.py /tmp/trace-*.json

Medians, in microseconds. First by chunk size: the copies, how far ranks' copy-ins of a chunk are apart, how
long a chunk that is complete waits for its add, the add, and how long its sum waits for the copy-out. Then
for whole operations: until the first copy-out begins, from the last copy-in's end, and how long each
direction had no copy under way between its first and its last.
"""
import collections
import json
import statistics
import sys


def read(paths):
    """{chunk: {"bytes": n, "copy-in": {rank: (begin, end)}, "add": ..., "copy-out": ...}}"""
    chunks = {}
    for path in paths:
        with open(path, encoding="utf-8") as file:
            for event in json.load(file):
                if event["ph"] != "X":
                    continue
                chunk = chunks.setdefault(event["args"]["chunk"], collections.defaultdict(dict))
                chunk["bytes"] = event["args"]["bytes"]
                chunk[event["name"]][event["pid"]] = (event["ts"], event["ts"] + event["dur"])
    return chunks


def operations(chunks):
    """Lists of chunks in order. An operation begins when all that was copied out before has ended."""
    result = []
    idle_from = float("-inf")
    for _, chunk in sorted(chunks.items()):
        if not (chunk["copy-in"] and chunk["add"] and chunk["copy-out"]):
            continue  # the ring did not keep all of it
        if min(begin for begin, _ in chunk["copy-in"].values()) >= idle_from:
            result.append([])
        result[-1].append(chunk)
        idle_from = max([idle_from] + [end for _, end in chunk["copy-out"].values()])
    return result


def median(values):
    return statistics.median(values) if values else 0.0


def covered(spans):
    """Length of the union."""
    total, until = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, until))
        until = max(until, end)
    return total


def by_size(chunks):
    rows = []
    sizes = sorted({chunk["bytes"] for chunk in chunks})
    for size in sizes:
        same = [chunk for chunk in chunks if chunk["bytes"] == size]
        columns = collections.defaultdict(list)
        for chunk in same:
            landed = [end for _, end in chunk["copy-in"].values()]
            (add_begin, add_end), = chunk["add"].values()
            columns["copy-in"] += [end - begin for begin, end in chunk["copy-in"].values()]
            columns["apart"].append(max(landed) - min(landed))
            columns["wait"].append(add_begin - max(landed))
            columns["add"].append(add_end - add_begin)
            columns["wait out"] += [begin - add_end for begin, _ in chunk["copy-out"].values()]
            columns["copy-out"] += [end - begin for begin, end in chunk["copy-out"].values()]
        rows.append((size, len(same), {name: median(values) for name, values in columns.items()}))
    return rows


def whole(operation):
    ins = [span for chunk in operation for span in chunk["copy-in"].values()]
    outs = [span for chunk in operation for span in chunk["copy-out"].values()]
    in_from, in_to = min(begin for begin, _ in ins), max(end for _, end in ins)
    out_from, out_to = min(begin for begin, _ in outs), max(end for _, end in outs)
    return {
        "all": out_to - in_from,
        "fill": out_from - in_from,
        "in": in_to - in_from,
        "drain": out_to - in_to,
        "in idle": in_to - in_from - covered(ins),
        "out idle": out_to - out_from - covered(outs),
    }


def main(paths):
    if not paths:
        print(__doc__, file=sys.stderr)
        return 2
    found = operations(read(paths))
    columns = ["copy-in", "apart", "wait", "add", "wait out", "copy-out"]
    groups = collections.defaultdict(list)
    for operation in found:
        groups[sum(chunk["bytes"] for chunk in operation)].append(operation)
    for size, same in sorted(groups.items()):
        same = same[len(same) // 4:]  # the first ones warm up
        print(f"operations of {size} bytes: {len(same)}")
        print(f"  {'chunk':>9} {'count':>6} " + " ".join(f"{name:>9}" for name in columns))
        for chunk_bytes, count, row in by_size([chunk for operation in same for chunk in operation]):
            print(f"  {chunk_bytes:9} {count:6} " + " ".join(f"{row[name]:9.1f}" for name in columns))
        parts = [whole(operation) for operation in same]
        print("  " + ", ".join(f"{name} {median([p[name] for p in parts]):.0f}" for name in parts[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
