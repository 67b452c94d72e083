"""The only place that speaks to Elasticsearch: one index of all tenants behind an alias, found through ``query.TenantIndex``."""
