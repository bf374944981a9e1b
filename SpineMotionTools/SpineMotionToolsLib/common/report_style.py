"""The style sheet of reports: restrained, light and dark after the reader's setting, and fit for paper."""

STYLE = """\
:root {
  color-scheme: light dark;
  --page: #ffffff; --text: #1c2430; --quiet: #5b6675; --line: #d8dde4; --band: #f5f7f9; --accent: #1f5f8b;
  --warn-page: #fff6e0; --warn-line: #d99a00; --warn-text: #4f3a00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #15191f; --text: #e4e8ee; --quiet: #9aa5b4; --line: #343c47; --band: #1c222a; --accent: #7fb8de;
    --warn-page: #332a10; --warn-line: #d99a00; --warn-text: #f6e3b0;
  }
}
* { box-sizing: border-box; }
body {
  max-width: 62rem; margin: 0 auto; padding: 2.5rem 1.5rem 3rem; background: var(--page); color: var(--text);
  font: 16px/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
h1 { margin: 0; font-size: 1.7rem; line-height: 1.25; font-weight: 650; }
h2 { margin: 2.2rem 0 .6rem; font-size: 1.15rem; font-weight: 650; color: var(--accent); }
p { margin: .5rem 0; max-width: 46rem; }
.subtitle { margin: .3rem 0 0; color: var(--quiet); }
.warnings {
  margin: 1.4rem 0 0; padding: .7rem 1rem; border-left: 4px solid var(--warn-line); border-radius: 3px;
  background: var(--warn-page); color: var(--warn-text); font-weight: 550;
}
.warnings ul { margin: 0; padding-left: 1.1rem; }
.warnings li:only-child { list-style: none; margin-left: -1.1rem; }
.wide { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .93rem; font-variant-numeric: tabular-nums; }
caption { padding: 0 0 .4rem; text-align: left; font-weight: 600; }
th, td { padding: .34rem .9rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { border-bottom: 2px solid var(--line); font-weight: 600; color: var(--quiet); }
th[title] { text-decoration: underline dotted; text-underline-offset: .2em; cursor: help; }
th.number, td.number { text-align: right; }
tbody tr:nth-child(even) { background: var(--band); }
.legend { display: none; }
figure { margin: 1rem 0; }
figure img, figure svg { display: block; max-width: 100%; height: auto; }
figcaption { margin-top: .4rem; color: var(--quiet); font-size: .9rem; max-width: 46rem; }
footer {
  margin-top: 3rem; padding-top: 1rem; border-top: 1px solid var(--line); color: var(--quiet); font-size: .85rem;
}
footer dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: 0 0 1rem; }
footer dt { font-weight: 600; }
footer dd { margin: 0; overflow-wrap: anywhere; }
@media print {
  :root {
    color-scheme: light;
    --page: #fff; --text: #000; --quiet: #444; --line: #bbb; --band: #f5f5f5; --accent: #000;
    --warn-page: #fff; --warn-line: #000; --warn-text: #000;
  }
  @page { margin: 16mm; }
  body { max-width: none; padding: 0; font-size: 10.5pt; }
  h2 { break-after: avoid; }
  figure, tr, .warnings, footer { break-inside: avoid; }
  thead { display: table-header-group; }
  .warnings { border: 1.5px solid #000; }
  .wide { overflow: visible; }
  .legend { display: block; max-width: none; color: var(--quiet); font-size: .85em; }
}
"""
