"""What stands inside a record survives the spool, whatever it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.spool import DropCount, SpooledDrops, SpooledRecord, SpooledRecordError, decode_record, encode_record

texts = st.text(max_size=40)


@given(
    st.builds(
        SpooledRecord,
        protocol=texts,
        route=texts,
        project_id=st.integers(0, 2**62),
        received_at=st.integers(0, 2**62),
        query=texts,
        headers=st.dictionaries(texts, texts, max_size=5),
        address=texts,
        event_id=texts,
        category=texts,
        body=st.binary(max_size=500),
    )
)
def test_a_request_comes_back_as_it_was(record):
    assert decode_record(encode_record(record)) == record


def test_drop_counts_come_back_as_they_were():
    record = SpooledDrops(counted_at=5, drops=[DropCount(7, "too_large", "replay", 3)])
    assert decode_record(encode_record(record)) == record


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x93\xa7request\x01", b"not a record"])
def test_bytes_that_are_no_record_say_so(payload):
    with pytest.raises(SpooledRecordError, match="not a spooled record"):
        decode_record(payload)
