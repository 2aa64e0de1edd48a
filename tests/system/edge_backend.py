"""A guest's program for the tests of the edge: HTTP/1.1 and websocket echo. usage: edge_backend.py ADDRESS PORT NAME

GET /        its name          GET /slow?ms=  after that time        GET /headers  the request's headers as JSON
GET /forge   with marker headers of its own     POST /  its name and the body's size        /ws  websocket, echoes frames
"""
import asyncio
import base64
import hashlib
import json
import socket
import sys
import urllib.parse

ADDRESS, PORT, NAME = sys.argv[1], int(sys.argv[2]), sys.argv[3]


async def answer(writer, status, body, *headers):
    lines = [f'HTTP/1.1 {status}', f'content-length: {len(body)}', 'content-type: text/plain', *headers, '', '']
    writer.write('\r\n'.join(lines).encode() + body)
    await writer.drain()


async def websocket(reader, writer, headers):
    key = headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
    accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
    writer.write(('HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n'
                  f'sec-websocket-accept: {accept}\r\n\r\n').encode())
    while True:
        head = await reader.readexactly(2)
        size = head[1] & 0x7f
        if size == 126:
            size = int.from_bytes(await reader.readexactly(2), 'big')
        mask = await reader.readexactly(4)
        data = bytes(b ^ mask[i % 4] for i, b in enumerate(await reader.readexactly(size)))
        if head[0] & 0xf == 8:
            return
        reply = NAME.encode() + b':' + data
        writer.write(bytes([0x81, len(reply)]) + reply)
        await writer.drain()


async def serve(reader, writer):
    try:
        while True:
            method, target, _ = (await reader.readuntil(b'\r\n')).decode().split()
            headers = {}
            while (line := (await reader.readuntil(b'\r\n')).decode().strip()):
                name, _, value = line.partition(':')
                name = name.lower()
                headers[name] = headers[name] + ', ' + value.strip() if name in headers else value.strip()
            if headers.get('transfer-encoding') == 'chunked':
                body = b''
                while (size := int((await reader.readuntil(b'\r\n')).strip(), 16)) > 0:
                    body += await reader.readexactly(size)
                    await reader.readexactly(2)
                await reader.readuntil(b'\r\n')
            else:
                body = await reader.readexactly(int(headers.get('content-length', 0)))
            url = urllib.parse.urlsplit(target)
            if url.path == '/ws':
                return await websocket(reader, writer, headers)
            if url.path == '/slow':
                await asyncio.sleep(int(urllib.parse.parse_qs(url.query)['ms'][0]) / 1000)
            if url.path == '/headers':
                await answer(writer, '200 OK', json.dumps(headers).encode())
            elif url.path == '/forge':
                await answer(writer, '200 OK', NAME.encode(), 'x-slipform-unreached: 1', 'x-slipform-reset: 1',
                             'x-slipform-sticky: forged')
            else:
                await answer(writer, '200 OK', NAME.encode() + (b' %d' % len(body) if method == 'POST' else b''))
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(serve, ADDRESS, PORT, family=socket.AF_INET6)
    async with server:
        await server.serve_forever()


asyncio.run(main())
