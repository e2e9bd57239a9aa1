"""Every line of a file is a row, or says what is wrong with it."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.stock_rows import BadRow, StockRow, rows

HEADER = b"sku,node,on_hand\n"


def read(content: bytes, form: str = "csv") -> list[StockRow | BadRow]:
    return list(rows(io.BytesIO(content), "ndjson" if form == "ndjson" else "csv"))


def bad(line: bytes) -> BadRow:
    (row,) = read(HEADER + line)
    assert isinstance(row, BadRow)
    return row


@pytest.mark.parametrize(
    "content",
    [
        b"sku,node,on_hand\nA,DC,5\n",
        b"sku,node,on_hand\nA,DC,5",
        b"\xef\xbb\xbfsku,node,on_hand\r\nA,DC,5\r\n",
        b"\n".join([b'"SKU", Node ,ON_HAND', b'"A","DC"," 5 "', b"", b"  "]),
        b'note,on_hand,node,sku\n"one, two",005,DC,A\n',
    ],
)
def test_the_usual_ways_to_write_a_file_are_read(content: bytes) -> None:
    assert read(content) == [StockRow(2, "A", "DC", 5)]


def test_quotes_are_read_as_csv_has_them() -> None:
    assert read(HEADER + b'"A ""big"", red",DC,0\n') == [StockRow(2, 'A "big", red', "DC", 0)]


@pytest.mark.parametrize(
    ("line", "field", "words"),
    [
        (b",DC,5", "sku", "is empty"),
        (b"A, ,5", "node", "is empty"),
        (b"A,DC,-3", "on_hand", "-3 is below zero"),
        (b"A,DC,3.5", "on_hand", "not a whole number"),
        (b"A,DC,", "on_hand", "not a whole number"),
        (b"A,DC,1e3", "on_hand", "not a whole number"),
        (b"A,DC,10000001", "on_hand", "more than 10,000,000"),
        (b"A,DC," + b"9" * 4000, "on_hand", "more than"),
        (b"A" * 129 + b",DC,1", "sku", "longer than 128"),
        (b"A\x00B,DC,1", "sku", "cannot be seen"),
        (b"A\tB,DC,1", "sku", "cannot be seen"),
        (b"A,DC", "", "2 fields where the header has 3"),
        (b"A,B,DC,5", "", "4 fields"),
        (b'"A,DC,5', "", "a quote is not closed"),
        (b"\xc4rger,DC,5", "", "byte 1 is not UTF-8"),
        (b"A,DC,5" + b" " * 5000, "", "longer than 4096 bytes"),
    ],
)
def test_what_is_wrong_names_field_and_cure(line: bytes, field: str, words: str) -> None:
    row = bad(line)
    assert (row.line, row.field) == (2, field)
    assert words in row.message


def test_a_wrong_line_leaves_the_others_be() -> None:
    found = read(HEADER + b"A,DC,1\n\xff\xff\nB,DC,2\nC,DC,x\nD,DC,4\n")
    assert [type(row) for row in found] == [StockRow, BadRow, StockRow, BadRow, StockRow]
    assert [row.line for row in found] == [2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (b"", "no column sku"),
        (b"sku;node;on_hand\n", "with commas"),
        (b"sku,node\n", "no column on_hand"),
        (b"sku,sku,node,on_hand\n", "names sku twice"),
        (b"\xff\xfes\x00k\x00u\x00\n", "cannot be read"),
        (b'"sku,node,on_hand\n', "cannot be read"),
    ],
)
def test_a_header_that_cannot_be_read_refuses_the_file(header: bytes, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        read(header + b"A,DC,1\n")


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ('{"sku": "A", "node": "DC"}', "on_hand"),
        ('{"sku": "A", "node": "DC", "on_hand": "5"}', "on_hand"),
        ('{"sku": "A", "node": "DC", "on_hand": true}', "on_hand"),
        ('{"sku": "A", "node": "DC", "on_hand": 5.0}', "on_hand"),
        ('{"sku": "A", "node": "DC", "on_hand": -5}', "on_hand"),
        ('{"sku": 7, "node": "DC", "on_hand": 5}', "sku"),
        ('{"sku": "\\ud800", "node": "DC", "on_hand": 5}', "sku"),
        ('{"sku": "A", "node": "DC", "on_hand": 5, "colour": "red"}', "colour"),
        ('{"sku": "A", "node": "DC", "on_hand": 5, "\\u0000": "red"}', ""),
        ("[1, 2]", ""),
        ("{" * 4000, ""),
        ("not json", ""),
    ],
)
def test_a_json_line_is_closed_as_every_request_is(line: str, field: str) -> None:
    found = read(line.encode() + b'\n{"sku": "A", "node": "DC", "on_hand": 5}\n', "ndjson")
    assert [(row.line, getattr(row, "field", None)) for row in found] == [(1, field), (2, None)]


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=20),
            st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=20),
            st.integers(0, 10_000_000),
        )
    )
)
def test_what_is_written_is_read(written: list[tuple[str, str, int]]) -> None:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([("sku", "node", "on_hand"), *written])
    objects = [dict(zip(("sku", "node", "on_hand"), row, strict=True)) for row in written]
    lines = "".join(json.dumps(row) + "\n" for row in objects)
    wanted = [(sku, node, units) for sku, node, units in written]
    for content, form in ((file.getvalue(), "csv"), (lines, "ndjson")):
        found = read(content.encode(), form)
        assert [row[1:] for row in found] == wanted


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reading(content: bytes) -> None:
    found = read(HEADER + content)
    assert all(row.line > 1 for row in found)
