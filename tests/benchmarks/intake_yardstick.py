"""What intake is measured by: FastAPI and raw psycopg, one plain row in a transaction. Promises nothing, keeps nothing
secret, remembers nobody.

    python -m tests.benchmarks.intake_yardstick --url postgresql://... --port N
"""

from __future__ import annotations

import argparse
import json
import threading
from datetime import datetime
from uuid import UUID, uuid4

import psycopg
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class Proof(BaseModel):
    method: str
    verified_at: datetime


class Named(BaseModel):
    kind: str
    value: str
    verification: Proof | None = None


class Asked(BaseModel):
    kind: str
    regime: str
    identifiers: list[Named]
    received_at: datetime
    external_reference: str | None = None


class Answer(BaseModel):
    id: UUID


def make_app(url: str) -> FastAPI:
    app = FastAPI(openapi_url=None)
    own = threading.local()

    @app.post("/plain", status_code=202)
    def take(asked: Asked) -> Answer:
        if not hasattr(own, "connection"):
            own.connection = psycopg.connect(url)
        row_id = uuid4()
        value = json.dumps([each.model_dump(mode="json") for each in asked.identifiers])
        with own.connection.transaction():
            own.connection.execute(
                "INSERT INTO plain (id, kind, regime, received_at, reference, identifiers)"
                " VALUES (%s, %s, %s, %s, %s, %s)",
                (row_id, asked.kind, asked.regime, asked.received_at, asked.external_reference, value),
            )
        return Answer(id=row_id)

    return app


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    with psycopg.connect(options.url) as connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS plain (id uuid PRIMARY KEY, kind text, regime text, received_at timestamptz,"
            " reference text, identifiers text)"
        )
    uvicorn.run(
        make_app(options.url),
        host="127.0.0.1",
        port=options.port,
        access_log=False,
        log_config=None,
        lifespan="off",
        server_header=False,
        proxy_headers=False,
    )


if __name__ == "__main__":
    main()
