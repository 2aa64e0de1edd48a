"""edge-proxy and node-proxy with real Envoys in network namespaces; the management API is a fake (edge_world.py)."""
import collections
import json
import os
import re
import signal
import socket
import ssl
import threading
import time

import pytest

import edge_world
from edge_world import wait_for

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason='needs root: network namespaces'),
    pytest.mark.skipif(not edge_world.ENVOY.exists(), reason=f'no envoy at {edge_world.ENVOY}: run the set-up'),
]
APP = 'https://app.test:8443'
# 25 requests a second: each is a TLS handshake by Python, and two cores run everything at once.
RATE = 25


@pytest.fixture(scope='module')
def started():
    world = edge_world.World()
    try:
        world.up()
        world.start_node('w1')
        world.start_node('w2')
        world.start_edge()
        for space in ('w1', 'w2', 'edge'):
            wait_for(f'{space} is ready', lambda: world.is_ready(space))
        yield world
    finally:
        world.down()


@pytest.fixture
def world(started):
    """Everything well, the application on all three guests, and that confirmed."""
    for guest in started.guests:
        if guest.process.poll() is not None:
            guest.start()
    cursor = started.api.put(1, ['app.test'], started.guests)
    started.api.confirmed(cursor)
    wait_for('the application answers', lambda: started.curl(f'{APP}/') in ('g1', 'g2', 'g3'))
    # instances that a test before has killed are taken back after their time in exile
    wait_for('every instance is used', lambda: len({started.curl(f'{APP}/') for _ in range(12)}) == 3)
    return started


def sticky_of(answer):
    return re.search(r'set-cookie: (slipform_sticky=[^;]+)', answer, re.I)[1]


def assert_none_failed(load, at_least=RATE):
    assert load.result['failures'] == []
    assert load.result['sent'] >= at_least


def test_requests_are_spread_over_all_instances(world):
    answers = collections.Counter(world.curl(f'{APP}/') for _ in range(30))
    assert set(answers) == {'g1', 'g2', 'g3'}


def test_spread_on_one_connection_too(world):
    text = world.curl(f'{APP}/', *[f'{APP}/?{i}' for i in range(30)])
    assert set(re.findall('g[123]', text)) == {'g1', 'g2', 'g3'}


def test_sticky_cookie(world):
    answer = world.curl(f'{APP}/', '-i')
    cookie, instance = sticky_of(answer), answer.split()[-1]
    assert 'Secure' in answer and 'HttpOnly' in answer
    assert {world.curl(f'{APP}/', '-b', cookie) for _ in range(20)} == {instance}
    assert 'set-cookie' not in world.curl(f'{APP}/', '-i', '-b', cookie).lower()  # it has it already
    assert {world.curl(f'{APP}/', '-b', f'other=1; {cookie}; more=2') for _ in range(5)} == {instance}


def test_sticky_cookie_shows_no_address_and_takes_none(world):
    cookies = {sticky_of(world.curl(f'{APP}/', '-i')) for _ in range(20)}
    assert len(cookies) == 3
    assert all('fd00' not in c and not re.search('ZmQ', c) for c in cookies)
    # An address, or another project's name, is nobody's: it is ignored and replaced.
    other = world.api.put(2, ['other.test'], world.guests[2:])
    world.api.confirmed(other)
    foreign = sticky_of(world.curl('https://other.test:8443/', '-i'))
    world.api.confirmed(world.api.put(1, ['app.test'], world.guests[:2]))
    for value in (foreign, 'slipform_sticky=W2ZkMDA6Mjo6MTNdOjgwODA=', 'slipform_sticky=[fd00:2::13]:8080'):
        answer = world.curl(f'{APP}/', '-i', '-b', value)
        assert answer.split()[-1] in ('g1', 'g2')
        assert sticky_of(answer) != foreign
    world.api.confirmed(world.api.remove(2))


def test_sticky_client_survives_its_instance(world):
    answer = world.curl(f'{APP}/', '-i')
    cookie, instance = sticky_of(answer), answer.split()[-1]
    world.guests[int(instance[1]) - 1].kill()
    again = world.curl(f'{APP}/', '-i', '-b', cookie)
    assert again.split()[-1] in {'g1', 'g2', 'g3'} - {instance}
    assert sticky_of(again) != cookie


def test_http2_and_http1(world):
    for option, version in (('--http2', '2'), ('--http1.1', '1.1')):
        assert world.curl(f'{APP}/', option, '-o', '/dev/null', '-w', '%{http_version} %{http_code}') == f'{version} 200'


def test_websocket(world):
    context = ssl.create_default_context(cafile=world.pki.folder / 'public-ca.crt')
    with world.in_namespace('edge'):
        plain = socket.create_connection(('fd10::e1', 8443), 60)
    with context.wrap_socket(plain, server_hostname='app.test') as s:
        s.sendall(b'GET /ws HTTP/1.1\r\nHost: app.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
                  b'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n')
        answer = b''
        while not answer.endswith(b'\r\n\r\n'):
            answer += s.recv(1)
        assert answer.startswith(b'HTTP/1.1 101'), answer
        assert b's3pPLMBiTxaQ9kYGzzhZRbK+xOo=' in answer
        for text in (b'hello', b'again'):
            s.sendall(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)
            frame = s.recv(2)
            reply = s.recv(frame[1])
            assert re.fullmatch(b'g[123]:' + text, reply)


def test_host_in_capitals_and_with_port(world):
    assert world.curl(f'{APP}/', '-H', 'Host: APP.Test:8443') in ('g1', 'g2', 'g3')


def test_unknown_host_is_404(world):
    for options in (('-H', 'Host: nobody.test'), ('-H', 'Host: nobody.test')):  # once asked of us, once from memory
        answer = world.curl(f'{APP}/', '-i', *options)
        assert answer.startswith('HTTP/2 404')
        assert 'no application is attached to this host name' in answer
    stranger = world.curl('https://stranger.test:8443/', '-i', '-k')
    assert stranger.startswith('HTTP/2 404')
    with pytest.raises(RuntimeError, match='certificate'):  # and nobody is to trust that answer
        world.curl('https://stranger.test:8443/')


def test_unknown_host_comes_to_life(world):
    assert world.curl('https://late.test:8443/', '-k', '-o', '/dev/null', '-w', '%{http_code}') == '404'
    world.api.confirmed(world.api.put(3, ['late.test'], world.guests))
    assert wait_for('late.test with its certificate', lambda: world.curl('https://late.test:8443/')) in ('g1', 'g2', 'g3')
    world.api.confirmed(world.api.remove(3))
    answer = world.curl('https://late.test:8443/', '-i')
    assert answer.startswith('HTTP/2 404') and 'no application' in answer


def test_no_healthy_instance_is_503(world):
    world.api.confirmed(world.api.put(1, ['app.test'], world.guests, healthy=False))
    answer = world.curl(f'{APP}/', '-i')
    assert answer.startswith('HTTP/2 503')
    assert 'no healthy instance' in answer


def test_one_dead_instance_is_an_answer_and_comes_back(world):
    """A one-instance application is not put away for its failures: it answers as soon as it is there again."""
    world.api.confirmed(world.api.put(1, ['app.test'], world.guests[2:]))
    world.guests[2].kill()
    for _ in range(3):
        answer = world.curl(f'{APP}/', '-i')
        assert answer.startswith('HTTP/2 503') and 'could not be reached' in answer
        assert 'slipform' not in answer  # neither markers nor a cookie
    world.guests[2].start()
    wait_for('it listens', lambda: world.sh('g3', 'curl', '-sS', '-m', '60', f'http://[{world.guests[2].address}]:8080/') == 'g3')
    assert world.curl(f'{APP}/') == 'g3', 'the first request that it could have answered'


def test_http_redirects_to_https(world):
    answer = world.curl('http://app.test:8080/path?q=1', '-i', port=8080)
    assert answer.startswith('HTTP/1.1 308')
    assert 'location: https://app.test:8443/path?q=1' in answer


def test_ipv4_clients(world):
    """The listeners on [::] take IPv4 too, and the application sees the client's address as such."""
    command = ['ip', 'netns', 'exec', world.space('edge'), 'curl', '-sS', '-m', '20', '--cacert', world.pki.folder / 'public-ca.crt',
               '--resolve', 'app.test:8443:127.0.0.1', f'{APP}/headers']
    assert json.loads(edge_world.run(*command))['x-forwarded-for'] == '127.0.0.1'


def test_headers_of_ours_cannot_be_forged(world):
    seen = json.loads(world.curl(f'{APP}/headers', '-H', 'X-Forwarded-For: 6.6.6.6', '-H', 'X-Forwarded-Proto: gopher',
                                 '-H', 'Forwarded: for=6.6.6.6', '-H', 'X-Real-IP: 6.6.6.6', '-H', 'x-slipform-unreached: 1',
                                 '-H', 'x-slipform-sticky: x'))
    assert seen['x-forwarded-for'] == 'fd10::e1'
    assert seen['x-forwarded-proto'] == 'https'
    assert '6.6.6.6' not in str(seen) and not [k for k in seen if 'slipform' in k or 'envoy' in k]
    answer = world.curl(f'{APP}/forge', '-i')  # a guest that claims that it was not reached
    assert answer.startswith('HTTP/2 200') and 'x-slipform' not in answer and 'forged' not in answer


def test_post_to_dead_instances_is_retried(world):
    world.guests[0].kill()
    world.guests[1].kill()
    assert {world.curl(f'{APP}/', '-d', 'body') for _ in range(10)} == {'g3 4'}


def test_killed_instance_fails_no_get(world):
    with world.load('app.test', RATE) as load:
        world.guests[0].kill()
        time.sleep(1)
    assert_none_failed(load)


def test_switch_under_load_fails_nothing(world):
    world.api.confirmed(world.api.put(1, ['app.test'], world.guests[:1]))
    with world.load('app.test', RATE) as load:
        for guests in (world.guests[1:2], world.guests[2:], world.guests[:2], world.guests):
            world.api.confirmed(world.api.put(1, ['app.test'], guests))
    assert_none_failed(load)


def test_switch_is_complete_once_confirmed(world):
    """After its cursor came back not one request goes to the old instances."""
    for guests in (world.guests[:1], world.guests[1:2], world.guests[2:]) * 3:
        world.api.confirmed(world.api.put(1, ['app.test'], guests))
        assert {world.curl(f'{APP}/') for _ in range(3)} == {guests[0].name}


def test_cursor_is_confirmed_only_when_envoy_has_acknowledged(world):
    pid = world.envoy_pid('edge')
    os.kill(pid, signal.SIGSTOP)  # an Envoy that takes nothing in
    try:
        cursor = world.api.put(1, ['app.test'], world.guests[:1])
        wait_for('the edge has the news', lambda: world.metrics('edge')['slipform_edge_settled'] == 0)
        polls = len(world.api.cursors)
        wait_for('it keeps polling meanwhile', lambda: len(world.api.cursors) >= polls + 2)
        assert cursor not in {c for _, c in world.api.cursors}
        assert world.metrics('edge')['slipform_edge_unconfirmed_age_seconds'] > 0
    finally:
        os.kill(pid, signal.SIGCONT)
    world.api.confirmed(cursor)
    assert world.curl(f'{APP}/') == 'g1'


def test_it_polls_at_least_every_ten_seconds(world):
    """By what it asks for: none of its waits is as long, and when one is over the next one follows."""
    before = len(world.api.waits)
    wait_for('two quiet polls', lambda: len(world.api.waits) >= before + 2)
    assert 0 < max(world.api.waits[before:]) < 10 and max(world.api.waits) < 10


def test_edge_proxy_killed_under_load(world):
    pid = world.envoy_pid('edge')
    with world.load('app.test', RATE) as load:
        world.programs['edge'].kill()
        world.programs['edge'].wait()
        world.start_edge()
        wait_for('it is ready again', lambda: world.is_ready('edge'))
        world.api.confirmed(world.api.put(1, ['app.test'], world.guests[:2]))
    assert_none_failed(load)
    assert world.envoy_pid('edge') == pid
    assert world.metrics('edge')['slipform_edge_envoy_adopted'] == 1
    assert {world.curl(f'{APP}/') for _ in range(12)} == {'g1', 'g2'}


def test_serves_while_the_control_plane_is_away_also_after_restarts(world):
    world.api.is_down = True
    try:
        os.kill(world.envoy_pid('edge'), signal.SIGKILL)
        world.programs['edge'].kill()
        world.programs['edge'].wait()
        world.start_edge()
        wait_for('it answers from what is on disk', lambda: world.curl(f'{APP}/') in ('g1', 'g2', 'g3'))
    finally:
        world.api.is_down = False
    world.api.confirmed(world.api.put(1, ['app.test'], world.guests[:1]))
    assert world.curl(f'{APP}/') == 'g1'


def test_envoy_killed_comes_back(world):
    pid = world.envoy_pid('edge')
    os.kill(pid, signal.SIGKILL)
    wait_for('another Envoy', lambda: world.envoy_pid('edge') != pid)
    wait_for('it answers', lambda: world.curl(f'{APP}/') in ('g1', 'g2', 'g3'))
    assert world.metrics('edge')['slipform_edge_envoy_restarts'] >= 1


def test_node_proxy_killed_under_load(world):
    pid = world.envoy_pid('w1')
    with world.load('app.test', RATE) as load:
        world.programs['w1'].kill()
        world.programs['w1'].wait()
        world.start_node('w1')
        wait_for('it is ready again', lambda: world.is_ready('w1'))
    assert_none_failed(load)
    assert world.envoy_pid('w1') == pid


def test_node_envoy_killed_fails_no_get(world):
    pid = world.envoy_pid('w1')
    with world.load('app.test', RATE) as load:
        os.kill(pid, signal.SIGKILL)
        wait_for('another Envoy', lambda: world.envoy_pid('w1') != pid and world.is_ready('w1'))
    assert_none_failed(load)


def test_only_edges_reach_guests(world):
    folder = world.pki.folder
    world.pki.issue('stranger', 'URI:slipform://test/node/w9', 'DNS:w9.node.test')
    world.pki.issue('other-installation', 'URI:slipform://test2/edge/op1')
    common = ['ip', 'netns', 'exec', world.space('edge'), 'curl', '-sSk', '-m', '60', '-w', '%{http_code}',
              f'https://[{world.guests[0].address}]:8080/']
    for name in ('stranger', 'other-installation'):
        with pytest.raises(RuntimeError):
            edge_world.run(*common, '--cert', folder / f'{name}.crt', '--key', folder / f'{name}.key')
    with pytest.raises(RuntimeError):
        edge_world.run(*common)
    assert edge_world.run(*common, '--cert', folder / 'edge.crt', '--key', folder / 'edge.key') == 'g1200'


def test_another_nodes_certificate_is_refused(world):
    """The edge checks the expected node, not only the CA: here the API says w2 where it is w1."""
    g1 = world.guests[0]
    g1.node = 'w2'
    try:
        world.api.confirmed(world.api.put(1, ['app.test'], [g1]))
        assert world.curl(f'{APP}/', '-o', '/dev/null', '-w', '%{http_code}') == '503'
    finally:
        g1.node = 'w1'


def test_a_change_is_one_small_message(world):
    """However many routes there are: what a change costs in messages does not depend on them."""
    for number in range(100, 300):
        world.api.routes[edge_world.uuid(number)] = {**world.api.routes[edge_world.uuid(1)], 'route_id': edge_world.uuid(number),
                                                     'hosts': [{'host': f'h{number}.test'}]}
        world.api.seq += 1
        world.api.log.append((world.api.seq, edge_world.uuid(number)))
    world.api.confirmed(world.api.put(1, ['app.test'], world.guests))
    before = world.metrics('edge')
    assert before['slipform_edge_routes'] >= 201
    assert before['slipform_edge_held_resources{type="cluster"}'] < 10  # Envoy holds the hot ones only
    world.api.confirmed(world.api.put(1, ['app.test'], world.guests[:2]))
    after = world.metrics('edge')
    messages = sum(v - before.get(k, 0) for k, v in after.items() if k.startswith('slipform_edge_acknowledgements_total'))
    assert messages <= 2  # endpoints, and the host's sticky names
    for number in range(100, 300):
        world.api.remove(number)
    world.api.confirmed(str(world.api.seq))


def test_private_files(world):
    state = world.folder / 'edge'
    files = [*(state / 'state' / 'certificates').iterdir(), state / 'state' / 'fallback.key', state / 'run' / 'xds.sock']
    assert len(files) > 2
    assert [f for f in files if f.stat().st_mode & 0o077] == []


def test_sigterm_ends_envoy_too(world):
    for space in ('edge', 'w1'):
        pid = world.envoy_pid(space)
        world.programs[space].send_signal(signal.SIGTERM)
        assert world.programs[space].wait(20) == 0
        assert not edge_world.is_running(pid)
        assert not (world.folder / space / 'run' / 'envoy.json').exists()
