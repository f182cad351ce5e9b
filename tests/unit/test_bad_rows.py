"""Bad rows as the batch keeps them."""

from actors.bad_rows import MAX_TEXT_CHARACTERS, clipped
from events.batch import FileFault
from events.catalog import encode


def test_a_fault_can_be_stored_whatever_its_text_is() -> None:
    fault = clipped(FileFault("a.msgpack: '\udcff\udcfe'", text="\udcff" + "x" * 1000, column="\udced"))

    assert encode(fault)
    assert fault.message == "a.msgpack: '\\udcff\\udcfe'"
    assert len(fault.text or "") == MAX_TEXT_CHARACTERS
