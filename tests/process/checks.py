"""One `ok - …` line per check; the first that fails ends the program with what was expected."""
import sys

SKIPPED = 77  # CTest's SKIP_RETURN_CODE for these tests


class Failed(Exception):
    pass


def ok(what):
    print(f"ok - {what}", flush=True)


def expect(condition, what, found=None):
    if not condition:
        raise Failed(f"expected {what}" + ("" if found is None else f", found {found!r}"))


def skip(why):
    print(f"SKIPPED: {why}", flush=True)
    sys.exit(SKIPPED)


def run(main):
    """Runs main(); a failed check becomes exit status 1 with its words as the last line."""
    try:
        main()
    except Failed as failure:
        print(f"not ok - {failure}", flush=True)
        sys.exit(1)
