from __future__ import annotations

from pathlib import Path

from gateway.demo.configuration import CERTIFIED, POLICIES, TENANT_HOSTS, Certificate, Ports, configure, gateway_yaml
from gateway.demo.invoices import CUSTOMERS
from gateway.policy import compile_policy
from gateway.server.settings import load_settings

PORTS = Ports(https=8443, redirect=8080, admin=9090)


def test_the_gateway_accepts_its_settings_without_a_warning() -> None:
    settings = load_settings(gateway_yaml(PORTS, 3000), "/demo/gateway.yaml")
    assert settings.warnings() == []
    assert str(settings.public_url) == "https://127.0.0.1:8443"
    assert dict(settings.hosts) == {"127.0.0.1": "", "acme.localhost": "acme", "globex.localhost": "globex"}
    assert [str(server) for server in settings.upstreams["portal"].servers] == ["http://127.0.0.1:3000"]


def test_every_customer_has_a_host_and_every_host_is_certified() -> None:
    assert set(TENANT_HOSTS) == set(CUSTOMERS)
    assert set(TENANT_HOSTS.values()) <= set(CERTIFIED)


def test_its_policy_compiles_without_a_warning() -> None:
    text = (POLICIES / "portal.yaml").read_text(encoding="utf-8")
    table, warnings = compile_policy(
        {"portal.yaml": text}, upstreams={"portal"}, tenants=set(CUSTOMERS), hosts=["127.0.0.1"]
    )
    assert warnings == []
    assert table.roles == {"client", "billing", "admin"}


def test_every_page_of_the_portal_has_a_route(tmp_path: Path) -> None:
    from gateway.demo.portal import portal

    text = (POLICIES / "portal.yaml").read_text(encoding="utf-8")
    table, _ = compile_policy({"portal.yaml": text}, upstreams={"portal"}, tenants=set(CUSTOMERS), hosts=["127.0.0.1"])
    served = {
        (route.method, route.resource.canonical.replace("/static", "/static/x"))
        for route in portal(tmp_path).router.routes()
        if route.resource
    }
    for method, path in served:
        concrete = path.replace("{tenant}", "acme").replace("{number}", "1")
        assert hasattr(table.resolve("127.0.0.1", concrete, method), "route"), (method, path)


def test_writing_keeps_the_keys_and_replaces_the_rest(tmp_path: Path) -> None:
    (tmp_path / "config" / "tls").mkdir(parents=True)
    (tmp_path / "config" / "tls" / "key.pem").touch(mode=0o600)
    (tmp_path / "config" / "keyring.json").write_text("kept")
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "sample.yaml").write_text("gone")
    configure(tmp_path, PORTS, 3000, Certificate(b"certificate", b"key"))
    assert (tmp_path / "config" / "keyring.json").read_text() == "kept"
    assert sorted(path.name for path in (tmp_path / "policies").rglob("*.yaml")) == ["portal.yaml", "portal.yaml"]
    assert (tmp_path / "config" / "tls" / "key.pem").stat().st_mode & 0o777 == 0o600
