"""Series identity: hash to segment-local id at the edge, label blob to series id in the shard."""
