#!/usr/bin/python3
"""Holds the table of modules in docs/ARCHITECTURE.md, the #includes and CMakeLists.txt's ms_module lines together.

    tests/check_layers.py [ROOT]

The table, below `## Modules`, has rows `| module | answers for | may include |`, lowest layer first. Checked:
a module uses only rows above its own; an include of another module's public header is in its row; nobody includes
another module's private headers; CMake links nothing that the row does not allow (what it forgets to link, the linker tells).
"""

import pathlib
import re
import sys


def table_of(document):
    """{module: modules it may include}, in the order of the table."""
    sections = document.read_text().split("\n## Modules", 1)
    if len(sections) < 2:
        sys.exit(f"{document} has no section '## Modules'")
    rows = re.findall(r"^\|\s*`?(\w+)`?\s*\|[^|]*\|([^|]*)\|\s*$", sections[1].split("\n## ")[0], re.M)
    return {name: set(re.findall(r"\w+", uses)) for name, uses in rows if name != "module"}


def cmake_of(lists):
    """{module: modules it is linked to}."""
    found = re.findall(r"^ms_module\((\w+)([^)]*)\)", lists.read_text(), re.M)
    return {name: {d for d in deps.split() if "::" not in d} for name, deps in found}


def check_table(table):
    above = set()
    for name, uses in table.items():
        yield from (f"table: {name} uses {other}, which is not above it" for other in sorted(uses - above))
        above.add(name)


def check_cmake(table, cmake):
    yield from (f"CMakeLists.txt: module {name} is not in the table" for name in cmake if name not in table)
    yield from (f"table: module {name} is not in CMakeLists.txt" for name in table if name not in cmake)
    for name, linked in cmake.items():
        for other in sorted(linked - table.get(name, set())):
            yield f"CMakeLists.txt: {name} is linked to {other}, which the table does not allow"


def check_includes(root, table):
    for top in ("include/microseg", "src"):
        for file in sorted((root / top).rglob("*")):
            if file.suffix not in (".h", ".cpp"):
                continue
            module = file.relative_to(root / top).parts[0]
            if module not in table:
                yield f"{file.relative_to(root)}: module {module} is not in the table"
                continue
            for number, line in enumerate(file.read_text().splitlines(), 1):
                match = re.match(r'\s*#\s*include\s*["<](microseg/)?(\w+)/', line)
                if not match or match[2] == module or match[2] not in table:
                    continue
                at = f"{file.relative_to(root)}:{number}: {module}"
                if not match[1]:
                    yield f"{at} includes a private header of {match[2]}"
                elif match[2] not in table[module]:
                    yield f"{at} may not include {match[2]}"


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent).resolve()
    document = root / "docs/ARCHITECTURE.md"
    if not document.exists():
        sys.exit("docs/ARCHITECTURE.md is missing")
    table, cmake = table_of(document), cmake_of(root / "CMakeLists.txt")
    bad = [*check_table(table), *check_cmake(table, cmake), *check_includes(root, table)]
    if not table:
        bad.append("docs/ARCHITECTURE.md: the table of modules is empty")
    print("\n".join(bad) or f"{len(table)} modules, layers hold")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
