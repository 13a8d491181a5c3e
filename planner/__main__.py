"""`python -m planner`: the planner's process."""

import sys

from fencepost.service import serve
from fencepost.settings import load_settings
from planner.service import build
from planner.settings import PlannerSettings

if __name__ == "__main__":
    sys.exit(serve(lambda: load_settings(PlannerSettings), build))
