"""The whole minute of test_replicas_attacked: one of three replicas stands still in the middle of its work and goes on."""
import os
import pathlib
import sys

os.environ['SLIPFORM_FROZEN_S'] = '60'
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'system'))
from test_replicas_attacked import test_one_that_stood_still_in_the_middle_of_its_work_harms_nothing, world  # noqa: E402,F401
