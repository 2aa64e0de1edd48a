"""An installation on a PostgreSQL and a bucket that somebody else runs; it outlives its machine."""
import os
import pathlib
import shutil
import sys
import tempfile

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / folder) for folder in ('system', 'unit')]
import postgres_server  # noqa: E402
from installation import ROOT, Installation  # noqa: E402
from s3_server import SERVER, S3Server  # noqa: E402

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason='needs root: network namespaces'),
              pytest.mark.skipif(not postgres_server.programs() or not SERVER.exists(), reason='needs PostgreSQL and versitygw (make setup)')]


class OnServers(Installation):
    def __init__(self, folder, database, bucket, **more):
        super().__init__()
        self.env = {**self.env, 'SLIPFORM_RUNTIME': 'null'}  # it is about the control plane
        self.tower = folder / 'tower'
        shutil.copytree(ROOT / 'tower/dev-0', self.tower, dirs_exist_ok=True)
        spec = f'postgres;host={database.folder};dbname=slipform;installation=dev-0;log=platform'
        self.owner = f'{spec};user=owner;rights=owner;replicas=replica'
        blobs = bucket.spec('', **more).replace(';cache=', '')
        with open(self.tower / 'inventory.yaml', 'a') as inventory:
            inventory.write(f'store: "{spec};user=replica"\nblobs: "{blobs}"\n')

    def up(self, **options):
        return self.run('up', '--tower', self.tower, timeout=500, **options)


@pytest.fixture
def servers():
    with tempfile.TemporaryDirectory(prefix='slipform-test-s3-', dir='/var/tmp') as folder, postgres_server.Server() as database:
        os.chmod(folder, 0o755)
        bucket = S3Server(pathlib.Path(folder))
        try:
            yield database, bucket.start()
        finally:
            bucket.kill()


def test_up_on_servers_that_are_there(servers):
    database, bucket = servers
    house = OnServers(bucket.folder, database, bucket)
    try:
        done = house.up(check=False)  # nobody has made the tables yet
        assert done.returncode != 0 and 'rights=owner' in done.stderr
        assert not os.path.exists(f'{house.home}/installation.json')
        house.run('eventlog', 'create', house.owner)
        bucket.keys.chmod(0o644)
        done = house.up(check=False)
        assert done.returncode != 0 and 'chmod 600' in done.stderr
        bucket.keys.chmod(0o600)
        done = house.up(check=False)  # root may read it, the programs may not
        assert done.returncode != 0 and "as user 'slipform'" in done.stderr and str(bucket.keys) in done.stderr
        shutil.chown(bucket.keys, 'slipform', 'slipform')
        house.up()
        status = house.json('status')
        assert status['logs'][0]['store'] == 'postgres' and status['services'] == []
        log_id, seq = status['logs'][0]['log_id'], status['logs'][0]['seq']
        assert seq == int(database.sql('SELECT seq FROM slipform.heads')) > 0
        nodes = {n['name']: n['node_id'] for n in house.json('nodes')}
        house.run('down')
        another = house.home + '-new-machine'  # what is kept elsewhere, and the log and the images, which are
        os.mkdir(another)
        for name in ('installation.json', 'operator', 'ca', 'certificates'):
            house_part = pathlib.Path(house.home, name)
            (shutil.copytree if house_part.is_dir() else shutil.copy)(house_part, pathlib.Path(another, name))
        for key in ('ca/ca.key', 'ca/seal.key', 'ca/operator-token.sha256'):
            shutil.chown(pathlib.Path(another, key), 'slipform', 'slipform')
        shutil.rmtree(house.home)
        house.home = house.env['SLIPFORM_HOME'] = another
        house.up()
        assert house.json('status')['logs'][0]['log_id'] == log_id
        assert {n['name']: n['node_id'] for n in house.json('nodes')} == nodes
    finally:
        house.discard()
