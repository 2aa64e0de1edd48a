"""What is sealed, beside programs that run: keys are rotated, lost and restored, people erased; a copy of the log opens with its keys."""
import base64
import json
import os
import re
import subprocess
import uuid

import pytest
from platform_world import PROGRAM, World, until


@pytest.fixture
def world():
    world = World()
    try:
        yield world
    finally:
        world.discard()


def slipform(*words, stdin=None, check=True):
    done = subprocess.run([PROGRAM.with_name('slipform'), *map(str, words)], capture_output=True, text=True, timeout=60, input=stdin)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def addresses(world):
    return sorted(p['email'] for p in world.user.items('/v1/waitlist'))


def join(world, *emails):
    for email in emails:
        assert world.user.ask('POST', '/v1/waitlist', {'email': email}).status == 202
    until(lambda: set(emails) <= set(addresses(world)), 'they wait')


def rows_of(world):
    return {f.name: f.read_text() for f in (world.folder / 'log/keys').iterdir()}


def files_with(world, text):
    """Files below the world's folder that hold the text: as it is, in another case, in base64, in hex."""
    forms = [text, text.lower(), base64.b64encode(text.encode()).decode()[:-4], text.encode().hex()]
    return [str(f) for f in world.folder.rglob('*') if f.is_file() for form in forms if form.encode() in f.read_bytes()]


def test_rotation_beside_programs_that_run(world):
    """No restart, no answer that fails; digests stay, so nobody waits twice; the old key is in no file any more."""
    world.start()
    world.populate()
    key_file, before = world.folder / 'seal.key', (world.folder / 'seal.key').read_text()
    place = ('--key-file', key_file, '--log', world.folder / 'log')
    join(world, 'ada@example.org', 'bob@example.org')
    was = rows_of(world)
    rotated = json.loads(slipform('seal', 'rotate', *place, '--json').stdout)
    assert rotated['wrapped'] == 2 and addresses(world) == ['ada@example.org', 'bob@example.org']
    now = rows_of(world)
    assert set(now) - set(was) == {n for n in now if n.startswith('retired-')} and all(now[n] != was[n] for n in was)
    assert all(f' {rotated["current"]}:' in text for text in now.values())
    assert f'current {before}' not in key_file.read_text() and f'identity {before}' in key_file.read_text()
    join(world, 'Ada@example.org'.lower(), 'carl@example.org')
    assert addresses(world) == ['ada@example.org', 'bob@example.org', 'carl@example.org']  # found again by the same digest
    shown = json.loads(slipform('seal', *place, '--json').stdout)
    assert [(k['is'], k['wraps']) for k in shown] == [('current', 4), ('retired', 0)]
    assert (key_file.stat().st_mode & 0o777) == 0o400
    said = b''.join((world.folder / f'{p.name}.log').read_bytes() for p in (world.management, world.public))
    keys = [line.split()[1] for line in key_file.read_text().splitlines()]
    assert not [k for k in keys if k.encode() in said]
    # with a program that was away, and without the file: it serves everything else and says what to do
    world.public.stop()
    kept = key_file.read_text()
    key_file.unlink()
    world.public.start()
    answer = world.user.ask('GET', '/v1/waitlist')
    assert answer.status == 503 and 'slipform recovery restore' in answer.json['detail']
    assert world.user.items('/v1/projects') == []
    key_file.write_text(kept)
    assert len(addresses(world)) == 3


def test_a_person_is_erased(world):
    """A user and who waits: events stay, keys are gone when it is answered, and no file has anything of them in clear, nor can anybody open it."""
    user, key, email = str(uuid.uuid4()), 'ab' * 8, f'Ada.{uuid.uuid4().hex}@example.org'
    sealed = {'sealed': key + ':' + 'A' * 60}
    first = world.folder / 'first.jsonl'
    first.write_text(json.dumps({'time': '2026-01-01T00:00:00Z#0', 'type': 'CreateUser', 'id': str(uuid.uuid4()), 'payload': {
        'userId': user, 'identity': 'hmac:' + '0' * 64, 'email': sealed}}, separators=(',', ':')) + '\n')
    slipform('eventlog', 'import', first, '--to', world.folder / 'log')
    first.unlink()
    (world.folder / 'log/keys').mkdir()
    (world.folder / f'log/keys/{key}').write_text(f'1767225600000000 {"0" * 16}:wrapped\n')
    world.start()
    world.populate()
    cursor = world.user.ok('GET', '/v1/waitlist').json['cursor']
    join(world, email, 'bob@example.org')
    assert len(rows_of(world)) == 3
    assert world.cli('erase', '-', stdin='nobody@example.org\n', check=False).returncode == 3
    assert world.cli('erase', 'no id', check=False).returncode == 1
    assert world.cli('erase', str(uuid.uuid4()), check=False).returncode == 3
    done = world.cli('erase', '-', '--json', stdin=email.lower() + '\n')
    place = json.loads(done.stdout)['subject_id']
    assert len(rows_of(world)) == 2 and addresses(world) == ['bob@example.org']
    world.cli('erase', user)
    assert len(rows_of(world)) == 1 and key not in rows_of(world)
    world.cli('erase', user)  # again: it is
    events = world.operator.events()
    assert [e['payload']['subjectId'] for e in events if e['type'] == 'EraseSubject'] == [place, user]
    assert len([e for e in events if e['type'] == 'JoinWaitlist']) == 2  # what was appended stays
    answer = world.user.ok('GET', f'/v1/waitlist?cursor={cursor}').json
    assert place in answer['removed']
    # checkpoints of a clean stop, too
    assert world.management.stop() == 0 and world.public.stop() == 0
    assert not files_with(world, email)
    assert not files_with(world, 'bob@example.org')  # nor of who waits: it is sealed
    world.start()
    assert addresses(world) == ['bob@example.org']
    # who comes again is somebody new
    join(world, email)
    again = next(p['waiting_id'] for p in world.user.items('/v1/waitlist') if p['email'] == email)
    assert again != place


def test_a_copy_of_the_log_opens_with_its_keys(world):
    """eventlog copy --keys, while programs run: the same events, and what is sealed opens there; without them it does not. What is erased is erased in the copy, too."""
    world.start()
    world.populate()
    join(world, 'ada@example.org', 'bob@example.org')
    log, bare, full = (world.folder / name for name in ('log', 'bare', 'full'))
    slipform('eventlog', 'copy', log, bare, '--keep-id')
    copy = lambda: json.loads(slipform('eventlog', 'copy', log, full, '--keep-id', '--keys', '--json').stdout)
    assert copy()['keys'] == 2
    world.cli('erase', '-', stdin='bob@example.org\n')
    assert copy()['keys'] == 1 and len(list((full / 'keys').iterdir())) == 1
    refused = slipform('eventlog', 'copy', full, log, '--keys', check=False)  # replicas work on that one
    assert refused.returncode != 0 and 'works on log' in refused.stderr
    world.management.stop()
    world.public.stop()
    for folder, shown in ((bare, ['(erased)', '(erased)']), (full, ['ada@example.org'])):
        assert json.loads(slipform('eventlog', 'verify', folder, '--json').stdout)['ok']
        for program in (world.management, world.public):
            program.settings['event_store'] = f'files;path={folder}'
        world.start()
        until(lambda: addresses(world) == shown, f'{folder.name} opens')
        world.management.stop()
        world.public.stop()
