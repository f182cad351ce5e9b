"""scripts/demo: the main job from start to end, in one command."""

import re
import subprocess
import sys

from scripts.stack import ROOT

DEMO_SECONDS = 120


def test_the_demo_ends_with_0_and_a_summary_in_which_all_agrees() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.demo", "--rows", "20000"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEMO_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    for step in ("nats-server", "actors", "projections", "gateway"):
        assert re.search(rf"^  {step} +ready in", done.stdout, re.MULTILINE)
    for checked in (
        "the batch has completed",
        "jobs = batches of rows (20)",
        "rows in = rows worked on (20,000)",
        "the checksums agree",
    ):
        assert f"yes  {checked}" in done.stdout
    assert "job.succeeded  version 2" in done.stdout
    assert re.search(r"[\d,]+ rows/s +[\d,]+ jobs/s +submit -> result p50 [\d.]+ ms", done.stdout)
