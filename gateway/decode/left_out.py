"""What decoders leave out of a point that is otherwise taken: exemplars they cannot read, sums that are no number."""

from __future__ import annotations

from gateway.selfmetrics import counter

EXEMPLARS_REJECTED = counter(
    "decode_exemplars_rejected",
    "Exemplars left out while their point was taken: malformed (ids, numbers, label references), limit (beyond that of "
    "one request), no_sample (remote write: no sample of the same series in the request).",
    ["reason"],
)
NAN_SUMS = counter(
    "decode_nan_sums",
    "Sums of histograms and summaries left out because they are NaN; count, buckets and quantiles are kept.",
)
