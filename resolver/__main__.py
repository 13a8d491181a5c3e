"""`python -m resolver`: the resolver's process; its settings are in the environment."""

import sys

from fencepost.service import serve
from fencepost.settings import Settings, load_settings
from resolver.loop import build

if __name__ == "__main__":
    sys.exit(serve(lambda: load_settings(Settings), build))
