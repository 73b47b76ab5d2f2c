#!/usr/bin/python3
"""What the pages say about the tree is true: links lead somewhere, rooms have their README and their row, commands and
packages that are named exist. `docs_test.py --self-test` shows that each check can fail."""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
SKIP = {"build", "out", ".git", "node_modules", ".cache"}


def pages(root):
    return sorted(p for p in root.rglob("*.md") if not SKIP & set(p.relative_to(root).parts))


def without_code(text):
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M))


def anchors(page):
    """Anchors of a page's headings, as the usual renderers make them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def links(root):
    for page in pages(root):
        for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text())):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            to = (page.parent / path).resolve() if path else page
            if not to.exists():
                yield f"{page.relative_to(root)}: link to {target}, which is not there"
            elif anchor and to.suffix == ".md" and anchor not in anchors(to):
                yield f"{page.relative_to(root)}: link to {target}, a page without such a heading"


def named_files(root):
    """`src/…`, `docs/…`, `tests/…` in running text are files or folders (a name without its ending counts)."""
    for page in pages(root):
        text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M)
        for name in re.findall(r"`((?:src|docs|tests|cmake|samples|bench)/[\w./-]+)`", text):
            if not (root / name.rstrip("/")).exists():
                yield f"{page.relative_to(root)}: names {name}, which is not there"


def rooms(root):
    declared = set(re.findall(r"^mainstay_room\((\w+)", (root / "src/CMakeLists.txt").read_text(), flags=re.M))
    listed = set(re.findall(r"^\| `(\w+)` \|", (root / "ARCHITECTURE.md").read_text(), flags=re.M))
    for folder in sorted(p for p in (root / "src").iterdir() if p.is_dir() and any(p.glob("*.cpp"))):
        if not (folder / "README.md").exists():
            yield f"src/{folder.name} has no README.md"
    for room in sorted(declared - listed):
        yield f"ARCHITECTURE.md lacks a row for the room {room}"


def commands(root):
    dev = (root / "dev").read_text()
    known = set(re.findall(r"^#: (\w+)", dev, flags=re.M))
    functions = set(re.findall(r"^cmd_(\w+)\(\)", dev, flags=re.M))
    for name in sorted(known ^ functions):
        yield f"dev: {name} is listed without a function, or has one and is not listed"
    printed = subprocess.run([str(root / "dev")], capture_output=True, text=True)
    for name in sorted(known):
        if printed.returncode != 0 or not re.search(rf"^  {name}\b", printed.stdout, flags=re.M):
            yield f"./dev does not list {name}"
    presets = set(re.findall(r'"name": "(\w+)", "configurePreset"', (root / "CMakePresets.json").read_text()))
    for page in pages(root):
        text = page.read_text()
        for name in re.findall(r"(?:`|^)\./dev (\w+)", text, flags=re.M):
            if name not in known:
                yield f"{page.relative_to(root)}: names ./dev {name}, which does not exist"
        for name in re.findall(r"build/(\w+)/bin", text):
            if name not in presets:
                yield f"{page.relative_to(root)}: names build/{name}/bin, but there is no preset {name}"


def packages(root):
    section, libraries = "", []
    for line in (root / "packages.txt").read_text().splitlines():
        heading = re.match(r"# (\w+):", line)
        section = heading.group(1) if heading else section
        if section and line and not line.startswith("#"):
            libraries.append((section, line))
    text = (root / "docs/dependencies.md").read_text()
    for section, package in libraries:
        if f"`{package}`" not in text:
            yield f"docs/dependencies.md does not say why {package} ({section}) is there"
    known = {package for _, package in libraries}
    for package in re.findall(r"^\| `([^`]+)` \|", text, flags=re.M):
        if package not in known:
            yield f"docs/dependencies.md explains {package}, which packages.txt does not have"
    if not any(section == "libraries" for section, _ in libraries):
        yield "packages.txt has no section of libraries"


def requirements(root):
    rows = re.findall(r"^\| ([A-Z]\d+(?:\.\d+)?) \| (.*?) \| (.*?) \| (.*?) \| (.*?) \|$",
                      (root / "docs/requirements.md").read_text(), flags=re.M)
    ids = [row[0] for row in rows]
    if len(ids) < 100 or len(set(ids)) != len(ids):
        yield f"docs/requirements.md: {len(ids)} rows, {len(ids) - len(set(ids))} of them twice; there are more than 100, each once"
    for id_, _, state, code, evidence in rows:
        if state not in ("done", "part", "not yet"):
            yield f"docs/requirements.md: {id_} has the state {state!r}"
        if state in ("done", "part") and "–" in (code, evidence):
            yield f"docs/requirements.md: {id_} is {state} without code or evidence"


def record_types(root):
    """Each type of a journal's record, with its number, is on the pages that list them, and nothing else is."""
    enum = re.findall(r"^enum class RecordType\b.*?^};", (root / "src/journal/record.h").read_text(), flags=re.M | re.S)
    types = set(re.findall(r"^  (\w+) = (\d+),", "\n".join(enum), flags=re.M))
    leadership = {"epoch_started", "sealed", "forked"}
    for page, heading, expected in (("journal.md", "Types, never renumbered", types),
                                    ("leadership.md", "# Records of leadership", {t for t in types if t[0] in leadership}),
                                    ("effects.md", "Records say what happened", {t for t in types if t[0] not in leadership})):
        text = (root / "docs/formats" / page).read_text()
        table = re.search(re.escape(heading) + r".*?((?:^\|[^\n]*\n)+)", text, flags=re.M | re.S).group(1)
        listed = {(name, number) for number, name in re.findall(r"^\| (\d+) \| (\w+) \|", table, flags=re.M)}
        for name, number in sorted(listed ^ expected):
            yield f"docs/formats/{page}: {number} {name} is " + ("no such record" if (name, number) in listed else "missing")


def manners(root):
    """Pages stand on their own: nothing outside the tree is named."""
    for page in pages(root):
        if "../shared" in page.read_text():
            yield f"{page.relative_to(root)}: names a place outside the project"


CHECKS = (links, named_files, rooms, commands, packages, requirements, record_types, manners)


def self_test():
    """Each check finds the one thing that is broken for it."""
    breaks = {
        links: ("README.md", "\n[x](docs/nowhere.md)\n"),
        named_files: ("README.md", "\n`src/nowhere.h`\n"),
        rooms: ("src/CMakeLists.txt", "\nmainstay_room(nowhere USES base)\n"),
        commands: ("HACKING.md", "\n`./dev nowhere`\n"),
        packages: ("packages.txt", "\n# libraries: more\nlibnowhere-dev\n"),
        requirements: ("docs/requirements.md", "\n| P1 | again | done | – | – |\n"),
        record_types: ("src/journal/record.h", "\nenum class RecordType {\n  nowhere = 99,\n};\n"),
        manners: ("README.md", "\nsee ../shared\n"),
    }
    failed = []
    for check, (file, text) in breaks.items():
        with tempfile.TemporaryDirectory() as directory:
            copy = pathlib.Path(directory) / "tree"
            shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*SKIP))
            before = set(check(copy))
            with open(copy / file, "a") as page:
                page.write(text)
            if not set(check(copy)) - before:
                failed.append(check.__name__)
    print("self-test: " + ("every check can fail" if not failed else f"these checks saw nothing: {failed}"))
    return 1 if failed else 0


def main():
    if "--self-test" in sys.argv:
        return self_test()
    problems = [problem for check in CHECKS for problem in check(ROOT)]
    for problem in problems:
        print(problem)
    print(f"{len(pages(ROOT))} pages, {len(CHECKS)} checks, {len(problems)} problems")
    return 1 if problems else 0


sys.exit(main())
