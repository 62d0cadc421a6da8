"""Where the registry keeps its agents: a SQLite file, or MongoDB when `ATLAS_URL` is set.

Both keep the same records and answer the same questions. An agent is a dict with the keys `agent_id`, `agent_url`,
`description`, `capabilities`, `tags`, `alive` and `last_update`.
"""

import json
import os
import re
import sqlite3
from contextlib import contextmanager

from pymongo import MongoClient


def open_store():
    url = os.environ.get("ATLAS_URL")
    return MongoStore(url) if url else SqliteStore(os.environ.get("REGISTRY_DB", "registry.db"))


class SqliteStore:
    name = "sqlite"

    def __init__(self, path):
        self.path = path
        with self._open() as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("CREATE TABLE IF NOT EXISTS agents (agent_id TEXT PRIMARY KEY, record TEXT NOT NULL)")

    @contextmanager
    def _open(self):
        # A connection per question: tools run in threads, and other processes may use the same file.
        db = sqlite3.connect(self.path)
        try:
            with db:
                yield db
        finally:
            db.close()

    def ping(self):
        with self._open() as db:
            db.execute("SELECT 1 FROM agents LIMIT 1")

    def all(self):
        with self._open() as db:
            rows = db.execute("SELECT record FROM agents ORDER BY agent_id").fetchall()
        return [json.loads(record) for (record,) in rows]

    def search(self, query, capabilities, tags):
        def fits(agent):
            text = [agent["agent_id"], agent["description"], *agent["capabilities"], *agent["tags"]]
            return (
                any(query.lower() in word.lower() for word in text)
                and set(capabilities) <= set(agent["capabilities"])
                and set(tags) <= set(agent["tags"])
            )

        return [agent for agent in self.all() if fits(agent)]

    def get(self, agent_id):
        with self._open() as db:
            row = db.execute("SELECT record FROM agents WHERE agent_id = ?", [agent_id]).fetchone()
        return row and json.loads(row[0])

    def put(self, agent):
        with self._open() as db:
            db.execute("INSERT OR REPLACE INTO agents VALUES (?, ?)", [agent["agent_id"], json.dumps(agent)])

    def update(self, agent_id, changes):
        with self._open() as db:
            db.execute("BEGIN IMMEDIATE")  # nobody changes the record between our reading and our writing
            row = db.execute("SELECT record FROM agents WHERE agent_id = ?", [agent_id]).fetchone()
            if row is None:
                return None
            agent = json.loads(row[0]) | changes
            db.execute("UPDATE agents SET record = ? WHERE agent_id = ?", [json.dumps(agent), agent_id])
            return agent

    def delete(self, agent_id):
        with self._open() as db:
            return db.execute("DELETE FROM agents WHERE agent_id = ?", [agent_id]).rowcount > 0


class MongoStore:
    name = "mongodb"
    FIELDS = {"_id": False}

    def __init__(self, url):
        client = MongoClient(url, serverSelectionTimeoutMS=5000, timeoutMS=10000)
        self.database = client.get_default_database("nanda-registry")
        self.agents = self.database["agents"]
        self.agents.create_index("agent_id", unique=True)

    def ping(self):
        self.database.command("ping")

    def all(self):
        return list(self.agents.find({}, self.FIELDS).sort("agent_id", 1))

    def search(self, query, capabilities, tags):
        words = {"$regex": re.escape(query), "$options": "i"}
        text = ["agent_id", "description", "capabilities", "tags"]
        question = {"$or": [{field: words} for field in text]}
        if capabilities:
            question["capabilities"] = {"$all": capabilities}
        if tags:
            question["tags"] = {"$all": tags}
        return list(self.agents.find(question, self.FIELDS).sort("agent_id", 1))

    def get(self, agent_id):
        return self.agents.find_one({"agent_id": agent_id}, self.FIELDS)

    def put(self, agent):
        self.agents.replace_one({"agent_id": agent["agent_id"]}, agent, upsert=True)

    def update(self, agent_id, changes):
        return self.agents.find_one_and_update(
            {"agent_id": agent_id}, {"$set": changes}, projection=self.FIELDS, return_document=True
        )

    def delete(self, agent_id):
        return self.agents.delete_one({"agent_id": agent_id}).deleted_count > 0
