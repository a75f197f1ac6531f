"""Which symbols hold the slots. Pure: the same calls in the same order return the same events, as a replay verifies.

The walk of a decision:

    sweep, rise, trade     market_state   each symbol's day until now; its latest minutes (recent_volume), the usual
                                          ones (profile, indicators), and what may hold no slot (market_stops)
    evaluation             triggers       the conditions that hold make candidates: score, life and evidence
                           context        the opening's movers are candidates, too
                           allocation     the rank of candidates, the slots, the guard against churn
                           selector       one day of all of these, with the pins and the hours of venues
    events of the day      slot_projection, pins, overflow: what a resuming process, the terminal and the alerts read

Beside it: `attention` says what Track A asks between two sweeps, `sampling` which trades are stored under load, and
`settings` what a day is decided by, with the version of these rules.
"""
