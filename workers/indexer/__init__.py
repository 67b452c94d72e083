"""The indexer: contacts that have changed into Elasticsearch. Begin with service.py, then writer.py."""
