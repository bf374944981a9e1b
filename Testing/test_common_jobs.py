"""Jobs and services: progress, cancel with nothing left, crashes as sentences, strange paths."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest
from SpineMotionToolsLib.common import jobs, processes, tasks
from SpineMotionToolsLib.common.errors import Cancelled, DependencyError, InputError, JobError, WeightsError
from SpineMotionToolsLib.common.progress import parts

REPOSITORY = Path(__file__).parents[1]
ODD = {"module_prefixes": ["Testing."]}
LONG_S = 20  # far more than any step needs, for a loaded machine
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="uses POSIX signals")


@pytest.fixture(autouse=True)
def odd_tasks_importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))


@pytest.fixture
def start():
    """`start_job` for odd tasks; whatever is left running ends with the test."""
    yield lambda name, parameters=None, on_progress=None: jobs.start_job(
        f"Testing.common_odd_tasks:{name}", parameters or {}, on_progress, **ODD
    )
    jobs.terminate_all()


@pytest.fixture
def service():
    yield lambda name, parameters: jobs.start_service(f"Testing.common_odd_tasks:{name}", parameters, **ODD)
    jobs.terminate_all()


def run(name, parameters=None, on_progress=None):
    return jobs.run_job(f"Testing.common_odd_tasks:{name}", parameters or {}, on_progress, **ODD)


def wait_until(condition, timeout_s=LONG_S):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_parameters_and_result_pass_unchanged(tmp_path, monkeypatch):
    folder = tmp_path / "Größe 骨 with space"
    folder.mkdir()
    monkeypatch.chdir(folder)
    parameters = {"text": "ünï 骨\n", "path": folder / "a b.nrrd", "numbers": [1, 2.5, None, True], "nested": {"a": {}}}
    result = run("echo", parameters)
    assert result["parameters"] == {**parameters, "path": str(folder / "a b.nrrd")}
    assert Path(result["folder"]) == folder  # relative paths mean the same in the child
    assert result["pid"] != os.getpid()
    assert not Path(result["temporary"]).exists()


def test_python_in_a_folder_with_spaces_and_accents(tmp_path, monkeypatch):
    package = REPOSITORY / "SpineMotionTools" / "SpineMotionToolsLib"
    home = tmp_path / "Programme für 骨"
    home.mkdir()
    (home / "SpineMotionToolsLib").symlink_to(package, target_is_directory=True)
    monkeypatch.setattr("SpineMotionToolsLib.__file__", str(home / "SpineMotionToolsLib" / "__init__.py"))
    assert run("echo", {"a": 1})["parameters"] == {"a": 1}


def test_prints_of_libraries_neither_break_nor_forge_events(start):
    seen = []
    job = start("chatter", on_progress=lambda *report: seen.append(report))
    assert job.wait(LONG_S) == {"forged": False, "stdin": ""}
    assert seen[-1] == (3, 3, "done")
    assert (1, 3, "größer") in seen
    job.close()
    assert "no line end" in job.log
    assert "to the log" in job.log
    assert "from C" in job.log or sys.platform == "win32"


def test_progress_has_a_remaining_time(start):
    job = start("steps", {"of": 10000, "step_s": 0.02})
    assert job.remaining_s is None
    wait_until(lambda: job.poll() or job.remaining_s is not None)
    wait_until(lambda: job.poll() or job.progress[0] > 20)
    assert job.remaining_s > 100  # 10000 steps of at least 20 ms
    job.cancel()
    assert job.remaining_s is None


def test_pace_starts_again_with_a_new_stage(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(jobs.time, "monotonic", lambda: now[0])
    pace = jobs.Pace()
    assert pace.remaining_s() is None
    pace.update(0, 10)
    now[0] = 2.0
    pace.update(1, 10)
    assert pace.remaining_s() == 18
    now[0] = 5.0
    assert pace.remaining_s() == 15
    pace.update(0, 4)
    assert pace.remaining_s() is None
    now[0] = 6.0
    pace.update(2, 4)
    assert pace.remaining_s() == 1


def test_a_callback_stops_the_job_by_raising_cancelled(start):
    def stop(done, of, text):
        raise Cancelled

    job = start("steps", {"of": 10000, "step_s": 0.01}, stop)
    with pytest.raises(Cancelled):
        job.wait(LONG_S)


def test_an_error_in_a_callback_reaches_the_host_and_the_job_runs_on(start):
    def broken(done, of, text):
        if done == 0:
            raise KeyError("the table is gone")

    job = start("steps", {"of": 3}, broken)
    with pytest.raises(KeyError):
        wait_until(job.poll)
    assert job.wait(LONG_S) == {}


@posix_only
@pytest.mark.parametrize("how", ["python", "interpreter locked"])
def test_cancel_leaves_no_process_and_no_file(start, tmp_path, how):
    output = tmp_path / "result.csv"
    output.write_text("old", encoding="utf-8")
    job = start("hang", {"output": output, "how": how})
    wait_until(lambda: job.poll() or job.progress[0] == 1)
    assert job.error is None, job.log
    worker = psutil.Process(job._child.process.pid)
    family = [worker, *worker.children(recursive=True)]
    assert len(family) >= 3
    assert any(job.folder.iterdir())
    job.cancel()
    assert isinstance(job.error, Cancelled)
    assert all(gone(process.pid) for process in family)
    assert not job.folder.exists()
    assert output.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [output]
    with pytest.raises(Cancelled):
        job.wait()


def test_cancel_while_the_child_still_starts(start):
    job = start("echo")
    pid = job._child.process.pid
    job.cancel()
    assert gone(pid)
    assert not job.folder.exists()
    assert job.poll()
    job.cancel()  # a second time does nothing
    job.close()


def test_processes_of_a_finished_job_are_gone(start):
    job = start("spawn")
    worker = job._child.process.pid
    pid = job.wait(LONG_S)["pid"]
    assert gone(pid)
    assert gone(worker)
    assert job.folder.exists()


def test_files_of_a_result_live_until_the_job_is_closed(start):
    job = start("write_result")
    path = Path(job.wait(LONG_S)["path"])
    assert path.read_text(encoding="utf-8") == "whole"
    assert path.is_relative_to(job.folder)
    job.close()
    assert not job.folder.exists()
    assert job.result is not None


def test_an_abandoned_job_ends_and_is_cleared(start):
    job = start("steps", {"of": 10000, "step_s": 0.01})
    pid, folder = job._child.process.pid, job.folder
    del job
    wait_until(lambda: gone(pid))
    assert not folder.exists()


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        pytest.param("segfault", JobError, "crashed inside a program library", marks=posix_only),
        pytest.param("killed", JobError, "memory ran out", marks=posix_only),
        ("exit", JobError, "exit code 3"),
        ("hard exit", JobError, "exit code 7"),
        ("no memory", JobError, "memory ran out"),
        ("our error", InputError, "The scan is empty. Choose another."),
        ("their error", JobError, "ValueError: wrong"),
        ("no dict", JobError, "not a dict"),
        ("no JSON", JobError, "cannot be written as JSON"),
        ("no package", DependencyError, "a_package_nobody_has is not installed"),
    ],
)
def test_every_way_to_fail_is_a_sentence(start, how, error, words):
    job = start("end_by", {"how": how})
    with pytest.raises(error, match=words) as caught:
        job.wait(LONG_S)
    assert type(caught.value) is error
    assert not job.folder.exists()
    if how in ("their error", "no memory"):
        assert "Traceback" in job.log


@pytest.mark.parametrize("task", ["common.tasks:not_there", "nowhere.tasks:grade"])
def test_a_task_that_cannot_be_imported(task):
    with pytest.raises(JobError, match="does not exist"):
        jobs.run_job(task, {})


@pytest.mark.parametrize(
    "task",
    ["os:system", "motion.pipeline:grade", "motion.tasks:__import__", "motion.tasks", "a.b.tasks:c", "os.tasks:a;b"],
)
def test_only_tasks_of_rooms_may_run(task):
    with pytest.raises(InputError, match="no task"):
        jobs.start_job(task, {})


def test_an_interpreter_that_is_not_there(tmp_path):
    before = set(processes.children)
    with pytest.raises(JobError, match="could not be started"):
        jobs.start_job("common.tasks:torch_check", {}, python=str(tmp_path / "no python"))
    assert set(processes.children) == before


def test_a_temporary_folder_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(processes.tempfile, "tempdir", str(tmp_path / "not there"))
    with pytest.raises(JobError, match="could not be started"):
        jobs.start_job("common.tasks:torch_check", {})


def test_parameters_that_are_not_json():
    with pytest.raises(JobError, match="could not be started"):
        jobs.start_job("common.tasks:torch_check", {"value": object()})


def test_code_beside_the_caller_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit('planted')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert run("echo", {})["parameters"] == {}


@posix_only
def test_the_child_ends_when_its_parent_is_killed(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent(f"""
        import time
        from SpineMotionToolsLib.common import jobs
        parameters = {{"output": {str(tmp_path / "x")!r}, "how": "python"}}
        job = jobs.start_job("Testing.common_odd_tasks:hang", parameters, module_prefixes=["Testing."])
        while not job.poll() and job.progress[0] != 1:
            time.sleep(0.01)
        print(job._child.process.pid, job.progress[2], job.folder, sep="|", flush=True)
        time.sleep(1000)
        """),
        encoding="utf-8",
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "SpineMotionTools")])}
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, env=environment, encoding="utf-8")
    worker, children, folder = parent.stdout.readline().strip().split("|")
    pids = [int(worker), *(int(pid) for pid in children.split(","))]
    assert not any(gone(pid) for pid in pids)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_until(lambda: all(gone(pid) for pid in pids))
    wait_until(lambda: not Path(folder).exists())
    assert not (tmp_path / "x").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"parent.py"}


def test_leaving_the_program_ends_its_jobs(tmp_path):
    script = (
        "from SpineMotionToolsLib.common import jobs; "
        'parameters = {"of": 9999, "step_s": 1}; '
        'job = jobs.start_job("Testing.common_odd_tasks:steps", parameters, module_prefixes=["Testing."]); '
        "print(job._child.process.pid, job.folder, sep='|')"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "SpineMotionTools")])}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, encoding="utf-8", env=environment, check=True
    )
    pid, folder = done.stdout.strip().split("|")
    assert gone(int(pid))
    assert not Path(folder).exists()


@posix_only
@pytest.mark.parametrize("input_reaches_the_worker", [True, False])
def test_a_launcher_in_between(tmp_path, start, input_reaches_the_worker):
    """PythonSlicer starts the interpreter as its own child: both must end, with or without standard input."""
    launcher = tmp_path / "Python Launcher"
    redirect = "<&0" if input_reaches_the_worker else "</dev/null"
    launcher.write_text(f'#!/bin/sh\n"{sys.executable}" "$@" {redirect} &\nwait $!\n', encoding="utf-8")
    launcher.chmod(0o755)
    task = "Testing.common_odd_tasks:hang"
    for how in ("python", "interpreter locked"):
        job = jobs.start_job(task, {"output": tmp_path / "x", "how": how}, python=str(launcher), **ODD)
        wait_until(lambda job=job: job.poll() or job.progress[0] == 1)
        assert job.error is None, job.log
        shell = psutil.Process(job._child.process.pid)
        family = [shell, *shell.children(recursive=True)]
        assert job._child._started[1].pid != shell.pid
        job.cancel()
        assert all(gone(process.pid) for process in family)
        assert list(tmp_path.iterdir()) == [launcher]
    result = jobs.run_job("Testing.common_odd_tasks:echo", {"a": 1}, python=str(launcher), **ODD)
    assert result["parameters"] == {"a": 1}


def test_two_jobs_run_side_by_side(start):
    first, second = start("echo", {"n": 1}), start("echo", {"n": 2})
    assert second.wait(LONG_S)["parameters"] == {"n": 2}
    assert first.wait(LONG_S)["parameters"] == {"n": 1}


@posix_only
def test_a_forked_process_leaves_its_parents_jobs_alone(start):
    job = start("steps", {"of": 100000, "step_s": 0.01})
    pid = os.fork()
    if pid == 0:
        jobs.terminate_all()
        os._exit(0)
    os.waitpid(pid, 0)
    assert not job.poll()
    assert job.folder.exists()


def test_wait_gives_up_and_the_job_runs_on(start):
    job = start("steps", {"of": 100000, "step_s": 0.01})
    with pytest.raises(TimeoutError):
        job.wait(0.05)
    assert not job.poll()


def test_service_loads_once_and_answers(service):
    adder = service("adder", {"base": 10})
    first = adder.request({"number": 1}, LONG_S)
    second = adder.request({"number": 2}, LONG_S)
    assert (first["sum"], second["sum"]) == (11, 12)
    assert first["pid"] == second["pid"]
    assert adder.ready
    folder = adder._child.folder
    adder.close()
    assert gone(first["pid"])
    assert not folder.exists()
    with pytest.raises(Cancelled):
        adder.call({"number": 1}, print)


def test_service_answers_only_the_newest_call(service):
    adder = service("adder", {"base": 0})
    adder.request({"number": 0}, LONG_S)
    answers = []
    adder.call({"number": 1, "steps": 100000}, answers.append)
    time.sleep(0.1)
    for number in range(2, 7):
        adder.call({"number": number, "steps": 1}, answers.append)
        adder.poll()
    wait_until(adder.poll)
    assert [answer["sum"] for answer in answers] == [6]


def test_service_survives_a_failed_call_but_not_a_crash(service):
    adder = service("adder", {"base": 1})
    with pytest.raises(InputError, match="Cannot add"):
        adder.request({"number": 1, "fail": True}, LONG_S)
    assert adder.request({"number": 1}, LONG_S)["sum"] == 2
    with pytest.raises(JobError, match="ended without a result"):
        adder.request({"crash": True, "number": 1}, LONG_S)
    with pytest.raises(JobError, match="ended without a result"):
        adder.call({"number": 1}, print)


def test_service_error_without_a_handler_is_raised_by_poll(service):
    adder = service("adder", {"base": 1})
    adder.call({"number": 1, "fail": True}, print)
    with pytest.raises(InputError, match="Cannot add"):
        wait_until(adder.poll)


@pytest.mark.parametrize(
    ("name", "parameters", "words"), [("adder", {}, "KeyError"), ("echo", {}, "must return a function")]
)
def test_service_that_cannot_load(service, name, parameters, words):
    with pytest.raises(JobError, match=words):
        service(name, parameters).request({}, LONG_S)


def test_service_whose_call_runs_is_closed_at_once(service):
    adder = service("adder", {"base": 1})
    pid = adder.request({"number": 1}, LONG_S)["pid"]
    adder.call({"number": 1, "steps": 100000}, print)
    adder.close()
    assert gone(pid)
    assert adder.poll()


def test_check_this_computer():
    result = jobs.run_job("common.tasks:torch_check", {})
    cpu = result["devices"][0]
    assert (cpu["device"], cpu["works"]) == ("cpu", True)
    assert result["threads"] >= 1
    assert result["memory_gib"] > 0
    assert result["packages"]["numpy"]


def test_the_check_itself_needs_no_package(monkeypatch):
    """A fresh Slicer has no psutil, and OpenCV comes under several names."""
    from importlib import metadata

    def version(name):
        if name != "opencv-python":
            raise metadata.PackageNotFoundError(name)
        return "4.10"

    monkeypatch.setitem(sys.modules, "psutil", None)
    monkeypatch.setattr(metadata, "version", version)
    found = tasks.torch_check({})
    assert (found["memory_gib"], found["packages"]["psutil"], found["packages"]["cv2"]) == ("?", None, "4.10")


def test_models_are_added_and_refused_in_a_job(tmp_path, monkeypatch):
    monkeypatch.setenv("SPINEMOTION_MODELS", str(tmp_path / "models"))
    (tmp_path / "u2net.pth").write_bytes(b"weights")
    parameters = {"model_id": "movements-u2net", "source": tmp_path / "u2net.pth", "accept_license": True}
    added = jobs.run_job("common.tasks:add_model_files", parameters)
    assert [Path(path).read_bytes() for path in added["paths"]] == [b"weights"]
    with pytest.raises(WeightsError, match="cannot be downloaded from here"):
        jobs.run_job("common.tasks:download_model", {"model_id": "movements-openpose", "accept_license": True})
    with pytest.raises(WeightsError, match="Accept the license of SpineNet V2"):
        jobs.run_job("common.tasks:download_model", {"model_id": "spinenet-v2", "accept_license": False})


def test_steps_share_one_progress():
    told = []
    first, skipped, last = parts(lambda done, of, text: told.append((done / of, text)), 3.0, 0.0, 1.0)
    first(0, 10, "a")
    first(10, 10)
    skipped(1, 2)
    last(1, 2, "b")
    last(2, 2)
    assert told == [(0.0, "a"), (0.75, ""), (0.75, ""), (0.875, "b"), (1.0, "")]
