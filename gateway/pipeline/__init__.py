"""The data plane's middle: group commit, hand-over of durable frames, scoring, accounting."""
