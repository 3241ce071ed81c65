"""What schemathesis does not know by itself: JSON Lines are sent as the text that they are."""

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def json_lines(_context, value):
    return {"data": value if isinstance(value, bytes) else str(value).encode("utf-8", errors="ignore")}
