"""The style sheet of a page."""

STYLE = """
:root { color-scheme: light dark; --ink: #1d2530; --soft: #56616d; --rule: #d7dce2; --paper: #ffffff;
  --line: #2f6fab; --suspect: #a85f00; --fail: #c62828; --came: #3d8b57; --due: #e6eaee; --gap: #f0e9da; }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #e3e7ec; --soft: #a0abb7; --rule: #363d46;
  --paper: #14181d; --line: #6db0ee; --suspect: #f0a83c; --fail: #ff7b70;
  --came: #58b579; --due: #2a3038; --gap: #3a3324; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 58rem; margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; margin: 0; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .4rem; }
h3 { font-size: 1rem; margin: 0; }
p { margin: .3rem 0; } a { color: var(--line); } .lead { font-size: 1.05rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .86rem; }
th, td { text-align: left; padding: .2rem 1rem .2rem 0; border-bottom: 1px solid var(--rule);
  vertical-align: top; overflow-wrap: break-word; }
th { font-weight: 600; color: var(--soft); white-space: nowrap; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
bdi { overflow-wrap: anywhere; } td bdi.s { white-space: nowrap; }
.soft { color: var(--soft); } .bad { color: var(--fail); }
.score { font-size: 2.6rem; font-weight: 600; line-height: 1.2; }
.score span { font-size: 1.1rem; font-weight: 400; color: var(--soft); }
figure { margin: 1.6rem 0 0; } figcaption p { font-size: .86rem; }
svg { width: 100%; height: auto; display: block; overflow: visible; }
svg.bar { width: 7rem; height: .6rem; margin-top: .4rem; }
svg.key { width: .8rem; height: .8rem; display: inline-block; vertical-align: -.05rem; }
svg text { font: 11px system-ui, sans-serif; fill: var(--soft); }
svg text.right { text-anchor: end; } svg text.mid { text-anchor: middle; }
.grid { stroke: var(--rule); fill: none; stroke-width: .7; } .axis { stroke: var(--soft); fill: none; }
.line { stroke: var(--line); fill: none; stroke-width: 1.1; stroke-linecap: round; stroke-linejoin: round; }
circle.suspect { stroke: var(--suspect); fill: none; stroke-width: 1.4; }
path.fail { stroke: var(--fail); fill: none; stroke-width: 1.4; }
path.limit { stroke-dasharray: 5 4; stroke-width: 1; } path.suspect { stroke: var(--suspect); fill: none; }
path.none { stroke: var(--soft); }
rect.suspect { fill: var(--suspect); } rect.fail { fill: var(--fail); }
rect.silent, rect.none { fill: var(--soft); }
.due, .came { shape-rendering: crispEdges; }
.due { fill: var(--due); } .came, .good { fill: var(--came); } .gap { fill: var(--gap); }
@media (max-width: 40rem) { svg text { font-size: 19px; } svg text.odd { display: none; }
  .line, .axis { stroke-width: 2; } circle.suspect, path.fail { stroke-width: 2.4; } }
@media print { body { max-width: none; margin: 0; font-size: 10pt; }
  h2, h3, figcaption { break-after: avoid; } figure, tr { break-inside: avoid; }
  .wide { overflow: visible; } th, td { padding-right: .6rem; }
  svg.bar { width: 4rem; } a { color: inherit; text-decoration: none; }
  * { print-color-adjust: exact; } }
"""
