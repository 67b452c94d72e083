"""PostgreSQL and nats-server from pip packages, started and stopped by us."""

from ops.devstack.nats import NatsServer
from ops.devstack.postgres import PostgresServer
from ops.devstack.stack import Devstack

__all__ = ["Devstack", "NatsServer", "PostgresServer"]
