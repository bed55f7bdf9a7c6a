"""A trigger expands to drafts of notifications, and a trigger that cannot be sent whole is refused."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dispatcher.config.settings import EventSettings
from dispatcher.core.accepting import expansion, routing
from dispatcher.core.accepting.expansion import Draft, expand
from dispatcher.errors import CallerError
from dispatcher.wire.trigger import TriggerRequest, parse_trigger

EVENTS = {
    "paid": EventSettings.model_validate(
        {"notifications": [{"channel": "sms", "template": "short"}, {"channel": "email", "template": "long"}]}
    )
}
TEMPLATES = {"short": 3, "long": 1}
BOTH = {"email": "ada@example.com", "phone": "+4915112345678"}


def found(templates: dict[str, int]) -> Callable[[str], tuple[str, int] | None]:
    return lambda name: (name, templates[name]) if name in templates else None


def request(recipient: dict[str, str], event: str = "paid", **more: Any) -> TriggerRequest:
    return parse_trigger({"event": event, "recipient": recipient, **more})


def test_an_event_means_all_its_notifications_in_order() -> None:
    """An event expands to all its notifications in order.

    Each draft has the recipient's address for its channel and the newest version of its template.
    """
    assert expand(request(BOTH), EVENTS, found(TEMPLATES)) == [
        Draft("sms", "+4915112345678", "short", 3),
        Draft("email", "ada@example.com", "long", 1),
    ]


def test_a_request_may_list_its_own() -> None:
    """A request that lists its own notifications may name an unknown event.

    The request's content is used as it is given.
    """
    listed = [
        {"channel": "email", "content": {"subject": "S", "text": "{{ not a template }}"}},
        {"channel": "sms", "template": "short"},
    ]
    assert expand(request(BOTH, event="anything", notifications=listed), EVENTS, found(TEMPLATES)) == [
        Draft("email", "ada@example.com", content={"subject": "S", "text": "{{ not a template }}"}),
        Draft("sms", "+4915112345678", "short", 3),
    ]


@pytest.mark.parametrize(
    ("made", "field"),
    [
        pytest.param(request(BOTH, event="unknown"), "event", id="unknown event"),
        pytest.param(request({"email": "ada@example.com"}), "recipient.phone", id="no phone"),
        pytest.param(request({"phone": "+4915112345678"}), "recipient.email", id="no e-mail"),
        pytest.param(
            request(BOTH, notifications=[{"channel": "sms", "template": "no"}]),
            "notifications.0.template",
            id="unknown template",
        ),
        pytest.param(
            request(BOTH, notifications=[{"channel": "push", "content": {"text": "x"}}]),
            "notifications.0.channel",
            id="no push address",
        ),
    ],
)
def test_what_cannot_be_sent_whole_is_refused(made: TriggerRequest, field: str) -> None:
    """If one notification of a trigger cannot be sent, the whole trigger is refused. The refusal names the field at
    fault.
    """
    with pytest.raises(CallerError) as caught:
        expand(made, EVENTS, found(TEMPLATES))
    assert caught.value.field == field


def test_an_event_whose_template_is_not_stored_is_refused() -> None:
    """An event whose template is not in the store is refused, because each draft needs a template version."""
    with pytest.raises(CallerError, match="which long is not"):
        expand(request(BOTH), EVENTS, found({"short": 3}))


@pytest.mark.parametrize("module", [expansion, routing])
def test_the_core_imports_the_standard_library_only(module: Any) -> None:
    """The modules import only the standard library, `dispatcher.core` and `dispatcher.errors`."""
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    for name in names:
        assert name.partition(".")[0] in sys.stdlib_module_names or name.startswith(
            ("dispatcher.core", "dispatcher.errors")
        )
