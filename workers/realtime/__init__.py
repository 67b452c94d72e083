"""Timelines to people, over WebSocket. Begin with service.py, then hub.py and session.py."""
