"""`expunge sandbox` and `expunge sample-warehouse`, as a person runs them: what they print connects what they run."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from connectors.base import operations
from connectors.base.registry import connector_class, sandboxes
from connectors.base.values import Batch, Located, Subject
from connectors.testing.sandbox.sample_world import SampleWorld
from service.cli.running.supervise import python
from service.settings import Settings, load_settings

EXPUNGE = python("-m", "service.cli.main")
PERSON = SampleWorld(1, 100).everywhere


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A stand-in's process, and all that it prints once it answers."""
    command = [*EXPUNGE, "sandbox", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            lines = []
            for line in process.stdout:
                lines.append(line)
                if line == "\n":
                    break
            yield process, "".join(lines)
        finally:
            process.kill()


def refused(*arguments: str) -> str:
    """What a command says on standard error that can't be carried out."""
    done = subprocess.run([*EXPUNGE, *arguments], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    return done.stderr


def configured(text: str, place: Path) -> Settings:
    config = place / "expunge.toml"
    config.write_text(text, encoding="utf-8")
    return load_settings(config)


def test_there_are_stand_ins_to_run() -> None:
    assert {"amplitude", "intercom", "mailchimp", "salesforce", "zendesk"} <= set(sandboxes())


@pytest.mark.parametrize("name", sorted(sandboxes()))
def test_the_printed_entry_connects_the_stand_in_and_its_sample_people(name: str, tmp_path: Path) -> None:
    with running(name, "--sample") as (_, printed):
        settings = configured(printed, tmp_path)
        (system,) = settings.systems
        connector = connector_class(system.config.connector)(system.config)
        try:
            assert connector.check_credentials().proof
            found = operations.locate(connector, Batch("b", (Subject("p", PERSON.identifiers),)))["p"]
        finally:
            connector.close()

    assert PERSON.emails[0] in printed
    assert isinstance(found, Located)
    assert found.records or found.counts


def test_a_stand_in_without_sample_people_is_empty(tmp_path: Path) -> None:
    with running("zendesk") as (_, printed):
        (system,) = configured(printed, tmp_path).systems
        connector = connector_class("zendesk")(system.config)
        try:
            found = operations.locate(connector, Batch("b", (Subject("p", PERSON.identifiers),)))["p"]
        finally:
            connector.close()

    assert isinstance(found, Located)
    assert not found.records


def test_a_seed_file_fills_the_stand_in(tmp_path: Path) -> None:
    seed = tmp_path / "seed.json"
    seed.write_text(json.dumps({"users": [{"name": "Ada", "email": PERSON.emails[0]}]}))
    with running("zendesk", "--seed-file", str(seed)) as (_, printed):
        (system,) = configured(printed, tmp_path).systems
        connector = connector_class("zendesk")(system.config)
        try:
            found = operations.locate(connector, Batch("b", (Subject("p", PERSON.identifiers),)))["p"]
        finally:
            connector.close()

    assert isinstance(found, Located)
    assert found.records


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_a_stand_in_cleanly(told: signal.Signals) -> None:
    with running("mailchimp") as (process, _):
        process.send_signal(told)
        out, err = process.communicate(timeout=60)

    assert (process.returncode, out, err) == (0, "", "stopped\n")


def test_a_taken_port_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        assert refused("sandbox", "zendesk", "--port", str(port)) == (
            f"port {port} is taken; give another --port, or 0 for a free one\n"
        )


@pytest.mark.parametrize("arguments", [(), ("zendsk",)])
def test_without_a_known_name_the_installed_ones_are_listed(arguments: tuple[str, ...]) -> None:
    assert ", ".join(sorted(sandboxes())) in refused("sandbox", *arguments)


@pytest.mark.parametrize("content", ["[", "[1]", '{"tickets": [{"requester": "nobody@example.test"}]}'])
def test_a_seed_file_that_is_none_is_refused_without_its_text(content: str, tmp_path: Path) -> None:
    seed = tmp_path / "seed.json"
    seed.write_text(content)

    said = refused("sandbox", "zendesk", "--seed-file", str(seed))

    assert "isn't" in said
    assert "nobody@" not in said


def test_sample_people_and_a_seed_file_exclude_each_other(tmp_path: Path) -> None:
    assert "either" in refused("sandbox", "zendesk", "--sample", "--seed-file", str(tmp_path / "seed.json"))


def test_the_sample_warehouse_is_connected_by_what_is_printed(tmp_path: Path) -> None:
    file = tmp_path / "warehouse.duckdb"
    done = subprocess.run([*EXPUNGE, "sample-warehouse", str(file)], capture_output=True, text=True, check=True)

    settings = configured(done.stdout, tmp_path)

    assert PERSON.emails[0] in done.stdout
    assert settings.identity_graph is not None
    assert [system.config.name for system in settings.systems] == ["warehouse", "identity-graph"]
    for system in settings.systems:
        connector = connector_class("warehouse")(system.config)
        try:
            found = operations.locate(connector, Batch("b", (Subject("p", PERSON.identifiers),)))["p"]
        finally:
            connector.close()
        assert isinstance(found, Located)
        assert found.counts
    assert {path.name for path in tmp_path.iterdir()} == {"warehouse.duckdb", "expunge.toml"}


def test_a_sample_warehouse_overwrites_nothing(tmp_path: Path) -> None:
    file = tmp_path / "warehouse.duckdb"
    file.write_text("mine")

    assert "exists already" in refused("sample-warehouse", str(file))
    assert "isn't a directory" in refused("sample-warehouse", str(tmp_path / "nowhere" / "w.duckdb"))
    assert file.read_text() == "mine"
