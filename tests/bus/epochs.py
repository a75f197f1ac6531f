"""The part of a sink that the tests of other things do not look at."""


class Epochs:
    """A sink's epochs, numbered."""

    reasons: tuple[str, ...] = ("created",)

    def epoch(self) -> str:
        return f"epoch {len(self.reasons)}"

    def begin_epoch(self, reason: str) -> str:
        self.reasons = (*self.reasons, reason)
        return self.epoch()
