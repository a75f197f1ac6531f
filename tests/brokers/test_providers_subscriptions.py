"""The connection's subscriptions: the broker's word is the truth, and what matters most comes first."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from observer.brokers.dialect import Subscription, SubscriptionRefused
from observer.brokers.subscriptions import Step, Subscriptions, next_step
from tests.reach import run_machine

CAPACITY = 4


def trades(symbol):
    return Subscription("trades", symbol)


def book(symbol):
    return Subscription("order_book", symbol)


def worked_off(subject):
    """Every step to the end, each acknowledged."""
    steps = []
    while (step := subject.next_step()) is not None:
        steps.append(step)
        noted = subject.note_subscribed if step.action == "register" else subject.note_unsubscribed
        noted(step.subscription)
    return steps


def test_a_symbol_with_two_kinds_of_records_counts_twice():
    subject = Subscriptions(5, ["order_book", "trades"])
    subject.want(["A", "B", "C"])
    worked_off(subject)
    assert subject.symbols_max == 2
    assert subject.symbols == {"A", "B"}
    assert len(subject) == 4


def test_trades_of_all_come_before_anything_else():
    subject = Subscriptions(41, ["order_book", "trades"])
    subject.want(["B", "A"])
    assert [step.subscription for step in worked_off(subject)] == [trades("B"), trades("A"), book("B"), book("A")]


def test_only_trades_make_a_symbol_subscribed():
    subject = Subscriptions(41, ["trades", "order_book"])
    subject.note_subscribed(book("A"))
    assert (subject.symbols, subject.subscribed) == (frozenset(), (book("A"),))


def test_a_refusal_that_names_no_subscription_refuses_the_last_request():
    subject = Subscriptions(41, ["trades"])
    subject.want(["A"])
    subject.note_asked(subject.next_step())
    assert subject.note_refused(SubscriptionRefused(None, "OPSP0007", "")) == trades("A")
    assert subject.next_step() is None


def test_a_refusal_before_any_request_refuses_no_subscription():
    assert Subscriptions(41, ["trades"]).note_refused(SubscriptionRefused(None, "OPSP0007", "")) is None


def test_a_removal_that_is_refused_leaves_the_subscription_active():
    subject = Subscriptions(41, ["trades"])
    subject.note_subscribed(trades("A"))
    assert subject.note_refused(SubscriptionRefused(trades("A"), "OPSP0007", "")) is None
    assert subject.symbols == {"A"}


def test_forgotten_refusals_are_asked_for_again_and_whether_there_were_any_is_reported():
    subject = Subscriptions(41, ["trades"])
    subject.want(["A"])
    assert not subject.forget_refusals()
    subject.note_refused(SubscriptionRefused(trades("A"), "OPSP0007", ""))
    assert subject.next_step() is None
    assert subject.forget_refusals()
    assert subject.next_step() == Step("register", trades("A"))


def test_a_refused_symbol_that_left_and_rejoined_the_wanted_set_is_requested_again():
    subject = Subscriptions(41, ["trades"])
    subject.want(["A"])
    subject.note_refused(SubscriptionRefused(trades("A"), "OPSP0007", ""))
    subject.want(["A", "B"])
    assert subject.next_step() == Step("register", trades("B"))
    subject.want(["B"])
    subject.want(["A", "B"])
    assert subject.next_step() == Step("register", trades("A"))


def test_a_lost_connection_loses_all_subscriptions_and_requests_them_again():
    subject = Subscriptions(41, ["trades"])
    subject.want(["B", "A"])
    worked_off(subject)
    assert subject.lose_all() == (trades("B"), trades("A"))
    assert subject.symbols == frozenset()
    assert [step.subscription.symbol for step in worked_off(subject)] == ["B", "A"]


symbols = st.lists(st.sampled_from("ABCDEF"), unique=True, max_size=CAPACITY).map(
    lambda names: [trades(n) for n in names]
)


@given(symbols, symbols, st.sets(st.sampled_from("ABCDEF")).map(lambda names: {trades(name) for name in names}))
def test_the_steps_reach_the_wanted_set_and_then_stop(wanted, subscribed, refused):
    now, subscriptions = list(subscribed), []
    for _ in range(2 * CAPACITY + 1):
        step = next_step(wanted, now, refused, CAPACITY)
        if step is None:
            break
        if step.action == "register":
            now.append(step.subscription)
            subscriptions.append(step.subscription)
        else:
            now.remove(step.subscription)
    assert set(now) - refused == set(wanted) - refused
    assert subscriptions == [each for each in wanted if each not in subscribed and each not in refused]


@given(symbols, symbols)
def test_a_slot_is_given_up_only_when_it_is_needed_or_nothing_is_missing(wanted, subscribed):
    step = next_step(wanted, subscribed, (), CAPACITY)
    if step is not None and step.action == "unregister":
        assert len(subscribed) == CAPACITY or set(wanted) <= set(subscribed)


@given(symbols, symbols)
def test_removals_never_keep_subscriptions_waiting(wanted, subscribed):
    """Two changes suffice to subscribe the most important missing symbol."""
    now = list(subscribed)
    for _ in range(2):
        step = next_step(wanted, now, (), CAPACITY)
        if step is not None:
            (now.append if step.action == "register" else now.remove)(step.subscription)
    missing = [each for each in wanted if each not in subscribed]
    assert not missing or missing[0] in now


class Acknowledgements(RuleBasedStateMachine):
    """A client that works off what it wants, and a broker with fewer slots than the client believes, which loses
    answers, refuses what it likes and goes away: the client never believes in a subscription that the broker has not.
    """

    def __init__(self, reach):
        super().__init__()
        self.reach = reach

    @initialize(slots=st.integers(1, CAPACITY), records=st.sampled_from([["trades"], ["trades", "order_book"]]))
    def begin(self, slots, records):
        self.client = Subscriptions(CAPACITY, records)
        self.broker = set()
        self.slots = slots
        self.wanted = []
        self.capacity = CAPACITY // len(records)

    @rule(
        turn=st.sampled_from(
            ["want"] * 3 + ["ask"] * 8 + ["is refused"] * 2 + ["loses answer"] * 2 + ["lose", "lose asked", "work off"]
        ),
        names=st.lists(st.sampled_from("ABCDEF"), min_size=1, max_size=6),
    )
    def act(self, turn, names):
        """One rule with weights: of rules of their own Hypothesis leaves some out for a whole example."""
        match turn:
            case "want":
                self.want(names)
            case "ask" | "is refused":
                self.ask_and_receive(refuses=turn == "is refused")
            case "loses answer":
                self.ask_and_receive_nothing_the_first_time()
            case "lose":
                self.lose_the_connection()
            case "lose asked":
                self.lose_the_connection(self.ask())
            case "work off":
                self.work_everything_off()

    def want(self, names):
        self.client.want(names)
        self.wanted = list(dict.fromkeys(names))[: self.capacity]

    def ask(self):
        step = self.client.next_step()
        if step is not None:
            self.client.note_asked(step)
        return step

    def answer(self, step, *, refuses):
        """The broker's action and reply: KIS's codes by their meaning."""
        subscription = step.subscription
        if refuses:
            self.reach.count("refused")
            return lambda: self.client.note_refused(SubscriptionRefused(None, "OPSP0007", "internal error"))
        if step.action == "unregister":
            self.broker.discard(subscription)
            self.reach.count("unregistered")
            return lambda: self.client.note_unsubscribed(subscription)
        if subscription not in self.broker and len(self.broker) >= self.slots:
            self.reach.count("refused_for_want_of_a_slot")
            return lambda: self.client.note_refused(SubscriptionRefused(subscription, "OPSP0008", "MAX SUBSCRIBE OVER"))
        self.broker.add(subscription)
        self.reach.count("registered")
        return lambda: self.client.note_subscribed(subscription)

    def ask_and_receive(self, *, refuses):
        step = self.ask()
        if step is not None:
            self.answer(step, refuses=refuses)()
            assert self.client.is_answered(step)

    def ask_and_receive_nothing_the_first_time(self):
        step = self.ask()
        if step is not None:
            answered_before = self.client.is_answered(step)
            self.answer(step, refuses=False)
            self.reach.count("answer_lost")
            assert not answered_before
            self.answer(step, refuses=False)()

    def lose_the_connection(self, asked=None):
        """What was asked for and not answered may have been done."""
        maybe = {asked.subscription} if asked is not None and asked.action == "register" else set()
        gone = self.client.lose_all()
        self.reach.count("subscriptions_lost", len(gone))
        self.reach.count("request_lost", len(maybe))
        assert maybe <= set(gone) <= self.broker | maybe
        self.broker.clear()
        assert self.client.symbols == frozenset()

    def work_everything_off(self):
        """A broker that refuses nothing without need ends with what is wanted, as far as it has slots."""
        self.reach.count("worked_off_something", bool(self.wanted))
        self.client.lose_all()
        self.broker.clear()
        for _ in range(4 * CAPACITY):
            step = self.ask()
            if step is None:
                break
            self.answer(step, refuses=False)()
        assert self.client.next_step() is None
        assert len(self.broker) == min(self.slots, len(self.wanted) * CAPACITY // self.capacity)
        traded = [name for name in self.wanted if Subscription("trades", name) in self.broker]
        assert traded == self.wanted[: self.slots]  # trades of the most important ones

    @invariant()
    def nothing_is_believed_that_the_broker_has_not(self):
        self.reach.count("step")
        if hasattr(self, "client"):
            self.reach.count("step_with_a_subscription", bool(self.broker))
            assert set(self.client.subscribed) <= self.broker
            assert len(self.client) <= self.slots


@pytest.mark.hypothesis
def test_a_client_believes_in_no_subscription_that_the_broker_has_not():
    run_machine(
        Acknowledgements,
        settings(stateful_step_count=30),
        step=726,
        step_with_a_subscription=409,
        registered=150,
        unregistered=38,
        refused=23,
        refused_for_want_of_a_slot=69,
        answer_lost=35,
        subscriptions_lost=22,
        worked_off_something=32,
    )


@pytest.mark.parametrize("records", [["trades"], ["trades", "nav"], ["trades", "order_book", "market_state"]])
def test_symbols_beyond_the_capacity_are_not_subscribed(records):
    subject = Subscriptions(7, records)
    subject.want([f"{number:06}" for number in range(20)])
    worked_off(subject)
    assert len(subject) == 7 // len(records) * len(records)


def test_a_market_state_alone_is_subscribed_only_where_the_symbols_leave_a_subscription():
    subject = Subscriptions(3, ("trades",))
    subject.want(["A", "B"], ["M", "N"])
    assert asked(subject) == [
        ("register", "A", "trades"),
        ("register", "B", "trades"),
        ("register", "M", "market_state"),
    ]
    subject.want(["A", "B", "C"], ["M", "N"])
    assert asked(subject) == [("unregister", "M", "market_state"), ("register", "C", "trades")]


def test_a_market_state_that_the_symbols_records_have_is_not_subscribed_twice():
    subject = Subscriptions(5, ("trades", "market_state"))
    subject.want(["A"], ["A", "B"])
    assert [symbol for _, symbol, kind in asked(subject) if kind == "market_state"] == ["A", "B"]


def asked(subject):
    """The requests until all is as wanted, each acknowledged."""
    found = []
    while (step := subject.next_step()) is not None:
        found.append((step.action, step.subscription.symbol, step.subscription.kind))
        (subject.note_subscribed if step.action == "register" else subject.note_unsubscribed)(step.subscription)
    return found
