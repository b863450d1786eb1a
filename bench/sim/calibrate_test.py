"""The pure parts of calibrate.py."""

import argparse
import unittest

import calibrate


class Calibrate(unittest.TestCase):
    def test_shapes(self):
        self.assertEqual(calibrate.parse_shape("2x1"), (2, 1))
        for wrong in ["", "2", "x1", "0x1", "2x0", "2x1x1", "axb"]:
            with self.assertRaises(argparse.ArgumentTypeError, msg=wrong):
                calibrate.parse_shape(wrong)

    def test_a_ratio_is_of_one_rounds_numbers(self):
        result = calibrate.summary([(1.0, 2.0), (4.0, 4.0), (2.0, 3.0)])
        self.assertEqual(result["measured"], {"median": 2.0, "least": 1.0, "most": 4.0})
        self.assertEqual(result["predicted"], {"median": 3.0, "least": 2.0, "most": 4.0})
        self.assertEqual(result["ratio"], {"median": 1.5, "least": 1.0, "most": 2.0})
        self.assertIn("1.50 (1.00 to 2.00)", calibrate.row("2x1", "8M", result))

    def test_the_operation_in_place_counts(self):
        report = {"results": [{"out_of_place": {"algbw": 1.0}, "in_place": {"algbw": 2.0}}]}
        self.assertEqual(calibrate.in_place_algbw(report), 2.0)


if __name__ == "__main__":
    unittest.main()
