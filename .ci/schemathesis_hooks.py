"""What schemathesis does not know by itself: JSON Lines are sent as the text that they are, and whoever speaks with the
payment provider signs what they say."""

import hashlib
import hmac
import os
import time
import urllib.parse
import uuid

import requests
import schemathesis


@schemathesis.serializer("application/x-ndjson")
def json_lines(_context, value):
    return {"data": value if isinstance(value, bytes) else str(value).encode("utf-8", errors="ignore")}


class Signed(requests.auth.AuthBase):
    """Signs method, target, nonce and body, as docs/psp-protocol.md says."""

    def __init__(self, secret):
        self.secret = secret.encode()

    def __call__(self, request):
        body = request.body or b""
        body = body.encode() if isinstance(body, str) else body
        url = urllib.parse.urlsplit(request.url)
        target = f"{url.path}?{url.query}" if url.query else url.path
        nonce, now = str(uuid.uuid4()), int(time.time())
        signed = f"{now}.{request.method} {target}\n{nonce}\n".encode() + body
        code = hmac.new(self.secret, signed, hashlib.sha256).hexdigest()
        request.headers.update({"Sagashop-Nonce": nonce, "Sagashop-Signature": f"t={now},v1={code}"})
        return request


if secret := os.environ.get("PSP_SECRET"):
    schemathesis.auth.set_from_requests(Signed(secret))
