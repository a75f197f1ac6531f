"""The subscriptions by which accounts follow their slots, within the bound of changes, on made-up days."""

from collections.abc import Mapping, Sequence

from observer.brokers.subscriptions import SubscriptionRateLimiter, Subscriptions


class SlotSubscriptions:
    """One connection an account, all opened before the day; the broker acknowledges at once."""

    def __init__(self, accounts: Mapping[str, int], changes_per_minute: int) -> None:
        """Accounts by name, with their slots."""
        self._of = {
            name: (Subscriptions(slots, ["trades"]), SubscriptionRateLimiter(changes_per_minute, slots))
            for name, slots in accounts.items()
        }
        self.changes = 0

    def follow(self, wanted: Mapping[str, Sequence[str]], now_ns: int) -> frozenset[str]:
        """Work off the difference to the wanted lines as far as allowed now; return the lines that are streamed."""
        for account, (subscriptions, limiter) in self._of.items():
            subscriptions.want(wanted[account])
            while (step := subscriptions.next_step()) is not None and limiter.allowed_ns(now_ns, step) <= now_ns:
                limiter.spend(now_ns)
                self.changes += 1
                if step.action == "register":
                    subscriptions.note_subscribed(step.subscription)
                else:
                    subscriptions.note_unsubscribed(step.subscription)
        return frozenset().union(*(subscriptions.symbols for subscriptions, _ in self._of.values()))
