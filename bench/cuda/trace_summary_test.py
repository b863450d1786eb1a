"""Tests of trace_summary.py: two operations of two chunks on two ranks, with every time known."""

import contextlib
import io
import json
import os
import tempfile
import unittest

import trace_summary


def span(rank, name, chunk, size, begin, end):
    return {"ph": "X", "pid": rank, "tid": 0, "name": name, "ts": begin, "dur": end - begin,
            "args": {"chunk": chunk, "bytes": size}}


def operation(start, first_chunk):
    """Rank 1's copies come 2 us after rank 0's; rank `chunk mod 2` adds."""
    events = {0: [], 1: []}
    for idx, (size, begin) in enumerate([(100, start), (200, start + 10)]):
        chunk = first_chunk + idx
        for rank in (0, 1):
            late = 2 * rank
            events[rank].append(span(rank, "copy-in", chunk, size, begin + late, begin + late + 5))
            events[rank].append(span(rank, "copy-out", chunk, size, begin + 20 + late, begin + 26 + late))
        events[chunk % 2].append(span(chunk % 2, "add", chunk, size, begin + 8, begin + 16))
    return events


class TraceSummary(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def write(self, *operations):
        paths = []
        for rank in (0, 1):
            path = os.path.join(self.folder.name, f"{rank}.json")
            events = [{"ph": "M", "pid": rank, "name": "process_name", "args": {"name": "x"}}]
            for each in operations:
                events += each[rank]
            with open(path, "w", encoding="utf-8") as file:
                json.dump(events, file)
            paths.append(path)
        return paths

    def test_operations_are_told_apart(self):
        found = trace_summary.operations(trace_summary.read(self.write(operation(0, 4), operation(100, 6))))
        self.assertEqual([[chunk["bytes"] for chunk in each] for each in found], [[100, 200], [100, 200]])

    def test_a_chunk_that_is_not_whole_is_left_out(self):
        cut = operation(0, 4)
        cut[0] = [event for event in cut[0] if event["name"] != "add"]  # chunk 4 is rank 0's
        found = trace_summary.operations(trace_summary.read(self.write(cut)))
        self.assertEqual([[chunk["bytes"] for chunk in each] for each in found], [[200]])

    def test_stages(self):
        (whole,) = trace_summary.operations(trace_summary.read(self.write(operation(0, 4))))
        rows = trace_summary.by_size(whole)
        self.assertEqual([(size, count) for size, count, _ in rows], [(100, 1), (200, 1)])
        self.assertEqual(rows[0][2], {"copy-in": 5, "apart": 2, "wait": 1, "add": 8, "wait out": 5, "copy-out": 6})

    def test_whole_operations(self):
        (whole,) = trace_summary.operations(trace_summary.read(self.write(operation(0, 4))))
        # Copies in: 0-5 and 2-7, 10-15 and 12-17; out: 20-26 and 22-28, 30-36 and 32-38.
        self.assertEqual(trace_summary.whole(whole),
                         {"all": 38, "fill": 20, "in": 17, "drain": 21, "in idle": 3, "out idle": 2})

    def test_prints(self):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            self.assertEqual(trace_summary.main(self.write(operation(0, 4), operation(100, 6))), 0)
        self.assertIn("operations of 300 bytes: 2", out.getvalue())
        self.assertIn("fill 20, in 17, drain 21", out.getvalue())

    def test_without_files_it_says_how(self):
        with contextlib.redirect_stderr(io.StringIO()) as err:
            self.assertEqual(trace_summary.main([]), 2)
        self.assertIn("HFREDUCE_TRACE", err.getvalue())


if __name__ == "__main__":
    unittest.main()
