#!/usr/bin/env python3
"""Signs requests with botocore and writes tests/unit/libs/http/sigv4_vectors.h.

Needs the package botocore. Run it again only to add cases: the table is kept.
"""
import datetime
import pathlib
from unittest import mock
from urllib.parse import quote, urlsplit

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

HOST = "bedrock-runtime.us-east-1.amazonaws.com"
ARN = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-3-5-haiku-20241022-v1:0"
TOKEN = "IQoJb3JpZ2luX2VjEXAMPLE/////////wEaCXVzLWVhc3QtMSJHMEUCIQ+Token=="
BODY = '{"messages":[{"role":"user","content":[{"text":"hello"}]}]}'


def model(name, action="converse"):
    return f"/model/{quote(name, safe='-._~')}/{action}"


# name, method, scheme://host, path and query, content type, body, session token, unix seconds
CASES = [
    ("plain", "POST", f"https://{HOST}", model("amazon.titan-text-lite-v1"), "application/json", BODY, None, 1795521600),
    ("colon in the model id", "POST", f"https://{HOST}", model("anthropic.claude-3-haiku-20240307-v1:0"),
     "application/json", BODY, None, 1795521600),
    ("an ARN as the model id", "POST", f"https://{HOST}", model(ARN, "converse-stream"), "application/json", BODY, None,
     1795521601),
    ("session token", "POST", f"https://{HOST}", model("meta.llama3-70b-instruct-v1:0"), "application/json", BODY, TOKEN,
     1798761599),
    ("empty body", "GET", f"https://{HOST}", "/foundation-models", "", "", None, 951827696),
    ("empty body with a type and a token", "POST", f"https://{HOST}", "/", "application/json", "", TOKEN, 1795521600),
    ("unicode in the body", "POST", f"https://{HOST}", model("m"), "application/json",
     '{"text":"Grüße, 世界 \U0001f600 \\u0000"}', None, 1795521600),
    ("port in the host", "POST", "http://127.0.0.1:18090", model("a:b"), "application/json", BODY, None, 1795521600),
    ("query", "GET", f"https://{HOST}", "/models?b=2&a=1&a=%20x&c&b=1&%7E=t", "", "", None, 1795521600),
    ("dots and empty segments", "GET", f"https://{HOST}", "/a/./b//../c%2Fd/~e/", "", "", None, 1795521600),
    ("unicode in the path", "POST", f"https://{HOST}", model("modèle/é+ *"), "application/json", BODY, None, 1795521600),
]
ACCESS, SECRET, REGION, SERVICE = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "us-east-1", "bedrock"


def c_text(value):
    if value is None:
        return "NULL"
    out = []
    for byte in value.encode():
        ch = chr(byte)
        out.append("\\" + ch if ch in '"\\' else ch if 32 <= byte < 127 else f"\\{byte:03o}")
    return '"' + "".join(out) + '"'


def authorization(method, base, target, content_type, body, token, unix_s):
    headers = {"Content-Type": content_type} if content_type else {}
    request = AWSRequest(method=method, url=base + target, data=body.encode(), headers=headers)
    moment = datetime.datetime.fromtimestamp(unix_s, datetime.timezone.utc)
    auth = botocore.auth.SigV4Auth(Credentials(ACCESS, SECRET, token), SERVICE, REGION)
    with mock.patch.object(botocore.auth, "get_current_datetime", lambda *a, **k: moment.replace(tzinfo=None)):
        auth.add_auth(request)
    assert request.headers["X-Amz-Date"] == moment.strftime("%Y%m%dT%H%M%SZ")
    return request.headers["Authorization"], request.headers["X-Amz-Date"]


def main():
    lines = ["/* Written by tests/tools/make_sigv4_vectors.py with botocore " + botocore.__version__ + ". */",
             "/* clang-format off */"]
    for name, method, base, target, content_type, body, token, unix_s in CASES:
        signed, date = authorization(method, base, target, content_type, body, token, unix_s)
        path, _, query = target.partition("?")
        fields = [c_text(name), c_text(method), c_text(urlsplit(base).netloc), c_text(path), c_text(query),
                  c_text(content_type), c_text(body), c_text(token), f"{unix_s}u", c_text(date), c_text(signed)]
        lines.append("{" + ",\n ".join(fields) + "},")
    lines.append("/* clang-format on */")
    out = pathlib.Path(__file__).resolve().parents[1] / "unit/libs/http/sigv4_vectors.h"
    out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
