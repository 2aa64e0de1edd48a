"""An installation for each file of tests, and hello in it. A file whose installation is another one names it: new_house."""
import pytest

from dev1 import ROOT, Dev1

import guardian


def pytest_configure():
    guardian.watch()


def pytest_unconfigure():
    guardian.well()


@pytest.fixture(scope='module')
def house(request):
    house = getattr(request.module, 'new_house', Dev1)()
    try:
        house.up()
        yield house
    finally:
        house.discard()


@pytest.fixture(scope='module')
def hello(house):
    deployment = house.deploy(ROOT / 'examples/hello', 'hello', '--drain-seconds', 1)
    assert deployment['status'] == 'live'
    return deployment
