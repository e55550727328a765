"""`expunge up` with servers of its own: killed as a whole, or in parts, and started again on the same directory."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from service.cli.running.supervise import python
from service.store.bootstrap import RUN_FILE, open_stores
from tests.company import Company
from tests.faults.conftest import Chaos, free_port, scaled
from tests.faults.harness import verdict
from tests.faults.harness.eight_systems import eight_systems, held_by, installed, write_plugin
from tests.faults.harness.installation import Installation

pytestmark = [pytest.mark.fault, pytest.mark.long]

_PEOPLE = 60


class Up:
    """The command as a process group of its own, and how it is harmed."""

    def __init__(self, config: Path, plugin: Path) -> None:
        self._config = config
        self._environment = {k: v for k, v in os.environ.items() if not k.startswith("EXPUNGE_")}
        self._environment["PYTHONPATH"] = os.pathsep.join((str(Path(__file__).parents[2]), str(plugin)))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it again in the same directory."""
        command = python("-m", "service.cli.main", "up", "--config", str(self._config))
        log = (self._config.parent / "up.log").open("ab")
        self._process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log, start_new_session=True)
        log.close()

    def kill_all(self) -> None:
        """SIGKILL to it and everything that it started, the servers included; then start it again."""
        self._kill(self._all())
        self.start()

    def kill_itself(self) -> None:
        """SIGKILL to the command only: its children notice, its servers are left over for the next start to end."""
        assert self._process is not None
        self._kill([psutil.Process(self._process.pid)])
        self.start()

    def kill_database(self) -> None:
        """SIGKILL to every process of PostgreSQL; the command notices."""
        self._kill([p for p in self._all() if _name(p) == "postgres"])

    def kill_broker(self) -> None:
        """SIGKILL to Valkey; the command notices."""
        self._kill([p for p in self._all() if _name(p) == "valkey-server"])

    def stop(self) -> None:
        """Ask it to end, and see that it did."""
        assert self._process is not None
        started = self._all()
        self._process.send_signal(signal.SIGTERM)
        try:
            assert self._process.wait(timeout=120) == 0
        finally:
            self._kill([p for p in started if p.is_running()])

    def _all(self) -> list[psutil.Process]:
        assert self._process is not None
        parent = psutil.Process(self._process.pid)
        return [*parent.children(recursive=True), parent]

    def _kill(self, processes: list[psutil.Process]) -> None:
        assert self._process is not None
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if self._process.pid in [p.pid for p in processes]:
            self._process.wait()


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.NoSuchProcess:
        return "gone"


@pytest.fixture
def directory() -> Iterator[Path]:
    # Not pytest's tmp_path: it is 0700, and as root the servers' account must get there. Short, for the sockets.
    place = Path(tempfile.mkdtemp(prefix="expunge-", dir="/tmp"))
    place.chmod(0o711)
    yield place
    shutil.rmtree(place)


def _chaos(bare: Company, directory: Path, plugin: Path, people: int) -> Chaos:
    stores = open_stores(bare.settings)
    company = replace(bare, stores=stores)
    erased = list(company.world.ordinary[:people])
    held, others = held_by(company, erased), verdict.bystanders_records(company, erased)
    return Chaos(company, None, plugin, directory, erased, held, others)


@pytest.mark.timeout(3000)
def test_up_survives_the_death_of_everything(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith("EXPUNGE_")]:
        monkeypatch.delenv(name)
    people, plugin = scaled(_PEOPLE, least=12), write_plugin(directory)
    with (
        installed(plugin),
        eight_systems(directory, None, 20 + round(people * 1.4), api_port=free_port()) as bare,
    ):
        up = Up(directory / "expunge.toml", plugin)
        up.start()
        try:
            _survive(up, bare, directory, plugin, people)
        finally:
            up.stop()


def _survive(up: Up, bare: Company, directory: Path, plugin: Path, people: int) -> None:
    watch = Installation(bare, None, None, directory / "data" / "logs", ())  # type: ignore[arg-type]  # only to look with
    run_file = directory / "data" / RUN_FILE
    assert watch.wait_until(run_file.exists, 120)
    chaos = _chaos(bare, directory, plugin, people)
    watch.company = chaos.company
    assert watch.wait_until(lambda: chaos.company.rows("SELECT 1 FROM systems"), 120)
    faults: list[Callable[[], None]] = [up.kill_all, up.kill_database, up.kill_broker, up.kill_itself, up.kill_all]
    with closing(chaos.intake()) as intake:
        intake.wait_until_ready()
        last = None
        for fault in faults:
            intake.accept(people // len(faults))
            assert watch.wait_until(lambda last=last: watch.in_the_middle(last), 180)
            fault()
            assert watch.wait_until(lambda: chaos.company.rows("SELECT 1"), 120)
            last = watch.now()
        intake.accept(people)
    chaos.assert_taken_up(watch)
    chaos.assert_ended(watch)
