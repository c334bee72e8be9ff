"""A guest at several moments of its life, each reached once for all tests of a module.

Configuring a guest and booting it takes most of a second; setting one back to a copy takes a hundredth.
A copy is laid over the folder it was made from, because the files that the appliance writes name their paths.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from bash_guest import Guest

Step = Callable[[Guest], object]
"""A function by whose name a moment is known: it must do the same each time."""


class Moments:
    """One guest and its copies; `copies` is an empty folder for them."""

    def __init__(self, guest: Guest, copies: Path) -> None:
        self._guest = guest
        self._environment = dict(guest.environment)
        self._copies = copies
        self._save("built")

    def after(self, *steps: Step) -> Guest:
        """The guest as these steps have left it; what tests have done to it since is undone."""
        moment = "-".join(("built", *(step.__name__ for step in steps)))
        if (self._copies / moment).exists():
            self._set_back(moment)
        else:
            steps[-1](self.after(*steps[:-1]))
            self._save(moment)
        return Guest(self._guest.root, self._guest.stubs, dict(self._environment))

    def _save(self, moment: str) -> None:
        (self._copies / moment).mkdir()
        _copy([self._guest.root, self._guest.stubs], self._copies / moment)

    def _set_back(self, moment: str) -> None:
        for folder in (self._guest.root, self._guest.stubs):
            shutil.rmtree(folder)
        _copy(list((self._copies / moment).iterdir()), self._guest.root.parent)


def _copy(folders: list[Path], into: Path) -> None:
    # cp, because shutil keeps neither owners nor what is no plain file.
    subprocess.run(["cp", "-a", "--", *folders, into], check=True, timeout=60)
