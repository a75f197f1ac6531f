"""The whole tape: every trade of every line, fetched with the calls that everything else leaves over."""
