"""Any facts of a step, any answer that fits its phase, and the transition that follows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from connectors.base.errors import AnswerNotUnderstood, ConnectorError, CredentialsRefused, TemporarilyUnavailable
from connectors.base.transitions.opt_outs import after_opt_out, after_read_opt_out
from connectors.base.transitions.results import (
    after_confirm,
    after_erase,
    after_error,
    after_locate,
    after_suppress,
)
from connectors.base.transitions.states import (
    Phase,
    Retry,
    StepFacts,
    SystemRules,
    Transition,
)
from connectors.base.values import Answer, AnswerKind, Left, Located, Record

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


SAID_DONE = {AnswerKind.SUPPRESSED, AnswerKind.ACCEPTED}


EFFECTS = {Phase.SUPPRESS, Phase.ERASE, Phase.OPT_OUT}


SOMETHING = Located((Record("user", "7"),), {"user": 1})


LEFT = (Left("user", "7", "still_there"),)


rules_strategy = st.builds(
    SystemRules,
    can_confirm=st.booleans(),
    suppresses=st.booleans(),
    erases_by_identifiers=st.booleans(),
    accept_not_addressable=st.booleans(),
    confirm_after=st.sampled_from([timedelta(0), timedelta(minutes=5)]),
    poll_every=st.sampled_from([timedelta(0), timedelta(seconds=5)]),
    max_plan_rounds=st.integers(1, 4),
    searches_first=st.booleans(),
    reads_suppression=st.booleans(),
)


def facts_in(*phases: Phase) -> st.SearchStrategy[StepFacts]:
    return st.builds(
        StepFacts,
        phase=st.sampled_from(phases),
        consecutive_attempts=st.integers(0, 9),
        plan_rounds=st.integers(0, 5),
        effect_possible=st.booleans(),
        frozen=st.booleans(),
        held=st.booleans(),
        withdrawn=st.booleans(),
        must_wait=st.booleans(),
        awaiting_approval=st.booleans(),
    )


erase_answers = st.sampled_from(
    [
        Answer.erased({"user": 1}),
        Answer.already_absent(),
        Answer.accepted(NOW + timedelta(seconds=9), resumes=True),
        Answer.accepted(NOW - timedelta(days=1), resumes=True, records={"user": 1}),
        Answer.accepted(NOW + timedelta(days=7)),
        Answer.partial(LEFT),
        Answer.partial(LEFT, records={"ticket": 2}, reason="locked"),
        Answer.partial(LEFT, found=SOMETHING),
        Answer.retained("tax_law", left=LEFT),
        Answer.ambiguous("shared_record"),
        Answer.not_addressable(),
    ]
)


suppress_answers = st.sampled_from(
    [
        Answer.suppressed(),
        Answer.already_absent(),
        Answer.not_addressable(),
        Answer.accepted(NOW + timedelta(days=1)),
        Answer.accepted(NOW + timedelta(seconds=9), resumes=True),
        Answer.accepted(NOW - timedelta(days=1), resumes=True),
    ]
)


opt_out_answers = suppress_answers


read_answers = st.sampled_from(
    [
        Answer.suppressed(),
        Answer.not_suppressed(),
        Answer.already_absent(),
        Answer.not_addressable(),
        Answer.accepted(NOW + timedelta(days=1)),
    ]
)


confirm_answers = erase_answers.filter(lambda a: a.kind is not AnswerKind.ERASED)


errors = st.sampled_from(
    [TemporarilyUnavailable("stopped"), CredentialsRefused("no_visibility"), AnswerNotUnderstood("html")]
)


retries = st.sampled_from([Retry(due_at=NOW + timedelta(seconds=4)), Retry(reason="answer_not_understood:html")])


@st.composite
def moves(draw: st.DrawFn) -> tuple[StepFacts, Transition, Answer | Located | ConnectorError]:
    """Any facts, any result that fits the phase, and what becomes of them."""
    rules = draw(rules_strategy)
    facts = draw(facts_in(*Phase))
    result: Answer | Located | ConnectorError = draw(errors)
    if draw(st.integers(0, 4)) == 0:
        return facts, after_error(facts, result, draw(retries), look_at=NOW + rules.confirm_after), result
    if facts.phase is Phase.LOCATE:
        result = draw(st.sampled_from([Located(), SOMETHING, Located((), {"orders": 3})]))
        return facts, after_locate(facts, result, rules, NOW, adds_to_plan=draw(st.booleans())), result
    if facts.phase is Phase.SUPPRESS:
        result = draw(suppress_answers)
        return facts, after_suppress(facts, result, rules, NOW, found=draw(st.booleans())), result
    if facts.phase is Phase.ERASE:
        result = draw(erase_answers)
        return facts, after_erase(facts, result, rules, NOW), result
    if facts.phase is Phase.OPT_OUT:
        result = draw(opt_out_answers)
        return facts, after_opt_out(facts, result, rules, NOW), result
    if facts.phase is Phase.READ_OPT_OUT:
        result = draw(read_answers) if rules.reads_suppression else Answer.not_addressable("no_way_to_look")
        return facts, after_read_opt_out(facts, result, rules, NOW), result
    # Where nobody can look nobody is asked, and the worker says just that.
    result = draw(confirm_answers) if rules.can_confirm else Answer.not_addressable("no_way_to_look")
    return facts, after_confirm(facts, result, rules, NOW), result
