"""What every page must keep to, told from its text alone."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """A page's tags, in order, with what they hold."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: dict[int, str] = {}
        self._numbers: list[int] = []
        self.faults: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, {k: v or "" for k, v in attrs}))
        if len({k for k, _ in attrs}) != len(attrs):
            self.faults.append(f"<{tag}> has an attribute twice")
        if tag not in VOID:
            self.open.append(tag)
            self._numbers.append(len(self.tags) - 1)

    def handle_startendtag(self, tag, attrs) -> None:
        self.tags.append((tag, {k: v or "" for k, v in attrs}))

    def handle_endtag(self, tag) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> closes nothing")
        else:
            self._numbers.pop()

    def handle_data(self, data) -> None:
        for number in self._numbers:
            self.words[number] = self.words.get(number, "") + data

    def named(self, *names: str) -> list[tuple[int, dict[str, str]]]:
        return [(i, attrs) for i, (tag, attrs) in enumerate(self.tags) if tag in names]


def faults(text: str) -> list[str]:
    """What is wrong with a page: structure, names for those who do not see it, and anything it would fetch."""
    page = Page(text)
    found = [*page.faults, *(f"<{tag}> is never closed" for tag in page.open)]
    counts = {tag: len(page.named(tag)) for tag in ("html", "title", "h1", "header", "main", "footer")}
    found += [f"{n} <{tag}>" for tag, n in counts.items() if n != 1]
    if not page.named("html")[0][1].get("lang"):
        found.append("no language")
    levels = [int(page.tags[i][0][1]) for i, _ in page.named("h1", "h2", "h3", "h4")]
    found += [f"h{b} after h{a}" for a, b in pairwise(levels) if b > a + 1]
    headings = page.named("h1", "h2", "h3", "caption", "th", "summary", "a", "dt", "figcaption")
    found += [f"an empty <{page.tags[i][0]}>" for i, _ in headings if not page.words.get(i, "").strip()]
    found += ["an image without alt" for _, a in page.named("img") if not a.get("alt", "").strip()]
    found += [
        "a drawing without a name"
        for _, a in page.named("svg")
        if a.get("aria-hidden") != "true" and not (a.get("role") == "img" and a.get("aria-label"))
    ]
    found += ["a heading cell without scope" for _, a in page.named("th") if a.get("scope") not in ("col", "row")]
    if len(page.named("table")) != len(page.named("caption")):
        found.append("a table without caption")
    found += ["a landmark without a name" for _, a in page.named("nav") if not a.get("aria-label")]
    ids = [a["id"] for _, a in page.tags if "id" in a]
    found += [f"id {name} twice" for name in {name for name in ids if ids.count(name) > 1}]
    for _, a in page.tags:
        found += [f"{k} names {v}" for k in ("aria-labelledby", "for") if (v := a.get(k)) and v not in ids]
        for key in ("src", "href", "action", "srcset", "poster", "data"):
            address = a.get(key, "")
            if address.startswith("#") and address[1:] not in ids:
                found.append(f"no {address}")
            if re.match(r"[a-z]+:|//", address, re.IGNORECASE) and not address.startswith("data:image/"):
                found.append(f"{key} leads to {address[:60]}")
    styles = [page.words.get(i, "") for i, _ in page.named("style")] + [a.get("style", "") for _, a in page.tags]
    found += [f"a style fetches {m}" for style in styles for m in re.findall(r"url\([^)]*\)|@import.*", style)]
    return found
