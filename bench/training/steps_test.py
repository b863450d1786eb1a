"""Tests of steps.py: its programs' output, the statistics, and whole runs on host memory."""

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import unittest

import steps
from steps import StepTiming


class OutputTest(unittest.TestCase):
    def test_lines_and_remarks(self):
        parsed, version = steps.parse_steps("# Lib 1.2\n# more\n100 110\n200.5 210\n", [])
        self.assertEqual(parsed, [StepTiming(100, 110), StepTiming(200.5, 210)])
        self.assertEqual(version, "Lib 1.2")

    def test_what_is_refused(self):
        for text in ("", "# only a remark", "1", "1 2 3", "0 1", "1 x", "chatter"):
            with self.subTest(text=text), self.assertRaises(ValueError):
                steps.parse_steps(text, [])


class RowsTest(unittest.TestCase):
    def test_ratios_are_taken_within_batches(self):
        rounds = [
            {"a": [StepTiming(100, 110), StepTiming(200, 210)], "b": [StepTiming(1, 2)]},
            {"a": [StepTiming(100, 120)]},
        ]
        one, two = steps.step_rows(rounds, ["a", "b"])
        self.assertEqual((one.alone_us, one.step_us), (100, 120))
        self.assertEqual(one.slowdown, (1.1, 1.05, 1.2))
        self.assertEqual(two.slowdown, (2, 2, 2))
        last = steps.step_table([one]).splitlines()[-1]
        self.assertEqual(
            [cell.strip() for cell in last.strip("|").split("|")],
            ["a", "0.10", "0.12", "+10.0 %", "+5.0 % to +20.0 %"],
        )


class ArgumentsTest(unittest.TestCase):
    def test_what_follows_the_dashes_goes_to_the_program(self):
        args = steps.parse_arguments(["--ranks", "3", "--", "--layers", "2"])
        self.assertEqual((args.ranks, args.more), (3, ["--layers", "2"]))

    def test_variants_are_programs(self):
        args = steps.parse_arguments(["--variant", "slow=nccl NCCL_P2P_DISABLE=1"])
        programs = steps.make_programs(args)
        self.assertEqual([p.name for p in programs], ["hfreduce", "nccl", "slow"])
        self.assertEqual(programs[2].env, {"NCCL_P2P_DISABLE": "1"})
        self.assertEqual(programs[2].command, programs[1].command)

    def test_bad_arguments(self):
        for bad in (["--ranks", "0"], ["--rounds", "0"], ["--device", "tpu"]):
            with self.subTest(bad=bad), contextlib.redirect_stderr(io.StringIO()):
                with self.assertRaises(SystemExit):
                    steps.parse_arguments(bad)


def without_pytorch():
    """Why there can be no whole run; empty: there can."""
    found = subprocess.run([sys.executable, "-c", "import torch"], capture_output=True, check=False)
    if found.returncode != 0:
        return "no PyTorch in this Python"
    library = steps.default_library()
    return "" if os.path.exists(library) else "libhfreduce.so is not built"


class WholeRunTest(unittest.TestCase):
    def test_both_libraries_train_alike(self):
        why = without_pytorch()
        if why:
            self.skipTest(why)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "out.json")
            argv = ["--device", "cpu", "--rounds", "1", "--json", path, "--"]
            argv += ["--dtype", "float32", "--layers", "2", "--width", "64", "--heads", "4"]
            argv += ["--sequence", "16", "--samples", "2", "--bucket-bytes", "65536"]
            argv += ["--steps", "2", "--batches", "2"]
            out, err = io.StringIO(), io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = steps.main(argv)
            self.assertEqual(code, 0, err.getvalue())
            with open(path) as file:
                data = json.load(file)
        self.assertEqual(sorted(data["rounds"][0]), ["gloo", "hfreduce"])
        self.assertEqual([len(b) for b in data["rounds"][0].values()], [2, 2])
        self.assertIn("in 8 buckets", data["versions"]["hfreduce"])


if __name__ == "__main__":
    unittest.main()
