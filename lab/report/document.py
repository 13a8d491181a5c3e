"""The JSON document of a comparison."""

from collections.abc import Mapping
from typing import Any

import msgspec

from lab.report.judged import Judged


def document(modes: Mapping[str, Judged]) -> dict[str, Any]:
    """Return `{"seed", "profile", "duration_s", "parameters", "modes": {mode: ...}}`, JSON-able.

    Seed, profile, duration and parameters are the first mode's; a comparison gives all modes the same.
    """
    run = next(iter(modes.values())).history.run
    return {
        "seed": run.seed,
        "profile": run.profile,
        "duration_s": run.duration_s,
        "parameters": run.parameters,
        "modes": {mode: msgspec.to_builtins(judged.result) for mode, judged in modes.items()},
    }
