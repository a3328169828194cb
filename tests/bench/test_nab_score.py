"""The NAB score against the benchmark's published result files, and its definition on small examples."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bench.detection.nab_score import PROFILES, FileScores, best_score, corpus_score, file_score
from bench.detection.peer_scores import nab_files
from bench.detection.recordings import data_root

# results/numenta/numenta_standard_scores.csv of the benchmark: score of a file at the published threshold.
PUBLISHED_NUMENTA = {
    "realTraffic/occupancy_6005": 0.861272490375,
    "realTraffic/speed_6005": 0.512622001756,
    "realTraffic/speed_t4013": 1.98462491465,
    "realTraffic/TravelTime_387": 0.371826726451,
    "realTweets/Twitter_volume_GOOG": -0.260196174698,
    "realTweets/Twitter_volume_AMZN": -0.743957144663,
    "realTweets/Twitter_volume_UPS": 1.60907110405,
    "realAWSCloudwatch/ec2_cpu_utilization_c6585a": -0.33,
    "realAWSCloudwatch/iio_us-east-1_i-a2eb1cd9_NetworkIn": -2.0,
    "realAWSCloudwatch/rds_cpu_utilization_e47b3b": 1.71226928014,
    "realAdExchange/exchange-4_cpm_results": 1.49471036268,
    "realKnownCause/machine_temperature_system_failure": 1.36013273774,
    "realKnownCause/cpu_utilization_asg_misconfiguration": -0.255718003788,
    "realKnownCause/rogue_agent_key_hold": -1.11370102385,
    "artificialWithAnomaly/art_daily_nojump": -1.27835146592,
    "artificialWithAnomaly/art_load_balancer_spikes": 0.734788146524,
    "artificialNoAnomaly/art_daily_small_noise": -0.22,
}


def test_published_scores_of_a_peer_are_reproduced() -> None:
    root = data_root()
    if not (root / "_peers" / "nab" / "scores" / "numenta.parquet").is_file():
        pytest.skip(f"the recordings are not at {root} (GATEWAY_DETECTION_DATA)")
    thresholds = json.loads((root / "_peers" / "nab" / "thresholds.json").read_text())
    files, threshold = nab_files(root, "numenta"), float(thresholds["numenta"]["standard"]["threshold"])
    for key, published in PUBLISHED_NUMENTA.items():
        # The raw scores are kept as float32.
        ours = file_score(files[key], np.float64(np.float32(threshold)), PROFILES["standard"])
        assert ours == pytest.approx(published, abs=1e-6), key


def _file(rows: int, hits: list[int], windows: list[tuple[int, int]]) -> FileScores:
    score = np.zeros(rows)
    score[hits] = 1.0
    return FileScores(score, windows)


def test_silence_is_zero_and_the_first_row_of_every_window_is_a_hundred() -> None:
    windows = [(300, 349), (600, 649)]
    for profile in PROFILES.values():
        assert corpus_score([_file(1000, [], windows)], 0.5, profile) == pytest.approx(0.0)
        assert corpus_score([_file(1000, [300, 600], windows)], 0.5, profile) == pytest.approx(100.0)


def test_detections_in_probation_do_not_count() -> None:
    assert file_score(_file(1000, [10, 149], [(300, 349)]), 0.5, PROFILES["standard"]) == -1.0


def test_a_detection_far_outside_costs_the_false_weight() -> None:
    assert file_score(_file(1000, [900], []), 0.5, PROFILES["low_fp"]) == pytest.approx(-0.22)


def test_the_best_threshold_is_at_least_as_good_as_any_other() -> None:
    rng = np.random.default_rng(3)
    files = [FileScores(np.round(rng.random(800), 2), [(200, 260), (500, 520)]) for _ in range(3)]
    for profile in PROFILES.values():
        best, threshold = best_score(files, profile)
        every = [corpus_score(files, t, profile) for t in np.linspace(0, 1, 101)]
        assert best == pytest.approx(max([*every, 0.0]), abs=1e-9)
        assert corpus_score(files, threshold, profile) == pytest.approx(best, abs=1e-9)
