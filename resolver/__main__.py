"""`python -m resolver`: the resolver's process; its settings are in the environment."""

import sys

from fencepost.service import serve
from fencepost.settings import load_settings
from resolver.loop import build
from resolver.settings import ResolverSettings

if __name__ == "__main__":
    sys.exit(serve(lambda: load_settings(ResolverSettings), build))
