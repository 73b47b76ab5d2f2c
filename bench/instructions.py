#!/usr/bin/python3
"""Counts the instructions of fixed scenarios (bench/scenarios.cpp) under valgrind and compares them with bench/instructions.json.

Instructions, not time: the same code gives the same number on a busy machine. Each scenario runs twice with different counts; the
difference of the two is what the additional ones cost, without start and set-up.

Exit status: 0 none is over its baseline by more than the tolerance, 1 at least one is, 2 could not run, 77 cannot be compared here (no
valgrind, or another compiler or processor than the baseline's)."""
import argparse
import concurrent.futures
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
FEW, MANY = 640, 1920  # whole batches of 64
SKIPPED = 77
# The C library chooses among its copies of memcpy by the processor it finds; one choice for all machines.
ENVIRONMENT = dict(os.environ, GLIBC_TUNABLES="glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX2,-AVX,-ERMS,-FSRM", LC_ALL="C")


def leave(status, text):
    print(text, file=sys.stderr if status == 2 else sys.stdout)
    sys.exit(status)


def processor():
    """What decides between the copies of a routine that a library brings along (xxHash does so)."""
    flags = pathlib.Path("/proc/cpuinfo").read_text() if platform.machine() == "x86_64" else ""
    return platform.machine() + (" avx2" if re.search(r"^flags\b.*\bavx2\b", flags, flags=re.M) else "")


def count(program, scenario, times):
    command = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--branch-sim=no", "--cachegrind-out-file=/dev/null", program,
               scenario, str(times)]
    ran = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
    found = re.search(r"I\s+refs:\s+([\d,]+)", ran.stderr)
    if ran.returncode != 0 or not found:
        raise RuntimeError(f"{' '.join(command)} ended with status {ran.returncode}:\n{ran.stderr[-1500:]}")
    return int(found.group(1).replace(",", ""))


def measure(program, names):
    with concurrent.futures.ThreadPoolExecutor(max(1, min(2, os.cpu_count() or 1))) as pool:
        runs = {(name, times): pool.submit(count, program, name, times) for name in names for times in (FEW, MANY)}
        return {name: round((runs[name, MANY].result() - runs[name, FEW].result()) / (MANY - FEW), 1) for name in names}


def compare(baseline, counted, units):
    """Lines to print, and whether any scenario is over."""
    tolerance = baseline["tolerance"]
    lines, over, better = [], False, False
    for name, now in counted.items():
        then = baseline["scenarios"].get(name)
        unit = units[name]
        if then is None:
            lines.append(f"NEW     {name}  {now:,.0f} instructions per {unit}, and no baseline")
            over = True
            continue
        change = now / then - 1
        word = "ok"
        if change > tolerance:
            word, over = "OVER", True
        elif change < -tolerance:
            word, better = "better", True
        lines.append(f"{word:<7} {name}  {then:,.0f} → {now:,.0f} instructions per {unit} ({change:+.1%})")
    if over:
        lines.append(f"\nOver the baseline by more than {tolerance:.0%} (or without one). If that is what the change must cost:\n"
                     "  ./dev bench regress --update \"why it costs more\"     and commit bench/instructions.json with it\n"
                     "Where the instructions are:\n"
                     "  valgrind --tool=callgrind build/release/bin/mainstay-instructions NAME 1920")
    elif better:
        lines.append("\nBetter than the baseline. Keep it: ./dev bench regress --update \"what made it better\"")
    return lines, over


def main():
    parser = argparse.ArgumentParser(
        prog="./dev bench regress", description="Instructions that fixed scenarios take, against the stored baseline.",
        epilog='Examples: ./dev bench regress; ./dev bench regress leader.publish; ./dev bench regress --update "one check more per publish"',
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", nargs="*", help="only these")
    parser.add_argument("--program", default=str(HERE.parent / "build/release/bin/mainstay-instructions"), help="a release build's")
    parser.add_argument("--baseline", type=pathlib.Path, default=HERE / "instructions.json")
    parser.add_argument("--update", metavar="REASON", help="stores what is counted now as the baseline, and why")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="writes what was counted")
    parser.add_argument("--self-test", action="store_true", help="shows that a scenario over its baseline is found")
    options = parser.parse_args()

    if options.self_test:
        baseline = {"tolerance": 0.03, "scenarios": {"a": 1000.0, "b": 1000.0, "c": 1000.0}}
        units = dict.fromkeys("abcd", "message")
        checks = [(compare(baseline, {"a": 1029.0, "b": 971.0}, units)[1], False), (compare(baseline, {"a": 1031.0}, units)[1], True),
                  (compare(baseline, {"b": 500.0}, units)[1], False), (compare(baseline, {"d": 1.0}, units)[1], True),
                  (compare(baseline, {"c": 1174.0}, units)[0][0], "OVER    c  1,000 → 1,174 instructions per message (+17.4%)")]
        wrong = [f"{got!r} instead of {want!r}" for got, want in checks if got != want]
        leave(1 if wrong else 0, "\n".join(wrong) or "self-test: a scenario over its baseline is found")

    if not os.access(options.program, os.X_OK):
        leave(SKIPPED, f"{options.program} is not built: ./dev test does it, or cmake --build build/release --target mainstay-instructions")
    if shutil.which("valgrind") is None:
        leave(SKIPPED, "valgrind is not installed: ./dev setup does it")
    units = dict(line.split() for line in subprocess.check_output([options.program, "--list"], text=True).splitlines())
    compiler = subprocess.check_output([options.program, "--compiler"], text=True).strip()
    here = {"compiler": compiler, "processor": processor()}
    unknown = [name for name in options.scenario if name not in units]
    if unknown:
        leave(2, f"there is no scenario {', '.join(unknown)}. They are: {', '.join(units)}")
    names = options.scenario or list(units)
    baseline = {}
    if options.baseline.exists():
        try:
            baseline = json.loads(options.baseline.read_text())
        except json.JSONDecodeError as error:
            leave(2, f"{options.baseline} cannot be read: {error}")
    if options.update is None:
        if not baseline:
            leave(2, f"there is no baseline in {options.baseline}: make one with --update REASON")
        for what, ours in here.items():
            if baseline[what] != ours:
                leave(SKIPPED, f"the baseline was made with {what} {baseline[what]}, this is {ours}: not comparable")
    try:
        counted = measure(options.program, names)
    except RuntimeError as error:
        leave(2, str(error))
    if options.json:
        options.json.write_text(json.dumps(counted, indent=2) + "\n")
    if options.update is not None:
        if not options.update.strip():
            leave(2, "--update wants a reason")
        if options.scenario and any(baseline.get(what) != ours for what, ours in here.items()):
            leave(2, "with another compiler or processor all scenarios must be counted anew: --update without names")
        for name, now in counted.items():
            then = baseline.get("scenarios", {}).get(name)
            print(f"{name}  {'' if then is None else f'{then:,.0f} → '}{now:,.0f} instructions per {units[name]}")
        kept = {name: n for name, n in baseline.get("scenarios", {}).items() if name in units}
        scenarios = {name: counted.get(name, kept.get(name)) for name in units if name in counted or name in kept}
        stored = {**here, "tolerance": baseline.get("tolerance", 0.03), "reason": options.update.strip(), "scenarios": scenarios}
        options.baseline.write_text(json.dumps(stored, indent=2, ensure_ascii=False) + "\n")
        leave(0, f"stored in {options.baseline}")
    lines, over = compare(baseline, counted, units)
    leave(1 if over else 0, "\n".join(lines))


main()
