"""Detection quality: labelled recordings and injected faults, judged by the protocol of docs/detection.md."""
