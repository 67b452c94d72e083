"""A real Elasticsearch from Maven artifacts: the recipe, and the server that is made by it."""

from ops.devstack.elasticsearch.recipe import NotInstalled, prepare
from ops.devstack.elasticsearch.server import ElasticsearchServer

__all__ = ["ElasticsearchServer", "NotInstalled", "prepare"]
