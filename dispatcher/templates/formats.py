"""Writes numbers, amounts of money and dates into a message. Money and dates depend on the locale.

Tables in this module hold each language's separators and its order of day, month and year. The tables are small on
purpose (decision record 0023). A currency appears as its ISO code, not as a sign. Some languages use a thin space
between digits. An ordinary space is written instead, because a single character outside the SMS alphabet can triple the
price of an SMS.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, TypeVar

NUMBER_MAX = 10**18
"""The largest number that filters calculate with, and the largest number with a fraction that can be printed."""
WHOLE_MAX = 10**38
"""The largest whole number that can be printed. The engine's whole numbers have 128 bits.

Ids of 64 bits, such as Twitter's, can be greater than 10^18.
"""
EXACT_DIGITS = 15
"""The number of decimal digits that a double stores exactly.

Further digits are noise: 0.1 * 3 = 0.30000000000000004.
"""

# (grouping, decimal) of the languages that do not write 1,234.5; source: CLDR 46, numbers, symbols.
_DOT_COMMA, _SPACE_COMMA = (".", ","), (" ", ",")
# fmt: off
_SEPARATORS = dict.fromkeys((
    "ast", "az", "bs", "ca", "da", "de", "el", "es", "eu", "fo", "hr", "id", "is", "it", "lb", "mk", "nl", "pt", "ro",
    "sl", "sr", "tr", "vi",
), _DOT_COMMA)
_SEPARATORS |= dict.fromkeys((
    "af", "be", "bg", "cs", "et", "fi", "fr", "gl", "hu", "hy", "ka", "kk", "ky", "lt", "lv", "nb", "nn", "no", "pl",
    "ru", "se", "sk", "sq", "sv", "tg", "tk", "uk", "uz",
), _SPACE_COMMA)
_SEPARATORS_OF_REGION = dict.fromkeys(
    [f"es-{region}" for region in ("419", "BZ", "CU", "DO", "GT", "HN", "MX", "NI", "PA", "PE", "PR", "SV", "US")],
    (",", "."),
) | dict.fromkeys(("de-CH", "de-LI", "it-CH"), ("'", ".")) | dict.fromkeys((
    "de-AT", "en-ZA", "es-CR", "pt-AO", "pt-CH", "pt-CV", "pt-GQ", "pt-GW", "pt-LU", "pt-MO", "pt-MZ", "pt-PT",
    "pt-ST", "pt-TL",
), _SPACE_COMMA)
# fmt: on
# Minor units; source: ISO 4217.
_PLACES = dict.fromkeys(
    ("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF"), 0
)
_PLACES |= dict.fromkeys(("CLF", "UYW"), 4)
_PLACES |= dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3)
# The short date; a language that is not here gets the ISO form, which nobody misreads. Source: CLDR 46, dates.
_DATES = dict.fromkeys(
    ("bg", "cs", "da", "de", "et", "fi", "hr", "is", "lv", "nb", "no", "pl", "ro", "ru", "sk", "sl", "sr", "tr", "uk"),
    "%d.%m.%Y",
)
_DATES |= dict.fromkeys(("el", "es", "fr", "id", "it", "pt", "vi"), "%d/%m/%Y")
_DATES |= {"nl": "%d-%m-%Y"}
_DATES_OF_REGION = dict.fromkeys(("en-US", "es-PA", "es-PR"), "%m/%d/%Y") | {"fr-CA": "%Y-%m-%d"}
_DATES_OF_REGION |= {"en-GB": "%d/%m/%Y", "en-AU": "%d/%m/%Y", "en-IE": "%d/%m/%Y"}
_REGION = re.compile("[A-Za-z]{2}|[0-9]{3}")
_CURRENCY = re.compile(r"[A-Z]{3}")
_INSTANT = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:[Tt ]\d{2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?: ?(?:[Zz]|UTC|[+-]\d{2}(?::?\d{2})?))?)?"
)

Form = TypeVar("Form")


def plain_number(value: float) -> str:
    """Return `value` without an exponent, as 0.00000012 and never 1.2e-07. Digits beyond `EXACT_DIGITS` are rounded.

    Raises ValueError if `value` is not finite, is a float beyond 10^18, or is an int beyond 10^38. An int is not
    rounded.
    """
    if isinstance(value, int):
        if abs(value) > WHOLE_MAX:
            raise ValueError("a whole number beyond 10^38 cannot be printed")
        return str(value)
    if not math.isfinite(value):
        raise ValueError("a number that is not finite cannot be printed")
    if abs(value) > NUMBER_MAX:
        raise ValueError("a number beyond 10^18 cannot be printed")
    text = repr(value)
    if len(text) > EXACT_DIGITS and not value.is_integer():
        text = repr(float(f"{value:.{EXACT_DIGITS}g}"))
    return text if "e" not in text else format(Decimal(text), "f")


def rounded(value: Any, places: int, what: str) -> Decimal:
    """Return a number, or a text such as "49.90", with `places` digits after the point. A half is rounded away from 0.

    The decimal digits as written are rounded, not the number's binary form: 1.005 becomes 1.01. Raises ValueError if
    `value` is no number up to 10^18. The error's text begins with `what`.
    """
    return _decimal(value, what).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP) + 0  # never -0.00


def money(value: Any, currency: Any, locale: str | None) -> str:
    """Return an amount with its currency: 49.9 and `EUR` give `49,90 EUR` for German and `EUR 49.90` for English.

    Raises ValueError if `value` is not a number up to 10^18, or if `currency` is not three capital letters.
    """
    if not isinstance(currency, str) or not _CURRENCY.fullmatch(currency):
        raise ValueError("money takes a currency of three capital letters, such as 'EUR'")
    amount = rounded(value, _PLACES.get(currency, 2), "money")
    group, point = _of_locale(locale, _SEPARATORS_OF_REGION, _SEPARATORS) or (",", ".")
    text = f"{amount:,f}".translate({ord(","): group, ord("."): point})
    return f"{text} {currency}" if point == "," else f"{currency} {text}"


def short_date(value: Any, locale: str | None) -> str:
    """Return the day of an ISO 8601 date or instant, in the locale's usual form.

    The day of an instant is the day that its text begins with, whatever its UTC offset. Raises ValueError if `value` is
    no date or instant, or if the day does not exist.
    """
    match = _INSTANT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("date takes an ISO 8601 date or instant, such as 2030-01-31")
    try:
        day = date.fromisoformat(match[1])
    except ValueError:
        raise ValueError("date takes a day that exists") from None
    form = _of_locale(locale, _DATES_OF_REGION, _DATES) or "%Y-%m-%d"
    return datetime(day.year, day.month, day.day).strftime(form) if day.year >= 1000 else day.isoformat()


def _decimal(value: Any, what: str) -> Decimal:
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,18}(\.\d{1,10})?", value):
        return Decimal(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= NUMBER_MAX:
        raise ValueError(f"{what} takes a number up to 10^18, or one as text with a point, such as '49.90'")
    digits = isinstance(value, float) and abs(value) < 10 ** (EXACT_DIGITS - 3)
    return Decimal(f"{value:.{EXACT_DIGITS}g}" if digits else repr(value))


def _of_locale(locale: str | None, of_region: Mapping[str, Form], of_language: Mapping[str, Form]) -> Form | None:
    parts = (locale or "").replace("_", "-").split("-")
    language = parts[0].lower()
    region = next((part.upper() for part in parts[1:] if _REGION.fullmatch(part)), "")
    return of_region.get(f"{language}-{region}", of_language.get(language))
