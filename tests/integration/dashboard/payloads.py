"""Texts that become code, or call elsewhere, on a page that does not keep them text.

Each calls `__hit(n)` where it runs, or fetches from ELSEWHERE where it is followed.
"""

from __future__ import annotations

ELSEWHERE = "http://127.0.0.1:9"
_RUNS = (
    "<script>__hit({n})</script>",
    "</script><script>__hit({n})</script>",
    "<ScRiPt>__hit({n})</sCrIpT>",
    "<script/x>__hit({n})</script>",
    "<script src='{e}/{n}.js'></script>",
    "<script type=module>import '{e}/{n}.mjs'</script>",
    "<img src=x onerror=__hit({n})>",
    "<img src=x onerror='__hit({n})'>",
    "<img/src=x/onerror=__hit({n})>",
    "<svg onload=__hit({n})>",
    "<svg><script>__hit({n})</script></svg>",
    "<svg><animate onbegin=__hit({n}) attributeName=x dur=1s></svg>",
    "<svg><a href='javascript:__hit({n})'><text y=20>x</text></a></svg>",
    "<math><mtext><table><mglyph><style><img src=x onerror=__hit({n})></style></table></mtext></math>",
    "<body onload=__hit({n})>",
    "<details open ontoggle=__hit({n})>x</details>",
    "<input autofocus onfocus=__hit({n})>",
    "<video><source onerror=__hit({n})></video>",
    "<audio src=x onerror=__hit({n})></audio>",
    "<iframe srcdoc='<script>parent.__hit({n})</script>'></iframe>",
    "<iframe src='javascript:parent.__hit({n})'></iframe>",
    "<iframe src='{e}/{n}'></iframe>",
    "<object data='{e}/{n}'></object>",
    "<embed src='{e}/{n}'>",
    "<link rel=stylesheet href='{e}/{n}.css'>",
    "<style>@import '{e}/{n}.css'; body {{ background: url({e}/{n}.png) }}</style>",
    "<div style=\"background:url('{e}/{n}.png')\">x</div>",
    "<meta http-equiv=refresh content='0;url={e}/{n}'>",
    "<base href='{e}/'>",
    "<form action='{e}/{n}'><button autofocus>x</button></form>",
    "<marquee onstart=__hit({n})>x</marquee>",
    '<a href="javascript:__hit({n})" autofocus onfocus=__hit({n})>x</a>',
    '"><script>__hit({n})</script>',
    "'><img src=x onerror=__hit({n})>",
    '" autofocus onfocus="__hit({n})',
    "' onmouseover='__hit({n})' x='",
    "--><script>__hit({n})</script><!--",
    "</textarea><script>__hit({n})</script>",
    "</title><script>__hit({n})</script>",
    "</option></select><img src=x onerror=__hit({n})>",
    "{{{{ 7 * 7 }}}} {{% raw %}} ${{7*7}} <%= 7*7 %>",
    "![x]({e}/{n}.png) [x](javascript:__hit({n}))",
    "&lt;script&gt;__hit({n})&lt;/script&gt;",
    "\u202e>tpircs<\u202c <script>__hit({n})</script>",
    "<scr\x00ipt>__hit({n})</scr\x00ipt>",
    "\x1b]8;;{e}\x07<script>__hit({n})</script>",
    "<template><script>__hit({n})</script></template>",
    "<noscript><p title='</noscript><img src=x onerror=__hit({n})>'>",
    "<x-x contenteditable onfocus=__hit({n}) tabindex=1 autofocus>x</x-x>",
    "data:text/html,<script>__hit({n})</script>",
)
COUNT = 4 * len(_RUNS)


def payload(n: int) -> str:
    """The n-th of `COUNT` texts: as it is, within a sentence, within a word, and doubled."""
    text = _RUNS[n % len(_RUNS)].format(n=n, e=ELSEWHERE)
    return (text, f"Kind regards, {text} your team", f"a{text}b", f"{text}{text}")[n // len(_RUNS) % 4]
