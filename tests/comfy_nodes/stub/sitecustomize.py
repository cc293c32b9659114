"""Stand-ins for packages that the ComfyUI server imports by name but these tests never use.

torchvision and its like pull gigabytes; the server starts without them as long as their names can
be imported. Found last, so that an installed package is always taken. Every use raises.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
import types

NAMES = ("torchvision", "torchaudio", "kornia", "spandrel")


class _Meta(type):
    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return cls

    def __call__(cls, *args, **kwargs):
        raise RuntimeError("This package is a stand-in of the tests and can't be used.")


class _Absent(metaclass=_Meta):
    pass


class _Module(types.ModuleType):
    __path__ = ()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return _Absent


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in NAMES:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return _Module(spec.name)

    def exec_module(self, module):
        pass


sys.meta_path.append(_Finder())
