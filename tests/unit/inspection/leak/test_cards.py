"""Card numbers are told from the other numbers of a portal."""

from __future__ import annotations

import pytest

from gateway.inspection.leak.sighting import Kind
from tests.unit.inspection.leak.scanning import masked, sighted

PAN = b"4111111111111111"
GROUPED = b"4111 1111 1111 1111"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"Card number: 4111 1111 1111 1111, exp 12/27", b"Card number: **** **** **** 1111, exp 12/27"),
        (b"4111-1111-1111-1111", b"****-****-****-1111"),
        (b"4111.1111.1111.1111", b"****.****.****.1111"),
        (b"My number is 5555 5555 5555 4444.", b"My number is **** **** **** 4444."),
        (b"Amex 3782 822463 10005", b"Amex **** ****** *0005"),
        (b"Diners: 3056 930902 5904", b"Diners: **** ****** 5904"),
        (b"card=4111111111111111", b"card=************1111"),
        (b"Kreditkarte 4111111111111111", b"Kreditkarte ************1111"),
        (b"Kartennummer: 5555555555554444", b"Kartennummer: ************4444"),
        (b"carte bancaire : 4111111111111111", b"carte bancaire : ************1111"),
        (b"PAN 4111111111111111", b"PAN ************1111"),
        (b"Pay with 4111111111111111", b"Pay with ************1111"),
        (b'{"number":"4111111111111111"}', b'{"number":"************1111"}'),
        (b"4111111111111111 exp 12/27", b"************1111 exp 12/27"),
        (b"4111111111111111;12/2027;123", b"************1111;12/2027;123"),
        (b"4111111111111111, CVV 123", b"************1111, CVV 123"),
        (
            "Karte:\u00a04111\u00a01111\u00a01111\u00a01111".encode(),
            "Karte:\u00a0****\u00a0****\u00a0****\u00a01111".encode(),
        ),
        ("4111\u202f1111\u202f1111\u202f1111".encode(), "****\u202f****\u202f****\u202f1111".encode()),
        (b"card 4111 1111 1111 1111 1227 123", b"card **** **** **** 1111 1227 123"),
        (b"Kundenkarte 12, Visa 4111111111111111", b"Kundenkarte 12, Visa ************1111"),
        (b'{"customer_card":"4111111111111111"}', b'{"customer_card":"************1111"}'),
        (b"Order 42 paid with card 4111111111111111", b"Order 42 paid with card ************1111"),
    ],
)
def test_a_card_number_keeps_its_last_four_digits_and_its_length(text: bytes, expected: bytes) -> None:
    assert masked(text) == expected
    assert len(masked(text)) == len(text)


@pytest.mark.parametrize(
    "text",
    [
        b"4111111111111112 is a card number with a wrong check digit",
        b"order 4111111111111111",
        b"Kundenkarte: 4111111111111111",
        b'{"gesundheitskarte": "4111111111111111"}',
        b"Ihre Bonuskartennummer ist 4111111111111111",
        b"loyalty card 4111111111111111",
        b'{"gift_card": "4111111111111111"}',
        b"Bestellnummer: 4111111111111111",
        b'{"orderId": "4111111111111111"}',
        b'{"card_id": "4111111111111111"}',
        b'{"order":{"number":"4111111111111111"}}',
        b'{"orderNumber":"4111111111111111","meter_number":"5555555555554444"}',
        b"payment reference 4111111111111111",
        b"tracking no. 4111 1111 1111 1111",
        b"Sendung 4111111111111111 ist unterwegs",
        b"invoice/4111111111111111",
        b"4111111111111111",
        b"a list: 4111111111111111 5555555555554444",
        b"card 411111111111111a",
        b"card A4111111111111111",
        b"card token tok_4111111111111111",
        b"card 4111111111111111-4d2f-11ee-be56-0242ac120002",
        b"018f3c2a-5b7d-7c31-9d3a-411111111111",
        b"credit 0.4111111111111111",
        b"credit 4111111111111111.5",
        b"card \xe2\x82\xac4111111111111111",
        b"1700000000000 1700000000000000 20240131123456",
        b"years 2019 2020 2021 2022 2023 2024 2025",
        b"1111 4111 1111 1111 1111",
        b"4111 1111 1111 1111 1111",
        b"IBAN DE12 5001 0517 5407 3249 31",
        b"DE89370400440532013000",
        b"cardinality 4111111111111111",
        b"IMEI 356938035643809, IMSI 262011234567890",
        b"phone +49 30 12345678 and 0171 1234567",
        b"ISBN 978-3-16-148410-0",
        b"3.14159265358979323846264338327950288419716939937510",
        b"41111111111111114111111111111111",
        b"card " + b"4" * 40,
        b"4111 1111-1111.1111",
        b"192.168.100.200 10.0.0.1 4111.1111",
    ],
)
def test_other_numbers_stay_as_they_are(text: bytes) -> None:
    assert masked(text, kind=Kind.CARDS) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            b'<td class="label">Card number</td>\n  <td class="value mono">4111111111111111</td>',
            b'<td class="label">Card number</td>\n  <td class="value mono">************1111</td>',
        ),
        (b'<input name="cardnumber" value="4111111111111111">', b'<input name="cardnumber" value="************1111">'),
        (b"Visa&nbsp;4111&nbsp;1111&nbsp;1111&nbsp;1111.", b"Visa&nbsp;****&nbsp;****&nbsp;****&nbsp;1111."),
        (
            b"<span>4111</span> <span>1111</span> <span>1111</span> <span class='x'>1111</span>",
            b"<span>****</span> <span>****</span> <span>****</span> <span class='x'>1111</span>",
        ),
        (b"4111<!-- --> <!-- -->1111 1111 1111", b"****<!-- --> <!-- -->**** **** 1111"),
        (b"4111&#160;1111&#160;1111&#160;1111", b"****&#160;****&#160;****&#160;1111"),
    ],
)
def test_markup_between_and_around_the_groups_does_not_hide_them(text: bytes, expected: bytes) -> None:
    assert masked(text, b"text/html") == expected


def test_in_xml_the_elements_are_the_names() -> None:
    text = b"<Order><CardNum>4111111111111111</CardNum><OrderNum>5555555555554444</OrderNum></Order>"
    assert masked(text, b"application/xml") == text.replace(b"411111111111", b"*" * 12)


def test_a_class_of_a_style_sheet_is_no_name_of_a_number() -> None:
    text = b'<div class="card"><h5>Order</h5><p>4111111111111111</p></div><div class="card-body"><p>5555555555554444</p></div>'
    assert masked(text, b"text/html", Kind.CARDS) == text


@pytest.mark.parametrize("content_type", [b"text/csv", b"text/html"])
def test_a_heading_names_the_numbers_of_its_column(content_type: bytes) -> None:
    rows = b"".join(b"Customer %d,4111111111111111,Berlin,some more text to fill the row up\n" % n for n in range(50))
    text = b"name,card_number,city,note\n" + rows
    assert masked(text, content_type).count(b",************1111,") == 50
    assert masked(rows + b"card_number", content_type, Kind.CARDS) == rows + b"card_number"


def test_json_stays_json() -> None:
    """A number that is masked with stars, or begins with a nought, would be none."""
    text = b'{"pan":4111111111111111,"text":"card: 4111111111111111, \\"card: 4111111111111111\\\\","card":"4111 1111 1111 1111"}'
    expected = b'{"pan":9999999999991111,"text":"card: ************1111, \\"card: ************1111\\\\","card":"**** **** **** 1111"}'
    assert masked(text, b"application/json") == expected


def test_a_script_stays_a_script() -> None:
    text = b"var card = 4111111111111111;\nconst pan = '4111111111111111';"
    expected = b"var card = 9999999999991111;\nconst pan = '************1111';"
    assert masked(text, b"text/javascript") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"name=A&card=4111+1111+1111+1111", b"name=A&card=****+****+****+1111"),
        (b"card=4111%201111%201111%201111", b"card=****%20****%20****%201111"),
        (b"card%3D4111111111111111%0Aexp", b"card%3D************1111%0Aexp"),
        (b"%22card%22%3A%224111111111111111%22", b"%22card%22%3A%22************1111%22"),
        (b"order=%34111111111111111", b"order=%34111111111111111"),
    ],
)
def test_a_form_is_read_as_it_is_decoded(text: bytes, expected: bytes) -> None:
    assert masked(text, b"application/x-www-form-urlencoded") == expected


def test_json_escapes_before_a_number_are_no_part_of_it() -> None:
    assert masked(b'"card:\\n4111111111111111"', b"application/json") == b'"card:\\n************1111"'


def test_what_is_sighted_is_counted_by_kind() -> None:
    assert sighted(b"card 4111111111111111, card 4111111111111111 and 5555 5555 5555 4444") == {"cards": 3}
