"""Bad input of authors, users and attackers: each gets a clear answer, none a 500 and none a hanging run."""

from __future__ import annotations

import http.client
import json
import select
import socket
import time
import uuid
from collections.abc import Iterator

import httpx
import jwt
import pytest

from kodosumi.events import new_fid
from kodosumi.identity import IdentitySigner
from kodosumi.service.jwt import SessionTokens
from tests.acceptance.agents.process import app_process, registered
from tests.sse import read_stream
from tests.stack import StackProcess

VIEWS = (
    "/outputs/status/{}",
    "/outputs/raw/{}",
    "/outputs/html/{}",
    "/outputs/stream/{}",
    "/outputs/main/{}",
    "/outputs/main/{}?raw=true",
    "/outputs/stdio/{}",
    "/outputs/stdio/{}?raw=true",
    "/admin/status/view/{}",
)
"""Everything that shows one execution."""

PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def bad(stack: StackProcess, admin: httpx.Client) -> Iterator[str]:
    """Place of the bad app under the panel."""
    with app_process(stack, "bad:app") as port, registered(admin, port) as place:
        yield place


@pytest.fixture(scope="module")
def mallory(stack: StackProcess, admin: httpx.Client) -> Iterator[httpx.Client]:
    """Somebody who is no operator."""
    name = f"mallory-{uuid.uuid4().hex[:8]}"
    role = {"name": name, "email": f"{name}@example.com", "password": PASSWORD}
    created = admin.post("/role", json=role).raise_for_status().json()
    with httpx.Client(base_url=stack.url, timeout=60) as client:
        client.post("/api/login", json={"name": name, "password": PASSWORD}).raise_for_status()
        yield client
    admin.delete(f"/role/{created['id']}").raise_for_status()


@pytest.fixture(scope="module")
def someones(admin: httpx.Client, bad: str) -> str:
    """A finished execution of the operator."""
    return ended(admin, f"{bad}/run/paths")


def ended(client: httpx.Client, url: str, **inputs: object) -> str:
    """The id of a run that was started there and has reached its end."""
    answer = client.post(url, json=inputs)
    assert answer.status_code == 200, answer.text
    fid: str = answer.json()["result"]
    with client.stream("GET", f"/outputs/main/{fid}", timeout=120) as stream:
        assert stream.status_code == 200
        for _ in stream.iter_bytes():
            pass
    return fid


def views(client: httpx.Client, fid: str) -> dict[str, httpx.Response]:
    """Every view of an ended execution, each of which must be there."""
    answers = {view: client.get(view.format(fid)) for view in VIEWS}
    assert {view: answer.status_code for view, answer in answers.items()} == dict.fromkeys(VIEWS, 200)
    streams = [answer for view, answer in answers.items() if "stream" in view or "main" in view or "stdio" in view]
    assert all("event: eof" in answer.text[-200:] for answer in streams)
    return answers


def status_of(answers: dict[str, httpx.Response]) -> tuple[str, str]:
    """State and final text in what :func:`views` gave."""
    status = answers["/outputs/status/{}"].json()
    return status["status"], status["final"] or ""


# what authors do wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ("unknown_module", "there is no module 'no_such_module' here"),
        ("unknown_name", "has no 'no_such_name'"),
        ("unknown_nested", "has no 'no'"),
        ("raises_on_import", "RuntimeError: this module cannot be imported"),
        ("not_callable", "cannot be called"),
        ("a_path", "../../etc/passwd:run"),
        ("a_dotted_path", "..agents.entries:echo"),
        ("invalid_name", "agents.entries:"),
        ("exits", "SystemExit: 3"),
        ("without_text", "KodosumiError"),
        ("unspeakable", "Unspeakable"),
        ("invalid_error", "ValueError: broken \ufffd \ufffd text"),
    ],
)
def test_an_entry_point_that_cannot_run_ends_in_an_error_that_says_why(
    admin: httpx.Client, bad: str, run: str, said: str
) -> None:
    answers = views(admin, ended(admin, f"{bad}/run/{run}"))

    state, final = status_of(answers)
    assert state == "error"
    assert said in json.loads(final)["Text"]["body"]
    assert said.split(":")[0].split("'")[0] in answers["/outputs/html/{}"].text.replace("&#x27;", "'")
    assert "event: error" in answers["/outputs/stdio/{}"].text


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("nothing", "must return a Launch object or raise an InputsError"),
        ("text", "must return a Launch object or raise an InputsError"),
        ("bare_name", "name a module too"),
        ("inputs", "the inputs cannot be sent to the cluster"),
        ("callable", "cannot be sent to the cluster"),
    ],
)
def test_an_endpoint_that_cannot_start_a_run_answers_400_and_its_form_says_why(
    admin: httpx.Client, bad: str, path: str, said: str
) -> None:
    answer = admin.post(f"{bad}/refused/{path}", json={})
    form = admin.post(f"/inputs{bad}/refused/{path}", data={"x": "y"})

    assert (answer.status_code, said in answer.json()["detail"]) == (400, True), answer.text
    assert (form.status_code, said in form.text) == (400, True), form.text


def test_a_result_that_does_not_serialise_is_readable_and_the_run_is_finished(admin: httpx.Client, bad: str) -> None:
    answers = views(admin, ended(admin, f"{bad}/run/unserialisable"))

    assert status_of(answers)[0] == "finished"
    result = answers["/outputs/raw/{}"].json()["dict"]
    assert result["circle"]["self"] == "<circular reference to dict>"
    assert result["infinite"] is None
    assert {"sulking", "lock", "deep", "generator", "lambda", "huge", "('a', 'tuple')", "file"} <= set(result)


def test_a_result_that_raises_on_every_question_is_finished_too(admin: httpx.Client, bad: str) -> None:
    answers = views(admin, ended(admin, f"{bad}/run/sulking"))

    assert status_of(answers)[0] == "finished"
    assert "Sulking" in answers["/outputs/raw/{}"].text


def test_a_result_of_100_mb_is_kept_whole_and_its_pages_lead_to_it(admin: httpx.Client, bad: str) -> None:
    size = 100 * 1024 * 1024

    fid = ended(admin, f"{bad}/run/big_result")

    assert admin.get(f"/outputs/raw/{fid}").content == b'{"str": "' + b"x" * size + b'"}'
    assert len(json.loads(admin.get(f"/outputs/status/{fid}").json()["final"])["str"]) == size
    page, document = admin.get(f"/admin/status/view/{fid}"), admin.get(f"/outputs/html/{fid}")
    assert (page.status_code, document.status_code) == (200, 200)
    assert "too long to be shown here" in document.text
    final = next(event for event in read_stream(admin, f"/outputs/main/{fid}") if event.kind == "final")
    assert f"/outputs/raw/{fid}" in final.payload
    with admin.stream("GET", f"/outputs/stream/{fid}") as stream:
        assert sum(len(chunk) for chunk in stream.iter_bytes()) > size
    assert fid in admin.get("/timeline/list", params={"q": fid}).text


def test_a_line_of_a_million_characters_is_one_event(admin: httpx.Client, bad: str) -> None:
    fid = ended(admin, f"{bad}/run/long_line")

    views(admin, fid)
    for path in (f"/outputs/stdio/{fid}?raw=true", f"/outputs/stdio/{fid}"):
        lines = [event.payload for event in read_stream(admin, path) if event.kind == "stdout"]
        assert lines == ["y" * 1_000_000]


def test_output_that_is_no_utf8_arrives_with_marks_in_place_of_what_was_broken(admin: httpx.Client, bad: str) -> None:
    fid = ended(admin, f"{bad}/run/invalid_utf8")

    answers = views(admin, fid)
    assert status_of(answers)[0] == "finished"
    output = "\n".join(event.payload for event in read_stream(admin, f"/outputs/stdio/{fid}?raw=true"))
    assert "by the descriptor \ufffd" in output
    assert "\ufffd( by the buffer" in output
    assert "a lone surrogate \ufffd, a NUL \ufffd" in output
    assert "an error \ufffd" in output
    assert answers["/outputs/raw/{}"].json()["dict"]["lone \ufffd"] == "\ufffd"


def test_path_separators_in_names_are_only_text(stack: StackProcess, admin: httpx.Client, bad: str) -> None:
    fid = ended(admin, f"{bad}/echo", **{"../a/b\\c": "../../x", "text": "../../up"})

    answers = views(admin, fid)
    assert answers["/outputs/raw/{}"].json()["dict"]["../a/b\\c"] == "../../x"
    assert answers["/outputs/status/{}"].json()["summary"] == "../../../up"
    assert admin.get(f"/inputs{bad}/echo").status_code == 200
    assert [flow["summary"] for flow in admin.get("/flow", params={"q": "../tag"}).json()["items"]] == [
        "../../etc/passwd"
    ]
    role = {"name": "../../etc", "email": "a@b.example", "password": PASSWORD}
    assert admin.post("/role", json=role).status_code == 400


# what users send ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe{}",
        b'{"text": "\xff"}',
        b'{"text": NaN}',
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"text": 1' + b"0" * 5000 + b"}",
    ],
    ids=lambda body: repr(body[:12]),
)
def test_a_body_that_cannot_be_read_is_refused_and_starts_nothing(admin: httpx.Client, bad: str, body: bytes) -> None:
    answer = admin.post(f"{bad}/echo", content=body, headers={"content-type": "application/json"})

    assert answer.status_code == 400, answer.text
    assert answer.json()["detail"]


def test_text_that_no_database_takes_is_carried_with_marks(admin: httpx.Client, bad: str) -> None:
    body = b'{"text": "lone \\ud800 nul \\u0000 \\udfff", "../a/b\\\\c": "\\ud83d"}'

    answer = admin.post(f"{bad}/echo", content=body, headers={"content-type": "application/json"})
    fid = answer.raise_for_status().json()["result"]
    read_stream(admin, f"/outputs/stream/{fid}?extended=true")

    answers = views(admin, fid)
    assert status_of(answers)[0] == "finished"
    assert answers["/outputs/raw/{}"].json()["dict"]["text"] == "lone \ufffd nul \0 \ufffd"


@pytest.mark.parametrize("path", ["/login", "/api/login"])
@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_credentials_that_are_no_text_are_wrong_credentials(stack: StackProcess, path: str, accept: str) -> None:
    for name in ("\\ud800", "\\u0000", "a" * 5000, "../../admin", "admin' OR 1=1 --", "{{ 7*7 }}", "\\u202e"):
        body = f'{{"name": "{name}", "password": "\\ud800", "redirect": "/admin/flow"}}'
        answer = httpx.post(f"{stack.url}{path}", content=body, headers={"accept": accept}, timeout=60)

        assert answer.status_code == 401, answer.text
        assert "Invalid name or password" in answer.text


@pytest.mark.parametrize("pp", ["0", "-1", "1000000000", "1" + "0" * 40, "1e9", "NaN", "", "ten", "\ufffd"])
@pytest.mark.parametrize("path", ["/flow", "/timeline", "/timeline/list"])
def test_a_page_size_that_is_no_page_size_is_refused_or_cut(admin: httpx.Client, path: str, pp: str) -> None:
    answer = admin.get(path, params={"pp": pp})

    assert answer.status_code in (200, 400), answer.text
    if answer.status_code == 200:
        assert pp.startswith("1")
        assert "items" in answer.json()
    else:
        assert "pp" in answer.json()["detail"]


@pytest.mark.parametrize("offset", ["x", "../..", "0" * 23, "g" * 24, "%00", "\ufffd", "' OR 1=1 --", "9" * 10_000])
@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/flow", "offset"),
        ("/timeline", "offset"),
        ("/timeline", "origin"),
        ("/timeline", "timestamp"),
        ("/timeline/list", "offset"),
        ("/timeline/changes", "since"),
    ],
)
def test_a_broken_offset_is_refused_by_name(admin: httpx.Client, path: str, name: str, offset: str) -> None:
    answer = admin.get(path, params={name: offset})

    if name in ("timestamp", "since") and offset.isdigit() and answer.status_code == 200:
        return  # digits are a time, long ago or far ahead
    assert answer.status_code == 400, answer.text
    assert name in answer.json()["detail"]


# other people's executions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", VIEWS)
def test_another_users_execution_looks_like_one_that_is_unknown(
    mallory: httpx.Client, someones: str, view: str
) -> None:
    unknown = new_fid(1.6e9)

    theirs, nobodys = mallory.get(view.format(someones)), mallory.get(view.format(unknown))

    assert (theirs.status_code, nobodys.status_code) == (404, 404)
    assert theirs.text.replace(someones, "FID") == nobodys.text.replace(unknown, "FID")


def test_another_users_execution_is_neither_listed_nor_deleted(
    admin: httpx.Client, mallory: httpx.Client, someones: str
) -> None:
    assert mallory.get("/timeline/list", params={"q": someones}).json()["items"] == []
    assert mallory.get("/timeline/changes", params={"since": "1"}).json()["update"] == []
    assert mallory.get("/timeline").json()["total"] == 0
    assert mallory.delete(f"/outputs/{someones}").status_code == 404
    assert mallory.request("DELETE", "/outputs", json={"fid": [someones]}).status_code == 404
    assert mallory.delete(f"/outputs/{someones}?purge=true").status_code == 404

    views(admin, someones)


@pytest.mark.parametrize(
    "fid",
    ["0" * 24, "x", "..%2f..%2fetc%2fpasswd", "%2e%2e", "%00", "%ff", "A" * 24, "0" * 5000, "%E2%80%AE", "a;b", "*"],
)
@pytest.mark.parametrize("kind", ["status", "stream", "main", "stdio", "raw", "html"])
def test_what_is_no_execution_is_not_found_at_once(admin: httpx.Client, kind: str, fid: str) -> None:
    answer = admin.get(f"/outputs/{kind}/{fid}?extended=true")

    assert answer.status_code == 404, answer.text
    assert answer.headers["content-type"].startswith("application/json")


# tokens ---------------------------------------------------------------------------------------------------------------


def forgeries(stack: StackProcess, genuine: str, role_id: str) -> dict[str, str]:
    """Tokens that must not hold, by what is wrong with them."""
    secret = (stack.folder / "data/secret.key").read_text().strip()
    tokens = SessionTokens(secret)
    claims = jwt.decode(genuine, options={"verify_signature": False})
    session = claims["sid"]
    head, payload, signature = genuine.split(".")
    now = int(time.time())
    signed = {
        "another key": jwt.encode(claims, "x" * 64, algorithm="HS256"),
        "the bare secret": jwt.encode(claims, secret, algorithm="HS256"),
        "no signature": jwt.encode(claims, None, algorithm="none"),
        "expired": tokens.token(role_id, session, now - 3600),
        "an unknown session": tokens.token(role_id, uuid.uuid4().hex),
        "another's session": tokens.token(str(uuid.uuid4()), session),
        "an app's identity": IdentitySigner(secret).token(role_id, "http://localhost", "GET", "/flow"),
        "no end": jwt.encode({"sub": role_id, "sid": session}, tokens._key, algorithm="HS256"),
        "odd claims": jwt.encode({**claims, "sub": "1 OR 1=1", "sid": "\0"}, tokens._key, algorithm="HS256"),
    }
    broken = {
        "cut": f"{head}.{payload}.",
        "cut in two": f"{head}.{payload}",
        "changed": f"{head}.{payload[:-2]}xx.{signature}",
        "text": "token",
        "dots": "..",
        "very long": "a" * 8000,
    }
    return signed | broken


def test_forged_and_expired_tokens_log_nobody_in(stack: StackProcess, admin: httpx.Client) -> None:
    login = httpx.post(f"{stack.url}/api/login", json={"name": "admin", "password": "admin"}, timeout=60).json()
    genuine = login["KODOSUMI_API_KEY"]
    found = {}
    for name, token in forgeries(stack, genuine, login["id"]).items():
        key = httpx.get(f"{stack.url}/flow", headers={"KODOSUMI_API_KEY": token}, timeout=60)
        cookie = httpx.get(f"{stack.url}/flow", headers={"Cookie": f"kodosumi_jwt={token}"}, timeout=60)
        page = httpx.get(
            f"{stack.url}/admin/flow", headers={"Cookie": f"kodosumi_jwt={token}", "Accept": "text/html"}, timeout=60
        )
        found[name] = (key.status_code, cookie.status_code, page.status_code, page.headers.get("location"))

    assert found == dict.fromkeys(found, (401, 401, 302, "/"))
    assert httpx.get(f"{stack.url}/flow", headers={"KODOSUMI_API_KEY": genuine}, timeout=60).status_code == 200


def test_a_header_that_is_no_text_logs_nobody_in(stack: StackProcess) -> None:
    for value in (b"\xff\xfe", "\u202eadmin".encode(), b"a b c", b"'"):
        assert httpx.get(f"{stack.url}/flow", headers={b"KODOSUMI_API_KEY": value}, timeout=60).status_code == 401
        assert (
            httpx.get(f"{stack.url}/flow", headers={b"Cookie": b"kodosumi_jwt=" + value}, timeout=60).status_code == 401
        )


def test_a_login_never_keeps_a_session_that_was_there_before(stack: StackProcess, mallory: httpx.Client) -> None:
    planted = mallory.cookies["kodosumi_jwt"]
    with httpx.Client(base_url=stack.url, cookies={"kodosumi_jwt": planted}, timeout=60) as victim:
        given = victim.post("/api/login", json={"name": "admin", "password": "admin"}).json()["KODOSUMI_API_KEY"]

    assert given != planted
    assert mallory.get("/role").status_code == 403


# what attackers try ---------------------------------------------------------------------------------------------------


def asked(stack: StackProcess, method: str, target: str, **headers: str) -> tuple[int, str, dict[str, str]]:
    """Status, body and headers of a request whose target goes out exactly as written."""
    connection = http.client.HTTPConnection("localhost", stack.port, timeout=60)
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace"), dict(answer.getheaders())
    finally:
        connection.close()


def key_of(client: httpx.Client) -> dict[str, str]:
    """The API key of a client that is logged in, as a header."""
    return {"KODOSUMI_API_KEY": client.cookies["kodosumi_jwt"]}


@pytest.mark.parametrize("up", ["../", "..%2f", "%2e%2e/", "%2e%2e%2f", "..%5c", "%252e%252e%252f", "..%c0%af", "/"])
def test_no_path_leaves_its_folder(stack: StackProcess, admin: httpx.Client, bad: str, up: str) -> None:
    for start in ("/static/", f"{bad}/", f"/inputs{bad}/", "/outputs/html/", "/admin/status/view/", "/role/"):
        for target in (f"{start}{up * 8}etc/passwd", f"{start}{up * 4}data/secret.key", f"{start}{up}app.py"):
            status, body, _ = asked(stack, "GET", target, **key_of(admin))
            assert status in (302, 307, 400, 401, 404), (target, status, body)
            assert "root:" not in body


@pytest.mark.parametrize(
    "place", ["//evil.example", "https://evil.example", "/\\evil.example", "/%09/evil.example", "javascript:alert(1)"]
)
def test_no_redirect_leads_to_another_site(stack: StackProcess, place: str) -> None:
    for target in (f"/logout?redirect={place}", f"/login?name=admin&password=admin&redirect={place}"):
        with httpx.Client(base_url=stack.url, timeout=60) as client:
            client.post("/api/login", json={"name": "admin", "password": "admin"})
            answer = client.get(target)
        assert answer.status_code == 302
        assert answer.headers["location"] == "/"


def test_line_breaks_in_parameters_never_become_headers(stack: StackProcess, admin: httpx.Client, bad: str) -> None:
    broken = "x%0d%0aSet-Cookie:%20planted=1%0d%0a%0d%0abody"
    targets = (f"/login?name=a&password=b&redirect=/{broken}", f"/admin/flow?q={broken}", f"{bad}/{broken}")
    for target in (*targets, f"/outputs/status/{broken}", f"/timeline/list?offset={broken}", f"/{broken}"):
        status, _, headers = asked(stack, "GET", target, **key_of(admin))
        assert status < 500
        assert "planted" not in str(headers.get("set-cookie"))


def test_a_method_cannot_be_changed_by_a_header_or_a_field(admin: httpx.Client, someones: str) -> None:
    headers = {"X-HTTP-Method-Override": "DELETE", "X-Method-Override": "DELETE", "X-HTTP-Method": "DELETE"}

    admin.get(f"/outputs/status/{someones}?_method=DELETE", headers=headers)
    admin.post(f"/outputs/status/{someones}", headers=headers, data={"_method": "DELETE"})

    assert admin.get(f"/outputs/status/{someones}").status_code == 200


@pytest.mark.parametrize(
    ("site", "allowed"),
    [
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Origin": "http://localhost:1"}, False),
        ({"Referer": "https://evil.example/localhost"}, False),
        ({"Sec-Fetch-Site": "same-origin"}, True),
    ],
    ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else str(value),
)
def test_another_sites_page_cannot_act_with_a_users_cookie(
    admin: httpx.Client, mallory: httpx.Client, bad: str, site: dict[str, str], allowed: bool
) -> None:
    form = {"content-type": "application/x-www-form-urlencoded", **site}
    answers = [
        mallory.post("/admin/routes", content="email=", headers=form),
        mallory.post(f"/inputs{bad}/refused/nothing", content="a=b", headers=form),
        mallory.post(f"{bad}/refused/nothing", content="a=b", headers=form),
        mallory.put("/role/me", json={}, headers=site),
        mallory.delete(f"/outputs/{new_fid(1.6e9)}", headers=site),
        mallory.request("DELETE", "/outputs", json={"fid": []}, headers=site),
        admin.post("/flow/register", json={"url": []}, headers=site),
        admin.post("/role", json={}, headers=site),
        *([] if allowed else [mallory.post("/logout", headers=site), mallory.get("/logout", headers=site)]),
    ]

    refused = {answer.status_code == 403 for answer in answers}
    assert refused == {not allowed}, [(answer.url.path, answer.status_code) for answer in answers]


def test_headers_that_speak_for_the_panel_are_not_taken_from_a_caller(
    admin: httpx.Client, mallory: httpx.Client, bad: str
) -> None:
    operator = next(role["id"] for role in admin.get("/role").json() if role["name"] == "admin")
    spoofed = {"x-kodosumi_user": operator, "x-kodosumi-user": operator, "X-Forwarded-User": operator}

    answer = mallory.post(f"{bad}/run/paths", json={}, headers=spoofed)
    fid = answer.raise_for_status().json()["result"]

    read_stream(mallory, f"/outputs/stream/{fid}?extended=true")
    assert mallory.get(f"/outputs/status/{fid}").json()["username"] != operator


def test_a_huge_header_is_refused_and_the_panel_serves_on(stack: StackProcess, admin: httpx.Client) -> None:
    for size in (10_000, 60_000, 1_000_000):
        try:
            status = httpx.get(f"{stack.url}/flow", headers={"X-Huge": "x" * size}, timeout=60).status_code
        except httpx.TransportError:
            status = 400  # cut off
        assert status < 500

    assert admin.get("/health/live").status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/login"),
        ("POST", "/api/login"),
        ("POST", "/role"),
        ("PUT", "/role/me"),
        ("POST", "/flow/register"),
        ("POST", "/flow/unregister"),
        ("DELETE", "/outputs"),
        ("POST", "/admin/routes"),
    ],
)
@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded"])
def test_a_huge_body_is_refused_before_it_is_read_whole(
    stack: StackProcess, admin: httpx.Client, method: str, path: str, kind: str
) -> None:
    status, sent = answer_to_endless_body(stack, method, path, {"content-type": kind, **key_of(admin)})

    assert (status in (400, 413), sent < 32 * 1024 * 1024) == (True, True), (status, sent)


def answer_to_endless_body(stack: StackProcess, method: str, path: str, headers: dict[str, str]) -> tuple[int, int]:
    """Sends a body without an end until there is an answer: its status, and how many bytes the panel took."""
    piece = b"10000\r\n" + b"a" * 65_536 + b"\r\n"
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    sent = 0
    with socket.create_connection(("localhost", stack.port), timeout=60) as connection:
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n{fields}\r\n"
        connection.sendall(head.encode())
        while sent < 64 * 1024 * 1024 and not select.select([connection], [], [], 0)[0]:
            select.select([connection], [connection], [], 60)
            try:
                sent += connection.send(piece[sent % len(piece) :])
            except ConnectionError:
                break
        return (int(connection.recv(65_536).split()[1]) if sent < 64 * 1024 * 1024 else 0), sent
