"""Tests of compare.py: sizes, output, statistics, launching, and a whole run over scripted programs."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest
from unittest import mock

import compare
import launch
import libraries
import overlap
import report
from report import Timing

FOLDER = os.path.dirname(os.path.abspath(__file__))


def script(text):
    """A command that runs the text in this Python."""
    return [sys.executable, "-c", textwrap.dedent(text)]


def running(pid):
    """False too for one that has ended and was not collected yet."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{pid}/stat") as f:
        return f.read().rpartition(")")[2].split()[0] != "Z"
    return False


def ends(pid):
    """The kernel ends a killed process when it gets to it: under load that takes a while."""
    deadline = time.monotonic() + 20
    while running(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def timings(**times):
    """{library: {1024: Timing}} with the same number for median, minimum and maximum."""
    return {name: {1024: Timing(us, us, us)} for name, us in times.items()}


class SizesTest(unittest.TestCase):
    def test_units_are_powers_of_1024(self):
        self.assertEqual(
            report.parse_sizes("8,1K,64k,1M,2G"), [8, 1024, 65536, 1 << 20, 2 << 30]
        )

    def test_nonsense_is_refused(self):
        for text in ("", "0", "-8", "1.5K", "8,,16", "1T", "K"):
            with self.subTest(text=text), self.assertRaises(ValueError):
                report.parse_sizes(text)

    def test_format_is_the_inverse(self):
        for text in ("8", "1000", "1K", "64K", "1M", "186M", "1G"):
            self.assertEqual(report.format_size(report.parse_size(text)), text)


class OutputTest(unittest.TestCase):
    def test_lines_and_remarks(self):
        parsed, version = report.parse_output("# Lib 1.2\n# more\n8 2 1 3\n\n16 5.5 5 6\n", [8, 16])
        self.assertEqual(parsed, {8: Timing(2, 1, 3), 16: Timing(5.5, 5, 6)})
        self.assertEqual(version, "Lib 1.2")

    def test_what_is_refused(self):
        cases = {
            "chatter": "warning: slow\n8 2 1 3",
            "too few numbers": "8 2 1",
            "too many numbers": "8 2 1 3 4",
            "median below the minimum": "8 0.5 1 3",
            "median above the maximum": "8 4 1 3",
            "zero": "8 0 0 0",
            "not a number": "8 nan nan nan",
            "size missing": "",
            "size twice": "8 2 1 3\n8 2 1 3",
            "size not asked for": "8 2 1 3\n16 2 1 3",
        }
        for name, text in cases.items():
            with self.subTest(name), self.assertRaises(ValueError):
                report.parse_output(text, [8])


class CompareTest(unittest.TestCase):
    def test_best_peer_by_median_and_ratio_within_rounds(self):
        rounds = [
            timings(hfreduce=10, slow=30, fast=20),
            timings(hfreduce=20, slow=1, fast=20),  # one lucky round does not make a best peer
            timings(hfreduce=10, slow=30, fast=25),
        ]
        (row,) = report.compare(rounds, ["hfreduce", "slow", "fast"], [1024])
        self.assertEqual((row.ours_us, row.peer, row.peer_us), (10, "fast", 20))
        self.assertEqual((row.ratio, row.ratio_low, row.ratio_high), (2.0, 1.0, 2.5))

    def test_rounds_where_one_side_failed_do_not_count(self):
        rounds = [timings(hfreduce=10), timings(hfreduce=10, peer=30), timings(peer=50)]
        (row,) = report.compare(rounds, ["hfreduce", "peer"], [1024])
        self.assertEqual((row.ratio, row.ratio_low, row.ratio_high), (3.0, 3.0, 3.0))

    def test_no_row_without_both_sides(self):
        self.assertEqual(report.compare([timings(hfreduce=10)], ["hfreduce"], [1024]), [])
        self.assertEqual(report.compare([timings(peer=10)], ["peer"], [1024]), [])
        apart = [timings(hfreduce=10), timings(peer=30)]
        self.assertEqual(report.compare(apart, ["hfreduce", "peer"], [1024]), [])

    def test_the_limit_is_no_peer(self):
        rounds = [timings(hfreduce=10, peer=30, limit=5), timings(hfreduce=10, peer=30)]
        (row,) = report.compare(rounds, ["hfreduce", "limit", "peer"], [1024])
        self.assertEqual((row.peer, row.ratio, row.of_limit), ("peer", 3.0, 0.5))
        (row,) = report.compare(rounds[1:], ["hfreduce", "peer"], [1024])
        self.assertIsNone(row.of_limit)

    def test_tables(self):
        rounds = [timings(hfreduce=2, peer=3000)]
        rows = report.compare(rounds, ["hfreduce", "peer"], [1024])
        last = report.comparison_table(rows).splitlines()[-1]
        self.assertEqual(
            [cell.strip() for cell in last.strip("|").split("|")],
            ["1K", "2.00", "0.51", "3,000", "peer", "1500.00", "1500.00-1500.00", "-"],
        )
        last = report.library_table(rounds, ["peer", "absent"], [1024]).splitlines()[-1]
        self.assertEqual(
            [cell.strip() for cell in last.strip("|").split("|")], ["1K", "3,000", "-"]
        )


class LaunchTest(unittest.TestCase):
    cluster = launch.Cluster(2, 1)

    def run_script(self, text, per_rank=True, timeout_s=30, **more):
        program = launch.Program("toy", script(text), per_rank, **more)
        return launch.run(program, self.cluster, ["--sizes", "8"], timeout_s)

    def test_ranks_meet_and_rank_0_is_heard(self):
        text = self.run_script(
            """
            import os, pathlib, sys
            folder, rank = pathlib.Path(os.environ["ALLREDUCE_BENCH_DIR"]), os.environ["RANK"]
            (folder / rank).touch()
            while len([p for p in folder.iterdir() if p.name in ("0", "1")]) < 2: pass
            print("rank", rank, "of", os.environ["WORLD_SIZE"], os.environ["SIDE"], sys.argv[1:])
            """,
            rank_env=lambda rank, of: {"SIDE": f"{rank}/{of.num_ranks}"},
        )
        self.assertEqual(text, "rank 0 of 2 0/2 ['--sizes', '8']\n")

    def test_a_command_that_starts_its_ranks_runs_once(self):
        text = self.run_script("import os; print('RANK' in os.environ)", per_rank=False)
        self.assertEqual(text, "False\n")

    def test_a_failing_rank_is_named_and_the_others_are_stopped(self):
        with self.assertRaisesRegex(launch.RunFailed, "toy rank 1 ended with 3: it broke"):
            self.run_script(
                """
                import os, signal, sys
                if os.environ["RANK"] == "1":
                    print("error: it broke", file=sys.stderr); sys.exit(3)
                signal.pause()
                """
            )

    def test_a_hang_ends_even_when_it_ignores_requests(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "pid")
            patience = mock.patch.object(launch, "STOP_SECONDS", 0.2)
            hang = self.assertRaisesRegex(launch.RunFailed, "still running after 5 s")
            with patience, hang:
                self.run_script(
                    f"""
                    import os, signal
                    signal.signal(signal.SIGTERM, signal.SIG_IGN)
                    child = os.fork()
                    if child: open({path!r}, "w").write(str(child))
                    while True: signal.pause()
                    """,
                    per_rank=False,
                    timeout_s=5,
                )
            with open(path) as file:
                child = int(file.read())
            self.assertTrue(ends(child))

    def test_unsupported_is_not_a_failure(self):
        with self.assertRaisesRegex(launch.Unsupported, "^no such type$"):
            self.run_script(
                "import sys; print('unsupported: no such type', file=sys.stderr); sys.exit(77)"
            )

    def test_a_missing_program(self):
        program = launch.Program("gone", ["/nonexistent/program"], True)
        with self.assertRaisesRegex(launch.RunFailed, "gone could not be started"):
            launch.run(program, self.cluster, [], 30)


class CongestionTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "setting")
        self.write("bbr\n")

    def write(self, text):
        with open(self.path, "w") as file:
            file.write(text)

    def read(self):
        with open(self.path) as file:
            return file.read().strip()

    def test_set_and_restored(self):
        with launch.congestion_control("reno", self.path):
            self.assertEqual(self.read(), "reno")
        self.assertEqual(self.read(), "bbr")

    def test_restored_after_an_exception(self):
        with self.assertRaises(KeyError), launch.congestion_control("reno", self.path):
            raise KeyError
        self.assertEqual(self.read(), "bbr")

    def test_no_name_leaves_it_alone(self):
        with launch.congestion_control("", "/nonexistent/setting"):
            self.assertEqual(self.read(), "bbr")

    def test_restored_after_signals(self):
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            with self.subTest(number=number):
                process = subprocess.Popen(
                    script(
                        f"""
                        import signal, launch
                        with launch.signals_unwind():
                            with launch.congestion_control("reno", {self.path!r}):
                                print(open({self.path!r}).read(), flush=True)
                                while True: signal.pause()
                        """
                    ),
                    cwd=FOLDER,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                )
                self.assertEqual(process.stdout.readline().strip(), "reno")
                process.send_signal(number)
                process.communicate()
                self.assertEqual(self.read(), "bbr")


class LibrariesTest(unittest.TestCase):
    def test_only_built_programs_are_found(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("hfreduce", "gloo", "other"):
                path = os.path.join(folder, f"allreduce_{name}")
                open(path, "w").close()
                os.chmod(path, 0o755)
            found = libraries.find_programs(folder, launch.Cluster(2, 1))
            self.assertEqual([p.name for p in found], ["hfreduce", "gloo", "gloo-busy"])

    def test_limits_are_those_of_two_ranks(self):
        for nodes, variant in ((1, "memory"), (2, "sockets")):
            (program,) = libraries.limit("program", launch.Cluster(2, nodes))
            self.assertEqual(program.command, ["program", "--variant", variant])
        self.assertEqual(libraries.limit("program", launch.Cluster(4, 1)), [])

    def test_gpu_programs_are_others(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("hfreduce", "hfreduce_cuda", "nccl", "gloo"):
                path = os.path.join(folder, f"allreduce_{name}")
                open(path, "w").close()
                os.chmod(path, 0o755)
            found = libraries.find_programs(folder, launch.Cluster(2, 1, device="cuda"))
            self.assertEqual(
                [(p.name, os.path.basename(p.command[0])) for p in found],
                [("hfreduce", "allreduce_hfreduce_cuda"), ("nccl", "allreduce_nccl")],
            )

    def test_hfreduce_ranks_fill_nodes_in_order(self):
        cluster = launch.Cluster(4, 2, "reno")
        (program,) = libraries.hfreduce("program", cluster)
        nodes = [program.rank_env(rank, cluster)["HFREDUCE_HOSTID"] for rank in range(4)]
        self.assertEqual(nodes, ["node0", "node0", "node1", "node1"])
        self.assertEqual(program.env, {"HFREDUCE_TCP_CONGESTION": "reno"})


# Prints what --sizes asks for; HFReduce takes 1 us, the peer FACTOR times that.
TOY = """
import os, sys
sizes = sys.argv[sys.argv.index("--sizes") + 1].split(",")
if os.environ.get("RANK", "0") == "0":
    print("# Toy 1.0")
    for size in sizes: print(size, FACTOR, FACTOR, FACTOR)
"""


class WholeRunTest(unittest.TestCase):
    def run_compare(self, programs, *arguments):
        with tempfile.TemporaryDirectory() as folder:
            argv = ["--bin-dir", folder, "--sizes", "8,1K", "--rounds", "3", *arguments]
            for name, (option, text) in programs.items():
                path = os.path.join(folder, f"{name}.py")
                with open(path, "w") as file:
                    file.write(text)
                argv += [option, f"{name}={sys.executable} {path}"]
            path = os.path.join(folder, "out.json")
            out, err = io.StringIO(), io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = compare.main(argv + ["--json", path])
            data = None
            if os.path.exists(path):
                with open(path) as file:
                    data = json.load(file)
        return code, out.getvalue(), err.getvalue(), data

    def test_table_and_json(self):
        code, out, _, data = self.run_compare(
            {
                "hfreduce": ("--rank-peer", TOY.replace("FACTOR", "1")),
                "slow": ("--peer", TOY.replace("FACTOR", "9")),
                "fast": ("--peer", TOY.replace("FACTOR", "4")),
                "picky": ("--peer", "import sys; sys.exit(77)"),
            }
        )
        self.assertEqual(code, 0)
        self.assertIn("- fast: Toy 1.0", out)
        self.assertIn("- picky: left out", out)
        self.assertEqual(len(data["rounds"]), 3)
        self.assertEqual(sorted(data["rounds"][0]), ["fast", "hfreduce", "slow"])
        self.assertEqual(
            [(row["size"], row["peer"], row["ratio"]) for row in data["comparison"]],
            [(8, "fast", 4.0), (1024, "fast", 4.0)],
        )

    def test_variants_are_libraries_once_more(self):
        toy = """
import os, sys
us = os.environ.get("TOY_US", "8")
if os.environ.get("RANK", "0") == "0": print("# Toy 1.0"); print(8, us, us, us); print(1024, us, us, us)
"""
        code, out, _, data = self.run_compare(
            {"hfreduce": ("--rank-peer", toy), "peer": ("--peer", toy)},
            "--variant",
            "fast=hfreduce TOY_US=2",
            "--variant",
            "slow=peer TOY_US=24",
        )
        self.assertEqual(code, 0)
        self.assertEqual(sorted(data["rounds"][0]), ["fast", "hfreduce", "peer", "slow"])
        # A variant of HFReduce is no peer of it.
        self.assertEqual([row["peer"] for row in data["comparison"]], ["peer", "peer"])
        cells = [cell.strip() for cell in out.splitlines()[-1].strip("|").split("|")]
        self.assertEqual(
            cells,
            ["1K", "1.00 (1.00-1.00)", "3.00 (3.00-3.00)", "4.00 (4.00-4.00)", "12.00 (12.00-12.00)"],
        )
        header = [line for line in out.splitlines() if "slow/fast" in line]
        self.assertEqual(
            [cell.strip() for cell in header[0].strip("|").split("|")],
            ["bytes", "peer/hfreduce", "slow/hfreduce", "peer/fast", "slow/fast"],
        )

    def test_bad_variants(self):
        toy = {"hfreduce": ("--peer", TOY.replace("FACTOR", "1"))}
        for bad in ("fast=gone X=1", "fast", "=hfreduce X=1", "fast=hfreduce X"):
            with self.subTest(bad=bad):
                code, _, err, _ = self.run_compare(toy, "--variant", bad)
                self.assertEqual(code, 1)
                self.assertIn("of one of these libraries: hfreduce", err)

    def test_a_failing_peer_is_reported_and_the_rest_goes_on(self):
        code, out, _, data = self.run_compare(
            {
                "hfreduce": ("--rank-peer", TOY.replace("FACTOR", "1")),
                "peer": ("--peer", TOY.replace("FACTOR", "2")),
                "broken": ("--peer", "print('hello')"),
            }
        )
        self.assertEqual(code, 1)
        self.assertEqual(len(data["failures"]), 3)
        self.assertIn("broken: 'hello' is not", out)
        self.assertEqual([row["ratio"] for row in data["comparison"]], [2.0, 2.0])

    def test_who_is_told_to_end_keeps_whole_rounds(self):
        with tempfile.TemporaryDirectory() as folder:
            # The second time it ends the comparison, which is this process.
            peer = TOY.replace("FACTOR", "2") + textwrap.dedent(
                f"""
                import signal, time
                try:
                    os.mkdir({folder + "/once"!r})
                except FileExistsError:
                    os.kill({os.getpid()}, signal.SIGTERM)
                    time.sleep(60)
                """
            )
            code, out, _, data = self.run_compare(
                {"hfreduce": ("--rank-peer", TOY.replace("FACTOR", "1")), "peer": ("--peer", peer)}
            )
        self.assertEqual(code, 1)
        self.assertEqual(len(data["rounds"]), 1)
        self.assertIn("told to end (143) after 1 of 3 rounds", out)
        self.assertEqual([row["ratio"] for row in data["comparison"]], [2.0, 2.0])

    def test_another_build_is_loaded_and_is_no_peer(self):
        # Says which library it was given to load, and is slower with that one.
        toy = textwrap.dedent(
            """
            #!PYTHON
            import os, sys
            preload = os.environ.get("LD_PRELOAD", "")
            us = 3 if preload else 2
            if os.environ["RANK"] == "0":
                print("# Toy", preload)
                for size in sys.argv[sys.argv.index("--sizes") + 1].split(","): print(size, us, us, us)
            """
        ).lstrip()
        # libc is loaded anyway.
        (library,) = {
            line.split()[-1] for line in open("/proc/self/maps") if line.rstrip().endswith("libc.so.6")
        }
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "allreduce_hfreduce")
            with open(path, "w") as file:
                file.write(toy.replace("PYTHON", sys.executable))
            os.chmod(path, 0o755)
            argv = ["--bin-dir", folder, "--sizes", "8", "--rounds", "3"]
            argv += ["--build", f"before={library}"]
            out, err = io.StringIO(), io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = compare.main(argv)
            self.assertEqual(code, 0, err.getvalue())
            self.assertIn(f"- before: Toy {library}\n", out.getvalue())
            self.assertIn("| 8     | 1.500 (1.500-1.500) |", out.getvalue())
            self.assertNotIn("best peer", out.getvalue())
            for bad, why in (
                (f"before={path}", "is no shared library"),
                (f"before={path}.so", "is no shared library"),
                ("before", "is not NAME=FILE"),
            ):
                with self.subTest(bad=bad), contextlib.redirect_stderr(io.StringIO()) as err:
                    self.assertEqual(compare.main(argv[:-1] + [bad]), 1)
                    self.assertIn(why, err.getvalue())

    def test_nothing_to_run(self):
        code, _, err, _ = self.run_compare({})
        self.assertEqual(code, 1)
        self.assertIn("no programs were found", err)

    def test_unknown_library(self):
        toy = {"peer": ("--peer", TOY.replace("FACTOR", "2"))}
        code, _, err, _ = self.run_compare(toy, "--libraries", "peer,nonsense")
        self.assertEqual(code, 1)
        self.assertIn("nonsense was asked for; there are: peer", err)

    def test_bad_arguments(self):
        for bad in (
            ["--ranks", "3", "--nodes", "2"],
            ["--sizes", "8,8"],
            ["--rounds", "0"],
            ["--blocking"],
            ["--device", "cuda", "--memory", "shared"],
        ):
            with self.subTest(bad=bad), contextlib.redirect_stderr(io.StringIO()):
                with self.assertRaises(SystemExit):
                    compare.parse_arguments(bad)


class OverlapTest(unittest.TestCase):
    def test_output(self):
        text = "# Lib 1.2\n8 100 101 50 60\n8 100 103 50 70\n16 1 1 1 1\n"
        parsed, version = report.parse_overlap(text, [8, 16])
        self.assertEqual(version, "Lib 1.2")
        self.assertEqual(len(parsed[8]), 2)
        self.assertEqual(parsed[8][1], report.OverlapTiming(100, 103, 50, 70))

    def test_what_is_refused(self):
        for text in ("8 1 1 1", "8 1 1 1 0", "8 1 1 1 x", "chatter", "", "8 1 1 1 1\n9 1 1 1 1"):
            with self.subTest(text=text), self.assertRaises(ValueError):
                report.parse_overlap(text, [8])

    def test_ratios_are_taken_within_batches(self):
        batches = [(100, 101, 50, 60), (200, 206, 50, 50), (100, 102, 40, 44)]
        rounds = [
            {"hfreduce": {8: [report.OverlapTiming(*b) for b in batches[:2]]}},
            {"hfreduce": {8: [report.OverlapTiming(*batches[2])]}},
        ]
        (row,) = report.overlap_rows(rounds, ["hfreduce"], [8])
        self.assertEqual(row.gemm_slowdown, (1.02, 1.01, 1.03))
        self.assertEqual(row.reduce_slowdown, (1.1, 1.0, 1.2))
        last = report.overlap_table([row]).splitlines()[-1]
        self.assertIn("| +2.0 % | +1.0 % to +3.0 % |", last)

    def test_whole_run(self):
        toy = textwrap.dedent(
            """
            import os, sys
            assert sys.argv[sys.argv.index("--gemm") + 1] == "64", sys.argv
            if os.environ["RANK"] == "0": print("# Toy 1.0\\n8 100 FACTOR 10 10")
            """
        )
        with tempfile.TemporaryDirectory() as folder:
            argv = ["--bin-dir", folder, "--sizes", "8", "--gemm", "64", "--rounds", "2"]
            for name, factor in (("hfreduce", "101"), ("nccl", "150")):
                path = os.path.join(folder, f"{name}.py")
                with open(path, "w") as file:
                    file.write(toy.replace("FACTOR", factor))
                argv += ["--rank-peer", f"{name}={sys.executable} {path}"]
            path = os.path.join(folder, "out.json")
            out = io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
                code = overlap.main(argv + ["--json", path])
            self.assertEqual(code, 0)
            self.assertIn("+50.0 %", out.getvalue())
            with open(path) as file:
                rows = json.load(file)["rows"]
        self.assertEqual([row["library"] for row in rows], ["hfreduce", "nccl"])
        self.assertEqual(rows[0]["gemm_slowdown"], [1.01, 1.01, 1.01])


if __name__ == "__main__":
    unittest.main()
