from __future__ import annotations

import json
import subprocess
import sys


def run(program: str) -> subprocess.CompletedProcess[str]:
    head = "import logging, structlog\nfrom gateway.server import logs\nfrom gateway.server.settings import Logging\n"
    return subprocess.run([sys.executable, "-c", head + program], capture_output=True, text=True, check=True)


def test_a_line_is_one_json_object_with_its_process_on_standard_error() -> None:
    done = run("logs.configure(Logging(), 'edge-0')\nstructlog.get_logger().info('process.started', pid=7)")
    line = json.loads(done.stderr)
    assert done.stdout == ""
    assert (line["event"], line["process"], line["pid"], line["level"]) == ("process.started", "edge-0", 7, "info")
    assert line["time"].endswith("Z")


def test_standard_output_and_text_can_be_chosen() -> None:
    done = run(
        "logs.configure(Logging(output='stdout', format='text'), 'pages')\nstructlog.get_logger().warning('store.degraded')"
    )
    assert done.stderr == ""
    assert "store.degraded" in done.stdout


def test_lines_below_the_level_are_not_written() -> None:
    done = run(
        "logs.configure(Logging(level='error'), 'x')\nstructlog.get_logger().warning('a')\nstructlog.get_logger().error('b')"
    )
    assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == ["b"]


def test_what_libraries_log_becomes_a_line_of_ours_and_a_line_break_in_it_starts_no_new_one() -> None:
    done = run(
        "logs.configure(Logging(), 'x')\nlogging.getLogger('aiohttp.server').warning('bad\\n{\"event\": \"forged\"}')"
    )
    (line,) = done.stderr.splitlines()
    assert json.loads(line)["event"] == "library.logged"


def test_an_exception_is_one_line_too() -> None:
    program = "logs.configure(Logging(), 'x')\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n    structlog.get_logger().exception('process.failed')"
    (line,) = run(program).stderr.splitlines()
    assert "ZeroDivisionError" in json.loads(line)["exception"]
