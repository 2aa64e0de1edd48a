"""Fifty simulated node-agents (bench/agents.c) and two replicas of the real control plane: what bench/agents.py measures with thousands, works. A third
of the nodes falls silent at once: all of their instances are lost, replaced elsewhere and healthy again, each once; the others stay as they are.
Both replicas are killed at once: all agents come back, and nobody is lost."""
import contextlib
import pathlib
import re

import pytest

from fleet import AGENTS, Background, ControlPlane, Fleet, settled
from patience import PATIENCE_S
from platform_world import PROGRAM, until

pytestmark = pytest.mark.skipif(not PROGRAM.exists() or not AGENTS.exists(), reason=f'{AGENTS} is not built')
NODES, INSTANCES = 50, 500
TIMEOUT_S = 10


@pytest.fixture
def world():
    world = ControlPlane(replicas=2, node_timeout_s=TIMEOUT_S)
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


@contextlib.contextmanager
def healthy_fleet(world):
    """All instances run and are told healthy: (fleet, how many deployments)."""
    with contextlib.ExitStack() as ends:
        fleet = Fleet(world, NODES, heartbeat_ms=1000, poll_s=5)
        ends.callback(fleet.end)
        background = Background(world)
        until(lambda: fleet.sum('joined') == NODES and fleet.sum('links') == fleet.links, lambda: f'all nodes have joined: {fleet.trouble()}')
        image_id = world.image()
        background.start()
        ends.callback(background.end)
        made = world.deploy_many(image_id, INSTANCES)
        settled(world, fleet, INSTANCES, PATIENCE_S)
        until(lambda: world.statuses().get('live') == len(made), lambda: f'every deployment is live: {world.statuses()}')
        yield fleet


def seq(world):
    return int(world.operator.get('/readyz').json['seq'])


def test_a_third_of_the_nodes_vanishes(world):
    with healthy_fleet(world) as fleet:
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


def test_all_replicas_are_killed_and_all_agents_come_back(world):
    with healthy_fleet(world) as fleet:
        before, at = world.healthy(), seq(world)
        fleet.handshakes(fleet.links)  # whoever wants to connects
        world.restart(fleet)
        until(lambda: fleet.sum('heard') == fleet.ears and fleet.sum('links') == fleet.links,
              lambda: f'every node is heard by every replica: {fleet.sum("heard")} of {fleet.ears}, {fleet.trouble()}')
        beats = fleet.sum('beats') + (TIMEOUT_S + 2) * fleet.ears
        until(lambda: fleet.sum('beats') >= beats, 'heartbeats for longer than a silence that is noticed')
        assert world.lost(at) == [], 'nobody is lost who comes back'
        assert world.healthy() == before, 'everything runs where it ran'
        assert world.told('CreateInstance', at) == []
