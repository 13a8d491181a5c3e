"""Plants one fault in the code that this process imports; no file is changed, and the code knows nothing of it.

`FENCEPOST_MUTANT=ID python -P -m lab.mutants.plant pytest|fencepost ARGUMENTS` runs a program with the fault in it, and
`pytest -p lab.mutants.plant` tests by themselves. A child process that imports this module, as multiprocessing's do
which import their parent's main module, gets the fault too; any other child of a test does not.

The standard library only, and nothing of ours but the catalogue: what is imported before the fault is planted has none.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Final

from lab.mutants.catalogue import Mutant, load_catalogue

MUTANT: Final = "FENCEPOST_MUTANT"
"""The variable that names the fault; without it, or empty, everything is as it ships."""
MARK: Final = "FENCEPOST_MUTANT_MARK"
"""The variable that names a file which is made as soon as the faulty text is in use."""


def mark(_: Mutant) -> None:
    """Leave word that the faulty text is in use: who tries a fault that is not there has shown nothing."""
    if path := os.environ.get(MARK):
        Path(path).touch()


class FaultyLoader(SourceFileLoader):
    """Compiles a module with the fault in it, past every cached bytecode; for a script, the module that loads it."""

    def __init__(self, name: str, path: str, mutant: Mutant) -> None:
        super().__init__(name, path)
        self._mutant = mutant

    def get_code(self, fullname: str) -> CodeType:
        """Compile the altered source."""
        source = self.get_source(fullname)
        assert source is not None, "a source file has a source"
        if self._mutant.script is None:
            source = self._mutant.plant(source)
            mark(self._mutant)
        return compile(source, self.path, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module; where the fault is in a script, let the module load that with the fault in it."""
        super().exec_module(module)
        if self._mutant.script is not None:
            module.load_script = faulty_load(module.load_script, self._mutant)  # type: ignore[attr-defined]


def faulty_load(load: Callable[[str], str], mutant: Mutant) -> Callable[[str], str]:
    """Return what loads scripts as `load` does, but for the mutant's."""

    def load_script(name: str) -> str:
        if name != mutant.script:
            return load(name)
        planted = mutant.plant(load(name))
        mark(mutant)
        return planted

    return load_script


class Planter(MetaPathFinder):
    """Finds the one module that is to have a fault; all others are found as ever."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the module's spec with our loader."""
        if fullname != self.mutant.module:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = FaultyLoader(fullname, spec.origin, self.mutant)
        return spec


def install(environment: Mapping[str, str] = os.environ) -> None:
    """Let the fault that the environment names be planted when its module is imported; once is enough.

    Raises: LookupError if there is no such mutant; RuntimeError if its module is imported already.
    """
    name = environment.get(MUTANT)
    if not name or any(type(finder).__name__ == Planter.__name__ for finder in sys.meta_path):
        return
    mutant = load_catalogue()[name]
    if mutant.module in sys.modules:
        raise RuntimeError(f"{name}: {mutant.module} is imported already, and has no fault")
    sys.meta_path.insert(0, Planter(mutant))


def main(arguments: list[str]) -> int:
    """Run pytest or our command line, and return its exit code."""
    program, *rest = arguments
    if program == "pytest":
        import pytest

        return pytest.main(rest)
    from fencepost.cli import run

    return run(rest)


install()

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
