"""A stdio server that does what its one argument, a JSON object, says. Needs nothing but the standard library.

    wait_for: a file that must exist before anything is read        stderr: text written first
    exit: the code to exit with at once                             era: legacy (default) or modern
    early: error (default) or ignore: what comes before initialize  log: a file that gets one line per tool call
    tools: names of further tools, which echo, but for `attempt`    replies: raw answers by method, lists, taken in turn
    started: a file that gets its process id once it is about to read
    tools_file: a file with names of further tools, read at each tools/list

Tools: echo, pid, count, environ; crash and leave (exit code 3 and 0 during the call); slow (answers when the file in
its argument `until` exists); announce (says that its list of tools has changed); hang_up (ends the listen streams of
a modern one); steps (reports progress, if asked to); attempt (reads, writes or connects).
"""

import json
import os
import socket
import sys
import threading
import time
from pathlib import Path

options = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
modern = options.get("era") == "modern"
lock = threading.Lock()
initialized = False
listening = []
calls = 0


def say(message):
    with lock:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def answer(request, result=None, error=None):
    body = {"error": error} if error else {"result": {"resultType": "complete", **result} if modern else result}
    say({"jsonrpc": "2.0", "id": request["id"], **body})


def wait_for(path):
    while not os.path.exists(path):  # noqa: PTH110
        time.sleep(0.005)


def text(value):
    return {"content": [{"type": "text", "text": str(value)}]}


def announce():
    notification = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
    for number in listening or [None]:
        params = {"params": {"_meta": {"io.modelcontextprotocol/subscriptionId": number}}} if modern else {}
        say({**notification, **params})


def attempt(read=None, write=None, connect=None):
    """Does one thing, and returns what hinders it."""
    try:
        if read is not None:
            return "".join(os.listdir(read)) if os.path.isdir(read) else Path(read).read_text()  # noqa: PTH112, PTH208
        if write is not None:
            Path(write).write_text("written")
        if connect is not None:
            socket.create_connection(("127.0.0.1", connect), timeout=5).close()
    except OSError as error:
        return type(error).__name__ if error.strerror is None else error.strerror
    return "done"


def call(request):
    global calls
    params = request["params"]
    name, arguments = params["name"], params.get("arguments", {})
    if "log" in options:
        with Path(options["log"]).open("a") as log:
            log.write(name + "\n")
    calls += 1
    if name == "crash":
        sys.stderr.write("about to crash\n")
        sys.stderr.flush()
        os._exit(3)
    if name == "leave":
        os._exit(0)
    if name == "slow":
        wait_for(arguments["until"])
    if name == "announce":
        announce()
    if name == "hang_up":
        while listening:
            answer({"id": listening.pop()}, {})
    if name == "steps":
        token = params.get("_meta", {}).get("progressToken")
        for step in range(arguments["steps"]):
            time.sleep(arguments["pause"])
            if token is not None:
                progress = {"progressToken": token, "progress": step}
                say({"jsonrpc": "2.0", "method": "notifications/progress", "params": progress})
    values = {"pid": os.getpid, "count": lambda: calls, "environ": lambda: json.dumps(dict(os.environ))}
    values["attempt"] = lambda: attempt(**arguments)
    answer(request, text(values.get(name, lambda: json.dumps(arguments))()))


def handle(request):
    global initialized
    method = request.get("method")
    if options.get("replies", {}).get(method):
        for message in options["replies"][method].pop(0):
            say(message if {"id", "method"} & message.keys() else {**message, "id": request["id"]})
        return
    if method == "initialize" and not modern:
        initialized = True
        capabilities = {"tools": {"listChanged": True}}
        info = {"name": "scripted", "version": "1"}
        answer(request, {"protocolVersion": "2025-11-25", "capabilities": capabilities, "serverInfo": info})
    elif "id" not in request or (not initialized and not modern and options.get("early") == "ignore"):
        return
    elif method == "server/discover" and modern:
        capabilities = {"tools": {"listChanged": True}}
        answer(request, {"supportedVersions": ["2026-07-28"], "capabilities": capabilities})
    elif method == "subscriptions/listen" and modern:
        listening.append(request["id"])
        tag = {"io.modelcontextprotocol/subscriptionId": request["id"]}
        params = {"notifications": request["params"]["notifications"], "_meta": tag}
        say({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": params})
    elif method == "tools/list":
        names = ["echo", "pid", "count", "environ", "crash", "leave", "slow", "announce", "hang_up", "steps"]
        names += options.get("tools", [])
        if "tools_file" in options:
            names += Path(options["tools_file"]).read_text().split()
        tools = [{"name": name, "inputSchema": {"type": "object"}} for name in names]
        answer(request, {"tools": tools, **({"ttlMs": 60000, "cacheScope": "public"} if modern else {})})
    elif method == "tools/call":
        threading.Thread(target=call, args=(request,), daemon=True).start()
    elif method == "ping":
        answer(request, {})
    else:
        answer(request, error={"code": -32601, "message": f"Method not found: {method}"})


sys.stderr.write(options.get("stderr", ""))
sys.stderr.flush()
if "exit" in options:
    sys.exit(options["exit"])
if "wait_for" in options:
    wait_for(options["wait_for"])
if "started" in options:
    with Path(options["started"]).open("a") as started:
        started.write(f"{os.getpid()}\n")
for line in sys.stdin:
    handle(json.loads(line))
