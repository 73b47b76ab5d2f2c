#!/usr/bin/env python3
"""run.py reads SPIN's output: output that was doctored, cut short or comes from a weaker search must not pass. (N7)"""
import os
import re
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import run  # noqa: E402

SOUND = """
(Spin Version 6.5.2 -- 6 December 2019)

Full statespace search for:
\tnever claim         \t- (none specified)
\tassertion violations\t+
\tcycle checks       \t- (disabled by -DSAFETY)
\tinvalid end states\t+

State-vector 36 byte, depth reached 55, errors: 0
  1481016 states, stored
  4000000 states, matched
  5481016 transitions (= stored+matched)
        0 atomic steps
hash conflicts:   1234 (resolved)

  580.198\ttotal actual memory usage
"""


def verdict(text):
    return run.verdict_of_rules(run.read_output(text))


class OutputOfTheVerifier(unittest.TestCase):
    def test_a_full_search_without_errors_holds(self):
        self.assertIsNone(verdict(SOUND))
        found = run.read_output(SOUND)
        self.assertEqual((found.states, found.transitions, found.depth), (1481016, 5481016, 55))

    def test_an_error_is_a_violation(self):
        self.assertEqual(verdict(SOUND.replace("errors: 0", "errors: 1")), "VIOLATED")
        self.assertEqual(verdict(SOUND.replace("errors: 0", "errors: 10")), "VIOLATED")

    def test_a_search_that_left_something_out_does_not_hold(self):
        for doubt in ("Warning: Search not completed", "error: max search depth too small", "pan: reached -DMEMLIM bound",
                      "pan: out of memory"):
            self.assertEqual(verdict(doubt + "\n" + SOUND), "INCOMPLETE", doubt)
        self.assertEqual(verdict(SOUND.replace("Full statespace", "Bit statespace")), "INCOMPLETE")

    def test_a_model_that_does_nothing_does_not_hold(self):
        self.assertEqual(verdict(SOUND.replace("1481016 states, stored", "1 states, stored")), "EMPTY")

    def test_output_without_its_figures_is_refused(self):
        for gone in ("errors: 0", "states, stored", "assertion violations\t+", "depth reached", "total actual memory"):
            with self.assertRaises(run.Unreadable):
                verdict(SOUND.replace(gone, ""))
        with self.assertRaises(run.Unreadable):
            verdict("")
        with self.assertRaises(run.Unreadable):  # two answers are none
            verdict(SOUND + SOUND.replace("errors: 0", "errors: 1"))

    def test_a_search_without_assertions_is_refused(self):
        with self.assertRaises(run.Unreadable):
            verdict(SOUND.replace("assertion violations\t+", "assertion violations\t- (disabled by -A flag)"))


class Mutants(unittest.TestCase):
    def test_a_mutant_without_a_violation_survived(self):
        self.assertEqual(run.verdict_of_mutant(run.read_output(SOUND), "", "violated"), "SURVIVED")
        self.assertEqual(run.verdict_of_mutant(run.read_output(SOUND), "", "reached"), "NOT REACHED")

    def test_it_must_fail_for_a_property_of_the_protocol(self):
        found = run.read_output(SOUND.replace("errors: 0", "errors: 1"))
        self.assertIsNone(run.verdict_of_mutant(found, "violated: I2: …", "violated"))
        self.assertEqual(run.verdict_of_mutant(found, "no reason in the trail", "violated"), "WRONG REASON")
        self.assertEqual(run.verdict_of_mutant(found, "violated: I2: …", "reached"), "WRONG REASON")


class Page(unittest.TestCase):
    def test_every_step_and_mutant_that_the_page_names_is_in_the_model(self):
        page = open(os.path.join(run.HERE, "README.md"), encoding="utf-8").read()
        model = open(run.MODEL, encoding="utf-8").read()
        tables = page[page.index("## Which rule is where"):page.index("## Results")]
        names = set()
        for line in tables.splitlines():
            if line.startswith("|"):
                names |= set(re.findall(r"`(\w+)`", line.split("|")[2]))
        self.assertGreater(len(names), 15)
        for name in names:
            self.assertRegex(model, rf"(inline|#define) {name}\b")
        for mutant in run.MUTANTS:
            self.assertIn(f"MUTANT_{mutant}", model)
            self.assertRegex(tables, rf"\b{mutant}\b")
        for probe in run.PROBES:
            self.assertIn(f"#ifdef {probe}\n", model)


if __name__ == "__main__":
    unittest.main()
