"""The cache keeps up to 20,000 answers for 24 hours and survives any end of a process."""

from hypothesis import example, given
from hypothesis import strategies as st

from observer.base.units import NS_PER_S
from observer.reference.sectors import answer_cache
from observer.reference.sectors.answer_cache import AnswerCache

DAY_NS = 24 * 3600 * NS_PER_S
NOW_NS = 1_795_000_000 * NS_PER_S


def test_an_answer_lasts_24_hours(tmp_path):
    cache = AnswerCache(tmp_path / "answers", NOW_NS)
    cache.put("profile/AAPL", ("Technology", ""), NOW_NS)
    assert cache.get("profile/AAPL", NOW_NS + DAY_NS) == ("Technology", "")
    assert cache.get("profile/AAPL", NOW_NS + DAY_NS + 1) is None


def test_no_answer_is_not_the_same_as_the_answer_that_nothing_is_known(tmp_path):
    cache = AnswerCache(tmp_path / "answers", NOW_NS)
    cache.put("profile/NONE", (), NOW_NS)
    assert cache.get("profile/NONE", NOW_NS) == ()
    assert cache.get("profile/OTHER", NOW_NS) is None


def test_another_process_reads_answers_that_are_not_too_old(tmp_path):
    cache = AnswerCache(tmp_path / "answers", NOW_NS)
    cache.put("old", ("a",), NOW_NS - DAY_NS)
    cache.put("new", ("b",), NOW_NS)
    later = AnswerCache(tmp_path / "answers", NOW_NS + 1)
    assert (len(later), later.get("new", NOW_NS + 1)) == (1, ("b",))


def test_the_oldest_answer_is_dropped_beyond_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(answer_cache, "ANSWERS_MAX", 3)
    cache = AnswerCache(tmp_path / "answers", NOW_NS)
    for number in range(5):
        cache.put(str(number), (), NOW_NS)
    assert [cache.get(str(number), NOW_NS) for number in range(5)] == [None, None, (), (), ()]


def test_a_cleared_cache_is_empty_for_the_next_process_too(tmp_path):
    cache = AnswerCache(tmp_path / "answers", NOW_NS)
    cache.put("one", (), NOW_NS)
    cache.clear()
    assert len(AnswerCache(tmp_path / "answers", NOW_NS)) == 0


@given(cut=st.integers(0, 200), junk=st.binary(max_size=20))
@example(cut=2, junk=b'\x80"')  # no text at all
def test_a_file_that_a_kill_cut_off_gives_its_whole_answers(tmp_path_factory, cut, junk):
    path = tmp_path_factory.mktemp("cache") / "answers"
    cache = AnswerCache(path, NOW_NS)
    for number in range(3):
        cache.put(f"{number}", ("Technology",), NOW_NS)
    content = path.read_bytes()
    whole = content[:cut].count(b"\n")
    path.write_bytes(content[:cut] + junk.replace(b"\n", b""))
    again = AnswerCache(path, NOW_NS)
    assert [again.get(f"{number}", NOW_NS) for number in range(whole)] == [("Technology",)] * whole
