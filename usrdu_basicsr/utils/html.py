"""Figures of self-contained HTML pages: line plots and embedded images."""

import base64
from html import escape

import numpy as np

from usrdu_basicsr.utils.images import encode_png

WIDTH, HEIGHT, MARGIN = 360, 240, 44  # of a plot, pixels
COLORS = ('#1f77b4', '#ff7f0e', '#2ca02c')
Series = dict[str, tuple[list[float], list[float]]]


def plot(title: str, x_label: str, y_label: str, series: Series, from_zero: bool = True) -> str:
    """Figure with a line plot as SVG, in the colours of the page.

    Args:
        title: Caption.
        x_label: Label of the horizontal axis, with its unit.
        y_label: That of the vertical axis.
        series: Coordinates of each line.
        from_zero: Let the vertical axis include zero.
    """
    values = [(x, y) for xs, ys in series.values() for x, y in zip(xs, ys, strict=True)]
    if not values:
        return figure(title, '<p>not measured</p>')
    (left, right), (low, high) = ((min(each), max(each)) for each in zip(*values, strict=True))
    low = min(low, 0) if from_zero else low
    high = high if high > low else low + 1
    width, height = WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - left) / (right - left) if right > left else 0.5
        return MARGIN + width * across, HEIGHT - MARGIN - height * (y - low) / (high - low)

    parts = [f'<path d="M{MARGIN} {MARGIN}v{height}h{width}" fill="none" stroke="currentColor"/>']
    for number, (name, (xs, ys)) in enumerate(series.items()):
        points = ' '.join('{:.1f},{:.1f}'.format(*place(x, y)) for x, y in zip(xs, ys, strict=True))
        color = COLORS[number]
        parts.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts.append(f'<text x="{MARGIN + 110 * number}" y="{MARGIN - 24}" style="fill:{color}">{escape(name)}</text>')
    for x, y, anchor, text in (
        (MARGIN - 4, MARGIN + 5, 'end', f'{high:.3g}'),
        (MARGIN - 4, HEIGHT - MARGIN, 'end', f'{low:.3g}'),
        (MARGIN, HEIGHT - MARGIN + 16, 'middle', f'{left:.3g}'),
        (WIDTH - MARGIN, HEIGHT - MARGIN + 16, 'middle', f'{right:.3g}'),
        (WIDTH / 2, HEIGHT - 8, 'middle', x_label),
        (4, MARGIN - 8, 'start', y_label),
    ):
        parts.append(f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>')
    return figure(title, f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" font-size="13">{"".join(parts)}</svg>')


def picture(title: str, image: np.ndarray) -> str:
    """Figure with an image `(H, W, 3)` uint8, BGR, embedded as PNG."""
    content = base64.b64encode(encode_png(image, title)).decode()
    return figure(title, f'<img alt="{escape(title)}" src="data:image/png;base64,{content}">')


def figure(title: str, content: str) -> str:
    """Figure with a caption above its content, HTML."""
    return f'<figure><figcaption>{escape(title)}</figcaption>{content}</figure>'
