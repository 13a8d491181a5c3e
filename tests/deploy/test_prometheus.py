"""The alert rules: they are over metrics that exist, they fire as their own tests say, and causes mute consequences."""

import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from deploy.watch import WatchService, WatchSettings
from enactor.loop import build as build_enactor
from enactor.settings import EnactorSettings
from fencepost.alarms import EVERYWHERE, HERE, KINDS
from fencepost.clock import SystemClock
from fencepost.service import Context
from fencepost.symptoms import Cause

PLACE = Path(str(files("deploy") / "prometheus"))
RULES = (PLACE / "alerts.yml").read_text()
INHIBITIONS = re.findall(
    r"- \{source_matchers: \['cause=\"([a-z-]+)\"'\], target_matchers: \[(.*?)\](?:, equal: \[([a-z, ]+)\])?\}",
    (PLACE / "alertmanager.yml").read_text(),
)


def alerts():
    """Return (name, cause, severity, annotations' text) of each rule."""
    for block in RULES.split("- alert: ")[1:]:
        labels = re.search(r"labels: \{severity: (.+?)(?:, cause: ([a-z-]+))?\}\n", block)
        assert labels is not None, block
        yield block.split("\n")[0], labels[2], labels[1], block


@pytest.fixture
async def exported(redis_url, tmp_path):
    """The names of the metrics of a watch and of an enactor."""
    texts = []
    watch_settings, enactor_settings = WatchSettings(redis_url=redis_url), EnactorSettings(redis_url=redis_url)
    contexts = Context(watch_settings), Context(enactor_settings)
    services = WatchService(contexts[0], watch_settings, SystemClock()), build_enactor(contexts[1])
    texts = [generate_latest(context.registry).decode() for context in contexts]
    for service in services:
        await service.stop()
    return set(re.findall(r"^# TYPE (\S+)", "".join(texts), re.MULTILINE))


async def test_rules_are_over_metrics_that_our_processes_export(exported):
    """A rule over a metric that nobody has would never fire, and nobody would know."""
    used = set(re.findall(r"\bfencepost_[a-z_]+", re.sub(r"#.*", "", RULES)))

    assert used - exported == set()
    assert len(used) > 10


def test_rules_have_severity_summary_and_command():
    """Whoever is woken up knows what it is and what to type; severities are those of the alarms."""
    for name, cause, severity, block in alerts():
        assert "summary: " in block, name
        assert "command: fencepost " in block, name
        if cause in set(Cause):
            assert severity == KINDS[Cause(cause)].severity, name


def test_causes_without_a_rule_come_from_the_watch():
    """Every cause has a rule of its own, or is left to the rule over the watch's alarm, and not both."""
    own = {cause for _, cause, _, _ in alerts() if cause}
    (left_out,) = re.findall(r'fencepost_alarm\{cause!~"([a-z|-]+)"\}', RULES)

    assert set(left_out.split("|")) == {
        cause for cause in own if cause in set(Cause) and KINDS[cause].severity != "note"
    }


def test_inhibitions_are_those_of_the_alarm_tables():
    """What the watch tells below a cause, Alertmanager mutes, and nothing else but what is said here."""
    own = {cause for _, cause, _, _ in alerts() if cause} & set(Cause)
    own |= {cause for cause, kind in KINDS.items() if kind.severity != "note"}  # from the watch, if not by a rule
    here, everywhere = set(), set()
    for source, targets, equal in INHIBITIONS:
        wanted = re.search(r'cause=~?"([a-z|-]+)"', targets)
        if wanted is None:
            spared = re.search(r'cause!~"([a-z|-]+)"', targets)
            assert spared is not None, targets
            muted = own - set(spared[1].split("|"))
        else:
            muted = set(wanted[1].split("|"))
        (here if equal else everywhere).update((source, target) for target in muted)

    def table(found):
        return {(c.value, t.value) for c, targets in found.items() for t in targets if {c, t} <= own}

    assert here - {("answers-empty", "cache-empty")} == table(HERE)
    assert everywhere == table(EVERYWHERE)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
@pytest.mark.parametrize("arguments", [("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")])
def test_promtool_accepts_the_rules(arguments):
    """Prometheus's own tool reads them, and its unit tests pass."""
    done = subprocess.run(["promtool", *arguments], cwd=PLACE, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("amtool") is None, reason="amtool is not installed (Debian: prometheus-alertmanager)")
def test_amtool_accepts_the_configuration():
    """Alertmanager's own tool reads it."""
    done = subprocess.run(
        ["amtool", "check-config", "alertmanager.yml"], cwd=PLACE, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
