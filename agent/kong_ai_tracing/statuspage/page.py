"""A situation in, a page for people out: is it flowing, how far behind, what is wrong, what to do.

Plain HTML, loaded anew by the browser every few seconds. No script, nothing from elsewhere, and no word of
what anybody asked or answered: there is none in a situation.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable
from hashlib import sha256
from html import escape

from kong_ai_tracing import __version__
from kong_ai_tracing.excerpts import visible
from kong_ai_tracing.quantities import readable_size, readable_span
from kong_ai_tracing.statuspage.concerns import Concern, concerns_of
from kong_ai_tracing.statuspage.situation import Situation
from kong_ai_tracing.statusreport import Report
from kong_ai_tracing.vitals import Vitals

_STYLE = """
:root { color-scheme: light dark; --text: #1b1f24; --quiet: #59636e; --ground: #ffffff; --line: #d1d9e0;
  --good: #116329; --warning: #7d4e00; --bad: #a40e26; }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3; --quiet: #9aa4af; --ground: #0d1117;
  --line: #3d444d; --good: #57d364; --warning: #e3b341; --bad: #ff8f88; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--text); background: var(--ground);
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
.good { color: var(--good); } .warning { color: var(--warning); } .bad { color: var(--bad); }
.note, .quiet, footer { color: var(--quiet); }
ul { padding: 0; list-style: none; } li { border-left: .3rem solid; padding: .1rem .8rem; margin: .8rem 0; }
li { overflow-wrap: anywhere; } li p { margin: 0; color: var(--text); }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { font-weight: 600; } td.number, th.number { text-align: right; white-space: nowrap; }
td.name { overflow-wrap: anywhere; min-width: 8rem; }
footer { margin-top: 2.5rem; font-size: .9rem; } a { color: inherit; }
"""
_STYLE_DIGEST = base64.b64encode(sha256(_STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_DIGEST}'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)
_LONGEST = 300
_MOST_FILES = 50


def page_of(situation: Situation) -> str:
    """The whole page."""
    concerns = concerns_of(situation)
    word, style, sentence = _verdict(situation, concerns)
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{word} - kong-ai-tracing</title><style>{_STYLE}</style></head>
<body>
<header><h1 class="{style}">{word}</h1><p>{sentence}</p></header>
<main>
{_concerns(concerns, several=len(situation.wanted) > 1)}
{_destinations(situation)}
{_files(situation)}
{_sums(situation)}
</main>
<footer>kong-ai-tracing {_text(__version__)}, {time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())} UTC.
The page is loaded anew every five seconds. <a href="/metrics">Metrics</a>, <a href="/healthz">health</a>,
<a href="/readyz">readiness</a>.</footer>
</body></html>
"""


def _verdict(situation: Situation, concerns: list[Concern]) -> tuple[str, str, str]:
    behind = sum(file.unread_bytes for one in situation.vitals for file in one.files)
    how_far = "Everything that was logged has been read."
    if behind:
        ages = [report.lag_seconds for report in situation.reports.values() if report.lag_seconds is not None]
        how_far = f"{readable_size(behind)} of log are unread"
        how_far += f"; the oldest request of it began {readable_span(max(ages))} ago." if ages else "."
    waiting = sum(report.outbox.spans for report in situation.reports.values())
    if waiting:
        how_far += f" {waiting:,} spans wait on disk to be sent."
    if any(concern.weight == "bad" for concern in concerns):
        return "Traces do not flow", "bad", how_far
    if not situation.vitals or not all(one.following for one in situation.vitals):
        return "Starting", "warning", how_far
    if any(concern.weight == "warning" for concern in concerns):
        return "Traces flow, with a problem", "warning", how_far
    return "Traces flow", "good", how_far


def _concerns(concerns: Iterable[Concern], *, several: bool) -> str:
    items = "\n".join(
        f'<li class="{each.weight}"><strong>{_about(each, several=several)}</strong>'
        f"<p>{_text(each.todo)}</p></li>"
        for each in concerns
    )
    return f"<h2>What is wrong, and what to do</h2>\n<ul>\n{items}\n</ul>" if items else ""


def _about(concern: Concern, *, several: bool) -> str:
    whose = f"{concern.destination}: " if several and concern.destination else ""
    return _text(whose + concern.what)


def _destinations(situation: Situation) -> str:
    rows = [_destination(one, situation.reports.get(one.name)) for one in situation.vitals]
    numbers = [(name, "number") for name in ("Accepted", "Outbox", "Refused")]
    return "<h2>Destinations</h2>\n" + _table(
        "destinations", [("Destination", ""), ("State", ""), *numbers], rows
    )


def _destination(one: Vitals, report: Report | None) -> list[tuple[str, str]]:
    accepted = one.last_accepted_ms
    ago = "-" if accepted is None else f"{readable_span(time.time() - accepted / 1000)} ago"
    outbox = (
        f"{readable_size(report.outbox.bytes)} of {readable_size(report.outbox.max_bytes)}" if report else "?"
    )
    refused = f"{report.refused_spans:,} spans" if report else "?"
    cells = ((one.name, "name"), _state(one), (ago, "number"), (outbox, "number"), (refused, "number"))
    return [(_text(text), kind) for text, kind in cells]


def _state(one: Vitals) -> tuple[str, str]:
    if one.reason is not None:
        return "takes nothing", "bad" if one.holding else "warning"
    if one.last_accepted_ms is None:
        return "nothing sent since the start", "quiet"
    return "takes traces", "good"


def _files(situation: Situation) -> str:
    several = len(situation.vitals) > 1
    files = [(one.name, file) for one in situation.vitals for file in one.files]
    files.sort(key=lambda each: -each[1].unread_bytes)
    rows = [
        [
            (_text(f"{file.path} ({name})" if several else file.path), "name"),
            (readable_size(file.unread_bytes) if file.unread_bytes else "-", "number"),
        ]
        for name, file in files[:_MOST_FILES]
    ]
    more = len(files) - _MOST_FILES
    rest = f'<p class="quiet">and {more:,} more files, less far behind</p>' if more > 0 else ""
    return "<h2>Files</h2>\n" + _table("files", (("File", ""), ("Unread", "number")), rows) + rest


def _sums(situation: Situation) -> str:
    names = ("lines", "calls", "spans_delivered", "spans_refused")
    sums = [sum(report.counters.get(name, 0) for report in situation.reports.values()) for name in names]
    lines, calls, delivered, refused = (f"{number:,}" for number in sums)
    return (
        f'<p class="quiet">Since the state directory was made: {lines} lines, {calls} AI calls,'
        f" {delivered} spans delivered, {refused} refused.</p>"
    )


def _table(label: str, head: Iterable[tuple[str, str]], rows: list[list[tuple[str, str]]]) -> str:
    if not rows:
        return '<p class="quiet">None.</p>'
    heads = "".join(f'<th scope="col" class="{kind}">{name}</th>' for name, kind in head)
    lines = ("".join(f'<td class="{kind}">{text}</td>' for text, kind in row) for row in rows)
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    # It scrolls where it is too wide, and must do so for a keyboard, too.
    region = f'<div class="wide" role="region" aria-label="{label}" tabindex="0">'
    return f"{region}<table><thead><tr>{heads}</tr></thead><tbody>\n{body}\n</tbody></table></div>"


def _text(text: str) -> str:
    """Names of files and words of servers, harmless and not too long."""
    return escape(visible(text, _LONGEST))
