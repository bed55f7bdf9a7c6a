"""Templates over HTTP: who owns them, who may change them, and which template a trigger means by a name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dispatcher.adapters.api_keys import new_key
from tests.unit.serve_app.http_application import JSON, Edge
from tests.virtual import virtual

SCOPES = ("send", "read", "templates")
MEANT = {
    "event": "any",
    "recipient": {"phone": "+4915112345678"},
    "notifications": [{"channel": "sms", "template": "paid"}],
    "dry_run": True,
}


class Shops:
    """Two tenants and an operator, each with a key. It must be made in a test marked `@virtual`."""

    def __init__(self, folder: Path) -> None:
        keys = folder / "keys.json"
        self._keys = {name: new_key(keys, name, SCOPES) for name in ("acme", "other")}
        self._keys["chief"] = new_key(keys, "chief", (*SCOPES, "operate"))
        self.edge = Edge(keys)

    async def ask(self, who: str, method: str, path: str, body: Any = b"") -> Any:
        headers = {"authorization": f"Bearer {self._keys[who]}", **JSON}
        return await self.edge.call(method, path, body, headers)

    async def put(self, who: str, text: str, query: str = "", name: str = "paid") -> Any:
        return await self.ask(who, "PUT", f"/v1/templates/{name}{query}", {"text": text})

    async def text(self, who: str) -> str:
        """Return the text that the template `paid` gives for a trigger of the tenant `who`. A dry run shows it."""
        answer = await self.ask(who, "POST", "/v1/triggers", MEANT)
        assert answer.status == 200, answer.body
        found: str = answer.body["notifications"][0]["text"]
        return found


@virtual
async def test_a_tenants_own_template_goes_before_the_common_one(tmp_path: Path) -> None:
    """A tenant's own template is used for this tenant instead of the common one of the same name.

    After its deletion the common one is used again.
    """
    shops = Shops(tmp_path)
    assert (await shops.put("chief", "common")).body == {"name": "paid", "tenant": None, "version": 1}
    assert (await shops.put("acme", "acme's")).body == {"name": "paid", "tenant": "acme", "version": 1}
    assert [await shops.text(who) for who in ("acme", "other", "chief")] == ["acme's", "common", "common"]
    listed = await shops.ask("acme", "GET", "/v1/templates")
    assert listed.body == {"templates": {"paid": 1}, "own": ["paid"]}
    assert (await shops.ask("other", "GET", "/v1/templates")).body == {"templates": {"paid": 1}, "own": []}
    assert (await shops.ask("acme", "GET", "/v1/templates/paid")).body["tenant"] == "acme"
    assert (await shops.ask("other", "GET", "/v1/templates/paid")).body["tenant"] is None
    assert (await shops.ask("acme", "DELETE", "/v1/templates/paid")).status == 200
    assert await shops.text("acme") == "common"
    assert (await shops.ask("acme", "DELETE", "/v1/templates/paid")).status == 404


@virtual
async def test_no_tenant_changes_what_others_send(tmp_path: Path) -> None:
    """A tenant can change neither the common template nor another tenant's. An operator can, by naming the tenant."""
    shops = Shops(tmp_path)
    await shops.put("chief", "common")
    for method in ("PUT", "DELETE", "GET"):
        body = {"text": "mine"} if method == "PUT" else b""
        refused = await shops.ask("acme", method, "/v1/templates/paid?tenant=other", body)
        assert (refused.status, refused.body["field"]) == (403, "tenant")
    assert (await shops.ask("acme", "GET", "/v1/templates?tenant=other")).status == 403
    assert (await shops.ask("acme", "DELETE", "/v1/templates/paid")).status == 404
    assert await shops.text("other") == "common"
    assert (await shops.put("chief", "for the other", "?tenant=other")).body["tenant"] == "other"
    assert [await shops.text(who) for who in ("acme", "other")] == ["common", "for the other"]


@virtual
async def test_a_tenant_has_a_quota_and_operators_have_none(tmp_path: Path) -> None:
    """A tenant may store two templates of 10,000 bytes in all, which is this test's quota.

    An operator may store more.
    """
    shops = Shops(tmp_path)
    for name in ("a", "b"):
        assert (await shops.put("acme", "x", name=name)).status == 200
    refused = await shops.put("acme", "x", name="c")
    assert (refused.status, refused.body["field"]) == (422, "template")
    assert "a tenant may store 2 templates" in refused.body["detail"]
    assert (await shops.put("acme", "y" * 10_000, name="a")).status == 422
    for name in ("a", "b", "c", "d"):
        assert (await shops.put("chief", "x", name=name)).status == 200


@virtual
async def test_what_the_file_gives_is_not_deleted(tmp_path: Path) -> None:
    """A common template that the configuration file defines cannot be deleted, because it would be stored again at
    once.
    """
    shops = Shops(tmp_path)
    await shops.put("chief", "x", name="from-file")
    refused = await shops.ask("chief", "DELETE", "/v1/templates/from-file")
    assert (refused.status, refused.body["field"]) == (409, "name")
    await shops.put("acme", "x", name="from-file")
    assert (await shops.ask("acme", "DELETE", "/v1/templates/from-file")).status == 200


@virtual
async def test_a_preview_is_of_the_template_that_is_meant(tmp_path: Path) -> None:
    """A preview for a tenant shows the tenant's own template. If there is none, it shows the common template of this
    name.

    A preview for an operator shows the common template, or the template of the tenant that the operator names.
    """
    shops = Shops(tmp_path)
    await shops.put("chief", "common {{ n }}")
    await shops.put("acme", "acme's {{ n }}")
    for who, query, text in (
        ("acme", "", "acme's 1"),
        ("other", "", "common 1"),
        ("chief", "", "common 1"),
        ("chief", "?tenant=acme", "acme's 1"),
    ):
        answer = await shops.ask(who, "POST", f"/v1/templates/paid/preview{query}", {"data": {"n": 1}})
        assert answer.body["text"] == text


@virtual
async def test_a_preview_tells_what_an_sms_costs(tmp_path: Path) -> None:
    """A preview has the encoding and the segments of its rendered text as an SMS, even if the template has a
    subject.
    """
    shops = Shops(tmp_path)
    await shops.put("acme", "{{ n }}")
    for n, size in (("€" * 81, {"encoding": "gsm", "segments": 2}), ("ç" * 71, {"encoding": "ucs2", "segments": 2})):
        answer = await shops.ask("acme", "POST", "/v1/templates/paid/preview", {"data": {"n": n}})
        assert answer.body["sms"] == size
    await shops.ask("acme", "PUT", "/v1/templates/paid", {"subject": "Paid", "text": "{{ n }}"})
    answer = await shops.ask("acme", "POST", "/v1/templates/paid/preview", {"data": {"n": "Hi"}})
    assert answer.body["sms"] == {"encoding": "gsm", "segments": 1}


@pytest.mark.parametrize("name", ["acme%2Fpaid", "other%2Fpaid"])
@virtual
async def test_a_stored_name_is_no_way_around(tmp_path: Path, name: str) -> None:
    """A caller cannot use a stored name such as `acme/paid`, because a template's name in a request must not contain
    a slash.
    """
    shops = Shops(tmp_path)
    await shops.put("acme", "acme's")
    for method in ("GET", "PUT", "DELETE"):
        answer = await shops.ask("other", method, f"/v1/templates/{name}", {"text": "x"} if method == "PUT" else b"")
        assert answer.status in (404, 405, 422)
    trigger = {**MEANT, "notifications": [{"channel": "sms", "template": "acme/paid"}]}
    assert (await shops.ask("other", "POST", "/v1/triggers", trigger)).status == 422


@virtual
async def test_without_keys_a_template_is_common_unless_a_tenant_is_named() -> None:
    """On a service without keys every caller is an operator. A template that such a caller stores is common.

    If the caller names a tenant, the template belongs to that tenant.
    """
    edge = Edge()
    headers = {**JSON, "host": "localhost"}
    assert (await edge.call("PUT", "/v1/templates/t", {"text": "x"}, headers)).body["tenant"] is None
    assert (await edge.call("PUT", "/v1/templates/t?tenant=a", {"text": "y"}, headers)).body["tenant"] == "a"
    assert (await edge.call("DELETE", "/v1/templates/t", headers=headers)).status == 200
