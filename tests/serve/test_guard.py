"""Requests that name another host, come from another site, or lack the token are refused."""

import pytest

from tests.serving import photo_bytes, sentence_of, serving
from unetkit.serve.guard import MODEL_HEADER, SECURITY_HEADERS, Access
from unetkit.serve.limits import RefusedError

TOKEN = "a-token-of-the-tests"
SITE = "https://site.example"
PATHS = ("/", "/v1/model", "/v1/predict", "/health", "/ready", "/metrics", "/openapi.json", "/none")


class TestHost:
    @pytest.mark.parametrize("path", PATHS)
    def test_a_host_that_is_not_of_this_server_is_refused_everywhere(self, service, path):
        response = service.get(path, Host="rebound.example")
        assert response.status_code == 421
        assert "'rebound.example' is not one of this server" in sentence_of(response)

    @pytest.mark.parametrize("host", ["", "127.0.0.1", "127.0.0.1:1", "localhost", "[::1]"])
    def test_another_port_or_none_is_refused(self, service, host):
        assert service.get("/health", Host=host).status_code == 421

    def test_localhost_is_accepted_with_the_port(self, service):
        assert service.get("/health", Host=f"LocalHost:{service.port}").status_code == 200

    @pytest.mark.parametrize(
        ("host", "is_accepted"),
        [
            ("a.example", True),
            ("a.example:8080", True),
            ("b.example:80", True),
            ("b.example", False),
        ],
    )
    def test_a_name_without_a_port_is_accepted_with_any(self, host, is_accepted):
        access = Access(hosts=("a.example", "b.example:80"))
        if is_accepted:
            access.require_host(host)
        else:
            with pytest.raises(RefusedError, match=r"'b.example' is not one of this server"):
                access.require_host(host)


class TestOrigin:
    @pytest.mark.parametrize("origin", [SITE, "null", "http://127.0.0.1:1", "nonsense"])
    def test_pages_of_other_sites_are_refused(self, service, origin):
        response = service.post(photo_bytes(), Origin=origin)
        assert response.status_code == 403
        assert "may not use this server" in sentence_of(response)
        assert "access-control-allow-origin" not in response.headers

    def test_its_own_pages_are_accepted(self, service):
        assert service.get("/v1/model", Origin=f"http://{service.host}").status_code == 200

    def test_a_named_site_is_accepted_and_told_so(self, built_in):
        with serving(built_in, origins=(SITE,), token=TOKEN) as running:
            asked = {"Access-Control-Request-Method": "POST", "Origin": SITE}
            with running.client() as client:
                before = client.options("/v1/predict", headers=asked)
            bearer = {"Authorization": f"Bearer {TOKEN}"}
            response = running.post(photo_bytes(), Origin=SITE, **bearer)
            other = running.post(photo_bytes(), Origin="https://other.example", **bearer)
        assert before.status_code == response.status_code == 200
        assert before.headers["access-control-allow-origin"] == SITE
        assert response.headers["access-control-allow-origin"] == SITE
        assert MODEL_HEADER in response.headers["access-control-expose-headers"]
        assert other.status_code == 403


class TestToken:
    @pytest.fixture(scope="class")
    @classmethod
    def locked(cls, built_in):
        with serving(built_in, token=TOKEN) as running:
            yield running

    @pytest.mark.parametrize("path", ["/v1/model", "/metrics", "/openapi.json", "/none"])
    @pytest.mark.parametrize(
        "given", [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x"]
    )
    def test_without_it_nothing_is_told(self, locked, path, given):
        response = locked.get(path, **({} if given is None else {"Authorization": given}))
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert "token is missing or wrong" in sentence_of(response)

    def test_a_token_of_other_characters_is_refused(self, locked):
        assert (
            locked.get("/v1/model", Authorization="Bearer t\u00f6ken".encode()).status_code == 401
        )

    def test_with_it_requests_are_answered(self, locked):
        assert locked.get("/v1/model", Authorization=f"bearer {TOKEN}").status_code == 200
        assert locked.post(photo_bytes(), Authorization=f"Bearer {TOKEN}").status_code == 200

    @pytest.mark.parametrize("path", ["/health", "/ready"])
    def test_health_is_told_without_it(self, locked, path):
        assert locked.get(path).status_code == 200


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_has_the_security_headers_and_the_model(service, built_in, path):
    headers = service.get(path).headers
    assert headers[MODEL_HEADER] == built_in.digest
    assert set(map(str.lower, SECURITY_HEADERS)) <= set(headers)
    assert headers["x-content-type-options"] == "nosniff"
    assert "server" not in headers


def test_a_path_never_leads_to_a_file(service):
    for path in ("/../etc/passwd", "/%2e%2e/etc/passwd", "//etc/passwd", "/static/x", "/v1/../x"):
        assert service.get(path).status_code == 404
