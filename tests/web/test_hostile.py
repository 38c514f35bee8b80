"""Names from outside: whatever a request is called, its page can be reached, and nothing of it is more than text."""

from __future__ import annotations

import pytest

from web.cache import HOSTILE, ODD
from web.reading import Page, said_by

OURS = "/static/page.js"


def assert_harmless(html):
    page = Page.of(html)
    assert [each.get("src") for each in page.all("script")] == [OURS]
    assert all(each["src"].startswith("/static/") for each in page.all("img"))
    for tag, attributes in page.elements:
        assert not any(name.startswith("on") or name == "style" for name in attributes), (tag, attributes)
        assert not attributes.get("href", "").lower().startswith(("javascript:", "data:", "//")), attributes
    assert page.text.replace("\n", "").isprintable()
    return page


@pytest.mark.parametrize(
    "path", ["/", f"/i/{ODD}", f"/i/{ODD}/requests", f"/i/{ODD}/misses", f"/i/{ODD}/events", f"/i/{ODD}/diff"]
)
def test_lists_show_names_as_text(pages, path):
    assert_harmless(pages.get(path).text)


@pytest.mark.parametrize("name", HOSTILE)
def test_each_is_found_and_explained(pages, name, capsys):
    listed = assert_harmless(pages.get(f"/i/{ODD}/requests", params={"containing": name}).text)
    links = [
        each["href"]
        for each in listed.all("a")
        if each.get("href", "").startswith((f"/i/{ODD}/requests/", f"/i/{ODD}/request?"))
    ]
    answers = {
        pages.get(link.replace("?", ".json?", 1) if "?" in link else f"{link}.json").json()["request"]: link
        for link in links
    }
    assert name in answers
    page = assert_harmless(pages.get(answers[name]).text)
    for command, twin in zip(page.commands, page.twins, strict=True):
        assert pages.get(twin).json() == said_by(command, capsys)[0]


@pytest.mark.parametrize("name", HOSTILE)
def test_errors_and_forms_show_what_was_typed_as_text(pages, name):
    for path, field in (
        (f"/i/{ODD}/misses", "since"),
        (f"/i/{ODD}/diff", "a"),
        (f"/i/{ODD}/what-if", "policy"),
        (f"/i/{ODD}/requests", "order"),
        (f"/i/{ODD}", "at"),
        ("/login", "next"),
        (f"/i/{ODD}/request", "id"),
    ):
        answer = pages.get(path, params={field: f"{name}<i>x"})
        assert answer.status_code in {303, 400, 404}, path
        assert_harmless(answer.text or '<script src="/static/page.js">')


def test_paths_are_shown_as_text(pages):
    for path in ("/<script>alert(1)</script>", "/i/<img src=x>/misses", f"/i/{ODD}/blocks/<b>"):
        answer = pages.get(path)
        assert answer.status_code in {400, 404}
        assert_harmless(answer.text)
