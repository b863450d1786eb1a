"""How the checkers of this folder are run: with the root of the tree, or --self-test."""

import sys


def run(find, self_test, all_well):
    """find(root) yields what is wrong, a line each; self_test() is the exit status."""
    if sys.argv[1:] == ["--self-test"]:
        sys.exit(self_test())
    found = list(find(sys.argv[1] if len(sys.argv) > 1 else "."))
    print("\n".join(found) if found else all_well)
    sys.exit(1 if found else 0)
