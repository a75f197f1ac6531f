"""The comparison of two editions' answers, on two small folders."""

import json

from tests.comparison.editions import Rules, compared, table

GAPS = {"status": 0, "answer": [{"gap": 7, "symbol": "005930", "pid": 11}], "said": []}
RULES = Rules(
    answers={"cli/gaps list": "cli/gaps"},
    fields=(("cli/gaps", {"gap": "gap_id"}),),
    values=(("cli/*", r"\.pid$", "each start has another pid"),),
)


def answers(folder, **written):
    for name, answer in written.items():
        path = folder / "cli" / f"{name.replace('_', ' ')}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(answer))
    return folder


def found(tmp_path, old, new):
    both = answers(tmp_path / "old", **old), answers(tmp_path / "new", **new)
    return [(name, *each) for name, differences in compared(*both, RULES).items() for each in differences]


def test_answers_with_other_names_are_the_same(tmp_path):
    renamed = {"status": 0, "answer": [{"gap_id": 7, "symbol": "005930", "pid": 11}], "said": []}
    assert found(tmp_path, {"gaps_list": GAPS}, {"gaps": renamed}) == []


def test_a_difference_that_may_be_has_its_reason(tmp_path):
    other = {"status": 0, "answer": [{"gap_id": 7, "symbol": "005930", "pid": 12}], "said": []}
    expected = ("cli/gaps", "$.answer[0].pid", 11, 12, "each start has another pid")
    assert found(tmp_path, {"gaps_list": GAPS}, {"gaps": other}) == [expected]


def test_one_altered_value_is_seen(tmp_path):
    altered = {"status": 0, "answer": [{"gap_id": 8, "symbol": "005930", "pid": 11}], "said": []}
    assert found(tmp_path, {"gaps_list": GAPS}, {"gaps": altered}) == [("cli/gaps", "$.answer[0].gap_id", 7, 8, "")]


def test_a_number_that_became_text_is_seen(tmp_path):
    text = {"status": 0, "answer": [{"gap_id": "7", "symbol": "005930", "pid": 11}], "said": []}
    assert found(tmp_path, {"gaps_list": GAPS}, {"gaps": text}) == [("cli/gaps", "$.answer[0].gap_id", 7, "7", "")]


def test_an_answer_a_row_and_a_field_of_one_edition_alone_are_seen(tmp_path):
    rows = {"status": 0, "answer": [{"a": 1}, {"a": 2}]}
    seen = found(tmp_path, {"slots": rows, "tape": {}}, {"slots": {"answer": [{"a": 1, "b": None}]}})
    assert [each[:2] for each in seen] == [
        ("cli/slots", "$.answer.length"),
        ("cli/slots", "$.answer[0].b"),
        ("cli/slots", "$.status"),
        ("cli/tape", "$"),
    ]


def test_the_table_names_what_differs_and_why_others_may(tmp_path):
    old = answers(tmp_path / "old", status={"pid": 1}, quality={"words": ["complete"]}, tape={})
    new = answers(tmp_path / "new", status={"pid": 2}, quality={"words": ["partial"]}, tape={})
    assert list(table(compared(old, new, RULES))) == [
        "3 answers: 1 the same, 1 differ as they may, 1 differ",
        "  may, in 1: each start has another pid",
        "  DIFFERS cli/quality at $.words[0] (1 in all): complete | partial",
    ]
