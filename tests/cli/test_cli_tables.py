"""The renderer of tables: whole where there is no terminal, folded at blanks where a terminal is narrow."""

from hypothesis import given
from hypothesis import strategies as st

from observer.cli.tables import Table, display_width, fold, folded_lines, lines

TEXTS = st.text(alphabet="ab 가나é", max_size=30)


def test_a_table_is_plain_lines_as_wide_as_their_content():
    table = Table(
        ("symbol", "name", "price"), [("005930", "삼성전자", "70,000"), ("AAPL", "Apple", "9")], right=("price",)
    )
    assert list(lines(table)) == [
        "symbol  name       price",
        "------  --------  ------",
        "005930  삼성전자  70,000",
        "AAPL    Apple          9",
    ]


def test_a_name_cannot_steer_the_terminal():
    table = Table(("name",), [("\x1b]0;owned\x07\x9b31mSamsung\u202e\x00",)], title="\x1b[2J")
    assert all(line.isprintable() for line in lines(table))
    assert all(line.isprintable() for line in lines(table, 20))
    assert all(line.isprintable() for line in folded_lines("\x1b[2J one\n\x07 two", 80))


def test_a_narrow_terminal_folds_headers_first():
    table = Table(("process", "heartbeat s"), [("track-b", "0.1")], right=("heartbeat s",))
    assert list(lines(table, 18)) == [
        "        heartbeat",
        "process         s",
        "------- ---------",
        "track-b       0.1",
    ]


def test_a_title_is_folded_where_the_terminal_is_narrower():
    table = Table(("symbol",), [("005930",)], "2026-11-18: 1 slot taken")
    assert list(lines(table, 16))[:2] == ["2026-11-18: 1", "slot taken"]
    assert next(lines(table)) == "2026-11-18: 1 slot taken"


def test_a_narrow_terminal_folds_the_cells_of_foldable_columns_after_the_headers():
    table = Table(("symbol", "reason"), [("005930", "volume of the last ten minutes")], folded=("reason",))
    assert list(lines(table, 24)) == [
        "symbol reason",
        "------ -----------------",
        "005930 volume of the",
        "       last ten minutes",
    ]


def test_a_word_is_cut_only_where_folding_at_blanks_is_not_enough():
    rows = [("volatility_spike", "one two three four five six")]
    table = Table(("trigger", "what"), rows, folded=("trigger", "what"))
    first, *others = list(lines(table, 26))[2:]
    assert first == "volatility_spike one two"
    assert [each.strip() for each in others] == ["three", "four five", "six"]
    assert list(lines(table, 20))[2].startswith("volatility")


def test_before_cells_are_folded_optional_columns_are_left_out():
    rows = [("005930", "reconnect", "time_and_sales", "656047-658140")]
    table = Table(("symbol", "reason", "source", "gap"), rows, folded=("reason",), optional=("source", "reason"))
    assert list(lines(table, 30))[-1] == "005930 reconnect 656047-658140"
    assert list(lines(table, 20))[-1] == "005930 656047-658140"
    assert list(lines(table))[-1] == "005930  reconnect  time_and_sales  656047-658140"


def test_a_table_without_rows_is_its_headers():
    assert list(lines(Table(("a", "b"), []), 10)) == ["a  b", "-  -"]


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=5), st.integers(30, 90))
def test_no_line_is_wider_than_the_terminal_and_no_letter_is_lost(rows, width):
    shown = list(lines(Table(("name", "what"), rows, folded=("name", "what")), width))
    assert max(map(display_width, shown)) <= width
    letters = sorted("".join(shown[2:]).replace(" ", ""))
    assert letters == sorted("".join("".join(row) for row in rows).replace(" ", ""))


@given(TEXTS, st.integers(2, 20))
def test_folding_keeps_the_words_in_their_order(text, width):
    assert "".join("".join(fold(text, width)).split()) == "".join(text.split())


def test_a_sentence_is_folded_on_a_terminal_only_and_goes_on_further_to_the_right():
    text = "12:15:30 005930 refused: volume_surge\n  replaced by 000660 with a score of 2.501"
    assert list(folded_lines(text, None)) == text.split("\n")
    assert list(folded_lines(text, 30)) == [
        "12:15:30 005930 refused:",
        "  volume_surge",
        "  replaced by 000660 with a",
        "    score of 2.501",
    ]


def test_a_table_of_eleven_thousand_rows_has_a_line_for_each():
    rows = [("NASD", f"S{number:05}", "애플 주식회사", "SOME COMPANY INC", "USD", "stock") for number in range(11_000)]
    table = Table(("exchange", "symbol", "name", "english name", "currency", "type"), rows)
    assert len(list(lines(table))) == 11_002
