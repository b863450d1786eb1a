#!/usr/bin/env python3
"""Holds the documents to the tree: links and their anchors, files that are named, settings.

usage: docs.py [ROOT]        exits 1 and names each line that is not so
       docs.py --self-test   proves that lies are caught
"""
import pathlib
import re
import tempfile

import checker

LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.*)")
NAMED = re.compile(r"`([^`\s]+)`")
FOLDERS = ("bench/", "cmake/", "docs/", "include/", "kernels/", "scripts/", "share/", "src/", "tests/")
SETTING = re.compile(r'"(HFREDUCE_[A-Z0-9_]+)"')
BUILD_SETTING = re.compile(r"option\((HFREDUCE_\w+)|set\((HFREDUCE_\w+)[^)]*\bCACHE\b")


def anchors(path):
    """As GitHub makes them of headings."""
    headings = (m.group(1) for m in map(HEADING.match, path.read_text().splitlines()) if m)
    texts = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", text).replace(" ", "-") for text in texts}


def exists(root, name):
    """Also a name without its ending: `tests/gpu/run_cases`, or a pattern with *."""
    name = name.partition(":")[0].rstrip("/")
    return any(any(root.glob(pattern)) for pattern in (name, name + ".*", name + "_test.*"))


def lies(root):
    root = pathlib.Path(root).resolve()
    for page in sorted([*root.glob("*.md"), *root.glob("docs/*.md")]):
        for number, line in enumerate(page.read_text().splitlines(), 1):
            where = f"{page.relative_to(root)}:{number}"
            for target in LINK.findall(line):
                if re.match(r"[a-z]+:", target):
                    continue
                name, _, anchor = target.partition("#")
                file = (page.parent / name) if name else page
                if not file.exists():
                    yield f"{where}: no file {name}"
                elif anchor and anchor not in anchors(file):
                    yield f"{where}: {name or 'this page'} has no heading #{anchor}"
            for name in NAMED.findall(line):
                if name.startswith(FOLDERS) and not re.search(r"[{}<>$%]", name) and not exists(root, name):
                    yield f"{where}: no file {name}"
    settings = root / "docs" / "configuration.md"
    read = {s for p in root.glob("src/**/*.[ch]*") for s in SETTING.findall(p.read_text())}
    lists = [root / "CMakeLists.txt", *root.glob("bench/**/CMakeLists.txt"), root / "tests/CMakeLists.txt"]
    for path in filter(pathlib.Path.exists, lists):
        read |= {a or b for a, b in BUILD_SETTING.findall(path.read_text())}
    told = set(re.findall(r"HFREDUCE_[A-Z0-9_]+", settings.read_text())) if settings.exists() else set()
    for setting in sorted(read - told):
        yield f"docs/configuration.md: {setting} is not told"


def self_test():
    pages = {
        "a link to a file": "[x](missing.md)",
        "a link to a heading": "# One\n[x](#two)",
        "a link to another page's heading": "[x](docs/configuration.md#nothing)",
        "a file": "`src/engine/gone.cc`",
        "a pattern": "`src/engine/gone_*.cc`",
        "a setting": "",
        "an option of the build": "",
    }
    for what, text in pages.items():
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for sub in ("docs", "src"):
                (root / sub).mkdir()
            (root / "src/a.cc").write_text('get("HFREDUCE_TOLD");' + ('get("HFREDUCE_UNTOLD");' if "setting" in what else ""))
            (root / "CMakeLists.txt").write_text("option(HFREDUCE_UNTOLD)" if "build" in what else "option(HFREDUCE_TOLD)")
            (root / "docs/configuration.md").write_text("# Settings: [all](../README.md#settings-all-of-them)\n`HFREDUCE_TOLD`\n")
            sound = "# Settings (all of them)\n[y](#settings-all-of-them) `src/a` `docs/*.md` [z](https://example.org/#x)\n"
            (root / "README.md").write_text(sound + text)
            found = list(lies(root))
            if len(found) != 1:
                print(f"{what}: expected one finding, got {found}")
                return 1
    print("lies are caught")
    return 0


checker.run(lies, self_test, "documents agree with the tree")
