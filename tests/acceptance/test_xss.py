"""Whatever an author, a user or a model wrote: in the panel's pages it is text, and nothing of it runs in Chromium.

Every page is seen twice. As it is served, no rule of its Content-Security-Policy may even be asked (an escaped text
gives no violation); with the policy switched off, nothing may run all the same: the policy is the second wall.
"""

from __future__ import annotations

import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote, urlsplit

import httpx
import pytest
from playwright.sync_api import expect

from kodosumi.forms import Model
from tests.acceptance.agents.hostile import ALL, elements
from tests.acceptance.agents.process import app_process, registered
from tests.acceptance.agents.vectors import HANDLERS, SCRIPTS, VECTORS
from tests.acceptance.conftest import BROWSER_START_MS, BROWSERS, QUIET
from tests.sse import read_stream
from tests.stack import StackProcess

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

# Another one than that of the asynchronous pages: by itself it waits for five seconds.
expect.set_options(timeout=60_000)

NOTICE_S = 60.0
PASSWORD = "correct horse"
EVIL_NAME = "<img src=x onerror=pwned(1)>"
EVIL_EMAIL = "\"autofocus/onfocus='pwned(1)'><script>pwned(1)</script>@x"

LISTEN = "document.addEventListener('securitypolicyviolation', e => violated(`${e.violatedDirective} ${e.blockedURI}`))"

DANGEROUS = """() => {
  const found = [];
  const own = new RegExp(`^${location.origin}/static/`);
  const forbidden = ['iframe', 'frame', 'object', 'embed', 'base', 'applet', 'svg', 'math', 'style', 'template'];
  const links = ['href', 'src', 'action', 'formaction', 'data', 'xlink:href', 'poster', 'srcset', 'background', 'ping'];
  for (const each of document.querySelectorAll('*')) {
    const name = each.localName;
    if (name === 'script' && !own.test(each.src)) found.push(each.outerHTML);
    if (name === 'link' && !own.test(each.href)) found.push(each.outerHTML);
    if (name === 'meta' && each.httpEquiv) found.push(each.outerHTML);
    if (forbidden.includes(name) && !each.hasAttribute('data-allowed')) found.push(each.outerHTML);
    for (const attribute of each.attributes) {
      let scheme = '';
      try { scheme = new URL(attribute.value, document.baseURI).protocol; } catch { /* it leads nowhere */ }
      if (attribute.name.startsWith('on')) found.push(each.outerHTML);
      if (attribute.name === 'style' || attribute.name === 'srcdoc') found.push(each.outerHTML);
      if (links.includes(attribute.name) && ['javascript:', 'vbscript:', 'data:'].includes(scheme)) {
        found.push(each.outerHTML);
      }
    }
  }
  return found.map((each) => each.slice(0, 300));
}"""
"""What would run, or ask for something, if it were touched."""


class Trap:
    """A browser's window that notices everything a vector could do.

    Attributes:
        caught: what ran, opened a dialog, failed or asked for a marked address; empty when all is well.
        violations: what the Content-Security-Policy had to stop.
    """

    _logins: ClassVar[dict[str, Any]] = {}

    def __init__(self, browser: Browser, url: str, *, with_policy: bool = True) -> None:
        self._url = url
        self.caught: list[str] = []
        self.violations: list[str] = []
        self.context: BrowserContext = browser.new_context(base_url=url, bypass_csp=not with_policy)
        self.context.set_default_timeout(60_000)
        self.context.expose_binding("pwned", lambda source, *_: self.caught.append(f"ran at {source['frame'].url}"))
        self.context.expose_binding("violated", lambda _, what: self.violations.append(what))
        self.context.add_init_script(LISTEN)
        self.context.on("request", lambda request: self._asked(request.url))
        self.page: Page = self.context.new_page()
        self.page.on("dialog", self._dialog)
        self.page.on("pageerror", lambda error: self.caught.append(f"error {error}"))
        self.page.on("console", lambda message: self._said(message.text))

    def _asked(self, url: str) -> None:
        if urlsplit(url).path.startswith("/pwned") or url.startswith(("javascript:", "vbscript:")):
            self.caught.append(f"asked for {url}")

    def _dialog(self, dialog: Any) -> None:
        self.caught.append(f"dialog {dialog.message}")
        dialog.dismiss()

    def _said(self, text: str) -> None:
        if "Content Security Policy" in text:
            self.violations.append(text)

    def log_in(self, name: str = "admin", password: str = "admin") -> Trap:
        # Once for the operator of all: a login is slow on purpose, and isn't what is looked at here.
        cookies = self._logins.get(self._url) if name == "admin" else None
        if cookies is None:
            answer = self.context.request.post("/api/login", data={"name": name, "password": password})
            assert answer.ok, answer.text()
            if name == "admin":
                self._logins[self._url] = self.context.cookies()
            return self
        self.context.add_cookies(cookies)
        return self

    def visit(self, path: str) -> Page:
        """Opens a page and holds it against all that is expected."""
        answer = self.page.goto(path)
        assert answer is not None and answer.status < 500, path
        self.inspect(path)
        return self.page

    def inspect(self, where: str) -> None:
        """Holds the page as it is now against all that is expected."""
        assert self.page.evaluate(DANGEROUS) == [], where
        assert self.caught == [], where
        assert self.violations == [], where


def happened(page: Page, noticed: list[str]) -> bool:
    """Whether something has been noticed, once it has, or the page had long enough for it."""
    end = time.monotonic() + NOTICE_S
    while not noticed and time.monotonic() < end:
        page.wait_for_timeout(20)
    return bool(noticed)


@pytest.fixture(scope="module")
def hostile(stack: StackProcess, admin: httpx.Client) -> Iterator[str]:
    """Place of the hostile app under the panel."""
    with app_process(stack, "hostile:app") as port, registered(admin, port) as place:
        yield place


@pytest.fixture(scope="module")
def runs(admin: httpx.Client, hostile: str) -> dict[str, tuple[str, int]]:
    """Ended runs that told the vectors: id and number of events by what they did."""
    wanted = {"tell": {}, "fail": {}, "Markdown": {}, "HTML": {}, "Text": {}}
    found = {}
    for name in wanted:
        inputs = {"run": name if name in ("tell", "fail") else "answer", "kind": name, "text": ALL}
        answer = admin.post(f"{hostile}/", json=inputs)
        assert answer.status_code == 200, answer.text
        found[name] = answer.json()["result"]
    return {
        name: (fid, len(read_stream(admin, f"/outputs/stream/{fid}?extended=true")) - 1) for name, fid in found.items()
    }


@pytest.fixture(scope="module")
def chromium(runs: dict[str, tuple[str, int]]) -> Iterator[Browser]:
    """One browser for this module; begun after what it looks at, and over before other modules' event loops."""
    from playwright.sync_api import Error, sync_playwright

    path = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=QUIET, timeout=BROWSER_START_MS)
        except Error as exc:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(f"no Chromium (make browser): {exc.message.splitlines()[0]}")
        yield browser
        browser.close()


@pytest.fixture(params=[True, False], ids=["as-served", "without-policy"])
def trap(chromium: Browser, stack: StackProcess, request: pytest.FixtureRequest) -> Iterator[Trap]:
    """A window with a trap, once with the panel's policy and once without it."""
    made = Trap(chromium, stack.url, with_policy=request.param)
    yield made
    made.context.close()
    assert (made.caught, made.violations) == ([], [])


@pytest.mark.parametrize("vector", [VECTORS[0], "<img src=x onerror=pwned(1)>", "<img src=/pwned.png>"])
def test_the_trap_notices_what_runs(chromium: Browser, stack: StackProcess, vector: str) -> None:
    made = Trap(chromium, stack.url)
    try:
        with made.page.expect_event("requestfinished"):
            made.page.goto("/static/favicon.svg")
        made.page.route("**/trap", lambda route: route.fulfill(body=f"<body>{vector}", content_type="text/html"))
        made.page.goto("/trap")
        made.page.wait_for_function("() => document.readyState === 'complete'")
        assert happened(made.page, made.caught)
    finally:
        made.context.close()


@pytest.mark.parametrize("vector", VECTORS[:3])
def test_the_trap_notices_what_the_policy_had_to_stop(chromium: Browser, stack: StackProcess, vector: str) -> None:
    made = Trap(chromium, stack.url)
    policy = {"Content-Security-Policy": "default-src 'none'"}
    try:
        made.page.route(
            "**/trap", lambda route: route.fulfill(body=f"<body>{vector}", content_type="text/html", headers=policy)
        )
        made.page.goto("/trap")
        assert happened(made.page, made.violations)
    finally:
        made.context.close()


def test_the_list_of_flows_shows_metadata_as_text(trap: Trap, hostile: str) -> None:
    page = trap.log_in().visit("/admin/flow")
    seen: list[str] = []
    while True:
        seen += page.locator(".flow-list h2").all_text_contents()
        following = page.locator("a[rel=next]")
        if not following.count():
            break
        page.goto(following.get_attribute("href") or "")
        trap.inspect(page.url)

    shown = [" ".join(text.split()) for text in seen if re.match(r"\d{3} ", text)]
    assert len(shown) == len(VECTORS)
    assert any("<script>pwned(1)</script>" in text for text in shown)


@pytest.mark.parametrize(
    "path", ["/admin/flow?q={}", "/admin/timeline/view?q={}", "/?redirect={}", "/admin/routes?saved={}"]
)
def test_what_a_page_is_asked_for_is_text_in_it(trap: Trap, hostile: str, path: str) -> None:
    trap.log_in()
    for vector in (VECTORS[0], VECTORS[12], *[vector for vector in VECTORS if vector[0] in "\"'`&"], ALL[:480]):
        trap.visit(path.format(quote(vector, safe="")))


def test_a_form_shows_every_attribute_as_text(trap: Trap, hostile: str) -> None:
    fieldsets = Model.model_validate(elements()).render().count('class="inputs-field"')

    page = trap.log_in().visit(f"/inputs{hostile}/form/0")

    assert page.locator("form.inputs-form fieldset").count() == fieldsets
    labels = page.locator("form.inputs-form legend").all_text_contents()
    assert set(VECTORS[:5]) <= set(labels)


def test_a_form_with_errors_shows_messages_and_entries_as_text(trap: Trap, hostile: str) -> None:
    page = trap.log_in().visit(f"/inputs{hostile}/form/0")

    with page.expect_navigation():
        page.evaluate("HTMLFormElement.prototype.submit.call(document.querySelector('form.inputs-form'))")

    trap.inspect("form with errors")
    assert page.locator(".inputs-error").count() > len(VECTORS)


@pytest.mark.parametrize("path", ["/refuse", "/speak", "/", "/nothing"])
def test_what_an_app_says_that_is_no_form_is_text(trap: Trap, hostile: str, path: str) -> None:
    page = trap.log_in().visit(f"/inputs{hostile}{path}")
    if path == "/refuse":
        with page.expect_navigation():
            page.evaluate("HTMLFormElement.prototype.submit.call(document.querySelector('form.inputs-form'))")
        trap.inspect("refused form")
        assert "<script>pwned(1)</script>" in page.locator(".inputs-problem").inner_text()


@pytest.mark.parametrize("name", ["tell", "fail", "Markdown", "HTML", "Text"])
def test_a_run_is_shown_in_all_tabs_without_running(trap: Trap, runs: dict[str, tuple[str, int]], name: str) -> None:
    fid, events = runs[name]
    page = trap.log_in().visit(f"/admin/status/view/{fid}")
    expect(page.locator("#run-state")).to_have_text("error" if name == "fail" else "finished")
    expect(page.locator("#run-title")).to_contain_text("<script>pwned(1)</script>")
    trap.inspect("Result")

    page.get_by_role("tab", name="Events").click()
    expect(page.locator("#events-list tr")).to_have_count(events)
    trap.inspect("Events")

    page.get_by_role("tab", name="I/O").click()
    if name in ("tell", "fail"):
        expect(page.locator("#stdio-list")).to_contain_text("<script>pwned(1)</script>")
    trap.inspect("I/O")
    page.get_by_role("tab", name="Result").click()
    trap.inspect("Result again")


@pytest.mark.parametrize("name", ["tell", "fail", "Markdown", "HTML", "Text"])
def test_the_document_of_a_result_runs_nothing(trap: Trap, runs: dict[str, tuple[str, int]], name: str) -> None:
    trap.log_in()
    # Its own style sheet stands in the document, allowed by its hash.
    trap.context.add_init_script(
        "addEventListener('DOMContentLoaded', () =>"
        " document.head.querySelector('style')?.setAttribute('data-allowed', ''))"
    )

    page = trap.visit(f"/outputs/html/{runs[name][0]}")

    assert "<script>pwned(1)</script>" in page.title()


def test_the_timeline_shows_runs_as_text(trap: Trap, runs: dict[str, tuple[str, int]]) -> None:
    page = trap.log_in().visit("/admin/timeline/view")

    fid = runs["tell"][0]
    expect(page.locator(f"#timeline li[data-fid='{fid}'] .summary")).to_contain_text("<script>pwned(1)</script>")
    trap.inspect("timeline")


def test_a_failed_login_shows_what_was_entered_as_text(trap: Trap) -> None:
    page = trap.visit("/?format=html")
    for vector in (EVIL_NAME, VECTORS[0], '"><script>pwned(1)</script>'):
        page.get_by_label("Name").fill(vector)
        page.get_by_label("Password").fill("wrong")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_text("Invalid name or password")).to_be_visible()
        expect(page.get_by_label("Name")).to_have_value(vector)
        trap.inspect("login")


def test_a_users_name_and_address_are_text_on_every_page(trap: Trap, admin: httpx.Client) -> None:
    role = {"name": EVIL_NAME, "email": EVIL_EMAIL, "password": PASSWORD, "operator": True}
    made = admin.post("/role", json=role).raise_for_status().json()
    try:
        trap.log_in(EVIL_NAME, PASSWORD)
        for path in ("/admin/flow", "/admin/routes", "/admin/timeline/view", "/schema", "/nothing/here"):
            page = trap.visit(path)
            if path.startswith("/admin"):
                assert page.locator(".who").inner_text() == EVIL_NAME
    finally:
        admin.delete(f"/role/{made['id']}").raise_for_status()


def test_a_refused_source_and_address_are_text(trap: Trap) -> None:
    page = trap.log_in().visit("/admin/routes")
    sources = page.locator("#routes").input_value()
    for vector in (
        EVIL_EMAIL,
        "</textarea><img src=x onerror=pwned(1)>",
        f"http://localhost:1/{VECTORS[0]}/openapi.json",
    ):
        page.locator("#routes").fill(f"{sources}\n{vector}")
        with page.expect_navigation():
            page.get_by_role("button", name="Save sources").click()
        trap.inspect("refused source")
        expect(page.locator("#routes-problem")).to_be_visible()
        expect(page.locator("#routes")).to_have_value(f"{sources}\n{vector}")


def test_a_page_of_an_app_runs_nothing_in_the_panels_place(
    chromium: Browser, stack: StackProcess, hostile: str
) -> None:
    # The page is the app's own, so its script is there, and the sandbox is what stops it.
    made = Trap(chromium, stack.url).log_in()
    try:
        for place in range(len(SCRIPTS + HANDLERS)):
            made.page.goto(f"{hostile}/page/{place}")
            assert [each for each in made.caught if each.startswith(("ran", "dialog"))] == [], VECTORS[place]
    finally:
        made.context.close()


def test_a_user_of_another_site_cannot_be_made_to_post(
    chromium: Browser, stack: StackProcess, admin: httpx.Client
) -> None:
    before = admin.get("/role/me").json()["email"]
    made = Trap(chromium, stack.url).log_in()
    form = (
        f"<form method=post action={stack.url}/admin/routes><input name=email value=evil@evil.example>"
        "<button>win</button></form>"
    )
    try:
        # Another port of this machine is the same site to a browser: it sends the cookie there.
        for site in ("http://localhost:1", "http://evil.example", "http://127.0.0.1:1"):
            made.page.route(f"{site}/trap", lambda route: route.fulfill(body=form, content_type="text/html"))
            made.page.goto(f"{site}/trap")
            with made.page.expect_response(f"{stack.url}/admin/routes") as refused:
                made.page.get_by_role("button").click()
            assert refused.value.status in (302, 401, 403)
    finally:
        made.context.close()

    assert admin.get("/role/me").json()["email"] == before
    assert uuid.UUID(admin.get("/role/me").json()["id"])
