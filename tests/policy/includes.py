#!/usr/bin/env python3
"""Holds the direction of includes: which folder may include which (docs/architecture.md).

usage: includes.py [ROOT]        exits 1 and names each line that breaks a rule
       includes.py --self-test   proves that breaches are caught
"""
import pathlib
import re
import tempfile

import checker

# Folder of src/ -> folders it may include besides itself. "kernels" is kernels/cpu and kernels/cuda, seen as "cpu/" and "cuda/".
ALLOWED = {
    "base": set(),
    "topo": {"base"},
    "ports": {"base"},
    "sched": {"base", "topo"},
    "engine": {"base", "topo", "sched", "ports"},
    "device": {"base", "ports", "kernels"},
    "transport": {"base", "ports"},
    "reduce": {"base", "topo", "ports", "kernels"},
    "bootstrap": {"base", "ports"},
    "comm": {"base", "topo", "sched", "ports", "engine", "device", "transport", "reduce", "bootstrap", "kernels"},
    "capi": {"base", "sched", "bootstrap", "comm", "public"},
    "sim": {"base", "topo", "sched", "ports", "engine"},
    "tools": {"base", "topo", "ports", "reduce", "kernels", "transport", "bootstrap", "comm", "sim", "public"},
    "kernels": {"base"},
}
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')
PRINTS = re.compile(
    r"\b(?:printf|puts|fputs|fprintf)\s*\(|std::(?:cout|cerr|clog|abort|exit)\b|(?<![\w.>:])(?<!void )(?:::)?(?:abort|exit)\s*\(")


def folder_of(include):
    first = include.split("/")[0]
    return {"cpu": "kernels", "cuda": "kernels", "hfreduce": "public"}.get(first, first)


def breaches(root):
    root = pathlib.Path(root)
    files = [(p, p.relative_to(root / "src").parts[0]) for p in sorted((root / "src").rglob("*.[hc]*")) if p.is_file()]
    files += [(p, "kernels") for p in sorted((root / "kernels").rglob("*.[hc]*")) if p.is_file()]
    for path, folder in files:
        if path.suffix not in (".hpp", ".h", ".cc", ".cu"):
            continue
        if folder not in ALLOWED:
            yield f"{path}: folder '{folder}' is not in the list of tests/policy/includes.py"
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            match = INCLUDE.match(line)
            if match:
                target = folder_of(match.group(1))
                if target != folder and target not in ALLOWED[folder]:
                    yield f"{path}:{number}: {folder} must not include {match.group(1)}"
            elif folder != "tools" and not line.lstrip().startswith("//") and PRINTS.search(line):
                yield f"{path}:{number}: the library prints only through its logger and never exits: {line.strip()}"


def self_test():
    cases = {
        "src/base/a.hpp": '#include "engine/executor.hpp"\n',
        "src/engine/b.cc": '#include "transport/tcp/transport.hpp"\n',
        "src/sched/c.cc": '#include "sim/clock.hpp"\n',
        "kernels/cpu/d.cc": '#include "ports/device.hpp"\n',
        "src/comm/e.cc": "void f() { std::abort(); }\n",
    }
    for name, text in cases.items():
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / name
            (pathlib.Path(folder) / "src").mkdir()
            (pathlib.Path(folder) / "kernels").mkdir()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            if len(list(breaches(folder))) != 1:
                print(f"self-test: the breach in {name} was not caught")
                return 1
    return 0


checker.run(breaches, self_test, "includes point the right way")
