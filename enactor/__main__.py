"""`python -m enactor`: one enactor process; its settings are in the environment."""

import sys

from enactor.loop import build
from enactor.settings import EnactorSettings
from fencepost.service import serve
from fencepost.settings import load_settings

if __name__ == "__main__":
    sys.exit(serve(lambda: load_settings(EnactorSettings), build))
