"""A stand-in for a MongoDB server, which cannot be installed from a package: it speaks enough of the wire protocol
(OP_MSG, and OP_QUERY for the first handshake) for the official driver to work over a real connection, and lets mongomock
answer. It says nothing about what Atlas adds: TLS, users, replica sets.

    python mongo_stand_in.py    # prints the port
"""

import socketserver
import struct

import bson
import mongomock

OP_REPLY, OP_QUERY, OP_MSG = 1, 2004, 2013
DATABASES = mongomock.MongoClient()
HELLO = {"isWritablePrimary": True, "ismaster": True, "helloOk": True, "minWireVersion": 0, "maxWireVersion": 21}
HELLO |= {"maxBsonObjectSize": 1 << 24, "maxMessageSizeBytes": 48_000_000, "maxWriteBatchSize": 100_000}


def find(agents, command):
    found = agents.find(command["filter"], command.get("projection"), sort=list(command.get("sort", {}).items()) or None)
    batch = list(found.limit(command.get("limit", 0)))
    return {"cursor": {"id": bson.int64.Int64(0), "ns": agents.full_name, "firstBatch": batch}}


def update(agents, command):
    [change] = command["updates"]
    done = agents.replace_one(change["q"], change["u"], upsert=change.get("upsert", False))
    upserted = [{"index": 0, "_id": done.upserted_id}] if done.upserted_id else []
    return {"n": done.matched_count + len(upserted), "nModified": done.modified_count, "upserted": upserted}


def find_and_modify(agents, command):
    after = agents.find_one_and_update(command["query"], command["update"], command.get("fields"), return_document=True)
    return {"value": after}


def delete(agents, command):
    [gone] = command["deletes"]
    return {"n": agents.delete_one(gone["q"]).deleted_count}


def create_indexes(agents, command):
    for index in command["indexes"]:
        agents.create_index(list(index["key"].items()), unique=index.get("unique", False))
    return {}


COMMANDS = {
    "hello": lambda *_: HELLO,
    "ismaster": lambda *_: HELLO,
    "isMaster": lambda *_: HELLO,
    "ping": lambda *_: {},
    "endSessions": lambda *_: {},
    "createIndexes": create_indexes,
    "find": find,
    "update": update,
    "findAndModify": find_and_modify,
    "delete": delete,
}


def answer(command):
    name, target = next(iter(command.items()))
    if name not in COMMANDS:
        return {"ok": 0.0, "code": 59, "codeName": "CommandNotFound", "errmsg": f"the stand-in knows no {name}"}
    agents = DATABASES[command.get("$db", "admin")][target if isinstance(target, str) else "none"]
    return COMMANDS[name](agents, command) | {"ok": 1.0}


def read_msg(body):
    command, at = {}, 4
    while at < len(body):
        kind, at = body[at], at + 1
        (size,) = struct.unpack_from("<i", body, at)
        section, at = body[at : at + size], at + size
        if kind == 0:
            command |= bson.decode(section)
        else:  # a list that was sent beside its command
            name, _, documents = section[4:].partition(b"\0")
            command[name.decode()] = bson.decode_all(documents)
    return command


class Connection(socketserver.StreamRequestHandler):
    def handle(self):
        while head := self.rfile.read(16):
            size, request, _, kind = struct.unpack("<iiii", head)
            body = self.rfile.read(size - 16)
            if kind == OP_MSG:
                reply = struct.pack("<IB", 0, 0) + bson.encode(answer(read_msg(body)))
                kind = OP_MSG
            else:
                assert kind == OP_QUERY, kind
                start = body.index(b"\0", 4) + 9
                reply = struct.pack("<iqii", 8, 0, 0, 1) + bson.encode(answer(bson.decode(body[start:])))
                kind = OP_REPLY
            self.wfile.write(struct.pack("<iiii", 16 + len(reply), 0, request, kind) + reply)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


with Server(("127.0.0.1", 0), Connection) as server:
    print(server.server_address[1], flush=True)
    server.serve_forever()
