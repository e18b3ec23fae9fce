"""The page's style sheet: light, dark and paper; phone and desk. Colours keep a contrast of 4.5 : 1 for text."""

from __future__ import annotations

_COLOURS = """
:root{color-scheme:light dark;--ink:#1b1f24;--dim:#59616b;--paper:#fff;--soft:#f4f6f8;--line:#d8dde3;--accent:#005f9e;
--good:#136b37;--bad:#b3261e;--open:#835400;--label:#fff;--hit:0,95,158;--miss:201,84,0;
--c0:#0067a8;--c1:#b84500;--c2:#007455;--c3:#a03a86;--c4:#7d5f00;--c5:#3b4652;--c6:#5a5fd0;--c7:#a81c47}
@media screen and (prefers-color-scheme:dark){:root{--ink:#e6e9ed;--dim:#a3acb7;--paper:#14171b;--soft:#1d2126;
--line:#363d46;--accent:#6cb8f0;--good:#74d394;--bad:#ff8f85;--open:#f2c063;--label:#101317;--hit:86,172,238;
--miss:255,152,84;--c0:#6cb8f0;--c1:#ff9a5c;--c2:#4fc9a0;--c3:#e79bd3;--c4:#d9bd55;--c5:#c3ccd6;--c6:#a9aefc;
--c7:#ff8fab}}
"""
_TEXT = """
*{box-sizing:border-box} html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;margin:0;color:var(--ink);
background:var(--paper)}
header,main,footer{max-width:76rem;margin:0 auto;padding:0 1.25rem}
header{padding-top:1.5rem} footer{padding-bottom:2rem}
h1{font-size:1.7rem;line-height:1.2;margin:.1rem 0 .4rem;letter-spacing:-.01em;overflow-wrap:break-word}
h2{font-size:1.2rem;line-height:1.3;margin:2.75rem 0 .75rem;padding-top:.75rem;border-top:1px solid var(--line)}
h3{font-size:1rem;margin:1.5rem 0 .5rem}
p{margin:.5rem 0;max-width:46rem;overflow-wrap:break-word}
a{color:var(--accent)} b{font-weight:600}
code{font:.88em ui-monospace,SFMono-Regular,Menlo,monospace;background:var(--soft);padding:.1em .3em;border-radius:3px;
overflow-wrap:anywhere}
.over{margin:0;font-weight:600;color:var(--accent);font-size:.9rem}
.dim,figcaption,caption{color:var(--dim)} p.dim{font-size:.9rem} .none{color:var(--dim)}
.visually-hidden{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
nav ul{display:flex;flex-wrap:wrap;gap:.1rem 1.1rem;margin:.75rem 0 0;padding:0;list-style:none;font-size:.9rem}
nav a{display:inline-block;padding:.25rem 0;text-underline-offset:.2em}
.verdict{list-style:none;margin:0;padding:0;border:1px solid var(--line);border-radius:8px;background:var(--soft)}
.verdict li{display:grid;grid-template-columns:1.6rem 1fr;padding:.7rem 1rem;border-top:1px solid var(--line);
overflow-wrap:anywhere} .verdict li:first-child{border-top:0} .verdict .sign{font-weight:700}
.pass{color:var(--good);font-weight:600} .fail{color:var(--bad);font-weight:600}
.inconclusive{color:var(--open);font-weight:600} .note{color:var(--dim)}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px;border-radius:3px}
"""
_TABLES = """
.wide{position:relative;overflow-x:auto;margin:.75rem 0 1.25rem;container-type:scroll-state}
.hint{display:none;color:var(--accent);font-weight:600;white-space:nowrap}
@container scroll-state(scrollable:right){.hint{display:inline}}
caption span{position:sticky;left:0;display:inline-block;max-width:calc(100vw - 2.5rem)}
caption{text-align:left;padding:0 0 .4rem;font-size:.9rem}
table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums}
th,td{padding:.4rem .75rem;text-align:right;vertical-align:top;border-bottom:1px solid var(--line)}
thead th{color:var(--dim);font-weight:600;vertical-align:bottom;border-bottom:2px solid var(--line);line-height:1.25}
.words,tbody th{text-align:left} td:not(.words){white-space:nowrap}
td.words{min-width:6rem;max-width:24rem;overflow-wrap:break-word} td.prose{min-width:15rem}
td .pass,td .fail,td .inconclusive{white-space:nowrap}
tbody th{font-weight:600;min-width:9rem;max-width:19rem;overflow-wrap:break-word}
tr>:first-child{position:sticky;left:0;background:var(--paper);z-index:1;padding-left:0}
.interval{display:block;color:var(--dim);font-size:.92em;font-weight:400}
.long .prose{overflow-wrap:anywhere}
.named{display:inline-grid;grid-template-columns:1.5em 1fr;gap:.5em;align-items:start} .named .badge{margin-top:-.1em}
.badge{width:1.5em;height:1.5em;vertical-align:-.4em;flex:none}
.beside{display:flex;flex-wrap:wrap;gap:0 2.5rem} .beside .wide{max-width:100%}
.matrix{font-size:.8125rem} .matrix th,.matrix td{padding:.25rem .4rem} .matrix tbody th{min-width:0;font-weight:400;
white-space:nowrap;
border:0}
.matrix thead th{vertical-align:bottom} .matrix thead span{writing-mode:vertical-rl;transform:rotate(180deg);
max-height:11rem} .matrix td{text-align:right;min-width:2.4em;border:1px solid var(--paper)}
.matrix .corner{text-align:left;color:var(--dim);vertical-align:bottom;min-width:4rem;white-space:normal}
.hit{background:rgba(var(--hit),calc(var(--share)*.5))} .miss{background:rgba(var(--miss),calc(var(--share)*.5))}
.miss{font-weight:600} details+details,.same{border-top:1px solid var(--line)}
.same{margin:0;padding:.6rem 0;max-width:none}
summary{cursor:pointer;padding:.6rem 0;overflow-wrap:anywhere} summary .named,.same .named{display:inline}
summary .badge,.same .named .badge{margin-right:.4em}
summary b{font-weight:600}
"""
_THUMBNAILS = """
.drawn .hint{position:sticky;left:0;font-size:.9rem}
.drawn img{display:block;max-width:100%;min-width:34rem;height:auto;border-radius:6px}
@media screen and (prefers-color-scheme:dark){.plot{filter:invert(.92) hue-rotate(180deg)}}
figure{margin:0} figcaption{font-size:.875rem;margin:.35rem 0 0;overflow-wrap:break-word}
figure>svg{display:block;width:100%;height:auto;font:14px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,28rem),1fr));gap:1rem 2.5rem;
align-items:center}
.pair .key{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,15rem),1fr));gap:.7rem 1rem}
 .columns{columns:28rem 2;column-gap:2.5rem}
.columns figure{break-inside:avoid;padding-bottom:1.5rem}
.panels{display:grid;grid-template-columns:repeat(auto-fill,minmax(14rem,1fr));gap:1.25rem;margin:.5rem 0 1rem}
.chart{max-width:38rem} .panel{min-width:0;max-width:20rem;justify-content:end}
figure.panel>svg{font-size:12px} .panel figcaption{order:-1;margin:0 0 .2rem;color:var(--ink)}
.panel{display:flex;flex-direction:column}
svg text{fill:var(--ink);stroke:none} svg .middle{text-anchor:middle} svg .end{text-anchor:end}
svg .name,svg .small{fill:var(--dim)} svg .small{font-size:.86em}
.grid{stroke:var(--line);fill:none} .axis{stroke:var(--dim);fill:none}
.front{stroke:var(--dim);fill:none;stroke-dasharray:3 5} .leader{stroke:var(--dim);fill:none}
.bars,.line,.dots{fill:none;stroke:var(--c);stroke-width:2} .line{stroke-linejoin:round}
.dots{stroke-linecap:round;stroke-width:2.4} .knot,.mark>*{fill:var(--c)} .mark>*{stroke:var(--paper);stroke-width:1.2}
.mark text{fill:var(--label);stroke:none;font:700 12px system-ui,sans-serif;text-anchor:middle}
.mark .two{font-size:10px}
.d1.line,.d1 .line{stroke-dasharray:8 4} .d2.line,.d2 .line{stroke-dasharray:2 4}
.d3.line,.d3 .line{stroke-dasharray:9 4 2 4}
.infer{fill:var(--accent)} .hollow{stroke:var(--ink);stroke-width:2;fill:var(--paper)}
.tick{stroke:var(--ink);stroke-width:2.5;fill:none} .right{fill:var(--accent);opacity:.4} .count{fill:var(--accent)}
.key{display:flex;flex-wrap:wrap;gap:.35rem 1.4rem;list-style:none;padding:0;margin:.25rem 0 1rem;font-size:.875rem}
.key li{display:flex;gap:.5rem;align-items:center;max-width:100%;overflow-wrap:anywhere}
.key .sample{flex:none;width:3.1rem;height:1.65rem}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,19rem),1fr));gap:.75rem;list-style:none;
padding:0} .cards>li{display:grid;grid-template-columns:6rem 1fr;gap:.8rem;padding:.6rem;border:1px solid var(--line);
border-radius:8px;font-size:.875rem;overflow-wrap:anywhere}
.cards ul{list-style:none;padding:0;margin:.3rem 0 0} .cards li li{margin:.15rem 0}
.cards img{width:6rem;height:6rem;object-fit:contain;background:var(--soft);image-rendering:auto}
.cards b+.dim{display:block;font-size:.92em}
.blank{display:grid;place-items:center;height:6rem;background:var(--soft);color:var(--dim);font-size:.8rem}
"""
_PLACES = """
@media (max-width:640px){header,main,footer{padding:0 1rem} header{padding-top:1rem} h1{font-size:1.35rem}
h2{margin-top:2.25rem} figure>svg{font-size:20px} figure.panel>svg{font-size:17px}
.panels{grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr));gap:1rem}
@supports not (container-type:scroll-state){caption:has(+thead th:nth-child(4)) .hint,.drawn .hint{display:inline}}
tbody th{min-width:7.5rem;max-width:10rem;font-size:.8125rem} th,td{padding:.4rem .55rem}
table:not(:has(thead th:nth-child(4))) td.prose{min-width:7rem}
table:not(:has(thead th:nth-child(4))) tbody th{min-width:6rem}}
@media screen and (max-width:640px){.stacks,.stacks caption,.stacks tbody{display:block} .stacks .hint{display:none}
.stacks thead{position:absolute;clip-path:inset(50%);width:1px;height:1px;overflow:hidden}
.stacks tr{display:grid;grid-template-columns:repeat(auto-fill,minmax(3.9rem,1fr));gap:.35rem .5rem;padding:.6rem 0;
border-bottom:1px solid var(--line)} .stacks tbody th,.stacks td.words{grid-column:1/-1;max-width:none}
.stacks tbody th,.stacks td{position:static;border:0;padding:0;text-align:left;min-width:0}
.stacks tbody th{font-size:.875rem} .stacks td:empty{display:none}
.stacks td::before{content:attr(data-heading);display:block;color:var(--dim);font-size:.8rem}}
@media (prefers-contrast:more){:root{--dim:var(--ink);--line:var(--dim)}}
@media print{@page{size:A4;margin:13mm 12mm} html{font-size:9.5pt} body{font-size:1rem;line-height:1.4}
header,main,footer{max-width:none;padding:0} nav{display:none} a{color:inherit;text-decoration:none}
h1{font-size:16pt} h2{font-size:12pt;margin:5mm 0 2mm;break-after:avoid} h3{break-after:avoid}
.wide{overflow:visible;margin:2mm 0 4mm;break-inside:avoid} table{font-size:7.5pt;max-width:100%}
th,td{padding:1mm 1.6mm} tr>:first-child{position:static} thead{display:table-header-group} caption{break-after:avoid}
tbody th{min-width:22mm;max-width:48mm} td.words{min-width:12mm} td.prose{min-width:32mm} .beside{gap:0 4mm}
caption span{max-width:none;position:static} .matrix{font-size:6pt}
.matrix th,.matrix td{padding:.4mm .5mm;min-width:1.9em}
figure,tr,details,.key,.cards>li,.verdict li{break-inside:avoid} .chart{max-width:120mm}
.pair{grid-template-columns:120mm 1fr;gap:4mm 6mm} .columns{columns:2;column-gap:6mm}
.panels{grid-template-columns:repeat(4,minmax(0,1fr));gap:3mm}
.cards{grid-template-columns:repeat(3,minmax(0,1fr));gap:2mm} .cards>li{grid-template-columns:16mm 1fr;font-size:7.5pt;
padding:1.5mm} .cards img,.blank{width:16mm;height:16mm} .badge,.hit,.miss,.cards img,
figure>svg{print-color-adjust:exact;-webkit-print-color-adjust:exact} .verdict{background:none}
details::details-content{content-visibility:visible;display:block;height:auto}
summary{break-after:avoid;list-style:none}}
"""
STYLE = (
    _COLOURS
    + _TEXT
    + _TABLES
    + _THUMBNAILS
    + "".join(f".c{number}{{--c:var(--c{number})}}" for number in range(8))
    + _PLACES
)
