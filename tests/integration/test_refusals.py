"""Bad input gets a clear error in the client's own dialect, and costs nothing."""
import socket
import urllib.parse

import httpx
import pytest


def events_of(mesh, response):
    request = response.headers.get("x-request-id")
    return [e for e in mesh.events() if request and e.startswith(request)]


@pytest.mark.parametrize("change, status, words", [
    ({"headers": {"Authorization": "Bearer tg_live_nope"}}, 401, ["API key"]),
    ({"headers": {"Authorization": ""}}, 401, ["API key", "Authorization"]),
    ({"headers": {"X-Tenant": "globex"}}, 403, ["X-Tenant"]),
    ({"headers": {"X-Task-Type": "clasification"}}, 400, ["clasification", "classification"]),
    ({"headers": {"X-Task-Type": ""}}, 400, ["X-Task-Type"]),
    ({"headers": {"X-Latency-Budget-Ms": "soon"}}, 400, ["X-Latency-Budget-Ms", "soon", "86400000"]),
    ({"model": "gpt-17"}, 404, ["gpt-17"]),
    ({"messages": []}, 400, ["messages"]),
    ({"messages": "hello"}, 400, ["messages"]),
    ({"messages": [{"role": "wizard", "content": "x"}]}, 400, ["role"]),
    ({"tools": [{"type": "function", "function": {}}]}, 400, ["tools[0].function.name"]),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, 400,
     ["image"]),
    ({"max_tokens": -1}, 400, ["max_tokens"]),
    ({"stream": "yes"}, 400, ["stream"]),
    ({"temperature": 9}, 400, ["temperature"]),
])
def test_refused_with_a_reason(mesh, change, status, words):
    response = mesh.chat(**change)
    assert response.status_code == status, response.text
    error = response.json()["error"]
    for word in words:
        assert word in error["message"], f"'{word}' is not in: {error['message']}"
    assert not events_of(mesh, response)


def test_unknown_model_is_model_not_found(mesh):
    response = mesh.chat(model="nope")
    assert response.json()["error"]["code"] == "model_not_found"


def test_cost_cap_names_cap_and_estimate(mesh):
    response = mesh.chat("word " * 2000, task_type="analysis", max_tokens=8000)
    assert response.status_code == 402, response.text
    message = response.json()["error"]["message"]
    assert "0.05" in message and "$0.1" in message, message


def test_cost_cap_clamps_when_no_maximum_was_stated(mesh):
    response = mesh.chat("Short question?", task_type="analysis", max_tokens=None)
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("body, words", [
    (b"{not json", ["JSON"]),
    (b"[1,2]", ["object"]),
    (b'{"model":"auto","model":"auto","messages":[]}', ["already given"]),
    (b'{"model":"auto","messages":[{"role":"user","content":"\xff\xfe"}]}', ["UTF-8"]),
    (b"", ["JSON"]),
    (b"[" * 200 + b"]" * 200, ["deep"]),
])
def test_bad_json(mesh, body, words):
    response = httpx.post(f"{mesh.url}/v1/chat/completions", content=body, headers=mesh.headers())
    assert response.status_code == 400, response.text
    message = response.json()["error"]["message"]
    assert any(word.lower() in message.lower() for word in words), message


def test_anthropic_errors_are_anthropic(mesh):
    response = httpx.post(f"{mesh.url}/v1/messages", json={}, headers={"x-api-key": "wrong"})
    assert response.status_code == 401
    assert response.json()["type"] == "error"
    assert response.json()["error"]["type"] == "authentication_error"


def test_oversized_body(mesh):
    response = httpx.post(f"{mesh.url}/v1/chat/completions", content=b"x" * (9 << 20), headers=mesh.headers())
    assert response.status_code == 413, response.text


def raw(mesh, request):
    where = urllib.parse.urlsplit(mesh.url)
    with socket.create_connection((where.hostname, where.port), timeout=20) as connection:
        connection.sendall(request)
        return connection.recv(65536).decode(errors="replace")


@pytest.mark.parametrize("headers, status", [
    ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "400"),
    ("Content-Length: 5\r\nContent-Length: 6\r\n", "400"),
    ("Transfer-Encoding: gzip\r\n", "501"),
    ("X-Long: " + "a" * 40000 + "\r\n", "431"),
])
def test_smuggling_and_bad_framing(mesh, headers, status):
    answer = raw(mesh, f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n{headers}\r\nhello".encode())
    assert answer.startswith(f"HTTP/1.1 {status}") or (status == "501" and answer.startswith("HTTP/1.1 400")), \
        answer[:200]


def test_unknown_path_and_method(mesh):
    assert httpx.get(f"{mesh.url}/v1/nope", headers=mesh.headers()).status_code == 404
    assert httpx.get(f"{mesh.url}/v1/chat/completions", headers=mesh.headers()).status_code == 405


def test_prompts_and_keys_stay_out_of_the_logs(mesh):
    secret = "the-prompt-nobody-may-log"
    mesh.chat(secret)
    mesh.chat(secret, headers={"Authorization": "Bearer tg_live_secret-value"})
    for part in ("router", "inference", "billing", "health"):
        assert secret not in mesh.log(part) and "secret-value" not in mesh.log(part), part
        assert mesh.key() not in mesh.log(part), part
