"""Stack frames in one form, whichever browser and build wrote them: function, module, and whether it is the app's own.

Chrome says `async Cart.total [as sum]`, Firefox `async*total` or `total/<`, Safari `total`: all are `total` or, for a
function without a name, "". Modules are paths without host, query, content hash and version.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from msgspec import Struct

from appliance.issues.grouping.result import MAX_RAW, GroupingPart
from appliance.model import Frame

CACHE: Final = 8_192  # strings; a large bundle has a few thousand functions. At most some 2 MB
MAX_NAME: Final = 200  # characters of a function name or module that count

# A frame in a column beyond this is in minified code, where names of one or two letters mean nothing and change
# with every build. Formatted lines end well before.
MINIFIED_COLUMN: Final = 200
MINIFIED_NAME: Final = 2

_ANONYMOUS: Final = frozenset(
    {
        "", "?", "<anonymous>", "{anonymous}", "(anonymous)", "anonymous", "anonymous function", "(anonymous function)",
        "<unknown>", "unknown", "<computed>", "<module>", "<lambda>", "<eval>", "eval", "eval code", "global code",
        "module code", "global scope", "[native code]", "[arguments not available]", "null", "undefined",
    }
)  # fmt: skip
# What error trackers wrap around an application's functions: there or not by SDK version, never the cause.
_WRAPPERS: Final = frozenset({"sentryWrapped", "__sentry_wrapped__", "ravenWrapped", "__raven_wrapper__"})
_PREFIX: Final = re.compile(r"^(?:(?:async|new|get|set|static|function)[ ]|async\*)+", re.IGNORECASE)
_ALIAS: Final = re.compile(r" ?\[as [^\]]*\]$")
_ROLLUP_SUFFIX: Final = re.compile(r"\$\d+$")  # `total$1`: the bundler met two of that name
_SYMBOL: Final = re.compile(r"\[(?:Symbol\.)?([\w.]+)\]$|Symbol\(Symbol\.(\w+)\)$")


@lru_cache(CACHE)
def clean_function(name: str) -> str:
    """A function's own name; "" when it has none."""
    text = _ALIAS.sub("", _PREFIX.sub("", name[:1_000].strip())).strip()
    text = text.rpartition("*")[2]  # Firefox: `promise callback*total`, `setTimeout handler*total`
    if "./" in text:  # webpack names a module's own function after its file: `Object../src/cart.ts`
        return ""
    if "/" in text:  # Firefox: `outer/inner`, `outer/<` (without a name, in outer), `outer/this.inner`
        text = text.rpartition("/")[2]
    if text.endswith("<") or text.lower() in _ANONYMOUS:
        return ""
    symbol = _SYMBOL.search(text)
    if symbol:
        return (symbol[1] or symbol[2]).rpartition(".")[2]
    text = text.rpartition(".")[2]
    text = _ROLLUP_SUFFIX.sub("", text).lstrip("#")
    if text.lower() in _ANONYMOUS or text.endswith(">") or text.isdigit():
        return ""
    return text[:MAX_NAME]


# ── modules ──

_SCHEME: Final = re.compile(r"^[a-z][a-z0-9+.-]*:/{0,3}", re.IGNORECASE)
_DRIVE: Final = re.compile(r"^/?[a-z]:[\\/]", re.IGNORECASE)
_LAYER: Final = re.compile(r"^(?:\([\w-]+\)/)+")  # Next: `(app-pages-browser)/./src/cart.ts`
_TURBOPACK: Final = re.compile(r" \[[^\]]*\]| \((?:ecmascript|css)[^)]*\)")
_HOSTED: Final = frozenset({"http", "https", "ws", "wss", "blob"})
_EXTENSION: Final = re.compile(
    r"((?:\.(?:chunk|bundle|min|prod|production|esm|es|umd|iife|cjs|module|legacy|modern|async))*"
    r"\.(?:[cm]?jsx?|[cm]?tsx?|vue|svelte|astro|mdx?|py|php|rb|html?|wasm))$",
    re.IGNORECASE,
)
_BUNDLER_HASH: Final = re.compile(r"[-.]([A-Za-z0-9_-]{8})$")  # Rollup: base64url with dashes; esbuild: base32
_FILE_VERSION: Final = re.compile(r"[-._@]v?\d+(?:\.\d+)+(?=[-._@]|$)")  # jquery-3.6.0.min.js
_TOKENS: Final = re.compile(r"([-._~@])")
_HEX: Final = re.compile(r"^[0-9a-f]{6,}$", re.IGNORECASE)
_SHORT_HEX: Final = re.compile(r"^(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{4,}$")
_MIXED_ID: Final = re.compile(r"^(?=.*\d)(?=.*[A-Z])(?=.*[a-z])[A-Za-z0-9_-]+$")
_VERSION: Final = re.compile(r"^v?\d+(?:\.\d+)+(?:[-+][\w.]+)?$|^v\d+$", re.IGNORECASE)
_UUID: Final = re.compile(r"^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$", re.IGNORECASE)
_DATE: Final = re.compile(r"^\d{4}-\d\d-\d\d")


@lru_cache(CACHE)
def clean_module(path: str) -> str:
    """Where code lies, without what a deployment changes; "" for code without a file."""
    text = path[:2_048].strip().replace("\\", "/")
    if is_native(text):
        return ""
    scheme = _SCHEME.match(text)
    drive = _DRIVE.match(text)
    if drive:
        text = text[drive.end() :]
    elif scheme:
        name = scheme[0].partition(":")[0].lower()
        text = text[scheme.end() :]
        if name == "blob":
            return "blob"
        if name == "data":
            return "data"
        if name in _HOSTED or name.endswith("extension"):
            text = text.partition("/")[2]
        elif name == "webpack" and not text.startswith((".", "(")):
            head, _, rest = text.partition("/")  # webpack://name-of-the-package/./src/cart.ts
            text = rest if rest and head not in {"src", "node_modules", "app", "lib", "webpack"} else text
    text = text.partition("?")[0].partition("#")[0]
    text = _TURBOPACK.sub("", text)
    text = _LAYER.sub("", text.lstrip("/")).removeprefix("[project]/").removeprefix("@fs/")
    segments = [segment for segment in text.split("/") if segment not in {"", ".", "..", "~"}]
    if not segments:
        return "/" if scheme else ""
    cleaned = [_clean_segment(segment) for segment in segments[:-1]]
    return "/".join([*cleaned, clean_file_name(segments[-1])])[:MAX_NAME]


def clean_file_name(name: str) -> str:
    """A file name without content hashes: `checkout.c2bd8183.chunk.js` and `checkout-DiwrgTda.js` lose theirs."""
    extension = _EXTENSION.search(name)
    if extension is None:
        return _clean_segment(name)
    stem, tail = name[: extension.start()], extension[1].lower()
    bundler = _BUNDLER_HASH.search(stem)
    if bundler and _is_mixed(bundler[1]):
        stem = stem[: bundler.start()] + "-*"
    tokens = _TOKENS.split(_FILE_VERSION.sub("-*", stem))
    kept = [token if index % 2 or not _is_noise(token, first=index == 0) else "*" for index, token in enumerate(tokens)]
    return re.sub(r"(?:[-._~@]\*)+", ".*", "".join(kept)) + tail


def looks_like_hash(token: str) -> bool:
    """Whether a word is surely a hash or a build id: hexadecimal, or long and mixed as no one writes names."""
    if _HEX.match(token):
        return any(character.isdigit() for character in token) or len(token) >= 16
    return len(token) >= 16 and bool(_MIXED_ID.match(token))


def _is_mixed(token: str) -> bool:
    # 8 characters at the end of a bundle's name, with a digit or a capital inside: taken for a hash. It may be a
    # name (`page-UserList.js`); then the module says a little less, where the other error would split every build.
    return any(character.isdigit() or character.isupper() for character in token[1:])


def _is_noise(token: str, *, first: bool) -> bool:
    # Numbers of three digits and more are webpack's chunk ids, which a build may hand out anew.
    if looks_like_hash(token) or (token.isdigit() and len(token) >= 3):
        return True
    return bool(_VERSION.match(token)) or (not first and bool(_SHORT_HEX.match(token)))


def _clean_segment(segment: str) -> str:
    if segment.isdigit() or _UUID.match(segment) or _VERSION.match(segment) or _DATE.match(segment):
        return "*"
    return "*" if looks_like_hash(segment) else segment


@lru_cache(CACHE)
def clean_path(url: str) -> str:
    """The path of a page or resource with its ids taken out: `/orders/1042?tab=2` → `/orders/*`; "" of nothing."""
    if not url:
        return ""
    text = _SCHEME.sub("//", url[:2_048].strip())
    if text.startswith("//"):
        text = "/" + text[2:].lstrip("/").partition("/")[2]
    text = text.partition("?")[0]
    path, hash_mark, fragment = text.partition("#")
    if hash_mark and fragment.startswith(("/", "!/")):  # a client-side router that keeps its route there
        path = f"{path.rstrip('/')}/#{fragment}"
    else:
        fragment = ""
    segments = [segment for segment in path.split("/") if segment]
    cleaned = [clean_file_name(segment) if "." in segment else _clean_segment(segment) for segment in segments]
    return ("/" + "/".join(cleaned))[:MAX_NAME]


@lru_cache(1_024)
def host_of(url: str) -> str:
    """The host of a URL in lower case, without port and leading "www."; "" when there is none."""
    _, mark, rest = url[:2_048].strip().partition("://")
    if not mark:
        return ""
    host = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2].lower()
    return re.sub(r":\d+$", "", host).removeprefix("www.")


# ── whose code it is ──

_NATIVE: Final = frozenset({"native", "[native code]", "<anonymous>", "native code", "<native>", "unknown", "[native]"})
_LIBRARY: Final = re.compile(
    r"^https?://[^/]+/sdk(?:\.js|/\d)|"  # our own SDK, as the appliance serves it
    r"(?:^|[/\\])(?:node_modules|bower_components|site-packages|dist-packages|\.vite/deps|\.pnpm|@vite)[/\\]"
    r"|^(?:chrome|moz|safari|safari-web|ms-browser|edge)-extension:|^webkit-masked-url:|^node:|^internal/"
    r"|^self-hosted|^resource:|^<frozen |^chrome://"
    r"|^(?:webpack|webpack-internal):/{0,3}(?:[\w@.-]+/)?\(?webpack\)?[/\\]|^webpack/(?:bootstrap|runtime)"
    r"|/python\d(?:\.\d+)?/(?!site-packages)|/(?:lib|usr)/(?:\w+/)*python\d",
    re.IGNORECASE,
)
# Hosts that serve other people's code only: libraries, tags, payment and chat widgets.
_PUBLIC_HOSTS: Final = frozenset(
    {
        "cdn.jsdelivr.net", "unpkg.com", "cdnjs.cloudflare.com", "ajax.googleapis.com", "code.jquery.com", "esm.sh",
        "cdn.skypack.dev", "esm.run", "ga.jspm.io", "polyfill.io", "cdn.polyfill.io", "ajax.aspnetcdn.com",
        "stackpath.bootstrapcdn.com", "maxcdn.bootstrapcdn.com", "use.fontawesome.com", "kit.fontawesome.com",
        "use.typekit.net", "googletagmanager.com", "google-analytics.com", "ssl.google-analytics.com",
        "pagead2.googlesyndication.com", "googleads.g.doubleclick.net", "securepubads.g.doubleclick.net",
        "apis.google.com", "maps.googleapis.com", "maps.gstatic.com", "gstatic.com", "accounts.google.com",
        "connect.facebook.net", "platform.twitter.com", "snap.licdn.com", "static.ads-twitter.com",
        "analytics.tiktok.com", "bat.bing.com", "clarity.ms", "static.hotjar.com", "script.hotjar.com",
        "static.cloudflareinsights.com", "challenges.cloudflare.com", "js.stripe.com", "paypal.com",
        "paypalobjects.com", "js.braintreegateway.com", "widget.intercom.io", "js.intercomcdn.com",
        "js.hs-scripts.com", "js.hs-analytics.net", "cdn.segment.com", "cdn.amplitude.com", "cdn.mxpnl.com",
        "browser.sentry-cdn.com", "js.sentry-cdn.com", "cdn.ravenjs.com", "recaptcha.net", "js.hcaptcha.com",
    }
)  # fmt: skip


def is_native(path: str) -> bool:
    """Whether a frame belongs to the engine itself, with no file."""
    return path.lower() in _NATIVE


@lru_cache(CACHE)
def is_foreign(path: str) -> bool:
    """Whether a file is surely not the application's own: a library, an extension, the engine, a public CDN."""
    return is_native(path) or bool(_LIBRARY.search(path)) or host_of(path) in _PUBLIC_HOSTS


def is_in_app(frame: Frame) -> bool:
    """Whether a frame is the application's own code.

    An SDK's "no" counts. Its "yes" does not outweigh what the file says: browser SDKs say yes to every frame.
    """
    return frame.in_app is not False and read_frame(frame).in_app


# ── all of it ──


class FrameReading(Struct, frozen=True, gc=False):
    """A frame as grouping sees it."""

    in_app: bool  # as far as file and function tell
    function: str  # "" without a name of its own, minified names included
    module: str  # the SDK's own name for it, else its file
    part: GroupingPart  # of a stack: by its function, or by its file alone


def read_frame(frame: Frame) -> FrameReading:
    """Everything about a frame that grouping needs, kept for the next event that has it."""
    column = frame.colno
    return _read(
        frame.function, frame.filename, frame.abs_path, frame.module, column is not None and column > MINIFIED_COLUMN
    )


@lru_cache(CACHE)
def _read(function: str, filename: str, abs_path: str, module: str, minified: bool) -> FrameReading:
    name = clean_function(function)
    in_app = name not in _WRAPPERS and not is_foreign(abs_path or filename)
    if minified and len(name) <= MINIFIED_NAME:
        name = ""
    place = clean_module(module or filename or abs_path)
    file = (filename or abs_path or module)[:MAX_RAW]
    if name:
        part = GroupingPart("frame", f"{function[:MAX_RAW]} ({file})", f"{name} {place}")
    else:
        part = GroupingPart("module", file, place)
    return FrameReading(in_app, name, place, part)
