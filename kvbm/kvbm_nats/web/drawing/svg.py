"""SVG elements, escaped."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup, escape

TIER_CLASSES = {"g1": "t1", "g2": "t2", "g3": "t3", "g4": "t4"}


def element(name: str, content: Iterable[Markup | str] = (), /, **attributes: object) -> Markup:
    """An element: texts in it are escaped, `class_` is its class, and `view_box` stays as SVG spells it."""
    words = {"class_": "class", "view_box": "viewBox", "keep": "preserveAspectRatio"}
    given = Markup("").join(
        Markup(' {}="{}"').format(words.get(key, key.replace("_", "-")), _short(value))
        for key, value in attributes.items()
        if value is not None
    )
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), given, Markup("").join(map(escape, content)))  # noqa: S704 - names of elements are ours


def titled(content: Iterable[Markup | str], title: str) -> list[Markup | str]:
    """The content with a text that shows where a pointer stands."""
    return [element("title", [title]), *content]


def picture(
    content: Iterable[Markup | str], *, width: float, height: float, label: str, class_: str, stretch: bool = False
) -> Markup:
    """A drawing that is as wide as its place; `label` is it in words. With `stretch` it loses its proportions."""
    return element(
        "svg",
        content,
        class_=class_,
        view_box=f"0 0 {_short(width)} {_short(height)}",
        role="img",
        aria_label=label,
        keep="none" if stretch else None,
    )


def _short(value: object) -> object:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value
