"""The meanings of SMTP replies with which a mail server refuses something.

A reply is read in this order: a listed sentence, then the enhanced code (RFC 3463), then the command. Up to the answer
to MAIL no recipient was named, so a 5xx concerns our account. After that, a 5xx without a listed code proves nothing
about the recipient: by default Postfix refuses a client or a sender only at RCPT, and Gmail and SES report a used-up
quota there. A 4xx to RCPT concerns this recipient and is temporary, for example greylisting or a full mailbox.

Rules -----
1. A recipient may choose an address that looks like a sentence of a relay. So addresses are removed before reading.
2. An enhanced code stands at the beginning of a line (RFC 2034, section 4), or in brackets after `#`, as qmail writes.
   `5.1.1.7` is no code but an IP address. The code counts only if its first digit is the first digit of the reply:
   `450 5.1.1` is not final.
"""

from __future__ import annotations

import re

from dispatcher.core.life.outcome import DAILY_S, READ_CHARS_MAX, Meaning, Word, find_phrase, listed, phrase

CLOSING = 421
"""The reply code with which a server announces that it closes the connection (RFC 5321, section 3.8)."""

UNAUTHENTICATED = (530, 534, 535, 538)
"""Reply codes that concern our credentials, whichever command they answer (RFC 4954, section 6)."""

RFC_3463 = "RFC 3463, section 3"
GMAIL = "https://support.google.com/a/answer/3726730"
SES = "https://docs.aws.amazon.com/ses/latest/dg/troubleshoot-smtp.html"
SENDGRID = "https://www.twilio.com/docs/sendgrid/for-developers/sending-email/smtp-errors-and-troubleshooting"
POSTFIX = "https://www.postfix.org/postconf.5.html"
EXCHANGE = "https://learn.microsoft.com/exchange/mail-flow-best-practices/non-delivery-reports-in-exchange-online"
CPANEL = "cPanel & WHM, Tweak Settings: max hourly emails per domain"
FIELD = "smtpfieldmanual.com, as Comcast, Orange and Google answer"
REPORTS = "quoted in public reports: nodemailer 1137, deltachat-core 647"
PHRASES = (
    phrase(r"gr[ae]y-?list", Meaning.DEFERRED, "RFC 6647"),  # also said after the mail itself, with any code
    phrase(r"recipient('s|s'| has| is)\b[^.]*\b(limit|quota)", Meaning.DEFERRED, EXCHANGE),  # the recipient's limit
    phrase(r"receiving mail (too quickly|at a rate)", Meaning.DEFERRED, GMAIL),  # also said with a final code
    # A full mailbox, also said with the code of an unknown one (Comcast, Orange). A quota alone may be ours.
    phrase(r"over ?quota|(user|recipient|mailbox|storage|extended) quota|mailbox (is )?full", Meaning.DEFERRED, FIELD),
    # Our quota, as many relays name it. "a mailbox that exceeded its quota" must not match.
    phrase(r"\b(daily|hourly|monthly|24-hour)\b[\w ]* (quota|limit)\b", Meaning.ACCOUNT, GMAIL, DAILY_S),
    phrase(r"\b(sending|send) limit( exceeded| \((daily|hourly|monthly)\))", Meaning.ACCOUNT, REPORTS, DAILY_S),
    phrase(r"\blimit of \d+ \w+ per (\d+ )?(hours?|days?)\b", Meaning.ACCOUNT, REPORTS, DAILY_S),
    phrase(r"exceeded the max [\w ]+ per hour", Meaning.ACCOUNT, CPANEL, DAILY_S),
    phrase(r"exceeded your messaging limits|Maximum credits exceeded", Meaning.ACCOUNT, SENDGRID, DAILY_S),
    phrase(r"Daily message quota exceeded|sending paused|Sending suspended", Meaning.ACCOUNT, SES, DAILY_S),
    phrase(r"STOREDRV.*(submission quota|SubmissionQuotaExceeded)", Meaning.ACCOUNT, EXCHANGE, DAILY_S),
    phrase(r"Unusual sending activity detected", Meaning.ACCOUNT, "Zoho Mail, error 5.4.6", DAILY_S),
    # Our rate.
    phrase(r"Maximum sending rate exceeded|Throttling failure", Meaning.RATE, SES),
    phrase(r"too much mail", Meaning.RATE, POSTFIX),  # the limits of Postfix's anvil for one client
    phrase(r"(thread|Concurrent connections) limit exceeded|\bServer busy\b", Meaning.RATE, EXCHANGE),
    phrase(r"too many emails per (second|minute)", Meaning.RATE, "Mailtrap, also with a final code"),
    phrase(r"too frequent connects", Meaning.RATE, SENDGRID),
    phrase(
        r"\b(connection|domain|ip) frequency limited", Meaning.RATE, "QQ Mail, with a final code (postal issue 1010)"
    ),
    # Our host, our sender, our rights.
    phrase(r"Helo command rejected", Meaning.ACCOUNT, POSTFIX),
    phrase(r"Client host (\[[^\]]*\] )?(rejected|blocked)", Meaning.ACCOUNT, POSTFIX),
    phrase(r"Sender address rejected|not owned by user", Meaning.ACCOUNT, POSTFIX),
    phrase(r"STOREDRV.*SendAsDenied|permissions to send as this sender", Meaning.ACCOUNT, EXCHANGE),
    phrase(r"does not match a verified Sender Identity", Meaning.ACCOUNT, SENDGRID),
    phrase(r"is not authorized to perform .?ses:", Meaning.ACCOUNT, SES),
)
"""The meanings of sentences. The sentences are read before any code, because relays send misleading codes with them."""

ENHANCED = (
    listed(Meaning.FINAL, RFC_3463, "5.1.1", "5.1.3", "5.1.6", "5.2.1")  # no such mailbox, syntax, moved, disabled
    | listed(Meaning.FINAL, "RFC 7505, section 4.3", "5.1.10")  # a domain that accepts no mail
    | listed(Meaning.DEFERRED, RFC_3463, "5.2.2")  # a full mailbox
    | listed(Meaning.DEFERRED, EXCHANGE, "5.2.121", "5.2.122")  # a mailbox gets only so many mails an hour
    | listed(Meaning.ACCOUNT, RFC_3463, "5.1.7", "5.1.8", "4.1.7", "4.1.8", "5.7.8")  # our sender, our credentials
    | listed(Meaning.ACCOUNT, GMAIL, "5.4.5", wait_s=DAILY_S)  # the daily sending quota
    | listed(Meaning.ACCOUNT, EXCHANGE, "5.1.90", "5.7.233", wait_s=DAILY_S)  # daily limits of mailbox and tenant
    | listed(Meaning.ACCOUNT, EXCHANGE, "5.7.60", "5.7.705", "5.7.708", "5.7.750")  # a sender or tenant without rights
)
"""The meanings of enhanced status codes after MAIL was accepted. A mail with any other 5xx goes to the next vendor."""

_ENHANCED_CODE = re.compile(r"(?:^[ #]*|\(#)([245]\.\d{1,3}\.\d{1,3})(?!\.?\d)", re.MULTILINE)
_ADDRESS = re.compile(r"<[^<>]*>|\S*@\S*")


_ABOUT_THE_SENDER = re.compile(
    r"\bblock(ed|list|ing)?\b|\bblacklist|\bspam\b|spamhaus|\breputation\b|\byour (ip|account|host|server|network)\b"
    r"|\b(dmarc|spf|dkim)\b|\brelay(ing)? (access )?denied\b|\brate limit|\bpolicy\b",
    re.IGNORECASE,
)
_ONE_MAIL = re.compile(r"\bthis message is (likely )?(suspicious|unsolicited)\b", re.IGNORECASE)
_CONTRADICTED = Word(Meaning.UNLISTED, "the sentence contradicts its code: it is about the sender")


def meaning_of(code: int, text: str, *, mailed: bool, named: bool) -> Word:
    """Return what a 4xx or 5xx reply means.

    `mailed` says that the server has accepted the sender, and `named` that it has accepted the recipient as well.
    """
    text = text[:READ_CHARS_MAX]
    sentence = _ADDRESS.sub("", text)
    spoken = find_phrase(sentence, PHRASES)
    if spoken is not None:
        return spoken
    if (
        code == CLOSING
        and mailed
        and (_enhanced(code, text).startswith(("4.1.", "4.2.")) or _ONE_MAIL.search(sentence))
    ):
        return Word(Meaning.DEFERRED, "RFC 3463, sections 3.2 and 3.3; Gmail says it of one mail")
    if code == CLOSING:
        return Word(Meaning.RATE, "RFC 5321, section 3.8")
    if code in UNAUTHENTICATED:
        return Word(Meaning.ACCOUNT, "RFC 4954, section 6")
    if not mailed:
        return Word(Meaning.ACCOUNT if code >= 500 else Meaning.VENDOR, "RFC 5321, section 4.2.1")
    enhanced = _enhanced(code, text)
    if enhanced in ENHANCED:
        word = ENHANCED[enhanced]
        return word if word.means is not Meaning.FINAL or not _ABOUT_THE_SENDER.search(sentence) else _CONTRADICTED
    if code >= 500:
        return Word(Meaning.UNLISTED, "no list names it")
    if named and not enhanced.startswith(("4.1.", "4.2.", "4.7.")):
        return Word(Meaning.VENDOR, "RFC 5321, section 4.2.1")
    # RFC 3463: 4.3.x is a fault of the mail system. Any other 4xx to RCPT concerns the recipient, such as greylisting.
    own_trouble = enhanced.startswith("4.3.")
    return Word(Meaning.VENDOR if own_trouble else Meaning.DEFERRED, "RFC 5321, section 4.5.4.1; RFC 6647")


def _enhanced(code: int, text: str) -> str:
    """Return the enhanced code in `text`, such as 5.1.1, or "" if there is none.

    An enhanced code does not count if its first digit differs from the first digit of the reply `code`.
    """
    found = _ENHANCED_CODE.search(text)
    return found[1] if found is not None and found[1][0] == str(code)[0] else ""
