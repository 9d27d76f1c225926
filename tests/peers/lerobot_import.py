"""Writes a dataset with LeRobot's own writer, for `hindsight episodes import` to read.

    hindsight episodes export EPISODES --format lerobot --out DATASET
    python tests/peers/lerobot_import.py DATASET REWRITTEN hindsight

REWRITTEN holds DATASET's joints, actions, objects and goals as LeRobot records them: without what hindsight adds, and
of robot `so_follower`, as LeRobot calls the SO-101. The import must take it, with as many steps and the same hands.
Exits with 1 if it does not.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset

KEPT = ["observation.state", "action", "observation.environment_state", "observation.goal"]


def expect(condition, what):
    if not condition:
        sys.exit(f"FAILED: {what}")


def rewrite(source, target):
    features = {name: {key: source.features[name][key] for key in ("dtype", "shape", "names")} for name in KEPT}
    written = LeRobotDataset.create(
        "local/rewritten", fps=source.fps, features=features, root=target, robot_type="so_follower", use_videos=False
    )
    for episode in source.meta.episodes:
        for index in range(episode["dataset_from_index"], episode["dataset_to_index"]):
            frame = source[index]
            written.add_frame({name: np.asarray(frame[name]) for name in KEPT} | {"task": "push the puck to the goal"})
        written.save_episode()
    written.finalize()


def main(dataset_path, target, hindsight):
    source = LeRobotDataset("local/hindsight", root=Path(dataset_path))
    rewrite(source, Path(target))
    with tempfile.TemporaryDirectory() as out:
        command = [hindsight, "episodes", "import", target, "--task", "push", "--out", out, "--json"]
        done = subprocess.run(command, capture_output=True, text=True)
        expect(done.returncode == 0, done.stderr)
        report = json.loads(done.stdout.splitlines()[-1])
    expect(report["episodes"] == source.num_episodes, f"{report['episodes']} episodes")
    expect(report["frames"] == len(source), f"{report['frames']} frames")
    losses = report["losses"]
    expect(losses["outside_limits"] == 0 and losses["hand_off_rad"] < 0.2, f"the joints are others: {losses}")
    expect(not losses["goal_from_end"], "the goals were not taken")
    print(f"{report['episodes']} episodes that LeRobot wrote give {report['transitions']} steps; lost: {losses}")


if __name__ == "__main__":
    main(*sys.argv[1:])
