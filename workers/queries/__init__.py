"""Questions about contacts, by request and reply. Begin with service.py; each answer is a function in handlers/."""
