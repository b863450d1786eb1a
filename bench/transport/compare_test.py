"""Tests of compare.py: what programs print, the statistics, and whole runs with scripted programs."""

import argparse
import contextlib
import io
import json
import os
import socket
import stat
import tempfile
import unittest
from unittest import mock

import compare

LATENCY = """
 local address: LID 0000 QPN 0x0012 PSN 0xdb8ac3 RKey 0x000374 VAddr 0x0055f57f871000
 #bytes #iterations    t_min[usec]    t_max[usec]  t_typical[usec]    t_avg[usec]    t_stdev[usec]   99% percentile[usec]
 8       1000          21.63          7512.11      25.43    \t       1744.93     \t1962.01\t\t4632.96
"""
BANDWIDTH = """
 #bytes     #iterations    BW peak[MB/sec]    BW average[MB/sec]   MsgRate[Mpps]
 {bytes}      200              51.00              46.29  \t\t   0.000741
"""


def case(measure, size, count=1000):
    return compare.Case(measure, size, count, 64)


class Parsing(unittest.TestCase):
    def test_perftest_latency_is_the_typical_one(self):
        self.assertEqual(compare.parse_perftest(LATENCY, case("latency", 8)), 25.43)

    def test_perftest_bandwidth_comes_in_millions_of_bytes(self):
        long = compare.parse_perftest(BANDWIDTH.format(bytes=65536), case("bandwidth", 65536))
        self.assertAlmostEqual(long, 46.29 * 1.048576)
        short = compare.parse_perftest(BANDWIDTH.format(bytes=8), case("bandwidth", 8))
        self.assertAlmostEqual(short, 0.000741 * 8)

    def test_perftest_without_a_clock_is_run_again(self):
        text = LATENCY.replace("25.43", "inf").replace("1962.01", "-nan")
        with self.assertRaises(compare.NoClock):
            compare.parse_perftest(text, case("latency", 8))
        args = argparse.Namespace(link="verbs")
        with mock.patch.object(compare, "run_perftest", side_effect=[compare.NoClock(), 3.5]):
            self.assertEqual(compare.run_peer(args, case("latency", 8)), 3.5)

    def test_another_size_is_refused(self):
        with self.assertRaisesRegex(compare.RunFailed, "no row for 4096 bytes"):
            compare.parse_perftest(LATENCY, case("latency", 4096))

    def test_ours_must_be_what_was_asked_for(self):
        self.assertEqual(compare.parse_ours("8 1000 2.5\n", case("latency", 8)), 2.5)
        for text in ("", "8 1000", "16 1000 2.5", "8 10 2.5", "8 1000 0"):
            with self.assertRaises(compare.RunFailed):
                compare.parse_ours(text, case("latency", 8))


class Arguments(unittest.TestCase):
    def parse(self, text):
        with contextlib.redirect_stderr(io.StringIO()):
            return compare.parse_arguments(["--program", "x"] + text.split())

    def test_counts_keep_to_the_bytes(self):
        args = self.parse("--sizes 8,1M --bytes 16M --least 10 --measures bandwidth")
        self.assertEqual([(c.bytes, c.count, c.depth) for c in compare.cases(args)], [(8, 10000, 64), (1 << 20, 16, 16)])

    def test_what_makes_no_sense_is_refused(self):
        for text in ("--sizes 0", "--measures speed", "--depth 0", "--link verbs", "--cpus 1", "--least 2"):
            with self.assertRaises(SystemExit):
                self.parse(text)


class WholeRuns(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def script(self, name, body):
        path = os.path.join(self.folder.name, name)
        with open(path, "w") as file:
            file.write("#!/usr/bin/env python3\nimport sys\na = sys.argv\nat = lambda n: a[a.index(n) + 1]\n" + body)
        os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)
        return path

    def run_compare(self, *arguments):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = compare.main(list(arguments))
        return status, out.getvalue(), err.getvalue()

    def test_tcp_beside_a_socket(self):
        ours = self.script("ours", "print(at('--size'), at('--count'), 3 if at('--link') == 'tcp' else 2)")
        path = os.path.join(self.folder.name, "out.json")
        status, out, err = self.run_compare("--program", ours, "--sizes", "8", "--rounds", "2", "--json", path)
        self.assertEqual((status, err), (0, ""))
        self.assertRegex(out, r"8 +\| +latency \| +3\.00 us .* 2\.00 \| .* 1\.50 \| +1\.50-1\.50")
        with open(path) as file:
            self.assertEqual(json.load(file)["results"][0]["ours"], [3, 3])

    def test_verbs_beside_perftest(self):
        ours = self.script("ours", "print(at('--size'), at('--count'), 50)")
        # The server, which has no host behind its options, listens until it is ended.
        listen = (
            "if a[-1] != '127.0.0.1':\n  import socket\n  s = socket.create_server(('127.0.0.1', int(at('-p'))))\n"
            "  s.accept()\n  sys.exit()\n"
        )
        self.script("ib_write_bw", listen + "print(f\"{at('-s')} {at('-n')} 60.0 50.0 0.000800\")")
        path = self.folder.name + os.pathsep + os.environ["PATH"]
        # Bound here, so that nobody else is given it; the server, which allows it too, can listen there.
        holder = socket.socket()
        self.addCleanup(holder.close)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        port = mock.patch.object(compare, "free_port", return_value=holder.getsockname()[1])
        with port, mock.patch.dict(os.environ, PATH=path):
            status, out, err = self.run_compare(
                "--program", ours, "--link", "verbs", "--devices", "a,b:2", "--sizes", "64K", "--measures", "bandwidth",
                "--rounds", "3",
            )  # fmt: skip
        self.assertEqual((status, err), (0, ""))
        self.assertIn("52.43", out)
        self.assertIn("0.95", out)

    def test_a_failure_says_which_program_and_why(self):
        ours = self.script("ours", "sys.exit('no such device')")
        status, _, err = self.run_compare("--program", ours, "--sizes", "8")
        self.assertEqual(status, 1)
        self.assertRegex(err, "ours .* ended with 1: no such device")


if __name__ == "__main__":
    unittest.main()
