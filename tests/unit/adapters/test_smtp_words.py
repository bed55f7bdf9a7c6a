"""Checks replies of real mail servers: what each reply proves about the message, the recipient and our account."""

from __future__ import annotations

import time

import pytest

from dispatcher.adapters.providers.smtp_words import meaning_of
from dispatcher.core.life.outcome import DAILY_S, Meaning

ACCOUNT = [
    (535, "5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant"),
    (530, "5.7.57 Client not authenticated to send mail."),
    (550, "5.1.8 Access denied, bad outbound sender AS(42003)"),
    (550, "5.7.705 Service unavailable. Access denied, tenant has exceeded threshold"),
    (550, "5.7.708 Service unavailable. Access denied, traffic not accepted from this IP"),
    (550, "5.7.750 Service unavailable. Client blocked from sending from unregistered domain"),
    (554, "5.2.0 STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied; Failed to process"),
    (554, "5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org"),
    (554, "5.7.1 <unknown[192.0.2.1]>: Client host rejected: Access denied"),
    (450, "4.7.25 Client host rejected: cannot find your hostname, [192.0.2.1]"),
    (504, "5.5.2 <localhost>: Helo command rejected: need fully-qualified hostname"),
    (550, "The from address does not match a verified Sender Identity. Mail cannot be sent until this is resolved."),
    (554, "Access denied: User `arn:aws:iam::1:user/x' is not authorized to perform `ses:SendRawEmail' on resource"),
]
DAILY = [
    (550, "5.4.5 Daily SMTP relay sending limit exceeded for user."),
    (550, "5.7.1 Daily SMTP relay limit exceeded for customer. For more information"),
    (550, "5.1.90 Your message can't be sent because you've reached your daily limit for message recipients"),
    (550, "5.7.233 Your message can't be sent because your tenant exceeded its daily limit for sending e-mail"),
    (554, "5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; Failed to process message"),
    (
        550,
        "User me@site.com has exceeded its 24-hour sending limit. Messages to 25 recipients out of 25 have been sent.",
    ),
    (554, "5.7.1 <DATA>: Data command rejected: limit of 400 rcpts per 24 hours for client x reached"),
    (
        451,
        "Domain example.com has exceeded the max emails per hour (500/500 (100%)) allowed. Message will be reattempted",
    ),
    (
        550,
        "Domain example.com has exceeded the max defers and failures per hour (5/5 (100%)) allowed. Message discarded.",
    ),
    (451, "You have exceeded your messaging limits"),
    (454, "Throttling failure: Daily message quota exceeded."),
    (554, "Message rejected: Sending paused for this account. For more information, please check the inbox"),
    (420, "4.0.0 Exceed Sending Limit (daily)"),
    (550, "5.4.6 Unusual sending activity detected. Please try after sometime"),
    (450, "Requested mail action not taken: mailbox unavailable\nMail send limit exceeded. For explanation visit"),
]
RATE = [
    (421, "4.7.28 Gmail has detected an unusual rate of unsolicited mail originating from your IP address"),
    (421, "4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to user complaints"),
    (432, "4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded [Hostname=X]"),
    (432, "4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending"),
    (451, "4.7.500 Server busy. Please try again later from [192.0.2.1]. (S77719)"),
    (454, "Throttling failure: Maximum sending rate exceeded."),
    (550, "5.7.0 Requested action not taken: too many emails per second"),
    (450, "too frequent connects from 192.0.2.1, please try again later."),
    (550, "Connection frequency limited http://service.mail.qq.com/cgi-bin/help?subtype=1"),
    (450, "4.7.1 Error: too much mail from 192.0.2.1"),
]
DEFERRED = [
    (450, "4.2.1 The user you are trying to contact is receiving mail too quickly."),
    (552, "5.2.2 The email account that you tried to reach is over quota and inactive"),
    (552, "5.2.2 The recipient's mailbox has exceeded its quota"),
    (450, "4.1.1 <a@x.test>: Recipient address rejected: unverified address: connect to x.test: timed out"),
    (450, "4.1.2 <a@x.test>: Recipient address rejected: Domain not found"),
    (451, "Temporary local problem - please try later"),
    (552, "5.1.1 <a@x.test> recipient rejected - extended quota violation"),
    (552, "5.1.1 Boite du destinataire pleine. Recipient overquota. OFR_417 [417]"),
    (552, "Requested mail action aborted: exceeded storage allocation, mailbox full"),
    (421, "4.1.1 <a@x.test>: Recipient address rejected: unverified address: Address verification in progress"),
    (421, "4.2.1 mailbox temporarily disabled"),
    (421, "4.7.0 Our system has detected that this message is suspicious due to the nature of the content"),
    (450, "5.1.1 <a@x.test>: User unknown"),
]
UNLISTED = [
    (550, "Rejected: 5.1.1.23 is listed at bl.example"),
    (554, "5.1.1.7 found in dnsbl"),
    (550, "smtpd 5.1.1 refuses: relaying denied"),
    (554, "Free accounts are for test purposes only. Please add the address to authorized recipients."),
    (554, "delivery error: dd This user doesn't have a yahoo.com account"),
    (550, "Unrouteable address"),
    (552, "5.3.4 Message size exceeds fixed limit"),
    (550, "5.7.26 Your email has been blocked because the sender is unauthenticated."),
    (552, "Mailbox has exceeded its limit"),
    (552, "5.1.1 Mailbox delivery failure policy error"),
    (550, "5.7.1 Our system has detected that this message is likely unsolicited mail."),
    (553, "5.3.0 alpd681 DNSBL:RBL 521< 192.0.2.1 >_is_blocked. For assistance forward this error to abuse@a.test"),
    (550, "5.2.0 Mail rejete. Mail rejected. ofr_506 [506]"),
]
FINAL = [
    (550, "5.1.1 The email account that you tried to reach does not exist."),
    (550, "5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup"),
    (553, "5.1.3 The recipient address <a> is not a valid RFC 5321 address"),
    (550, "5.2.1 The email account that you tried to reach is disabled"),
    (550, "sorry, no mailbox here by that name. (#5.1.1)"),
]
REPLIES = [
    *[(Meaning.ACCOUNT, *reply) for reply in (*ACCOUNT, *DAILY)],
    *[(Meaning.RATE, *reply) for reply in RATE],
    *[(Meaning.DEFERRED, *reply) for reply in DEFERRED],
    *[(Meaning.UNLISTED, *reply) for reply in UNLISTED],
    *[(Meaning.FINAL, *reply) for reply in FINAL],
]


@pytest.mark.parametrize(("means", "code", "text"), REPLIES, ids=lambda value: str(value)[:40])
def test_a_relays_reply_means_what_its_writer_meant(means: Meaning, code: int, text: str) -> None:
    """Each reply gets the meaning that its mail server intended.

    The replies are quoted from public reports and providers' pages.
    """
    assert meaning_of(code, text, mailed=True, named=False).means is means


@pytest.mark.parametrize(("code", "text"), DAILY)
def test_a_quota_that_is_used_up_is_not_asked_about_each_minute(code: int, text: str) -> None:
    """A server replies that a daily or hourly quota is used up. The next try then waits for `DAILY_S`."""
    assert meaning_of(code, text, mailed=True, named=True).wait_s == DAILY_S


@pytest.mark.parametrize(
    "echo",
    [
        "<daily_limit@x.test>: Recipient address rejected: User unknown in virtual mailbox table",
        "<dailylimit@x.test>: Recipient address rejected: User unknown in virtual mailbox table",
        "hourlyquota@x.test... User unknown",
        "<sendasdenied@greylist.test>: no such user",
        "<a@greylist.test>: no such user",
        "SendAsDenied: no such user",
        "dailyquota not known here",
    ],
)
def test_an_address_that_reads_like_a_sentence_is_none(echo: str) -> None:
    """Words inside the quoted recipient's address do not count as words of the reply.

    Otherwise a recipient with such an address could cut off a vendor for everybody.
    """
    assert meaning_of(550, f"5.1.1 {echo}", mailed=True, named=False).means is Meaning.FINAL


@pytest.mark.parametrize(
    "unit", ["STOREDRV", "a@", "<", "x", "recipient's ", "daily a ", "5.1.1 ", "Client host [", "\n"]
)
def test_a_long_reply_is_read_in_no_time(unit: str) -> None:
    """Any reply of 64 KB is judged in under 0.5 s of CPU, because nothing else is sent meanwhile."""
    began_s = time.process_time()
    meaning_of(550, unit * (65_536 // len(unit)), mailed=True, named=True)
    assert time.process_time() - began_s < 0.5


@pytest.mark.parametrize(
    "text",
    [
        "5.1.1 Mailbox unavailable: messages from your IP are on our block list (S3150)",
        "5.1.1 <ada@example.org>: blocked using Spamhaus",
        "5.2.1 Your account has been suspended for sending spam",
        "5.1.1 Recipient rejected: DMARC policy of the sender",
        "5.1.3 relaying denied for this host",
    ],
)
def test_a_code_that_its_sentence_contradicts_ends_nothing(text: str) -> None:
    """A reply with a code such as 5.1.1 whose text speaks of the sender has the meaning UNLISTED, so that the next
    vendor is tried (mautic 9222).
    """
    assert meaning_of(550, text, mailed=True, named=False).means is Meaning.UNLISTED


@pytest.mark.parametrize(
    "text",
    [
        "5.1.1 <blocked@spam.example>: Recipient address rejected: User unknown in virtual mailbox table",
        "5.1.1 sorry, no mailbox here by that name. (#5.1.1)",
        "5.2.1 The email account that you tried to reach is inactive.",
    ],
)
def test_an_unknown_user_is_final_whatever_the_address_reads_like(text: str) -> None:
    assert meaning_of(550, text, mailed=True, named=False).means is Meaning.FINAL


@pytest.mark.parametrize("text", ["4.1.1 unverified address: connect timed out", "4.1.2 Domain not found"])
@pytest.mark.parametrize("named", [False, True])
def test_an_address_that_cannot_be_checked_now_waits(text: str, named: bool) -> None:
    """A reply which says that the recipient's address cannot be checked now means DEFERRED, whether it comes
    before or after the message.
    """
    assert meaning_of(450, text, mailed=True, named=named).means is Meaning.DEFERRED
