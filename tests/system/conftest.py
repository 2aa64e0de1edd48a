"""What a killed run leaves is cleared away (guardian.py)."""
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import guardian  # noqa: E402


def pytest_configure():
    guardian.watch()


def pytest_unconfigure():
    guardian.well()


@pytest.fixture(scope='session', autouse=True)
def temporary_folders_are_noted(tmp_path_factory):
    guardian.note(tmp_path_factory.getbasetemp())
