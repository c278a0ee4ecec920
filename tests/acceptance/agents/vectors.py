"""Texts that would run, or ask for something, in a page that took them for markup.

Each calls ``pwned`` (a function that a test puts into every page) or asks for an address that begins with ``/pwned``.
"""

from __future__ import annotations

SCRIPTS = (
    "<script>pwned(1)</script>",
    "<script src=/pwned.js></script>",
    "<ScRiPt>pwned(1)</sCrIpT >",
    "<script type=module>pwned(1)</script>",
    "<scr<script>ipt>pwned(1)</scr</script>ipt>",
    "</script><script>pwned(1)</script>",
    "<script>pwned(1)",
    "<!--><script>pwned(1)</script>-->",
    "<![CDATA[><script>pwned(1)</script>]]>",
    "<\x00script>pwned(1)</script>",
    "\u202e<script>pwned(1)</script>",
    '<script x=">" y>pwned(1)</script>',
)

HANDLERS = (
    "<img src=x onerror=pwned(1)>",
    "<img src=x:x onerror=pwned(1)//",
    "<img/src='x'/onerror='pwned(1)'>",
    "<body onload=pwned(1)>",
    "<input autofocus onfocus=pwned(1)>",
    "<details open ontoggle=pwned(1)>x</details>",
    "<video><source onerror=pwned(1)></video>",
    "<audio src=x onerror=pwned(1)></audio>",
    "<marquee onstart=pwned(1)>x</marquee>",
    "<p onmouseover=pwned(1) onclick=pwned(1)>hover</p>",
    "<a href=x onfocus=pwned(1) autofocus tabindex=1>x</a>",
    "<style>@keyframes x{}</style><p style=animation-name:x onanimationstart=pwned(1)>x</p>",
    "<dialog open oncancel=pwned(1)><button popovertarget=p onbeforetoggle=pwned(1)>x</button></dialog>",
)

LINKS = (
    "<a href=javascript:pwned(1)>x</a>",
    "<a href='java\tscript:pwned(1)'>x</a>",
    "<a href='&#106;avascript&colon;pwned(1)'>x</a>",
    "<a href=' \x01javascript:pwned(1)'>x</a>",
    "<a href='data:text/html,<script>pwned(1)</script>'>x</a>",
    "<a href='vbscript:pwned(1)'>x</a>",
    "<form action=javascript:pwned(1)><button>x</button></form>",
    "<form id=f></form><button form=f formaction=javascript:pwned(1)>x</button>",
    "<map name=m><area href=javascript:pwned(1) shape=default></map><img usemap=#m>",
    "<iframe src=javascript:pwned(1)></iframe>",
    "<iframe srcdoc='<script>parent.pwned(1)</script>'></iframe>",
    "<object data='data:text/html,<script>parent.pwned(1)</script>'></object>",
    "<embed src=javascript:pwned(1)>",
    "<meta http-equiv=refresh content='0;url=/pwned'>",
    "<base href=/pwned/>",
    "<link rel=stylesheet href=/pwned.css>",
    "<link rel=prefetch href=/pwned.html>",
    "<img src=/pwned.png>",
    "<img srcset='/pwned.png 1x'>",
    "<picture><source srcset=/pwned.png><img></picture>",
    "<div style=background:url(/pwned.png)>x</div>",
    "<style>@import '/pwned.css'; body{background:url(/pwned.png)}</style>",
    "<input type=image src=/pwned.png>",
    "<video poster=/pwned.png></video>",
    "<table background=/pwned.png><tr><td>x</table>",
)

FOREIGN = (
    "<svg onload=pwned(1)></svg>",
    "<svg><script>pwned(1)</script></svg>",
    "<svg><script href=/pwned.js /></svg>",
    "<svg><a xlink:href=javascript:pwned(1)><text y=20>x</text></a></svg>",
    "<svg><animate onbegin=pwned(1) attributeName=x dur=1s></svg>",
    "<svg><a><animate attributeName=href values=javascript:pwned(1) /><text y=20>x</text></a></svg>",
    "<svg><use href='data:image/svg+xml,<svg id=x xmlns=\"http://www.w3.org/2000/svg\"><script>pwned(1)</script></svg>#x'>",
    "<svg><image href=/pwned.png></svg>",
    "<svg><foreignObject><iframe srcdoc='<script>parent.pwned(1)</script>'></iframe></foreignObject></svg>",
    "<math><maction actiontype=statusline xlink:href=javascript:pwned(1)>x</maction></math>",
    "<math href=javascript:pwned(1)>x</math>",
)

MUTATIONS = (
    '<noscript><p title="</noscript><img src=x onerror=pwned(1)>">',
    '<svg></p><style><a id="</style><img src=x onerror=pwned(1)>">',
    '<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=x onerror=pwned(1)&gt;">',
    "<form><math><mtext></form><form><mglyph><style></math><img src=x onerror=pwned(1)>",
    "<template><script>pwned(1)</script></template><template shadowrootmode=open><script>pwned(1)</script></template>",
    "<listing>&lt;img src=x onerror=pwned(1)&gt;</listing>",
    '<xmp><p title="</xmp><img src=x onerror=pwned(1)>">',
    "<textarea></textarea><img src=x onerror=pwned(1)></textarea>",
    "<title></title><img src=x onerror=pwned(1)>",
    "<select><option></select><img src=x onerror=pwned(1)></option>",
    "<table><td><img src=x onerror=pwned(1)>",
    "<a id=location><a id=location name=href href=javascript:pwned(1)>clobber</a>",
    "<form id=execution><input name=dataset></form><div id=result-list>clobber</div>",
    '<img src="x` `<script>pwned(1)</script>"` `>',
)

BREAKOUTS = (
    '"><script>pwned(1)</script>',
    "'><script>pwned(1)</script>",
    '" autofocus onfocus=pwned(1) x="',
    "' autofocus onfocus=pwned(1) x='",
    "` autofocus onfocus=pwned(1) ",
    "x onerror=pwned(1) src=x ",
    "--><img src=x onerror=pwned(1)>",
    "]]><img src=x onerror=pwned(1)>",
    "</textarea><img src=x onerror=pwned(1)>",
    "</option></select><img src=x onerror=pwned(1)>",
    "</style></title></pre><img src=x onerror=pwned(1)>",
    '\\"><img src=x onerror=pwned(1)>',
    "&quot;&gt;&lt;img src=x onerror=pwned(1)&gt;",
    "%22%3E%3Cscript%3Epwned(1)%3C/script%3E",
    "';pwned(1);//",
    "\u2028pwned(1)\u2029",
)

MARKDOWN = (
    "[x](javascript:pwned(1))",
    "[x](JaVaScRiPt:pwned%281%29)",
    "[x](java&#10;script:pwned(1))",
    "[x]: javascript:pwned(1)\n\n[x]",
    "<javascript:pwned(1)>",
    "![x](/pwned.png)",
    '![x](x" onerror="pwned(1))',
    '[x](/ "" onmouseover=pwned(1) ")',
    '*[HTML]: " onmouseover="pwned(1)\n\nHTML',
    "# x {: onclick=pwned(1) }",
    "x\n{: style=background:url(/pwned.png) onclick=pwned(1) }",
    '```"><img src=x onerror=pwned(1)>\ncode\n```',
    "``` { .x onclick=pwned(1) }\ncode\n```",
    "[^1]\n\n[^1]: <img src=x onerror=pwned(1)>",
    "<div markdown=1>\n<img src=x onerror=pwned(1)>\n</div>",
    "    <script>pwned(1)</script>",
    "[TOC]\n\n# <img src=x onerror=pwned(1)>",
)

OTHERS = (
    "{{ cycler.__init__.__globals__.os.popen('x') }}<img src=x onerror=pwned(1)>",
    "{% raw %}{{ 7*7 }}{% endraw %}",
    "${pwned(1)}#{pwned(1)}<%= 7 %>",
    "\x1b[31m<img src=x onerror=pwned(1)>\x1b[0m",
    "\x1b]8;;javascript:pwned(1)\x1b\\x\x1b]8;;\x1b\\",
    '\x1b[38;2;1;2;"><script>pwned(1)</script>m',
    "\x1b]0;<script>pwned(1)</script>\x07",
    "+ADw-script+AD4-pwned(1)+ADw-/script+AD4-",
    "\ufeff<script>pwned(1)</script>\ufeff",
    "id: 7\r\nevent: status\r\ndata: 1:finished\r\n\r\n<script>pwned(1)</script>",
    "\n\nevent: eof\ndata: x\n\n<script>pwned(1)</script>",
)

VECTORS: tuple[str, ...] = SCRIPTS + HANDLERS + LINKS + FOREIGN + MUTATIONS + BREAKOUTS + MARKDOWN + OTHERS
