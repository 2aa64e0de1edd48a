"""Fifty simulated node-agents (bench/agents.c) and two replicas of the real control plane: what bench/agents.py measures with thousands, works. A third
of the nodes falls silent at once: all of their instances are lost, replaced elsewhere and healthy again, each once; the others stay as they are."""
import pathlib
import re

import pytest

from fleet import AGENTS, Background, ControlPlane, Fleet, settled
from patience import PATIENCE_S
from platform_world import PROGRAM, until

pytestmark = pytest.mark.skipif(not PROGRAM.exists() or not AGENTS.exists(), reason=f'{AGENTS} is not built')
NODES, INSTANCES = 50, 500


@pytest.fixture
def world():
    world = ControlPlane(replicas=2, node_timeout_s=10)
    try:
        world.start()
        world.populate()
        yield world
    finally:
        world.discard()


def descriptors(program):
    """Soft and hard limit."""
    text = pathlib.Path(f'/proc/{program.process.pid}/limits').read_text()
    return re.search(r'^Max open files +(\d+) +(\d+)', text, re.M).groups()


def test_a_replica_takes_as_many_connections_as_it_may(world):
    for program in world.replicas:
        soft, hard = descriptors(program)
        assert soft == hard


def test_a_third_of_the_nodes_vanishes(world):
    fleet = Fleet(world, NODES, heartbeat_ms=1000, poll_s=5)
    background = Background(world)
    try:
        until(lambda: fleet.sum('joined') == NODES and fleet.sum('links') == fleet.links, lambda: f'all nodes have joined: {fleet.trouble()}')
        image_id = world.image()
        background.start()
        made = world.deploy_many(image_id, INSTANCES)
        settled(world, fleet, INSTANCES, PATIENCE_S)
        until(lambda: world.statuses().get('live') == len(made), lambda: f'every deployment is live: {world.statuses()}')
        before = world.healthy()
        assert len(before) == INSTANCES
        refused = fleet.sum('beats_refused')  # by a replica that had not heard of that node's joining yet
        vanished = fleet.vanished()
        assert {'sim-3', 'sim-48'} < vanished and len(vanished) == NODES // 3
        lost = {i for i, node in before.items() if node in vanished}
        assert lost, 'some instances run there'

        fleet.vanish_third()
        until(lambda: fleet.sum('vanished') == len(vanished) and fleet.sum('healthy') < INSTANCES, 'a third is silent')
        settled(world, fleet, INSTANCES, PATIENCE_S)
        after = world.healthy()
        assert len(after) == INSTANCES
        assert not vanished & set(after.values()), 'nobody is said to run where nobody reports'
        assert before.keys() - lost <= after.keys(), 'who was heard was left alone'
        assert len(after.keys() - before.keys()) == len(lost), 'each is replaced once'
        assert {n['name'] for n in world.operator.items('/v1/nodes') if n['status'] == 'lost'} == vanished
        assert fleet.sum('states_refused') == 0 and fleet.sum('beats_refused') == refused, fleet.trouble()
    finally:
        if background.is_alive():
            background.end()
        fleet.end()
