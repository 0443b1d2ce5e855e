"""The teams file: what it declares, and what is said of a wrong one, with file and line."""

import pytest

from gateway.core.declared import DeclaredError, DeclaredKey, DeclaredTeam, read_declared
from gateway.core.keys import Terms
from gateway.core.lines import line_of, place

DIGEST = "ab" * 32
GOOD = f"""
# ours
[teams.design]
rpm = 60
budget_day = 2.5
expires = 2020-01-01T00:00:00Z

[teams.design.keys.web]
digest = "{DIGEST}:8r8Q"
models = ["flux-*"]

[teams.shop]
"""


def test_teams_and_keys_are_read() -> None:
    web = DeclaredKey(bytes.fromhex(DIGEST), "8r8Q", Terms(models=("flux-*",)))

    assert read_declared("teams.toml", GOOD) == {
        "design": DeclaredTeam(Terms(rpm=60, budget_day=2_500_000, expires=1_577_836_800.0), {"web": web}),
        "shop": DeclaredTeam(Terms(), {}),
    }
    assert read_declared("teams.toml", "") == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[teams\n", r"teams\.toml: .*line 1"),
        ("\n[team.design]\nrpm = 1", r"teams\.toml:2: \[team\] is no table"),
        ("teams = 1", r"teams\.toml:1: teams: must be a table"),
        ("[teams]\ndesign = 1", r"teams\.toml:2: teams\.design: must be a table"),
        ("[teams.Design]", r"teams\.toml:1: teams\.Design: name must be"),
        ("[teams.a]\n\nrpm = 0", r"teams\.toml:3: teams\.a\.rpm: rpm must be"),
        ("[teams.a]\nrpn = 1", r"teams\.toml:2: teams\.a\.rpn: There is no field 'rpn'"),
        ("[teams.a]\nkeys = 1", r"teams\.toml:2: teams\.a\.keys: must be a table"),
        ("[teams.a.keys.web]\nrpm = 1", r"teams\.toml:1: teams\.a\.keys\.web\.digest: .*keys digest"),
        ("[teams.a.keys.web]\ndigest = 'gw_live_1'", r"teams\.toml:2: teams\.a\.keys\.web\.digest: .*keys digest"),
        ("[teams.a.keys.'W b']\ndigest = 'x'", r"teams\.toml:1: teams\.a\.keys\.W b: name must be"),
        (
            f"[teams.a]\nrpm = 1\n[teams.a.keys.web]\ndigest = '{DIGEST}'\nrpm = 2",
            r"teams\.toml:5: teams\.a\.keys\.web\.rpm: rpm must not be more than the team's, 1",
        ),
        (
            f"[teams.a.keys.web]\ndigest = '{DIGEST}'\n[teams.a.keys.bot]\ndigest = '{DIGEST}'",
            r"teams\.toml:4: teams\.a\.keys\.bot\.digest: its digest is that of a/web",
        ),
    ],
    ids=range(13),
)
def test_a_wrong_file_is_told_by_its_line(text: str, words: str) -> None:
    with pytest.raises(DeclaredError, match=words):
        read_declared("teams.toml", text)


def test_lines_are_found_by_tables_and_names() -> None:
    text = 'a = 1\n[b.c]\n"d.e" = 2 # x\nf.g = 3\n[[h]]\n'

    assert [line_of(text, *path) for path in (("a",), ("b", "c", "d.e"), ("b", "c", "f", "g"), ("h",))] == [1, 3, 4, 5]
    assert line_of(text, "b", "c", "unknown") == 2
    assert line_of(text, "unknown") is None
    assert (place("file", text, "a"), place("file", text, "z")) == ("file:1", "file")
