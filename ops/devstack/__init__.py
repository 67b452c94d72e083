"""PostgreSQL, nats-server and Elasticsearch, started and stopped by us."""

from ops.devstack.elasticsearch import ElasticsearchServer
from ops.devstack.nats import NatsServer
from ops.devstack.postgres import PostgresServer
from ops.devstack.stack import Devstack

__all__ = ["Devstack", "ElasticsearchServer", "NatsServer", "PostgresServer"]
