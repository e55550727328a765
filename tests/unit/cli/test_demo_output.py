"""The demo's output: put in place when it is whole; until then an earlier one stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.cli.demo.output import OutputUnusable, RunFailed, replaced_when_whole


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    output = tmp_path / "out"
    output.mkdir()
    (output / "audit.jsonl").write_text("earlier")
    return output


def end_half_way(output: Path, error: BaseException) -> None:
    with replaced_when_whole(output) as draft:
        (draft / "audit.jsonl").write_text("half")
        raise error


def test_a_whole_run_takes_the_place_of_the_earlier_one(earlier: Path) -> None:
    with replaced_when_whole(earlier) as draft:
        (draft / "audit.jsonl").write_text("new")
        assert (earlier / "audit.jsonl").read_text() == "earlier"

    assert (earlier / "audit.jsonl").read_text() == "new"
    assert list(earlier.parent.iterdir()) == [earlier]


@pytest.mark.parametrize("told", [KeyboardInterrupt(), SystemExit(143)])
def test_an_interrupted_run_leaves_the_earlier_one_alone(earlier: Path, told: BaseException) -> None:
    with pytest.raises(type(told)):
        end_half_way(earlier, told)

    assert (earlier / "audit.jsonl").read_text() == "earlier"
    assert list(earlier.parent.iterdir()) == [earlier]


def test_a_failed_run_names_its_unfinished_output(earlier: Path) -> None:
    with pytest.raises(RunFailed, match="a step was parked") as failed:
        end_half_way(earlier, RuntimeError("a step was parked"))

    assert (earlier / "audit.jsonl").read_text() == "earlier"
    (kept,) = [path for path in earlier.parent.iterdir() if path != earlier]
    assert str(kept) in str(failed.value)
    assert (kept / "audit.jsonl").read_text() == "half"


def test_a_run_that_fails_before_it_wrote_leaves_no_directory(tmp_path: Path) -> None:
    with pytest.raises(RunFailed), replaced_when_whole(tmp_path / "out"):
        raise RuntimeError("at once")

    assert list(tmp_path.iterdir()) == []


def test_other_peoples_files_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")

    with pytest.raises(OutputUnusable, match="holds other files"), replaced_when_whole(tmp_path / "out"):
        raise AssertionError("not reached")

    assert (tmp_path / "out" / "thesis.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_file_in_the_outputs_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")

    with pytest.raises(OutputUnusable, match="isn't a directory"), replaced_when_whole(tmp_path / "out"):
        raise AssertionError("not reached")
