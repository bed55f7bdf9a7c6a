"""Makes realistic and varied checkouts for the demo and drills: names, languages, phone countries, amounts.

The same seed gives the same checkouts.
"""

from __future__ import annotations

import random
from typing import TypedDict

import phonenumbers

NAMES = {
    "de-DE": ("Ada Müller", "Jürgen Groß", "Lena Weiß"),
    "fr-FR": ("Zoë Lefèvre", "François Dupré", "Anaïs Noël"),
    "es-ES": ("Íñigo Núñez", "María Peña", "José Ibáñez"),
    "pl-PL": ("Łukasz Żak", "Małgorzata Święch", "Paweł Gąsior"),
    "tr-TR": ("İpek Şahin", "Çağla Öztürk", "Oğuz Yıldız"),
    "ja-JP": ("山田 花子", "佐藤 健", "鈴木 一郎"),
    "el-GR": ("Ελένη Παππά", "Νίκος Γεωργίου", "Μαρία Ιωάννου"),
    "en-US": ("Grace O'Neil", "Tom <b>Bold</b>", "Wei & Sons"),
}
CURRENCIES = {"pl-PL": "PLN", "tr-TR": "TRY", "ja-JP": "JPY", "en-US": "USD"}
REGIONS = {
    "de-DE": "DE",
    "fr-FR": "FR",
    "es-ES": "ES",
    "pl-PL": "PL",
    "tr-TR": "TR",
    "ja-JP": "JP",
    "el-GR": "GR",
    "en-US": "US",
}
EVENTS = ("checkout.completed", "checkout.completed", "checkout.completed", "checkout.failed")


class Checkout(TypedDict):
    """The body of a trigger that reports a checkout."""

    event: str
    recipient: dict[str, str]
    data: dict[str, str]


def checkouts(count: int, seed: int = 7, start: int = 1) -> list[tuple[str, Checkout]]:
    """Return `count` pairs of idempotency key and trigger body. The numbering begins with `start`.

    The key is the order number, which the text of every message contains.
    """
    chance = random.Random(seed)
    numbers = {locale: _example(region) for locale, region in REGIONS.items()}
    found = []
    for n in range(start, start + count):
        locale = chance.choice(list(NAMES))
        order = f"N{n:06d}"
        body: Checkout = {
            "event": chance.choice(EVENTS),
            "recipient": {
                "id": f"cust-{n}",
                "email": f"cust-{n}@example.com",
                "phone": _vary(numbers[locale], n),
                "locale": locale,
            },
            "data": {
                "order": order,
                "name": chance.choice(NAMES[locale]),
                "total": f"{chance.uniform(3, 900):.2f}",
                "currency": CURRENCIES.get(locale, "EUR"),
            },
        }
        found.append((order, body))
    return found


def _example(region: str) -> str:
    number = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
    assert number is not None, region
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


def _vary(number: str, n: int) -> str:
    """Return a valid number near an example number: the last four digits are replaced by those of `n`.

    Return `number` unchanged if the country's numbering plan does not allow the new number.
    """
    varied = number[:-4] + f"{n % 10_000:04d}"
    return varied if phonenumbers.is_valid_number(phonenumbers.parse(varied)) else number
