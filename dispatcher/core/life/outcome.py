"""The outcome of one attempt.

Expected endings are values, not exceptions. An adapter returns one `Outcome` per call, and never raises for something
that a vendor or the network did. The courier turns the outcome into the notification's next place.

An adapter decides by three facts: whether bytes were written, the status, and whether the vendor's id is valid. Rules
for all adapters:

1. *Accepted* is a 2xx with a valid vendor id in the documented place.
2. *Unknown* is a time-out, a reset, a 5xx or a 2xx without an id, after bytes were written. The vendor may have the
   message.
3. After anything else the vendor does not have the message: it refused, or nothing was sent. Another vendor may safely
   be tried.
4. A refusal ends a notification only if its code is listed as final for the provider, with a source. After every
   unlisted refusal the next vendor is tried, because a refusal is not always the message's fault.

The `Meaning` of a refusal says what follows for the notification and for the vendor's breaker.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from re import Pattern
from typing import Protocol

OUR_BUG = "our_bug"
"""The reason of an outcome that is unknown because an adapter failed. It is no evidence against the vendor."""


class OutcomeKind(str, Enum):
    """The kinds of outcome, in the words of the glossary (docs/architecture.md)."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"  # final: a dead letter
    THROTTLED = "throttled"
    DEFERRED = "deferred"  # this recipient, for now
    FAILED = "failed"
    UNKNOWN = "unknown"
    NOT_PERMITTED = "not_permitted"


class Scope(str, Enum):
    """The cause of a refusal or failure. The scope says whether the outcome is evidence, and against what."""

    MESSAGE = "message"  # no evidence: the message or the recipient is at fault
    RECIPIENT = "recipient"  # no evidence
    ROUTE = "route"  # evidence against the recipient's country alone
    ACCOUNT = "account"  # opens the vendor's breaker at once, for a long wait
    UNLISTED = "unlisted"  # evidence only once another vendor accepts the same message, or many recipients are refused
    VENDOR = "vendor"  # evidence against the vendor


class Meaning(str, Enum):
    """The meaning of a provider's code for us. Operators use the same names in `vendors.NAME.rules`."""

    FINAL = "final"  # dead letter
    DEFERRED = "deferred"  # the other vendors, then minutes and hours until the time to live
    ROUTE = "route"  # next vendor; evidence against this country
    ACCOUNT = "account"  # next vendor; the breaker opens at once for a long wait; operators are told
    UNLISTED = "unlisted"  # next vendor; see `Scope.UNLISTED`
    RATE = "rate"  # try later; the actor slows down
    VENDOR = "vendor"  # next vendor; a failure in the breaker's window
    UNKNOWN = "unknown"  # the vendor may have it


@dataclass(frozen=True, slots=True)
class Word:
    """One documented code of a provider.

    Attributes:
        means: what the code means for us. This may differ from what its number suggests.
        source: where the provider documents the code.
        wait_s: for `account` and `rate`, for how many seconds the vendor is not called; None for the usual wait.
    """

    means: Meaning
    source: str
    wait_s: float | None = None


def listed(means: Meaning, source: str, *codes: str, wait_s: float | None = None) -> dict[str, Word]:
    """Return a dictionary from each code to its `Word`. `{code}` in `source` is replaced by the code."""
    return {code: Word(means, source.format(code=code), wait_s) for code in codes}


@dataclass(frozen=True, slots=True)
class Phrase:
    """A sentence that a provider uses instead of a code.

    Its pattern is searched in the answer's text, ignoring case.
    """

    pattern: Pattern[str]
    word: Word


def phrase(pattern: str, means: Meaning, source: str, wait_s: float | None = None) -> Phrase:
    return Phrase(re.compile(pattern, re.IGNORECASE), Word(means, source, wait_s))


READ_CHARS_MAX = 2_000
"""How many characters of an answer are searched. For some phrases the time grows with the square of this number."""


def find_phrase(text: str, phrases: Iterable[Phrase]) -> Word | None:
    """Return the `Word` of the first phrase whose pattern is found in the first `READ_CHARS_MAX` of `text`, or None."""
    read = text[:READ_CHARS_MAX]
    return next((phrase.word for phrase in phrases if phrase.pattern.search(read)), None)


DAILY_S = 900.0
"""The wait in seconds after a vendor named a daily limit.

A probe every quarter of an hour finds out when the new day has begun.
"""


class Found(Protocol):
    """An expression that can be searched in a text."""

    def search(self, text: str, /) -> object:
        """Return a true value, such as a match, if the expression is found in `text`, and otherwise a false one."""


@dataclass(frozen=True, slots=True)
class Rule:
    """An operator's rule about a vendor's refusals. The first rule whose pattern matches replaces the provider's list.

    The pattern is searched in `reason: text`, such as `twilio_30410: Provider timed out`.
    """

    match: Found
    means: Meaning
    wait_s: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one attempt.

    Attributes:
        kind: what happened.
        reason: a short stable token such as `http_500`, `timeout_read`, `twilio_21211`; never an address or a body.
        vendor_message_id: the vendor's id, set exactly when `kind` is accepted.
        retry_after_s: the wait that the vendor asked for, seconds >= 0, capped by the adapter; None if there is none.
        scope: what a refusal or a failure is evidence against.
        local_origin: True if the failure happened before the vendor was reached (DNS, connect, TLS).
        text: the vendor's own sentence, for operators' rules. This text is never stored or logged, because it may
            contain an address.
    """

    kind: OutcomeKind
    reason: str = ""
    vendor_message_id: str | None = None
    retry_after_s: float | None = None
    scope: Scope = Scope.VENDOR
    local_origin: bool = False
    text: str = field(default="", repr=False, compare=False)

    @property
    def answered(self) -> bool:
        """Return True if the vendor answered, so that its code or text can be read."""
        return bool(self.text)

    @property
    def refuses_message(self) -> bool:
        """Return True if the vendor works but refuses this message, at least for now."""
        return self.kind is OutcomeKind.DEFERRED or (
            self.kind is OutcomeKind.FAILED and self.scope in (Scope.ROUTE, Scope.UNLISTED)
        )

    @classmethod
    def accepted(cls, vendor_message_id: str) -> Outcome:
        return cls(OutcomeKind.ACCEPTED, "accepted", vendor_message_id=vendor_message_id)

    @classmethod
    def rejected(cls, reason: str, scope: Scope = Scope.MESSAGE) -> Outcome:
        return cls(OutcomeKind.REJECTED, reason, scope=scope)

    @classmethod
    def throttled(cls, reason: str, retry_after_s: float | None = None) -> Outcome:
        return cls(OutcomeKind.THROTTLED, reason, retry_after_s=retry_after_s)

    @classmethod
    def deferred(cls, reason: str) -> Outcome:
        return cls(OutcomeKind.DEFERRED, reason, scope=Scope.RECIPIENT)

    @classmethod
    def failed(
        cls, reason: str, *, scope: Scope = Scope.VENDOR, local_origin: bool = False, retry_after_s: float | None = None
    ) -> Outcome:
        return cls(OutcomeKind.FAILED, reason, scope=scope, local_origin=local_origin, retry_after_s=retry_after_s)

    @classmethod
    def unknown(cls, reason: str) -> Outcome:
        return cls(OutcomeKind.UNKNOWN, reason)


def outcome_of(reason: str, means: Meaning, wait_s: float | None = None) -> Outcome:
    """Return the outcome of a refusal with the meaning `means`.

    `wait_s` is the wait that the vendor or our list names.
    """
    match means:
        case Meaning.FINAL:
            return Outcome.rejected(reason, Scope.RECIPIENT)
        case Meaning.DEFERRED:
            return Outcome.deferred(reason)
        case Meaning.RATE:
            return Outcome.throttled(reason, wait_s)
        case Meaning.ROUTE:
            return Outcome.failed(reason, scope=Scope.ROUTE)
        case Meaning.ACCOUNT:
            return Outcome.failed(reason, scope=Scope.ACCOUNT, retry_after_s=wait_s)
        case Meaning.UNLISTED:
            return Outcome.failed(reason, scope=Scope.UNLISTED)
        case Meaning.VENDOR:
            return Outcome.failed(reason, retry_after_s=wait_s)
        case Meaning.UNKNOWN:
            return Outcome.unknown(reason)


CODE = re.compile(r"(?!.*\d{8})[A-Za-z0-9._-]{1,24}", re.ASCII)


def read_refusal(
    provider: str, code: str | int, words: Mapping[str, Word], *, text: str = "", asked_s: float | None = None
) -> Outcome:
    """Return the outcome of a refusal, by the meaning of its code. A code without an entry in `words` is `unlisted`.

    `asked_s` is the wait in seconds that the answer names. If our list has a longer wait, the longer one counts. The
    reason is `PROVIDER_CODE`, or `PROVIDER_unlisted` if the code looks like free text or a telephone number.
    """
    token = str(code)
    word = words.get(token)
    reason = f"{provider}_{token if CODE.fullmatch(token) else 'unlisted'}"
    if word is None:
        found = outcome_of(reason, Meaning.UNLISTED)
    else:
        found = outcome_of(reason, word.means, longer_s(asked_s, word.wait_s))
    return replace(found, text=text or reason)


def longer_s(asked_s: float | None, listed_s: float | None) -> float | None:
    """Return the longer of two waits in seconds, or None if both are None.

    For example, a vendor asks for 1 s, but by our list its code means a daily limit.
    """
    return max((wait_s for wait_s in (asked_s, listed_s) if wait_s is not None), default=None)


def apply_rules(outcome: Outcome, rules: Iterable[Rule]) -> Outcome:
    """Return the outcome as the operator's rules change it.

    The rules apply only if the vendor answered and did not accept the message. Otherwise the outcome is returned
    unchanged.
    """
    if outcome.kind is OutcomeKind.ACCEPTED or not outcome.answered:
        return outcome
    said = f"{outcome.reason}: {outcome.text}"
    for rule in rules:
        if rule.match.search(said):
            asked_s = outcome.retry_after_s if rule.wait_s is None else rule.wait_s
            return replace(outcome_of(outcome.reason, rule.means, asked_s), text=outcome.text)
    return outcome
