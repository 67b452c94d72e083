"""The relay: the outbox onto the bus, in order, behind markers. Begin with service.py, then publisher.py."""
