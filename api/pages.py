"""The few pages the API itself shows: plain HTML, no scripts, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, Final

from fastapi.responses import HTMLResponse

_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}

_STYLE: Final = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 46rem; margin: 3rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
code, pre { font: 0.9em ui-monospace, monospace; }
input, button { font: inherit; padding: 0.5rem 0.8rem; border-radius: 6px; }
input { border: 1px solid #8888; width: 100%; box-sizing: border-box; margin: 0.3rem 0 1rem; }
button { background: #1f5eff; color: #fff; border: 0; cursor: pointer; }
dt { margin-top: 1.2rem; font-weight: 600; } dd { margin: 0.2rem 0 0; }
.verb { display: inline-block; min-width: 3.4rem; color: #1f5eff; }
.quiet { opacity: 0.7; } .wrong { color: #c62828; }
"""


def landing(*, ui_url: str | None, signed_in_as: str | None) -> HTMLResponse:
    """What this is and where to go from here."""
    ui = (
        f'<li><a href="{escape(ui_url)}">Temporal UI</a>: the story of every order</li>'
        if ui_url
        else ""
    )
    if signed_in_as is None:
        session = '<p><a href="/login">Sign in</a> to read sealed payloads in the Temporal UI.</p>'
    else:
        session = (
            f"<p>Signed in with the key <b>{escape(signed_in_as)}</b>; the Temporal UI can read "
            'sealed payloads.</p><form method="post" action="/logout">'
            "<button>Sign out</button></form>"
        )
    return _page(
        "Crossdock",
        "<h1>Crossdock</h1><p>Distributed order management.</p><ul>"
        '<li><a href="/docs">API reference</a> (<a href="/openapi.json">OpenAPI</a>)</li>'
        f'{ui}<li><a href="/readyz">Readiness</a></li></ul>{session}',
    )


def login(*, wrong: str = "", status: int = 200) -> HTMLResponse:
    """The form that turns an API key into a session."""
    complaint = f'<p class="wrong" role="alert">{escape(wrong)}</p>' if wrong else ""
    return _page(
        "Sign in · Crossdock",
        f'<h1>Sign in</h1>{complaint}<form method="post" action="/login">'
        '<label for="key">API key of scope <code>ops</code></label>'
        '<input id="key" name="key" type="password" autocomplete="current-password" required '
        'autofocus spellcheck="false"><button>Sign in</button></form>'
        '<p class="quiet">Make one with <code>crossdock key create</code>. '
        "The session lasts 12 hours.</p>",
        status=status,
    )


def reference(openapi: Mapping[str, Any]) -> HTMLResponse:
    """The OpenAPI document as a page to read."""
    by_tag: dict[str, list[str]] = {tag["name"]: [] for tag in openapi["tags"]}
    for path, operations in openapi["paths"].items():
        for verb, operation in operations.items():
            by_tag[operation["tags"][0]].append(_operation(path, verb, operation))
    about = {tag["name"]: tag["description"] for tag in openapi["tags"]}
    body = "".join(
        f"<h2>{escape(tag)}</h2><p class=quiet>{escape(about[tag])}</p><dl>{''.join(found)}</dl>"
        for tag, found in by_tag.items()
    )
    info = openapi["info"]
    return _page(
        f"{info['title']} API",
        f"<h1>{escape(info['title'])} API {escape(info['version'])}</h1>"
        f"<p>{escape(info['description'])}</p>"
        f'<p><a href="/openapi.json">OpenAPI document</a></p>{body}',
    )


def _operation(path: str, verb: str, operation: Mapping[str, Any]) -> str:
    scopes = [s for entry in operation.get("security", ()) for s in next(iter(entry.values()))]
    needed = f' <span class="quiet">· {escape(" or ".join(scopes))}</span>' if scopes else ""
    asked = _names(p["name"] for p in operation.get("parameters", ()) if p["in"] != "path")
    answers = _names(sorted(operation["responses"]))
    said = escape(operation.get("description") or operation["summary"])
    given = f'<br><span class="quiet">Takes</span> {asked}' if asked else ""
    return (
        f'<dt><code><span class="verb">{escape(verb.upper())}</span> {escape(path)}</code>{needed}'
        f"</dt><dd>{said}{given}<br><span class=quiet>Answers</span> {answers}</dd>"
    )


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"<code>{escape(name)}</code>" for name in names)


def _page(title: str, body: str, *, status: int = 200) -> HTMLResponse:
    html = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body>{body}</body></html>"
    )
    return HTMLResponse(html, status, headers=_HEADERS)
