"""Colours of methods of one kind: shades that are told apart, around a colour or between two.

In: a colour or a place. Out: #rrggbb. Which method has which is its kind's matter.
"""

from __future__ import annotations

from colorsys import hsv_to_rgb

# Light and dark ends: blue, then hues of Tol's that keep apart in colour-blindness.
HUES = (
    ("#9ecae1", "#08306b"),
    ("#66ccbb", "#117755"),
    ("#dd99cc", "#882277"),
    ("#cccc55", "#777711"),
    ("#ee99aa", "#882255"),
    ("#bbaaee", "#332288"),
    ("#bbbbbb", "#555555"),
)
GOLDEN = 0.618034


def ends(place: int) -> tuple[str, str]:
    """The light and the dark end of a hue; beyond those chosen by hand, hues far from their
    neighbours."""
    if place < len(HUES):
        return HUES[place]
    hue = (place * GOLDEN) % 1
    return _hex(hsv_to_rgb(hue, 0.45, 0.9)), _hex(hsv_to_rgb(hue, 0.95, 0.4))


def between(light: str, dark: str, place: float) -> str:
    """The colour at a place from 0, light, to 1, dark."""
    pairs = zip(_parts(light), _parts(dark), strict=True)
    return _hex([a + (b - a) * place for a, b in pairs])


def around(colour: str, number: int) -> list[str]:
    """The colour itself, then darker and lighter ones in turn."""
    steps = number // 2
    found = [colour]
    for i in range(1, number):
        end = "#000000" if i % 2 else "#ffffff"
        found.append(between(colour, end, 0.6 * ((i + 1) // 2) / steps))
    return found


def _parts(colour: str) -> list[float]:
    return [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]


def _hex(parts: tuple[float, float, float] | list[float]) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in parts)
