"""Docstrings read as prose: functions begin with what they do, and sentences are short."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ["ovpnet", "hydra_plugins", "launch", "analysis"]

VERBS = frozenset(re.findall(r"\w+", """
    Abort Accept Add Advance Allow Analyze Apply Arrange Ask Assert Assign Attach Average Begin Bound Bring Build
    Bury Call Cancel Carry Catch Check Choose Claim Clean Clear Close Collect Combine Compare Complete Compose
    Compute Convert Copy Correct Count Cover Cut Decide Decompose Define Delete Derive Describe Detach Divide Do
    Draw Drop Embed Empty End Enter Estimate Evaluate Exit Expand Explain Export Extend Extract Fetch Fill Filter
    Find Finish Fit Flip Flush Follow Forget Format Free Gather Generate Get Give Go Group Guard Halve Hand Handle
    Hash Hide Hold Ignore Import Include Initialize Insert Install Interpolate Invert Iterate Join Judge Keep Label
    Lay Leave Let Limit Link List Load Log Look Make Map Mark Match Measure Merge Move Name Normalize Note Open
    Order Pack Pad Parse Pass Permit Pick Place Plan Plot Predict Prepare Print Project Prove Pull Put Quote Raise
    Rank Reach Read Rebuild Receive Record Reduce Refuse Register Release Reload Remember Remove Rename Render
    Repeat Replace Report Request Reset Resolve Restart Restore Return Reuse Round Run Sample Save Say Scale Scan
    Search Select Send Serve Set Settle Shorten Show Shuffle Skip Solve Sort Split Spread Start State Stop Store
    Submit Subtract Sum Summarize Supply Sweep Switch Take Tell Test Time Train Transform Translate Try Turn Tune
    Undo Unpack Update Upload Use Validate Visit Wait Walk Warn Watch Weigh Wrap Write Yield
"""))
QUESTIONS = frozenset(["How", "Of", "What", "When", "Where", "Whether", "Which", "Who", "Whose", "Why"])
MOST_WORDS = 30

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def documented(package: str) -> Iterator[tuple[str, Documented, str]]:
    """Yield each docstring of a package with its node and its place, FILE:LINE NAME."""
    for file in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, Documented) and (text := ast.get_docstring(node)) is not None:
                line, name = node.body[0].lineno, getattr(node, "name", "")
                yield f"{file.relative_to(ROOT)}:{line} {name}".rstrip(), node, text


def public_functions(package: str) -> Iterator[tuple[str, str]]:
    """Yield place and docstring of the functions and methods of public names that are no properties."""
    nested = set()
    for place, node, text in documented(package):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            nested |= {each for each in ast.walk(node) if each is not node}
            hidden = node.name.startswith("_") and not node.name.endswith("__")
            if node not in nested and not hidden and not is_property(node):
                yield place, text


def is_property(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(ast.unparse(each).endswith("property") for each in node.decorator_list)


def first_word(text: str) -> str:
    return re.split(r"\W", text, maxsplit=1)[0]


def sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a docstring, without its indented blocks (formulas, tables)."""
    kept = "\n".join("" if line.startswith("    ") else line for line in inspect.cleandoc(text).splitlines())
    for paragraph in re.split(r"\n\s*\n|\n(?=- )", kept):
        yield from filter(None, re.split(r"(?<=[.!?])(?<!\bal\.)(?<!\be\.g\.)(?<!\bi\.e\.)\)?\s+",
                                         " ".join(paragraph.split())))


def words(sentence: str) -> list[str]:
    """Return the words of a sentence: code is one, shapes and signs are none."""
    named = re.sub(r"`[^`]*`", "code", sentence)
    return [each for each in re.sub(r"\[[^\]]*\]", "", named).split() if re.search(r"[^\W\d_]", each)]


@pytest.mark.parametrize("package", PACKAGES)
def test_public_functions_begin_with_a_verb(package):
    wrong = [f"{place}: {text.splitlines()[0]}" for place, text in public_functions(package)
             if first_word(text) not in VERBS or re.match(r"\w+ of\b", text)]  # "Name of": a noun
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_docstring_begins_with_a_question(package):
    wrong = [f"{place}: {text.splitlines()[0]}" for place, _, text in documented(package)
             if first_word(text) in QUESTIONS]
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize("package", PACKAGES)
def test_sentences_are_short(package):
    wrong = [f"{place}: {len(words(sentence))} words: {sentence}" for place, _, text in documented(package)
             for sentence in sentences(text) if len(words(sentence)) > MOST_WORDS]
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize(("text", "expected"), [
    ("Return x [E, n, d] (Salmon et al. 2011). Raise `A B` if a = 2.", [5, 4]),
    ("Return f:\n\n    f(x) = a b c\n\nof x.\n- one\n- two three", [2, 2, 1, 2]),
])
def test_sentences_and_words(text, expected):
    assert [len(words(each)) for each in sentences(text)] == expected
