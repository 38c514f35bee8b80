"""Pages as tests read them: elements and their attributes, by the parser that browsers' rules are in."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from html.parser import HTMLParser

from kvbm_nats.cli import main


@dataclass
class Page:
    """What a page is made of: each element with its attributes, and all text."""

    elements: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    text: str = ""

    @classmethod
    def of(cls, html: str) -> Page:
        page = cls()
        parser = HTMLParser(convert_charrefs=True)
        parser.handle_starttag = lambda tag, attrs: page.elements.append((tag, {k: v or "" for k, v in attrs}))

        def take(data: str) -> None:
            page.text += data

        parser.handle_data = take
        parser.feed(html)
        parser.close()
        return page

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def commands(self) -> list[str]:
        """The command lines that can be copied."""
        return [each["data-copy"] for each in self.all("button") if "data-copy" in each]

    @property
    def twins(self) -> list[str]:
        return [each["href"] for each in self.all("a") if each.get("class") == "twin"]


def said_by(command: str, capsys) -> list[object]:
    """What a command line of a page writes with `--json`: the objects, a line each."""
    assert command.isprintable(), "what is pasted is typed"
    words = subprocess.run(["/bin/bash", "-c", f"printf '%s\\0' {command}"], check=True, capture_output=True, text=True)
    name, *arguments = words.stdout.split("\0")[:-1]
    assert name == "kvbm"
    at = arguments.index("--") if "--" in arguments else len(arguments)
    capsys.readouterr()
    code = main([*arguments[:at], "--json", *arguments[at:]])
    out, err = capsys.readouterr()
    assert code in {0, 1}, err
    return [json.loads(line) for line in out.splitlines()]
