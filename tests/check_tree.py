#!/usr/bin/python3
"""What must be true of the files themselves. Each rule is one function that yields its findings.

    tests/check_tree.py [ROOT]
"""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent).resolve()
CODE = (".h", ".cpp")

# Which files may include which third-party headers.
CONFINED = {
    r"httplib\.h": ("src/http/",),
    r"libmnl/|libnftnl/": ("src/kernel/",),
    r"nlohmann/": ("src/cnm/", "src/api/", "src/store/", "src/docker/", "src/cli/"),
    r"CLI/": ("src/cli/", "plugin/"),
    r"sqlite3\.h": ("src/store/",),
}

# Calls that start a process. The name must stand alone: not a member, not part of a longer word, not declared.
PROCESS = re.compile(r"(?<![\w.>])(?:::|std::)?(system|popen|exec[lv]p?e?|execvpe|execveat|fexecve|posix_spawnp?|v?fork|clone3?)\s*\(")
SLEEP = re.compile(r"\b(sleep_for|sleep_until|usleep|nanosleep|clock_nanosleep)\b|(?<![\w.>])(?:::)?sleep\s*\(")
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX)\b")  # check_tree: these are the words to look for
# Paths below the directory that holds this checkout, where that is a place of its own.
HOLDER = str(ROOT.parent).rstrip("/") + "/"
MACHINE = re.compile(r"(?<![\w.$}])" + re.escape(HOLDER)) if HOLDER not in ("/", "/tmp/", "/home/", "/root/") else re.compile(r"(?!)")
MAX_LINES = 500


def tracked():
    """Files that git knows, or, in a tree without git, all but build directories."""
    try:
        listed = subprocess.run(["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"], cwd=ROOT, capture_output=True)
    except FileNotFoundError:
        listed = None
    if listed and listed.returncode == 0 and listed.stdout:
        files = [ROOT / n for n in listed.stdout.decode().split("\0") if n]
    else:
        skipped = {"build", ".git", "__pycache__"}
        files = [p for p in ROOT.rglob("*") if not skipped & set(p.relative_to(ROOT).parts)]
    return sorted(f for f in files if f.is_file() and not f.is_symlink())


def without_comments(text):
    """The same lines, with comments and the insides of string literals blanked."""
    pattern = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"', re.S)
    return pattern.sub(lambda m: re.sub(r"[^\n]", " ", m[0]) if m[0][0] == "/" else '""' + "\n" * m[0].count("\n"), text)


def findings(files, pattern, what):
    """`files` maps a name to its text."""
    for name, text in files.items():
        for number, line in enumerate(text.splitlines(), 1):
            if (match := pattern.search(line)) and "check_tree:" not in line:
                yield f"{name}:{number}: {what}: {match[0].strip()}"


def confined(code):
    for name, text in code.items():
        if not name.startswith(("src/", "include/", "plugin/")):
            continue
        for number, line in enumerate(text.splitlines(), 1):
            match = re.match(r'\s*#\s*include\s*[<"]([^>"]+)[>"]', line)
            for header, homes in CONFINED.items():
                if match and re.match(header, match[1]) and not name.startswith(homes):
                    yield f"{name}:{number}: {match[1]} belongs in {', '.join(homes)}"


def long_files(code):
    for name, text in code.items():
        if name.startswith(("src/", "include/")) and text.count("\n") > MAX_LINES:
            yield f"{name}: {text.count(chr(10))} lines, more than {MAX_LINES}: does it hold two ideas?"


def main():
    texts, bad = {}, []
    for file in tracked():
        name = str(file.relative_to(ROOT))
        data = file.read_bytes()
        try:
            texts[name] = data.decode()
        except UnicodeDecodeError:
            texts[name] = ""
        # A fuzz corpus holds whatever breaks parsers; it is data, and small.
        if name.startswith("tests/fuzz/corpus/"):
            if len(data) > 64 * 1024:
                bad.append(f"{name}: {len(data)} bytes is much for a corpus file")
        elif b"\0" in data or (data and not texts[name]):
            bad.append(f"{name}: a binary file")
    code = {n: t for n, t in texts.items() if n.endswith(CODE)}
    bare = {n: without_comments(t) for n, t in code.items()}
    product = {n: t for n, t in bare.items() if n.startswith(("src/", "include/", "plugin/"))}
    inside = {n: t for n, t in bare.items() if n.startswith(("src/", "include/"))}
    bad += findings(texts, MACHINE, "a path of one machine")
    bad += findings(texts, UNFINISHED, "unfinished")
    bad += findings(product, PROCESS, "starts a process")
    bad += findings(inside, SLEEP, "sleeps instead of awaiting an event")
    bad += confined(code)
    bad += long_files(code)
    print("\n".join(bad) or f"{len(texts)} files, the tree is in order")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
