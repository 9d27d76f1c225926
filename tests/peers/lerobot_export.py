"""Judges an exported dataset with LeRobot's own package.

    hindsight episodes export EPISODES --format lerobot --out DATASET
    hindsight episodes export EPISODES --format parquet --out TICKS
    python tests/peers/lerobot_export.py DATASET TICKS

DATASET must load, give every frame, carry the statistics that LeRobot computes from those frames, and hold, bit by
bit, the transitions of the recordings, whose every tick is in TICKS. Prints what was found; exits with 1 at the first
difference.
"""

import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pandas as pd
from lerobot.datasets.compute_stats import aggregate_stats, compute_episode_stats
from lerobot.datasets.lerobot_dataset import LeRobotDataset

STEP = {
    "observation": "step.observation",
    "achieved_goal": "step.achieved_goal",
    "desired_goal": "step.desired_goal",
    "requested_action": "step.requested_action",
    "applied_action": "step.applied_action",
}


def expect(condition, what):
    if not condition:
        sys.exit(f"FAILED: {what}")


def arrays(dataset):
    """Every frame through the dataset's own indexing, a feature an array."""
    found = {name: [] for name in dataset.features}
    for index in range(len(dataset)):
        frame = dataset[index]
        for name in found:
            found[name].append(np.asarray(frame[name]))
    return {name: np.stack(values) for name, values in found.items()}


def compare_statistics(dataset, frames):
    episodes = []
    for episode in range(dataset.num_episodes):
        mask = frames["episode_index"].reshape(-1) == episode
        episodes.append(compute_episode_stats({name: values[mask] for name, values in frames.items()}, dataset.features))
    theirs, ours = aggregate_stats(episodes), dataset.meta.stats
    expect(set(theirs) == set(ours), f"features with statistics {set(ours)}, expected {set(theirs)}")
    # LeRobot's quantiles come from a histogram, ours from the sorted values: they may differ by a few of its bins where
    # values are dense, and by the gap between two neighbours where they are not. Within 5 % of the range is asked for.
    worst = {"exact": 0.0, "quantile": 0.0}
    for name in theirs:
        span = np.maximum(theirs[name]["max"] - theirs[name]["min"], 1e-9)
        for statistic, expected in theirs[name].items():
            found = np.asarray(ours[name][statistic], dtype=np.float64)
            expect(found.shape == expected.shape, f"{name}/{statistic}: shape {found.shape}, expected {expected.shape}")
            kind = "quantile" if statistic[0] == "q" else "exact"
            # LeRobot sums in float32 and takes the square of the mean from the mean of the squares, so that a mean is
            # only as good as the numbers' own size, and a variance as good as their squares'.
            size = span + np.maximum(np.abs(theirs[name]["min"]), np.abs(theirs[name]["max"]))
            scale = size if kind == "exact" else span
            if statistic == "std":
                found, expected, scale = found**2, expected**2, size**2
            apart = float(np.max(np.abs(found - expected) / scale))
            worst[kind] = max(worst[kind], apart)
            limit = 1e-5 if kind == "exact" else 0.05
            expect(apart <= limit, f"{name}/{statistic}: {found}, LeRobot computes {expected}")
    print(f"statistics of {len(theirs)} features agree: mean, std, min, max within {worst['exact']:.1e},")
    print(f"quantiles within {worst['quantile']:.1e} of the range")


def compare_transitions(frames, recorded):
    """Every frame of a step holds all of the step; gives how many transitions there are."""
    transitions = 0
    for episode, steps in enumerate(recorded):
        rows = np.flatnonzero(frames["episode_index"].reshape(-1) == episode)
        index = frames["step.index"].reshape(-1)[rows]
        rows, index = rows[index >= 0], index[index >= 0]
        expect((np.unique(index) == np.arange(len(steps["observation"]))).all(), f"episode {episode}: other steps")
        for name, column in STEP.items():
            found, expected = frames[column][rows], steps[name][index]
            same = found.shape == expected.shape and (found == expected).all()
            expect(same, f"episode {episode}: {name} is not what was recorded")
        transitions += len(steps["observation"]) - 1
    return transitions


def from_ticks(table):
    """The transitions that were recorded."""
    for _, ticks in table.groupby("episode", sort=True):
        first = np.flatnonzero(ticks["begins_step"].to_numpy())
        last = np.append(first[1:], len(ticks)) - 1

        def block(name, rows):
            columns = sorted((c for c in ticks if c.startswith(name + ".")), key=lambda c: int(c.rsplit(".", 1)[1]))
            values = ticks[columns].to_numpy(dtype=np.float32)
            return values[rows][:, ~np.isnan(values).all(axis=0)]

        yield {name: block(name, last if name == "applied_action" else first) for name in STEP}


def main(dataset_path, ticks_path):
    dataset = LeRobotDataset("local/hindsight", root=Path(dataset_path))
    table = pd.read_parquet(ticks_path)
    expect(dataset.num_episodes == table["episode"].nunique(), "another number of episodes")
    frames = arrays(dataset)
    expect(len(dataset) == dataset.meta.total_frames == sum(dataset.meta.episodes["length"]), "totals disagree")
    expect((frames["index"].reshape(-1) == np.arange(len(dataset))).all(), "frames out of order")
    names = dataset.features["action"]["names"]
    print(f"{dataset.num_episodes} episodes, {len(dataset)} frames, robot {dataset.meta.robot_type}, action {names}")
    compare_statistics(dataset, frames)
    transitions = compare_transitions(frames, from_ticks(table))
    print(f"{transitions} transitions are those that were recorded, bit by bit")


if __name__ == "__main__":
    main(*sys.argv[1:])
