"""What of test_replicas_attacked is about the store, over every kind of it: two of three killed at each step of a deployment, cursors of another log, and the
whole minute in which one of three replicas stands still in the middle of its work and goes on."""
import os
import pathlib
import sys

os.environ.update(SLIPFORM_FROZEN_S='60', SLIPFORM_ATTACKED='all')
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'system'))
from test_replicas_attacked import (test_one_that_stood_still_in_the_middle_of_its_work_harms_nothing,  # noqa: E402,F401
                                    test_two_of_three_are_killed_in_the_middle_of_a_deployment, test_what_was_said_of_another_log_counts_for_nothing, world)
