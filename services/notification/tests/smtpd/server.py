"""A mail server for the tests: aiosmtpd, as others wrote it, which tells on standard output what it gets.

    server.py --port 0 [--tls starttls|implicit --cert FILE --key FILE] [--user NAME --password WORD]

Each line is a JSON object: {"port": …} once it listens, {"connection": n}, {"mail": {…}}, {"login": true|false}.
Recipients that begin with "nobody" are refused for good.
"""

import argparse
import asyncio
import json
import ssl

from aiosmtpd.smtp import SMTP, AuthResult


def tell(**what):
    print(json.dumps(what), flush=True)


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody"):
            return f"550 no such user here: {address}"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        tell(
            mail={
                "to": envelope.rcpt_tos,
                "text": envelope.content.decode("utf-8", "replace"),
                "tls": server.transport.get_extra_info("ssl_object") is not None,
                "authenticated": bool(session.authenticated),
            }
        )
        return "250 OK"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tls", choices=["starttls", "implicit"])
    parser.add_argument("--cert")
    parser.add_argument("--key")
    parser.add_argument("--user")
    parser.add_argument("--password")
    args = parser.parse_args()

    context = None
    if args.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(args.cert, args.key)

    def authenticate(server, session, envelope, mechanism, data):
        good = (data.login, data.password) == (args.user.encode(), args.password.encode())
        tell(login=good)
        return AuthResult(success=good, handled=False)

    options = {"enable_SMTPUTF8": True}
    if args.tls == "starttls":
        options |= {"tls_context": context, "require_starttls": True}
    if args.user:
        options |= {
            "authenticator": authenticate,
            "auth_required": True,
            "auth_require_tls": args.tls == "starttls",
        }
    connections = 0

    class Counted(SMTP):
        def connection_made(self, transport):
            # STARTTLS calls it again, with the transport that is wrapped.
            if self.session is None:
                nonlocal connections
                connections += 1
                tell(connection=connections)
            super().connection_made(transport)

    async def serve():
        loop = asyncio.get_running_loop()
        implicit = context if args.tls == "implicit" else None
        server = await loop.create_server(
            lambda: Counted(Handler(), loop=loop, **options), "127.0.0.1", args.port, ssl=implicit
        )
        tell(port=server.sockets[0].getsockname()[1])
        async with server:
            await server.serve_forever()

    asyncio.run(serve())


if __name__ == "__main__":
    main()
