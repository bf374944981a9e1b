"""Tasks that behave badly, for the tests of jobs: they print, hang, crash, fork, and fill the disk."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.files import atomic_path


def echo(parameters, progress):
    return {"parameters": parameters, "folder": os.getcwd(), "pid": os.getpid(), "temporary": tempfile.gettempdir()}


def chatter(parameters, progress):
    """Prints in every way there is, before and between progress reports."""
    print("no line end", end="")
    progress(1, 3, "größer")
    os.write(1, b'\xff\xfe {"event": "result", "result": {"forged": true}}\n')
    ctypes.CDLL(None).printf(b"from C\n") if sys.platform != "win32" else None
    subprocess.run([sys.executable, "-c", 'print(\'{"event": "result", "result": {"forged": true}}\')'], check=True)
    sys.stderr.write("to the log\n")
    progress(3, 3, "done")
    return {"forged": False, "stdin": sys.stdin.read()}


def steps(parameters, progress):
    for done in range(parameters["of"]):
        progress(done, parameters["of"], f"step {done}")
        time.sleep(parameters.get("step_s", 0))
    return {}


def hang(parameters, progress):
    """Starts a child and a grandchild (one in a session of its own), opens an output, then hangs in Python or in C."""
    sleeper = "import time; time.sleep(1000)"
    nested = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {sleeper!r}]).wait()"
    own_session = {"start_new_session": True} if sys.platform != "win32" else {}
    started = [
        subprocess.Popen([sys.executable, "-c", nested]),
        subprocess.Popen([sys.executable, "-c", sleeper], **own_session),
    ]
    Path(tempfile.mkstemp()[1]).write_text("left over", encoding="utf-8")
    with atomic_path(parameters["output"]) as temporary:
        temporary.write_text("half", encoding="utf-8")
        progress(1, 2, ",".join(str(process.pid) for process in started))
        if parameters["how"] == "python":
            while True:
                time.sleep(0.01)
        ctypes.PyDLL(None).sleep(1000)  # keeps the interpreter's lock: no signal, no thread gets through
    return {}


def spawn(parameters, progress):
    return {"pid": subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"]).pid}


def end_by(parameters, progress):
    how = parameters["how"]
    if how == "segfault":
        ctypes.string_at(0)
    elif how == "killed":
        os.kill(os.getpid(), 9)
    elif how == "exit":
        sys.exit(3)
    elif how == "hard exit":
        os._exit(7)
    elif how == "no memory":
        raise MemoryError
    elif how == "our error":
        raise InputError("The scan is empty. Choose another.")
    elif how == "their error":
        raise ValueError("wrong")
    elif how == "no dict":
        return 3
    elif how == "no JSON":
        return {"value": object()}
    elif how == "no package":
        import a_package_nobody_has  # noqa: F401
    return {}


def write_result(parameters, progress):
    path = Path(tempfile.mkdtemp()) / "result.txt"
    path.write_text("whole", encoding="utf-8")
    return {"path": path}


def adder(parameters, progress):
    """A service: adds the number it was loaded with; a call may be slow, fail or crash."""
    base = parameters["base"]

    def add(call, progress):
        for done in range(call.get("steps", 0)):
            progress(done, call["steps"], "")
            time.sleep(0.01)
        if call.get("fail"):
            raise InputError("Cannot add.")
        if call.get("crash"):
            os._exit(1)
        return {"sum": base + call["number"], "pid": os.getpid()}

    return add
