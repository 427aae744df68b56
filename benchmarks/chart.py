"""Draws bars as SVG, to be read in light and in dark."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

WIDTH, LABELS, BAR, GAP, TOP = 760, 260, 22, 12, 44
STYLE = (
    "text{font:14px system-ui,sans-serif;fill:#24292f}.b{fill:#1f6feb}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.b{fill:#58a6ff}}"
)


def draw_bars(title: str, bars: Mapping[str, float]) -> str:
    """Returns a chart with a bar for each value, which stands behind it."""
    height = TOP + len(bars) * (BAR + GAP)
    scale = (WIDTH - LABELS - 80) / max(bars.values())
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<text x="0" y="20" font-weight="bold">{escape(title)}</text>',
    ]
    for number, (label, value) in enumerate(bars.items()):
        y = TOP + number * (BAR + GAP)
        end = LABELS + value * scale
        lines += [
            f'<text x="0" y="{y + 16}">{escape(label)}</text>',
            f'<rect class="b" x="{LABELS}" y="{y}" width="{value * scale:.1f}" height="{BAR}"/>',
            f'<text x="{end + 8:.1f}" y="{y + 16}">{value:.1f}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])
