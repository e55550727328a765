"""The supervisor ends what it started: gently, and in the end surely."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from service.cli.running.supervise import Child, Supervisor, python

_DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"


def test_who_does_not_listen_is_killed_when_its_grace_is_over_and_hurry_shortens_it(tmp_path: Path) -> None:
    supervisor = Supervisor(os.environ, tmp_path)
    with supervisor:
        supervisor.add(Child("deaf", python("-c", _DEAF), grace_seconds=50.0))
        (child,) = supervisor._children
        log = tmp_path / "deaf.log"
        while "deaf" not in log.read_text():
            assert child.process is not None
            assert child.process.poll() is None
        supervisor.hurry(60.0)
        assert child.grace_seconds == 50.0, "hurry never gives more"
        supervisor.hurry(0.05)
    assert isinstance(child.process, subprocess.Popen)
    assert child.process.returncode == -signal.SIGKILL
