"""What an index of contacts is made with. Nothing here is beyond the core and its ``ngram`` tokenizer, in 8 and in 9.

The number of fields never changes, however many attributes contacts have: they are tokens of one field (``documents``).
"""

from __future__ import annotations

from typing import Any

REFRESH = "1s"  # said, not left out: an index that nobody searches would stop refreshing
PREFIX = 10  # characters of a word's beginning that are looked up; a longer one is walked to, over few words
# A refresh a second makes small segments. What is below this counts as this large when merges are chosen: 16 MB, as newer
# servers have it, means to write megabytes anew every few refreshes (half a core of two at 200 changes/s, measured).
FLOOR = "1mb"
COMPANY = 255  # characters of a company that are kept as a whole

_KEYWORD = {"type": "keyword"}
_FLAG = {"type": "boolean"}
_NUMBER = {"type": "long"}

_PROPERTIES: dict[str, Any] = {
    "tenant_id": _KEYWORD,
    "contact_id": _KEYWORD,
    "version": _NUMBER,
    "deleted": _FLAG,
    "words": {
        "type": "text",
        "analyzer": "keyword",
        "index_options": "docs",
        "norms": False,
        "index_prefixes": {"min_chars": 1, "max_chars": PREFIX},
        # Trigrams at successive places: a phrase of them is a fragment of one word, for a gap lies between words.
        "fields": {"text": {"type": "text", "analyzer": "trigrams", "norms": False}},
    },
    "values": {"type": "keyword", "doc_values": False},
    "display_name": _KEYWORD,
    "status": _KEYWORD,
    "source": _KEYWORD,
    "tags": _KEYWORD,
    "lists": _KEYWORD,
    "company": {"type": "keyword", "ignore_above": COMPANY},
    "attributes": {"type": "keyword", "doc_values": False},
    "has_email": _FLAG,
    "has_phone": _FLAG,
    # Microseconds since 1970: a date would lose the last three digits.
    "created_at": _NUMBER,
    "updated_at": _NUMBER,
}


def body(shards: int) -> dict[str, Any]:
    """What ``indices.create`` takes."""
    return {
        "settings": {
            "number_of_shards": shards,
            "auto_expand_replicas": "0-1",
            "refresh_interval": REFRESH,
            "merge.policy.floor_segment": FLOOR,
            "analysis": {
                "tokenizer": {"trigrams": {"type": "ngram", "min_gram": 3, "max_gram": 3}},
                "analyzer": {"trigrams": {"type": "custom", "tokenizer": "trigrams"}},
            },
        },
        # A copy: whoever alters what they were given alters no other index.
        "mappings": {"dynamic": "strict", "_routing": {"required": True}, "properties": dict(_PROPERTIES)},
    }
