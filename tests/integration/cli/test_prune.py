"""`prune`, `hold`, `release` and tags as real processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.cli.conftest import Lab


@pytest.fixture
def ids(lab: Lab) -> list[str]:
    """Three points of one VM, oldest first; the second one tagged."""
    lab.cli.backup(lab.image, "--tag", "release", "--tag", "q4")
    lab.cli.backup(lab.image)
    return [point["id"] for point in lab.cli.points()]


def test_points_go_by_rule_and_held_and_tagged_ones_stay(lab: Lab, ids: list[str]) -> None:
    cli, now = lab.cli, ("--min-age", "0h")
    assert [point["tags"] for point in cli.points()] == [[], ["release", "q4"], []]
    held = cli.json("hold", ids[0], "--reason", "court order")
    assert held["held"] == [ids[0]]
    assert [point["held"] for point in cli.points()] == ["court order", None, None]
    assert cli.error_code("delete", ids[0], "--yes") == "point_held"
    rules = ("--keep-last", "1", "--keep-tag", "release")
    assert cli.json("prune", *rules, *now)["deleted"] == []
    assert cli.json("release", ids[0])["released"] == [ids[0]]

    tried = cli.json("prune", *rules, *now, "--dry-run", "--time-zone", "Europe/Berlin")
    assert tried["planned"] == [ids[0]] and tried["deleted"] == []
    assert [point["keep"] for point in tried["points"]] == [False, True, True]
    assert tried["points"][1]["reasons"] == ["tagged release"]
    assert len(cli.points()) == 3

    assert cli.error_code("prune", *rules, *now, "--max-delete", "0") == "prune_too_large"
    assert cli.json("prune", *rules, *now)["deleted"] == [ids[0]]
    assert [point["id"] for point in cli.points()] == ids[1:]


def test_nothing_younger_than_a_day_goes_unless_told(lab: Lab, ids: list[str]) -> None:
    document = lab.cli.json("prune", "--keep-last", "1")
    assert document["deleted"] == []
    assert len(lab.cli.points()) == len(ids)


def test_the_table_says_why(lab: Lab, ids: list[str]) -> None:
    where = ("--repository", lab.cli.repository, "--name", "web")
    output, _ = lab.cli.run("prune", *where, "--keep-last", "1", "--min-age", "0h", "--dry-run")
    lines = {line.split()[1]: line for line in output.splitlines() if "web" in line}
    assert lines[ids[0]].startswith("DELETE") and "no rule keeps it" in lines[ids[0]]
    assert lines[ids[2]].startswith("keep") and "newest of the VM" in lines[ids[2]]
    assert "2 of 3 points would go" in output


@pytest.mark.parametrize(
    "arguments",
    [
        ("prune",),
        ("prune", "--min-age", "1d", "--keep-last", "0"),
        ("prune", "--keep-within", "soon"),
        ("prune", "--keep-last", "1", "--min-age", "-1d"),
        ("prune", "--keep-last", "1", "--time-zone", "Mars/Olympus"),
        ("prune", "--keep-last", "1", "--time-zone", "../../etc/passwd"),
        ("prune", "--keep-last", "-1"),
        ("prune", "--keep-tag", "with blank"),
        ("prune", "--keep-last", "1", "--name", "nobody"),
        ("hold", "latest"),
        ("hold", "latest", "--reason", " "),
        ("backup", "IMAGE", "--tag", ""),
    ],
)
def test_wrong_usage(lab: Lab, arguments: tuple[str, ...]) -> None:
    given: list[str | Path] = [lab.image if word == "IMAGE" else word for word in arguments]
    assert lab.cli.error_code(*given, exits=2) == "invalid_input"
    assert len(lab.cli.points()) == 1
