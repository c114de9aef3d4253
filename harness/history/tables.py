"""The tables of a store of the newest version, as queries name them; `steps` makes them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Float, Integer, MetaData, Table, Text

metadata = MetaData()

version = Table("harness_version", metadata, Column("version", Integer, nullable=False))

runs = Table(
    "harness_runs",
    metadata,
    Column("key", BigInteger, primary_key=True),
    Column("id", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("started_s", BigInteger, nullable=False),
    Column("finished_s", BigInteger, nullable=False),
    Column("commit_id", Text),
    Column("command", Text, nullable=False),
    Column("shard", Text),
    Column("passed", Boolean, nullable=False),
    Column("exit_status", Integer, nullable=False),
    Column("ended", Boolean, nullable=False),
)

environments = Table(
    "harness_environments",
    metadata,
    Column("key", BigInteger, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("machine", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("versions", Text, nullable=False),
)

series = Table(
    "harness_series",
    metadata,
    Column("key", BigInteger, primary_key=True),
    Column("machine", Text, nullable=False),
    Column("case_id", Text, nullable=False),
    Column("suite", Text, nullable=False),
)
"""A case on a machine class."""

results = Table(
    "harness_results",
    metadata,
    Column("series", BigInteger, primary_key=True),
    Column("started_s", BigInteger, primary_key=True),
    Column("run", BigInteger, primary_key=True),
    Column("environment", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("headline", Text, nullable=False),
    Column("clock", Text),
    Column("p50_ms", Float),
    Column("p10_ms", Float),
    Column("canary_ms", Float),
    Column("method", Text),
    Column("footing", Text, nullable=False),
    Column("rmse_rel", Float),
    Column("material", Text),
)
"""`method` names how the case was timed, `footing` what it was made of, `material` what its errors were measured on:
results with other ones are not alike."""
