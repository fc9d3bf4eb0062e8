"""How the report looks, beyond the house's style."""

from __future__ import annotations

from fmlad.bench import curves

STYLE = (
    """
nav{display:flex;flex-wrap:wrap;gap:.3em 1.1em;margin:1em 0}
a{color:inherit}
h2{margin:1.8em 0 .4em;padding-top:.5em;border-top:2px solid var(--line)}
h3{margin:1.1em 0 .3em}
dl.facts{display:grid;grid-template-columns:max-content 1fr;gap:.1em 1em;margin:.6em 0}
dl.facts dt{color:var(--faint)}dl.facts dd{margin:0;overflow-wrap:anywhere}
details{margin:.6em 0}summary{cursor:pointer;font-weight:600}
.scroll{overflow-x:auto;margin:.5em 0;background:
linear-gradient(to left,var(--paper) 30%,transparent) right/40px 100% no-repeat local,
linear-gradient(to left,color-mix(in srgb,var(--ink) 22%,transparent),transparent)
right/14px 100% no-repeat scroll}
table{border-collapse:collapse;font-size:14px;line-height:1.3;font-variant-numeric:tabular-nums}
th,td{padding:.35em .6em;text-align:left;vertical-align:top}
th{font-weight:600;vertical-align:bottom;border-bottom:2px solid var(--line)}
th:first-child,td:first-child{position:sticky;left:0;background:var(--paper);min-width:12em;
max-width:15em;overflow-wrap:anywhere}
td.n,th.n{text-align:right}td.n{white-space:nowrap}
td:not(.n){min-width:6em}
td small{display:block;font-size:.8em}
td{border-top:1px solid color-mix(in srgb,var(--line) 45%,var(--paper))}
tbody+tbody tr:first-child td{border-top:2px solid var(--line)}
tbody tr:hover td{background:color-mix(in srgb,var(--ink) 6%,var(--paper))}
.published{border-left:4px solid var(--line);padding-left:.9em;margin:1em 0}
.foreign table{font-style:italic}.foreign small{font-style:normal}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,260px),1fr));gap:14px}
figure{margin:0;border:1px solid var(--line);border-radius:6px;padding:10px}
figure .two{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:6px}
figure img{width:100%;border-radius:4px;display:block}
figcaption{font-size:14px;line-height:1.4;margin-top:.4em;overflow-wrap:anywhere}
@media(max-width:600px){body{margin:1em auto;padding:0 .7em}table{font-size:13px}
th,td{padding:.3em .4em}th:first-child,td:first-child{min-width:6em;max-width:8.5em}
dl.facts{grid-template-columns:1fr}dl.facts dd{margin-bottom:.3em}}
"""
    + curves.STYLE
)
