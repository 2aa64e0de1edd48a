"""Paced requests over TLS, and what became of them as JSON when SIGTERM comes.
usage: edge_load.py ADDRESS PORT HOST CA_FILE REQUESTS_PER_SECOND [PATH]

One connection per request (like curl), on several threads, so that a slow answer holds nobody up.
"""
import collections
import concurrent.futures
import http.client
import json
import signal
import socket
import ssl
import sys
import time

ADDRESS, PORT, HOST, CA_FILE, RATE = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], float(sys.argv[5])
PATH = sys.argv[6] if len(sys.argv) > 6 else '/'
context = ssl.create_default_context(cafile=CA_FILE)
result = {'sent': 0, 'failures': [], 'answers': collections.Counter()}
stop = False


def request(_):
    try:
        connection = http.client.HTTPConnection(HOST, PORT, timeout=60)
        connection.sock = context.wrap_socket(socket.create_connection((ADDRESS, PORT), 60), server_hostname=HOST)
        connection.request('GET', PATH, headers={'Host': HOST})
        response = connection.getresponse()
        body = response.read().decode()
        connection.close()
        if response.status == 200:
            return None, body
        return f'{response.status} {body}', None
    except Exception as e:  # noqa: BLE001: whatever it is, the user did not get an answer
        return f'{time.time():.3f} {type(e).__name__}: {e}', None


def on_term(*_):
    global stop
    stop = True


signal.signal(signal.SIGTERM, on_term)
futures = []
with concurrent.futures.ThreadPoolExecutor(16) as pool:
    due = time.monotonic()
    while not stop:
        futures.append(pool.submit(request, None))
        due += 1 / RATE
        time.sleep(max(0, due - time.monotonic()))
for future in futures:
    failure, body = future.result()
    result['sent'] += 1
    if failure:
        result['failures'].append(failure)
    else:
        result['answers'][body] += 1
print(json.dumps(result))
