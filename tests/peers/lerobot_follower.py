"""LeRobot's own SO-101 follower on an emulated arm: connects, calibrates, reads, moves, disconnects.

    pip install -r tests/peers/requirements-servo.txt
    python tests/peers/lerobot_follower.py target/release/hindsight

Starts `hindsight sim --hand`, whose standard input moves the limp joints while LeRobot's calibration asks a person to.
Nothing in LeRobot is changed but its two questions to the keyboard. Fails where LeRobot does not get what it asks for,
and where the ranges and angles that it then has are not those of the arm.
"""

import builtins
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lerobot.motors import motors_bus
from lerobot.robots.so_follower import SO101Follower, SO101FollowerConfig

# Limits of the model in rad, in the joints' order of models/arms/so101.urdf, a little within them.
RANGES = {
    "shoulder_pan": (-1.91, 1.91),
    "shoulder_lift": (-1.74, 1.74),
    "elbow_flex": (-1.68, 1.68),
    "wrist_flex": (-1.65, 1.65),
    "wrist_roll": (-2.74, 2.84),
    "gripper": (-0.17, 1.74),
}
COUNTS_PER_RAD = 4096 / math.tau
# A hand gives a little, and a stop as well.
NEAR_COUNTS = 40


class Hand:
    """Moves joints of the emulated arm, and waits until LeRobot's bus sees them there."""

    def __init__(self, simulator: subprocess.Popen):
        self.simulator = simulator
        self.bus = None

    def take(self, joint: str, place: float | str) -> None:
        self.simulator.stdin.write(f"{joint} {place}\n")
        self.simulator.stdin.flush()

    def still(self) -> dict[str, int]:
        """Positions once nothing has moved for half a second."""
        deadline, since = time.monotonic() + 20.0, time.monotonic()
        before = self.bus.sync_read("Present_Position", normalize=False, num_retry=5)
        while time.monotonic() - since < 0.5:
            assert time.monotonic() < deadline, "the arm does not come to rest"
            now = self.bus.sync_read("Present_Position", normalize=False, num_retry=5)
            if any(abs(now[joint] - before[joint]) > 2 for joint in now):
                before, since = now, time.monotonic()
        return before


def calibrate(robot: SO101Follower, hand: Hand) -> None:
    middles = {joint: (lower + upper) / 2 for joint, (lower, upper) in RANGES.items()}
    # Where a hand goes next while the ranges are recorded: to both stops of each joint, by a way on which the arm does
    # not meet the table. -1, 0, 1: lower stop, middle, upper stop.
    way = [("shoulder_pan", -1), ("shoulder_pan", 1), ("shoulder_pan", 0)]
    way += [("wrist_flex", -1), ("wrist_flex", 1), ("wrist_flex", 0), ("gripper", -1), ("gripper", 1), ("gripper", 0)]
    way += [("shoulder_lift", -1), ("elbow_flex", 1), ("elbow_flex", 0), ("shoulder_lift", 0)]
    way += [("elbow_flex", -1), ("shoulder_lift", 1), ("shoulder_lift", 0), ("elbow_flex", 0)]
    asked = []

    def answer(prompt: str = "") -> str:
        asked.append(prompt)
        for joint, place in middles.items():
            hand.take(joint, place)
        hand.still()
        return ""

    last: dict = {"since": time.monotonic(), "positions": None}

    def pressed() -> bool:
        # Called after each of LeRobot's own readings: a hand goes on once the arm has been at rest for a while.
        positions = robot.bus.sync_read("Present_Position", normalize=False, num_retry=5)
        before = last["positions"]
        if before is None or any(abs(positions[joint] - before[joint]) > 2 for joint in positions):
            last.update(since=time.monotonic(), positions=positions)
        if time.monotonic() - last["since"] < 0.3:
            return False
        if not way:
            return True
        joint, stop = way.pop(0)
        hand.take(joint, middles[joint] if stop == 0 else RANGES[joint][stop > 0])
        last.update(since=time.monotonic(), positions=None)
        return False

    originals = builtins.input, motors_bus.enter_pressed
    builtins.input, motors_bus.enter_pressed = answer, pressed
    try:
        robot.connect()
    finally:
        builtins.input, motors_bus.enter_pressed = originals
    assert len(asked) == 1 and "middle" in asked[0], asked


def check(hindsight: str, folder: Path) -> None:
    port = folder / "arm"
    command = [hindsight, "sim", "--arm", "so101", "--protocol", "feetech", "--task", "reach", "--hand"]
    command += ["--link", str(port)]
    simulator = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert "simulating" in simulator.stderr.readline()
    try:
        hand = Hand(simulator)
        robot = SO101Follower(SO101FollowerConfig(port=str(port), id="emulated", calibration_dir=folder))
        hand.bus = robot.bus
        calibrate(robot, hand)
        print("calibrated")

        file = json.loads((folder / "emulated.json").read_text())
        for joint, (lower, upper) in RANGES.items():
            entry = file[joint]
            found, expected = entry["range_max"] - entry["range_min"], (upper - lower) * COUNTS_PER_RAD
            if joint != "wrist_roll":
                assert abs(found - expected) < 2 * NEAR_COUNTS, (joint, entry, expected)

        # LeRobot has switched the torque on, with whatever goals the servos had: the hands have held the arm until it
        # gets others. It then holds by itself, and the angles are those of the middle.
        robot.send_action(robot.get_observation())
        for joint in RANGES:
            hand.take(joint, "free")
        hand.still()
        seen = robot.get_observation()
        assert all(abs(seen[f"{joint}.pos"]) < 6.0 for joint in RANGES if joint != "gripper"), seen
        assert abs(seen["gripper.pos"] - 50.0) < 6.0, seen

        goal = {**seen, "shoulder_pan.pos": 25.0, "wrist_flex.pos": -20.0, "gripper.pos": 80.0}
        robot.send_action(goal)
        deadline = time.monotonic() + 5.0
        while any(abs(robot.get_observation()[joint] - goal[joint]) > 5.0 for joint in goal):
            assert time.monotonic() < deadline, (robot.get_observation(), goal)
        print("moved")

        robot.disconnect()
        assert not robot.is_connected
        # Connects again without a question: the servos hold what the file says.
        robot = SO101Follower(SO101FollowerConfig(port=str(port), id="emulated", calibration_dir=folder))
        robot.connect()
        assert robot.is_calibrated
        assert set(robot.bus.sync_read("Torque_Enable", normalize=False).values()) == {1}
        robot.disconnect()
        print("connected again and let go")

        # What LeRobot calibrated, this project takes over.
        found = subprocess.run(
            [hindsight, "doctor", "--port", str(port), "--calibration", str(folder / "emulated.json"), "--json"],
            capture_output=True,
            text=True,
            check=False,
        )
        findings = {finding["what"]: finding for finding in json.loads(found.stdout.splitlines()[-1])["findings"]}
        assert findings["servos"]["grade"] == "good", findings
        assert findings["calibration"]["grade"] == "good", findings
        assert "torque" not in findings, findings["torque"]
    finally:
        simulator.terminate()
        simulator.wait(10)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        check(sys.argv[1], Path(folder))


if __name__ == "__main__":
    main()
