"""Reads what HAProxy says about the certificate with which this machine listens by HTTPS.

HAProxy adds one header to the requests for /healthz and /metrics (`cluster.local.haproxy_tls`). So the answer is about
the machine that was asked, whichever intake replica answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

HEADER = "x-dispatcher-certificate"
WARN_S = 21 * 86_400
_FORM = re.compile(r"(\d{1,12}),(current|refused)")


@dataclass(frozen=True, slots=True)
class ListenerCertificate:
    """The certificate in force on one machine.

    Attributes:
        ends_s: when the certificate expires, in seconds of wall time.
        refused: True if the certificate's files have changed and the new files are refused.
    """

    ends_s: int
    refused: bool

    def warnings(self, now_ms: int) -> Iterator[str]:
        """Yield a sentence for each thing that an operator should do."""
        left_s = self.ends_s - now_ms / 1000
        if left_s < WARN_S:
            yield f"the certificate of this machine is valid for only {max(left_s, 0.0) / 86_400:.0f} more days"
        if self.refused:
            yield "the new certificate of this machine is refused (event certificate_refused), and the old one is used"


def read_header(text: str | None) -> ListenerCertificate | None:
    """Return what the header from HAProxy says about the certificate.

    Return None if the header is missing or has another form.
    """
    found = _FORM.fullmatch(text or "")
    return None if found is None else ListenerCertificate(int(found[1]), found[2] == "refused")
