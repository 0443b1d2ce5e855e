"""How the code must look, as far as it can be counted."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("gateway", "tests", "bench")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
OURS = [path for path in FILES if path.is_relative_to(ROOT / "gateway")]
MOST_LINES = 300
LONGEST_FUNCTION = 40
# Tests and benchmarks may keep a long table, or all of one thing's cases, in one place.
LONGEST_TABLE = 700

Function = ast.FunctionDef | ast.AsyncFunctionDef


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def length(function: Function) -> int:
    """The lines of a function without its docstring."""
    body = function.body
    if ast.get_docstring(function) and len(body) > 1:
        body = body[1:]
    return (function.end_lineno or 0) - body[0].lineno + 1


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_module_is_read_in_a_sitting(path: Path) -> None:
    most = MOST_LINES if path in OURS else LONGEST_TABLE

    assert len(path.read_text("utf-8").splitlines()) <= most


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text("utf-8")))


@pytest.mark.parametrize("path", OURS, ids=name)
def test_a_function_fits_on_a_screen(path: Path) -> None:
    functions = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, Function)]

    assert {function.name: length(function) for function in functions if length(function) > LONGEST_FUNCTION} == {}


def test_the_pipeline_is_the_picture() -> None:
    tree = ast.parse((ROOT / "gateway" / "pipeline.py").read_text("utf-8"))
    (gateway,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Gateway"]
    verbs = [node.name for node in gateway.body if isinstance(node, Function)]

    picture = ["authenticate", "parse", "translate", "recall", "join", "send", "settle", "materialize", "respond"]
    assert [verb for verb in verbs if verb in picture] == picture


@pytest.mark.parametrize(
    "lock",
    sorted([*ROOT.glob("tests/acceptance/*/package-lock.json"), *ROOT.glob("bench/*/package-lock.json")]),
    ids=name,
)
def test_a_lock_of_npms_names_no_registry(lock: Path) -> None:
    """Which one is asked is the machine's to say."""
    assert '"resolved"' not in lock.read_text("utf-8")
    assert '"integrity"' in lock.read_text("utf-8")
