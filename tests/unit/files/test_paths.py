"""Names are data: what passes stays inside its folder on any system, and passes again unchanged."""

from __future__ import annotations

import ntpath
import posixpath
import re
import unicodedata
from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kodosumi.error import BadPath
from kodosumi.files import checked
from kodosumi.files.paths import MAX_DEPTH

BITS = [
    "..",
    ".",
    "/",
    "\\",
    "a",
    "…",
    "‥",
    "．",
    "／",
    "＼",
    "﹨",
    "%2e",
    "%2F",
    "\0",
    "\n",
    " ",
    "C:",
    "con",
    "nul.",
    "é",
    "e\u0301",
]
TEXTS = st.one_of(
    st.text(max_size=30),
    st.lists(st.one_of(st.sampled_from(BITS), st.text(max_size=3)), max_size=12).map("".join),
    st.lists(st.sampled_from(BITS), max_size=8).map("/".join),
)

REFUSED = {
    "up": ["..", "../a", "a/..", "a/../b", "a/../../b"],
    "here": [".", "./a", "a/./b"],
    "empty": ["", "/", "a//b", "a/", "//a"],
    "absolute": ["/etc/passwd", "C:\\x", "C:/x", "c:x", "a/C:", "\\\\server\\share", "//server/share"],
    "backslash": ["a\\b", "..\\a", "\\"],
    "control": ["a\0", "\0", "a\nb", "a\tb", "\x7f", "a\x85b", "a\u2028b", "\x1b[31m"],
    "long": ["a" * 256, "ä" * 128, "a/" * 2_000 + "a", "a" * 4_001, "/".join("a" * (MAX_DEPTH + 1))],
    "surrogate": ["\ud800", "a\udfffb"],
    "reserved": ["CON", "con", "nul.txt", "a/NUL", "Com1.tar.gz", "LPT9", "aux ", "prn .x", "CONIN$", "COM¹", "ＣＯＮ"],
    "trailing": ["a.", "a ", "a./b", "a /b", "..."],
    "ours": [".kodosumi-files", ".kodosumi", ".KODOSUMI-x/a", ".part-1", "a/.Part-x"],
    "unicode": ["‥", "．．/a", "．", "a／b", "a＼b", "a﹨b", "℀", "∕", "a⁄b", "․․", "．.", "\ufdd0", "a\uffff"],
    "direction": ["photo\u202egpj.exe", "\u2066a"],
}  # fmt: skip

TAKEN = ["a", "a/b", ".hidden", "a..b", "..a", "a...b", "%2e%2e", "%2e%2e%2fetc", "&lt;", "con1", "nullable",
         "console.txt", "com.txt", "wait…", "½", "日本", "😀", "12:30", "~", "-rf", "a b", " a", "*", "?", "|",
         "<b>", "a\u200db", "ﬁn", "x" * 255,
         "/".join("a" * MAX_DEPTH)]  # fmt: skip


@pytest.mark.parametrize("path", [path for paths in REFUSED.values() for path in paths])
def test_what_leaves_its_folder_or_no_system_keeps_is_refused_and_says_why(path: str) -> None:
    with pytest.raises(BadPath) as refused:
        checked(path)
    text = str(refused.value)
    assert text.startswith("The file name ") and text.endswith(".")
    assert len(text) < 400 and text.isprintable() and text.encode()


@pytest.mark.parametrize("path", TAKEN)
def test_odd_names_are_names(path: str) -> None:
    assert checked(path) == path


def test_a_name_is_brought_to_one_form() -> None:
    assert checked("u\u0308/e\u0301") == "ü/é"


def test_the_refusal_names_what_was_asked_for() -> None:
    with pytest.raises(BadPath, match=re.escape("The upload id '../x' cannot be used")):
        checked("../x", "upload id")


@given(TEXTS)
@example("a/" * 1_999 + "a")
def test_whatever_passes_stays_inside_the_folder(path: str) -> None:
    try:
        passed = checked(path)
    except BadPath as refused:
        assert str(refused).isprintable()
        return
    assert checked(passed) == passed == unicodedata.normalize("NFC", passed)
    for seen in (passed, unicodedata.normalize("NFKC", passed)):
        assert posixpath.normpath(f"/folder/{seen}").startswith("/folder/")
        assert ".." not in seen.split("/") and "\\" not in seen and seen.count("/") == passed.count("/")
    assert posixpath.normpath(f"/folder/{passed}") == f"/folder/{passed}"
    assert Path("/folder", passed).is_relative_to("/folder") and str(Path("/folder", passed)) == f"/folder/{passed}"
    assert PureWindowsPath("C:/folder", passed).is_relative_to("C:/folder")
    assert ntpath.normpath(f"C:\\folder\\{passed}") == "C:\\folder\\" + passed.replace("/", "\\")
    assert passed.encode()
    assert not any(unicodedata.category(character) in ("Cc", "Zl", "Zp", "Cs") for character in passed)


@given(TEXTS, TEXTS)
def test_two_names_that_pass_make_one_that_stays_inside(folder: str, name: str) -> None:
    try:
        whole = checked(f"{checked(folder)}/{checked(name)}")
    except BadPath:
        return
    assert whole.startswith(f"{checked(folder)}/") and whole.endswith(checked(name))
