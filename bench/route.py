"""Route change committed to answered, against an Envoy that is told by a renamed file.

Ours: from the time of the RouteDeployment event in the log until a client of the edge has an answer from an instance of
the new deployment: fdatasync, the edge's long poll, route map, our delta ADS, Envoy, TLS, node-proxy, answer. The
instances are of runtime `null`, which starts nothing, so that switches are cheap; what answers at their addresses is a
small server of the bench in each worker's network namespace. Everything between is as always.
Baseline: an Envoy of its own with one virtual host out of a file (RDS by path_config_source), from the rename until the
new answer, measured after each switch.
The client asks every 5 ms, so each figure may be up to that, and one answer's time, too long.
"""
import http.client
import http.server
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import threading
import time

from boot import instant
from figures import Figure
from house import CACHE, Failed, Inside, until

WORKERS, PORT = ('w1', 'w2', 'w3'), 8080
ASK_EVERY_S = 0.005
SWITCH_S = 60


class StandIn:
    """Answers in place of microVMs of runtime `null`: which address was asked."""

    def __init__(self, house):
        self.namespaces = {house.nodes[node]['node_id']: house.namespace(node) for node in WORKERS}
        self.servers = [self.serve(namespace) for namespace in self.namespaces.values()]

    @staticmethod
    def serve(namespace):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def do_GET(self):
                body = self.connection.getsockname()[0].encode()
                self.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s' % (len(body), body))

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            address_family = socket.AF_INET6
            daemon_threads = True

            def handle_error(self, *_):
                pass  # Envoy closes what it does not need
        with Inside(namespace):
            server = Server(('::', PORT), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    def take(self, node_id, address):
        """From now on that address answers; the namespace goes with the installation."""
        subprocess.run(['ip', '-n', self.namespaces[node_id], 'addr', 'add', f'{address}/128', 'dev', 'lo', 'nodad'], check=True)

    def close(self):
        for server in self.servers:
            server.shutdown()
            server.server_close()


def ask_until(connect, is_new, seconds=SWITCH_S):
    """When the first new answer was there (wall clock), and how many others than 200 came meanwhile."""
    connection, errors, due, deadline = None, 0, time.monotonic(), time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            connection = connection or connect()
            connection.request('GET', '/')
            answer = connection.getresponse()
            text = answer.read().decode()
            if answer.status == 200 and is_new(text):
                now = time.time()
                connection.close()
                return now, errors
            errors += answer.status != 200
        except (OSError, http.client.HTTPException):
            connection, errors = None, errors + 1
        due = max(due + ASK_EVERY_S, time.monotonic())
        time.sleep(max(0, due - time.monotonic()))
    raise Failed(f'no new answer within {seconds} s')


class Ours:
    def __init__(self, house):
        self.house, self.stand_in = house, StandIn(house)
        self.public, self.management = (house.client(house.status['endpoints'][name]) for name in ('public_api', 'management_api'))
        project = self.public.ask('POST', '/v1/projects', {'name': 'bench-route'})
        self.project_id, self.edge = project['project_id'], house.edge(project['url'].split('//')[1].split(':')[0])
        self.image_id = next(image['image_id'] for image in house.json('images') if image['status'] == 'ready')
        self.seen, self.errors = {}, 0

    def connect(self):
        connection = self.edge.connect()
        connection.auto_open = False
        connection.host = self.edge.host  # for the Host header
        return connection

    def switch(self):
        deployment = self.public.ask('POST', '/v1/deployments', {
            'project_id': self.project_id, 'image_id': self.image_id, 'runtime': 'null', 'drain_seconds': 0})['deployment_id']

        def placed():
            rows = self.management.ask('GET', f'/v1/instances?deployment_id={deployment}')['items']
            return rows if len(rows) == 3 else None
        rows = until(placed, 30, 'three instances')
        for row in rows:
            self.stand_in.take(row['node_id'], row['ipv6'])
        addresses = {row['ipv6'] for row in rows}
        self.seen[deployment], errors = ask_until(self.connect, lambda text: text in addresses)
        self.errors += errors if len(self.seen) > 1 else 0  # before the first there is no route

    def samples(self):
        """Milliseconds, without the first: that one has no certificate and no connection yet."""
        committed = {event['payload']['deploymentId']: instant(event['time'].split('#')[0]) for event in self.house.json('events')
                     if event['type'].endswith('RouteDeployment')}
        return [(at - committed[deployment]) * 1000 for deployment, at in list(self.seen.items())[1:]]


class FileEnvoy:
    def __init__(self, house):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='bench-envoy-', dir=house.home))
        self.number = 0
        with socket.socket() as s:
            s.bind(('127.0.0.1', 0))
            self.port = s.getsockname()[1]
        self.write(self.folder / 'rds.json')
        (self.folder / 'envoy.json').write_text(json.dumps(self.bootstrap()))
        self.process = subprocess.Popen([CACHE / 'envoy/envoy', '-c', self.folder / 'envoy.json', '--disable-hot-restart', '-l', 'error'],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def bootstrap(self):
        source = {'resource_api_version': 'V3', 'path_config_source': {'path': str(self.folder / 'rds.json')}}
        manager = {'@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
                   'stat_prefix': 'bench', 'rds': {'route_config_name': 'bench', 'config_source': source},
                   'http_filters': [{'name': 'router', 'typed_config': {
                       '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router'}}]}
        return {'node': {'id': 'bench', 'cluster': 'bench'}, 'static_resources': {'listeners': [{
            'name': 'bench', 'address': {'socket_address': {'address': '127.0.0.1', 'port_value': self.port}},
            'filter_chains': [{'filters': [{'name': 'http', 'typed_config': manager}]}]}]}}

    def write(self, path):
        direct = {'match': {'prefix': '/'}, 'direct_response': {'status': 200, 'body': {'inline_string': str(self.number)}}}
        path.write_text(json.dumps({'version_info': str(self.number), 'resources': [{
            '@type': 'type.googleapis.com/envoy.config.route.v3.RouteConfiguration', 'name': 'bench',
            'virtual_hosts': [{'name': 'bench', 'domains': ['*'], 'routes': [direct]}]}]}))

    def switch(self):
        """Milliseconds."""
        self.number += 1
        self.write(self.folder / 'new.json')
        renamed = []

        def rename():
            renamed.append(time.time())
            os.rename(self.folder / 'new.json', self.folder / 'rds.json')
        timer = threading.Timer(0.05, rename)  # while the client is asking already, as in ours
        timer.start()
        at, _ = ask_until(lambda: http.client.HTTPConnection('127.0.0.1', self.port, timeout=10), lambda text: text == str(self.number))
        timer.join()
        return (at - renamed[0]) * 1000

    def close(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def measure(house, switches):
    house.env['SLIPFORM_RUNTIME'] = 'null'
    house.up()
    until(lambda: house.json('status')['status'] == 'healthy', 60, 'a healthy installation')
    ours, envoy, baseline = Ours(house), FileEnvoy(house), []
    try:
        for _ in range(switches + 1):
            ours.switch()
            baseline.append(envoy.switch())
    finally:
        envoy.close()
        ours.stand_in.close()
    if ours.errors:
        print(f'  {ours.errors} requests failed while routes changed', flush=True)
    return [Figure('route committed to answered', 'ms', ours.samples(), "Envoy's own file RDS, rename to answered", baseline[1:])]
