"""The template and the route that a dead letter would have if it were accepted today.

A redrive keeps the accepted template and route, unless the operator asks for today's template or route. So an old
letter uses a corrected template or a new vendor only if the operator asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass

from dispatcher.config.settings import Settings
from dispatcher.core.accepting.routing import Traffic, choose_chain
from dispatcher.core.accepting.segments import EventLimit, able_vendors
from dispatcher.core.accepting.wording import missing_text
from dispatcher.core.life.notification import Notification, TemplatePin, pin_of
from dispatcher.core.life.redrive import Refused
from dispatcher.core.life.sms_text import forbidden, measure
from dispatcher.errors import CallerError, TemplateError
from dispatcher.templates.cache import TemplateCache
from dispatcher.templates.compile import Rendered
from dispatcher.templates.owned import plain_name
from dispatcher.wire.trigger import phone_region


@dataclass(frozen=True, slots=True)
class Wanted:
    """Names the parts of a dead letter that a redrive replaces by those of today: the template, the route, or both."""

    template: bool = False
    route: bool = False


@dataclass(frozen=True, slots=True)
class Changed:
    """The chain and the template with which a dead letter is redriven. None keeps the accepted one."""

    chain: tuple[str, ...] | None = None
    template: TemplatePin | None = None


class RedriveUpdates:
    """Checks whether dead letters can be sent with today's template or route. No letter is changed here."""

    def __init__(self, settings: Settings, templates: TemplateCache) -> None:
        self._settings, self._templates = settings, templates

    async def of(self, n: Notification | None, wanted: Wanted) -> Changed | Refused:
        """Return the chain and the template with which the dead letter `n` will be sent. `wanted` says which of the two
        becomes today's. The other stays as accepted.

        Return a refusal if the letter cannot be sent with them. Raises UnavailableError.
        """
        if n is None:
            return Refused("its record cannot be read")
        accepted = pin_of(n)
        template, chain = accepted, n.chain
        try:
            if wanted.template and accepted is not None:
                found = self._templates.find(n.tenant, plain_name(accepted.name))
                if found is None:
                    return Refused(f"the template {plain_name(accepted.name)} is not stored")
                template = TemplatePin(*found, (await self._templates.get(*found)).digest)
            said = await self._said(n, template)
            missing = missing_text(n.channel, said.subject, said.text)
            if missing is not None:
                return Refused(f"{missing[0]}: {missing[1]}")
            if wanted.route:
                chain = self._chain(n)
            if n.channel == "sms":
                chain = self._able(n, said.text, chain)
        except TemplateError as error:
            return Refused(str(error))
        except CallerError as error:
            return Refused(str(error))
        kept = template is None or accepted is None or accepted.holds(template)
        return Changed(chain if wanted.route else None, None if kept else template)

    async def _said(self, n: Notification, template: TemplatePin | None) -> Rendered:
        if template is None:
            content = n.content or {}
            return Rendered(content.get("subject"), content.get("text", ""), content.get("html"))
        return (await self._templates.get(*template)).render(n.data, n.locale)

    def _chain(self, n: Notification) -> tuple[str, ...]:
        country = phone_region(n.to) if n.channel == "sms" else None
        allowed = self._settings.limits.sms_countries
        if n.channel == "sms" and allowed is not None and country not in allowed:
            raise CallerError(
                "phone", f"must be of a country in limits.sms_countries, and is of {country or 'an unknown country'}"
            )
        return choose_chain(self._settings.routes, Traffic(n.channel, n.event, n.tenant, country, n.priority), n.id)

    def _able(self, n: Notification, text: str, chain: tuple[str, ...]) -> tuple[str, ...]:
        """Return the vendors of the chain that may send a text of this length. Raises CallerError if no vendor may send
        it.

        A vendor that is no longer configured has no limit on the number of segments.
        """
        broken = forbidden(text)
        if broken is not None:
            raise CallerError("data", broken)
        event, vendors = self._settings.events.get(n.event), self._settings.vendors
        limit = None if event is None or event.segments_max is None else EventLimit(n.event, event.segments_max)
        size = measure(text)
        vendors_max = {name: vendors[name].segments_max if name in vendors else size.segments for name in chain}
        return able_vendors(chain, size, vendors_max, limit, field="data")
