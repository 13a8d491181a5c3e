"""What a person can type next, once a system is ready."""

import shlex
from pathlib import Path

from deploy.launch import RunningSystem
from deploy.page_list import format_pages
from deploy.supervisor import logs_dir
from fencepost.region import Region
from fencepost.settings import LOOPBACK

ENVIRONMENT_FILE = "env"


def write_environment(system: RunningSystem) -> Path:
    """Write the file that tells a shell, and every command in it, where this system is; return its path."""
    settings = system.settings
    values = {
        "FENCEPOST_REDIS_URL": settings.redis_url,
        "FENCEPOST_PORT_BASE": str(settings.port_base),
        "FENCEPOST_PROFILE": settings.profile,
        "FENCEPOST_PROCESSES": format_pages(system.supervisor.pages()),
        "FENCEPOST_RUN_DIR": str(system.run_dir),
    }
    if settings.region_file is not None:
        values["FENCEPOST_REGION_FILE"] = str(settings.region_file.resolve())
    path = system.run_dir / ENVIRONMENT_FILE
    path.write_text("".join(f"export {name}={shlex.quote(value)}\n" for name, value in values.items()), "utf-8")
    return path


def next_steps(system: RunningSystem, region: Region, environment: Path) -> str:
    """Return the lines to print: commands to copy, each with what it shows."""
    settings, supervisor = system.settings, system.supervisor
    endpoint, balancer = region.endpoint[0].name.rstrip("."), region.load_balancer[0].name
    dig = f"dig @{LOOPBACK} -p {settings.dns_port} {endpoint}"
    api = f"http://{LOOPBACK}:{settings.api_port}/v1/load-balancers"
    commands = (
        ("what customers get", f"{dig} A"),
        ("which plan is live there", f"dig @{LOOPBACK} -p {settings.dns_port} _generation.{endpoint} TXT"),
        ("the same, through the caching resolver", dig.replace(f"-p {settings.dns_port}", f"-p {settings.cache_port}")),
        ("take a load balancer out of service; -X DELETE brings it back", f"curl -X POST {api}/{balancer}/drain"),
        ("the planner's view of the fleet", f"curl {api}"),
        ("tell this shell's fencepost commands where the system is", f". {shlex.quote(str(environment))}"),
        ("is all well? if not: the cause, where, and what to type", "fencepost status"),
    )
    pages = (f"  {name:20} {supervisor.admin_url(name)}" for name in supervisor.names() if name != "server")
    return "\n".join(
        (
            "Ready. What to type next, in another terminal:",
            *(f"  {command}\n      # {what}" for what, command in commands),
            "Every process serves /state, /metrics, /healthz and /readyz:",
            *pages,
            f"Logs: {logs_dir(system.run_dir)}",
            "Ctrl-C stops everything in order; a second one kills it.",
        )
    )
