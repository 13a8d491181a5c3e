"""The domain's commands: `zone`, `plan`, `history`. They talk to the stores alone, whatever else is down."""

import typer

from fencepost.history_command import history
from fencepost.plan_commands import plan_diff, plan_history, plan_publish, plan_show
from fencepost.zone_commands import zone_show


def register(app: typer.Typer) -> None:
    """Add this room's commands to the command line."""
    zone = typer.Typer(no_args_is_help=True, help="Look at an endpoint's zone.")
    zone.command("show")(zone_show)
    app.add_typer(zone, name="zone")
    plan = typer.Typer(no_args_is_help=True, help="Look at plans, compare them, publish one by hand.")
    plan.command("show")(plan_show)
    plan.command("history")(plan_history)
    plan.command("diff")(plan_diff)
    plan.command("publish")(plan_publish)
    app.add_typer(plan, name="plan")
    app.command("history")(history)
