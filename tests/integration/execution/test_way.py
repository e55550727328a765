"""The page of the architecture lists the files that run for one step; see tests/architecture/way.py."""

from __future__ import annotations

import os

from service.execution.run_batch import run_batch
from tests.architecture.way import WRITE, part_of, render, traced, write, written
from tests.company import Company
from tests.scenes import person_in, stop_before_erasing


def test_the_page_lists_the_files_of_a_steps_cycle(company: Company) -> None:
    request = company.submit(person_in(company, "mailing"))
    stop_before_erasing(company, request, "mailing")

    with traced() as found:
        assert run_batch(company.runtime, "mailing", None)

    assert company.steps(request)["mailing"].attempts > 1
    assert {"service/execution/lease.py", "service/execution/record.py", "connectors/mailchimp/members.py"} <= found
    if os.environ.get(WRITE):
        write(render(found))
    assert written() == render(found), "run python -m tests.architecture.way"


def test_plumbing_is_the_same_for_every_statement_and_call() -> None:
    plumbing = ("service/store/execute.py", "connectors/base/outbound/client.py", "service/settings.py")
    assert all(part_of(path).is_plumbing for path in plumbing)
    counted = (
        "service/execution/lease.py",
        "connectors/base/transitions/results.py",
        "service/requests/steps/store.py",
    )
    assert not any(part_of(path).is_plumbing for path in counted)
