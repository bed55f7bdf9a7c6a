"""The types of settings: names, clock times, and numbers. Numbers have limits that catch typing mistakes."""

from __future__ import annotations

import re
from typing import Annotated

import phonenumbers
from pydantic import AfterValidator, Field

from dispatcher.adapters.providers import provider
from dispatcher.adapters.providers.fields import url_fault
from dispatcher.core.accepting.quiet_hours import zone
from dispatcher.core.accepting.tenant_name import TENANT_CHARS_MAX, tenant_fault
from dispatcher.errors import ConfigError

VendorName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")]
EventName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,80}$")]
TemplateName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,80}$")]

AbsolutePath = Annotated[str, Field(pattern=r"^/\S+$")]  # the same wherever a program was started

ClockTime = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]

PositiveInt = Annotated[int, Field(ge=1, le=1_000_000_000)]  # a gigabyte; more is a typing mistake
PositiveS = Annotated[float, Field(gt=0, le=31_622_400)]  # a year, so that no sum of times overflows
Replicas = Annotated[int, Field(ge=1, le=1_000)]
Segments = Annotated[int, Field(ge=1, le=255)]  # TS 23.040, section 9.2.3.24.1: their number is one byte
Percent = Annotated[float, Field(gt=0, le=100)]
Ratio = Annotated[float, Field(ge=0, le=1)]


REFERENCE = r"^(\$\{[A-Za-z_][A-Za-z0-9_]*\}|file:/\S+)$"


def _tenant(name: str) -> str:
    if (fault := tenant_fault(name)) is not None:
        raise ValueError(fault)
    return name


def _known_zone(name: str) -> str:
    zone(name)
    return name


def _known_country(code: str) -> str:
    if code not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueError("must be a country that has telephone numbers, in ISO 3166: GB, never UK")
    return code


def _known_adapter(name: str) -> str:
    try:
        provider(name)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    return name


def _reference(text: str) -> str:
    if not re.fullmatch(REFERENCE, text):
        raise ValueError("must be a reference to a secret: ${NAME} or file:/path")
    return text


def _callable_url(url: str) -> str:
    fault = url_fault(url)
    if fault is not None:
        raise ValueError(fault)
    return url


TenantName = Annotated[str, Field(min_length=1, max_length=TENANT_CHARS_MAX), AfterValidator(_tenant)]
Adapter = Annotated[str, AfterValidator(_known_adapter)]
CountryCode = Annotated[str, Field(pattern=r"^[A-Z]{2}$"), AfterValidator(_known_country)]
SecretReference = Annotated[str, Field(json_schema_extra={"pattern": REFERENCE}), AfterValidator(_reference)]
ZoneName = Annotated[str, AfterValidator(_known_zone)]
CallableUrl = Annotated[str, Field(pattern=r"^https?://[^\s?#]+$"), AfterValidator(_callable_url)]

CONCURRENCY_MIN = 8
"""The default of `vendors.*.concurrency_min`. If only a lower maximum is configured, the minimum is that maximum."""
