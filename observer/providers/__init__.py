"""From whom: brokers and other outside sources. The only folder with brokers' field names."""
