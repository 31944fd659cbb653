"""The same for a browser: one HTML file that holds its images and needs nothing else."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from html import escape

from PIL import Image

from reid_lab.data.ranked import RIGHT, UNKNOWN, WRONG, Hit, Ranked

_HEIGHT = 288  # pixels of an embedded image, for sharp ones on dense screens
_COLOURS = {"right": RIGHT, "wrong": WRONG, "unknown": UNKNOWN}
_STYLE = """
body { margin: 0 auto; max-width: 1280px; padding: 24px 28px 40px; background: #fff; color: #1c1e21;
  font: 15px/1.45 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
header { display: flex; gap: 20px; align-items: flex-start; padding-bottom: 16px; border-bottom: 1px solid #dcdfe3; }
header figure { width: auto; } header img { display: block; height: 144px; width: auto; border-radius: 4px; }
h1 { margin: 0 0 6px; font-size: 22px; line-height: 1.3; font-weight: 600; text-wrap: balance; }
p { margin: 0; color: #555b63; font-size: 13px; }
.key { display: flex; gap: 18px; margin-top: 8px; }
.key span::before { content: ""; display: inline-block; width: 10px; height: 10px; margin-right: 6px;
  border-radius: 50%; background: var(--of); }
ol { list-style: none; margin: 20px 0 0; padding: 0; display: grid; gap: 18px 14px;
  grid-template-columns: repeat(auto-fill, minmax(104px, 1fr)); }
figure { margin: 0; }
li img { display: block; width: calc(100% - 8px); aspect-ratio: var(--shape); object-fit: contain;
  box-sizing: content-box; border: 4px solid var(--of); border-radius: 4px; background: #f2f3f5; }
figcaption { margin-top: 5px; font-size: 12px; color: #555b63; }
.line { display: flex; justify-content: space-between; font-variant-numeric: tabular-nums; }
.line b { color: #1c1e21; }
.name { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
""" + "\n".join(f".{kind} {{ --of: rgb{colour}; }}" for kind, colour in _COLOURS.items())


def html(page: Ranked) -> str:
    """The page as HTML. Frames are green, orange red, or grey where the person is not known; a sign says it, too."""
    return "".join(_parts(page))


def _parts(page: Ranked) -> Iterator[str]:
    title = page.words or "Query by image"
    yield f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
    yield f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head><body>\n'
    yield "<header>"
    for role, image in page.images:
        yield f'<figure><img src="{_data(image)}" alt="query, {escape(role)}"><figcaption>{escape(role)}</figcaption>'
        yield "</figure>"
    yield f"<div><h1>{escape(title)}</h1>"
    yield from (f"<p>{escape(fact)}</p>" for fact in page.facts)
    if any(hit.correct is not None for hit in page.hits):
        yield '<p class="key"><span class="right">✓ the person</span><span class="wrong">✗ somebody else</span></p>'
    shape = f"{page.hits[0].image.width} / {page.hits[0].image.height}" if page.hits else "1 / 2"
    yield f'</div></header>\n<ol style="--shape: {shape}">\n'
    for rank, hit in enumerate(page.hits, 1):
        yield _card(rank, hit)
    yield "</ol></body></html>\n"


def _card(rank: int, hit: Hit) -> str:
    kind = "unknown" if hit.correct is None else "right" if hit.correct else "wrong"
    sign = {"unknown": "", "right": " ✓", "wrong": " ✗"}[kind]
    name = escape(hit.name)
    return (
        f'<li class="{kind}"><figure><img src="{_data(hit.image)}" alt="rank {rank}: {name}"><figcaption>'
        f'<div class="line"><b>{rank}{sign}</b><span>{hit.score:.3f}</span></div>'
        f'<div class="name" title="{name}">{name}</div></figcaption></figure></li>\n'
    )


def _data(image: Image.Image) -> str:
    """The image as a data URL, JPEG, at most `_HEIGHT` pixels high."""
    small = image.convert("RGB")
    if small.height > _HEIGHT:
        small = small.resize((max(1, round(small.width * _HEIGHT / small.height)), _HEIGHT), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=90, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
