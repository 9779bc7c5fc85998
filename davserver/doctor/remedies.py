"""Which line of which proxy's configuration mends what (nginx, Apache, Caddy, Traefik).

In the lines `{path}`, `{url}`, `{header}`, `{method}`, `{names}` stand for what was examined.
"""

from __future__ import annotations

from davserver.doctor.findings import Cause
from davserver.doctor.proxies import APACHE, CADDY, CLOUDFLARE, DAVSERVER, NGINX, TRAEFIK

_STREAMING_TRAEFIK = "remove the buffering middleware from the router"

REMEDIES: dict[Cause, dict[str, str]] = {
    Cause.AUTHORITY: {
        NGINX: "proxy_set_header Host $http_host;",
        APACHE: "ProxyPreserveHost On",
        CADDY: "remove `header_up Host ...` from reverse_proxy: it passes Host by itself",
        TRAEFIK: "passHostHeader: true   (loadBalancer of the service; the default)",
        DAVSERVER: 'public_url = ["{url}"]   (davserver.toml; where Host cannot be passed on)',
    },
    Cause.BASIC_PLAIN: {
        NGINX: "listen 443 ssl;  and use https://",
        APACHE: "SSLEngine on  and use https://",
        CADDY: "write the site as a name without http://: it gets a certificate by itself",
        TRAEFIK: "tls: {{}}   (router), entryPoint websecure",
        DAVSERVER: "tls_cert, tls_key   (davserver.toml), or Digest",
    },
    Cause.BODY_CHANGED: {
        NGINX: "remove sub_filter, addition and image filters from this location",
        APACHE: "remove Substitute, SetOutputFilter and mod_pagespeed from this location",
        CADDY: "remove `replace` and `templates` from this site",
        TRAEFIK: "remove the plugin that rewrites bodies from the router",
    },
    Cause.BODY_LIMIT: {
        NGINX: "client_max_body_size 0;",
        APACHE: "with mod_security: SecRequestBodyLimit, SecRequestBodyNoFilesLimit;"
        " else LimitRequestBody 0",
        CADDY: "remove `request_body {{ max_size ... }}`",
        TRAEFIK: "maxRequestBodyBytes: 0   (buffering middleware; better: remove it)",
        CLOUDFLARE: "DNS only (grey cloud): its plans take 100 to 500 MB",
        DAVSERVER: "put_limit, quotas and the free space of the disk",
    },
    Cause.BUFFERED: {
        NGINX: "proxy_request_buffering off;  with  proxy_http_version 1.1;",
        APACHE: "remove `SetEnv proxy-sendcl 1`",
        CADDY: "remove `request_buffers` from reverse_proxy",
        TRAEFIK: _STREAMING_TRAEFIK,
        CLOUDFLARE: "DNS only (grey cloud)",
    },
    Cause.CACHED: {
        NGINX: "proxy_cache off;",
        APACHE: 'CacheDisable "{path}"',
        CADDY: "remove `cache` from this site",
        TRAEFIK: "remove the cache plugin from the router",
    },
    Cause.CHUNKED: {
        NGINX: "proxy_http_version 1.1;  with  proxy_request_buffering off;",
        APACHE: "SetEnv proxy-sendchunked 1  and no `SetEnv force-proxy-request-1.0 1`",
        CADDY: "remove `versions 1.0` from the transport of reverse_proxy",
        TRAEFIK: _STREAMING_TRAEFIK,
    },
    Cause.COMPRESSED: {
        NGINX: "gzip off;   (also brotli off; zstd off;)",
        APACHE: "SetEnv no-gzip 1   (or remove DEFLATE and BROTLI_COMPRESS from this location)",
        CADDY: "remove `encode` from this site, or put it behind a matcher: not path {path}*",
        TRAEFIK: "remove the compress middleware from the router",
    },
    Cause.DECODED: {
        NGINX: "proxy_pass http://127.0.0.1:8080;   (no path, no $uri: the URL goes as it came)",
        APACHE: "ProxyPass {path} http://127.0.0.1:8080{path} nocanon"
        "   with  AllowEncodedSlashes NoDecode",
        CADDY: "remove `rewrite` and `uri` from this site",
        TRAEFIK: "remove replacePathRegex; encodedCharacters: allowEncodedPercent,"
        " allowEncodedSemicolon, allowEncodedHash, allowEncodedQuestionMark: true   (entryPoint)",
    },
    Cause.EXPECT: {
        NGINX: "nothing: it understands Expect; look at what stands before it",
        APACHE: "remove `RequestHeader unset Expect`",
        CADDY: "nothing: it understands Expect; look at what stands before it",
        TRAEFIK: "nothing: it understands Expect; look at what stands before it",
    },
    Cause.GATEWAY: {
        NGINX: "proxy_pass http://127.0.0.1:8080;   (is that where davserver listens?)",
        APACHE: "ProxyPass {path} http://127.0.0.1:8080{path}",
        CADDY: "reverse_proxy 127.0.0.1:8080",
        TRAEFIK: "servers: [{{url: http://127.0.0.1:8080}}]   (loadBalancer)",
        DAVSERVER: "its log says why when it is the server itself",
    },
    Cause.HEADER: {
        NGINX: "remove `proxy_set_header {header} ...;` and `proxy_pass_request_headers off;`",
        APACHE: "remove `RequestHeader unset|edit {header}`",
        CADDY: "remove `header_up {header} ...` and `request_header {header} ...`",
        TRAEFIK: "remove {header} from customRequestHeaders   (headers middleware)",
    },
    Cause.LOGIN_PAGE: {
        NGINX: "auth_request off;   (location {path}; davserver signs in by itself)",
        APACHE: "AuthType None   (Location {path}; davserver signs in by itself)",
        CADDY: "no forward_auth for path {path}*",
        TRAEFIK: "no forwardAuth middleware in the router of {path}",
    },
    Cause.METHOD: {
        NGINX: "remove limit_except and `if ($request_method ...)` for {method}",
        APACHE: "remove <Limit>, <LimitExcept> and AllowMethods for {method};"
        " with mod_security: allow it in tx.allowed_methods",
        CADDY: "remove {method} from the `method` matcher that is answered with an error",
        TRAEFIK: "remove Method(...) from the rule of the router",
        DAVSERVER: "read_only, and what the user may do at {path}",
    },
    Cause.NO_SLASH: {
        NGINX: "location = {bare} {{ proxy_pass http://127.0.0.1:8080; }}   beside"
        " `location {path}`",
        APACHE: "ProxyPass {bare} http://127.0.0.1:8080{bare}   (in place of ProxyPass {path})",
        CADDY: "handle {bare}* in place of handle {path}*",
        TRAEFIK: "PathPrefix(`{bare}`) in place of PathPrefix(`{path}`)",
    },
    Cause.OPTIONS: {
        NGINX: "remove `if ($request_method = OPTIONS) {{ return 204; }}`",
        APACHE: "remove the RewriteRule for OPTIONS",
        CADDY: "remove `@options method OPTIONS` and its respond",
        TRAEFIK: "remove accessControlAllow... from the headers middleware",
    },
    Cause.PREFIX: {
        NGINX: "proxy_pass http://127.0.0.1:8080;   (no path behind the port)",
        APACHE: "ProxyPass {path} http://127.0.0.1:8080{path}",
        CADDY: "handle {path}* {{ reverse_proxy 127.0.0.1:8080 }}   (not handle_path)",
        TRAEFIK: "remove the stripPrefix middleware from the router",
        DAVSERVER: 'prefix = "{prefix}"   (davserver.toml)',
    },
    Cause.REDIRECT_SECURE: {
        NGINX: "nothing: give clients the URL {location}",
        APACHE: "nothing: give clients the URL {location}",
        CADDY: "nothing: give clients the URL {location}",
        TRAEFIK: "nothing: give clients the URL {location}",
    },
    Cause.REDIRECT_SLASH: {
        NGINX: "location = {bare} {{ proxy_pass http://127.0.0.1:8080; }}   beside"
        " `location {path}`, and no `rewrite` that adds a slash",
        APACHE: "DirectorySlash Off  and no RedirectMatch that adds a slash",
        CADDY: "remove `redir` that adds a slash; handle {bare}* in place of handle {path}*",
        TRAEFIK: "remove the redirectRegex middleware that adds a slash",
    },
    Cause.SCHEME_UNKNOWN: {
        NGINX: "proxy_set_header X-Forwarded-Proto $scheme;",
        APACHE: 'RequestHeader set X-Forwarded-Proto "https"',
        CADDY: "remove `header_up X-Forwarded-Proto ...`: it passes it by itself",
        TRAEFIK: "passes it by itself; behind another proxy: forwardedHeaders.trustedIPs",
        DAVSERVER: "trusted_proxies = [address of the proxy]   (davserver.toml)",
    },
    Cause.SIGN_IN: {
        NGINX: "proxy_pass_header WWW-Authenticate;  and no proxy_hide_header for it",
        APACHE: "remove `Header unset WWW-Authenticate`; no `ProxyErrorOverride On`",
        CADDY: "remove `header_down -WWW-Authenticate`; no handle_response for 401",
        TRAEFIK: "no errors middleware for 401",
    },
    Cause.TIMEOUT: {
        NGINX: "proxy_read_timeout 3600s; proxy_send_timeout 3600s; client_body_timeout 300s;",
        APACHE: "ProxyTimeout 3600  with  RequestReadTimeout body=0",
        CADDY: "remove read_body and write from `servers {{ timeouts }}`",
        TRAEFIK: "transport.respondingTimeouts.readTimeout: 0   (entryPoint; the default is 60 s)",
        CLOUDFLARE: "DNS only (grey cloud): it gives up after 100 s",
    },
}
"""By cause, then by proxy. A cause without an entry is mended elsewhere: ADVICE."""

ADVICE: dict[Cause, str] = {
    Cause.CLOCK: "Set the clock of the server, or of this machine (chrony, systemd-timesyncd).",
    Cause.RIGHTS: "Give a URL where the user may write, or another user.",
    Cause.ROOM: (
        "Make room: on the disk, in the quota of the share, of the user. Or examine with less:"
        " --size 64KiB."
    ),
    Cause.SERVER: (
        "If it is davserver that answers, this is a fault of it: please report it with this text."
        " Else something between rewrites requests or answers."
    ),
}
