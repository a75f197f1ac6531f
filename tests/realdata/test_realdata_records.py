"""Each real and published example of a record is read; `python -m tests.realdata.records` lists them."""

import pytest

from tests.realdata.records import DOCUMENT, FRAMES, MASTERS, STREAMED, examples, quoted_frames, read_frame

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(
        not (FRAMES.is_file() and DOCUMENT.is_file() and MASTERS.is_dir()),
        reason="the real samples are not beside the repository",
    ),
]

# What is not read of a real example, with the reason.
UNREAD = {
    "trade-krx-2024-09-04-truncated": "published torn: its header promises 4 records, the text ends inside the second",
    "trade-us-2024-12-27": "an overseas trade, to which nothing of ours subscribes",
}
# Kinds that no example shows: our reading of them rests on the document's table of fields alone.
WITHOUT_EXAMPLE = {"H0NXCNT0", "H0UNCNT0", "H0NXASP0", "H0UNASP0", "H0STANC0", "H0NXMKO0"}


def test_every_example_is_read_whole_but_those_with_a_reason():
    found = list(examples())
    assert {each.name for each in found if each.unread} == set(UNREAD)
    assert all(each.records for each in found if each.name != "trade-us-2024-12-27")
    assert set(STREAMED) - {each.kind for each in found} == WITHOUT_EXAMPLE


def test_every_file_of_the_samples_and_each_quoted_frame_is_in_the_list():
    sources = [each.source for each in examples()]
    files = [path for path in MASTERS.rglob("*.*") if path.is_file()]
    assert len([source for source in sources if "/" in source]) == len(files)
    assert sources.count(FRAMES.name) == len(FRAMES.read_text().splitlines())
    assert sources.count(DOCUMENT.name) == 4


def test_a_quoted_record_with_a_field_missing_would_be_listed_as_unread():
    [(name, frame)] = quoted_frames("**H0STMKO0** (`396300^N^(null)^^311^^^55^N`)")
    assert read_frame(DOCUMENT.name, name, frame).unread
