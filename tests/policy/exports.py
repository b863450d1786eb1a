#!/usr/bin/env python3
"""Checks the shared library's symbols against the public header.

usage: exports.py LIBRARY HEADER    exits 1 and names what is exported but not declared, or declared but not exported
"""
import re
import subprocess
import sys


def main():
    library, header = sys.argv[1:]
    table = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True).stdout
    exported = {line.split()[-1].split("@")[0] for line in table.splitlines() if line.split()[1] in "TDBRVWi"}
    # A sanitizer's run-time adds its own.
    exported = {name for name in exported if not name.startswith(("__asan", "__tsan", "__ubsan", "__odr_asan"))}
    declared = set(re.findall(r"HFR_API[^;(]*?\b(hfr_\w+)\(", open(header).read()))
    status = 0
    for name in sorted(exported - declared):
        print(f"exported but not in the header: {name}")
        status = 1
    for name in sorted(declared - exported):
        print(f"in the header but not exported: {name}")
        status = 1
    if len(declared) < 20:
        print(f"only {len(declared)} functions were found in the header: the pattern no longer fits it")
        status = 1
    return status


sys.exit(main())
