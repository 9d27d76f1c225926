"""LeRobot's own SO-101 and Koch followers on emulated arms: set up a new servo, connect, calibrate, read, move, disconnect.

    pip install -r tests/peers/requirements-servo.txt -r tests/peers/requirements-dynamixel.txt
    python tests/peers/lerobot_follower.py target/release/hindsight so101
    python tests/peers/lerobot_follower.py target/release/hindsight koch

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
from dataclasses import dataclass
from pathlib import Path

from lerobot.motors import motors_bus
from lerobot.robots import Robot
from lerobot.robots.koch_follower import KochFollower, KochFollowerConfig
from lerobot.robots.so_follower import SO101Follower, SO101FollowerConfig


@dataclass
class Arm:
    """What LeRobot calls it, and what is to be found."""

    protocol: str
    follower: type
    config: type
    # Limits of the model in rad, in the joints' order of models/arms/*.urdf, a little within them.
    ranges: dict[str, tuple[float, float]]
    # Joints whose range LeRobot takes for a whole turn.
    full_turns: list[str]
    # Where a hand goes with lift, elbow and wrist while the ranges are recorded: to both stops of each, by a way on which
    # the arm does not meet the table. -1, 0, 1: lower stop, middle, upper stop.
    way: list[tuple[str, int]]

    def connect_to(self, port: Path, folder: Path) -> Robot:
        return self.follower(self.config(port=str(port), id="emulated", calibration_dir=folder))


ARMS = {
    "so101": Arm(
        "feetech",
        SO101Follower,
        SO101FollowerConfig,
        {
            "shoulder_pan": (-1.91, 1.91),
            "shoulder_lift": (-1.74, 1.74),
            "elbow_flex": (-1.68, 1.68),
            "wrist_flex": (-1.65, 1.65),
            "wrist_roll": (-2.74, 2.84),
            "gripper": (-0.17, 1.74),
        },
        ["wrist_roll"],
        [("wrist_flex", -1), ("wrist_flex", 1), ("wrist_flex", 0)]
        + [("shoulder_lift", -1), ("elbow_flex", 1), ("elbow_flex", 0), ("shoulder_lift", 0)]
        + [("elbow_flex", -1), ("shoulder_lift", 1), ("shoulder_lift", 0), ("elbow_flex", 0)],
    ),
    "koch": Arm(
        "dynamixel",
        KochFollower,
        KochFollowerConfig,
        {
            "shoulder_pan": (-2.19, 2.19),
            "shoulder_lift": (-1.56, 0.59),
            "elbow_flex": (-1.56, 1.44),
            "wrist_flex": (-1.99, 1.99),
            "wrist_roll": (-3.13, 3.13),
            "gripper": (-0.17, 1.45),
        },
        ["shoulder_pan", "wrist_roll"],
        [("wrist_flex", 1), ("elbow_flex", -1), ("shoulder_lift", -1), ("shoulder_lift", 0), ("elbow_flex", 0)]
        + [("wrist_flex", -1), ("shoulder_lift", 1), ("elbow_flex", 1)]
        + [("elbow_flex", 0), ("shoulder_lift", 0), ("wrist_flex", 0)],
    ),
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


def calibrate(arm: Arm, robot: Robot, hand: Hand) -> None:
    middles = {joint: (lower + upper) / 2 for joint, (lower, upper) in arm.ranges.items()}
    way = [("shoulder_pan", -1), ("shoulder_pan", 1), ("shoulder_pan", 0)]
    way += [("gripper", -1), ("gripper", 1), ("gripper", 0), *arm.way]
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
        hand.take(joint, middles[joint] if stop == 0 else arm.ranges[joint][stop > 0])
        last.update(since=time.monotonic(), positions=None)
        return False

    originals = builtins.input, motors_bus.enter_pressed
    builtins.input, motors_bus.enter_pressed = answer, pressed
    try:
        robot.connect()
    finally:
        builtins.input, motors_bus.enter_pressed = originals
    assert len(asked) == 1 and "middle" in asked[0], asked


def set_up(hindsight: str, name: str, folder: Path) -> None:
    """A new servo, alone on the bus, gets its id and its speed from LeRobot."""
    arm, port = ARMS[name], folder / "new"
    command = [hindsight, "sim", "--arm", name, "--protocol", arm.protocol, "--task", "reach"]
    command += ["--delivered", "gripper", "--link", str(port)]
    simulator = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert "simulating" in simulator.stderr.readline()
    try:
        bus = arm.connect_to(port, folder).bus
        bus.setup_motor("gripper")
        assert bus.ping("gripper", num_retry=3) is not None
        bus.port_handler.closePort()
        print("set up")
    finally:
        simulator.terminate()
        simulator.wait(10)


def check(hindsight: str, name: str, folder: Path) -> None:
    arm, port = ARMS[name], folder / "arm"
    command = [hindsight, "sim", "--arm", name, "--protocol", arm.protocol, "--task", "reach", "--hand"]
    command += ["--link", str(port)]
    simulator = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert "simulating" in simulator.stderr.readline()
    try:
        hand = Hand(simulator)
        robot = arm.connect_to(port, folder)
        hand.bus = robot.bus
        calibrate(arm, robot, hand)
        print("calibrated")

        file = json.loads((folder / "emulated.json").read_text())
        for joint, (lower, upper) in arm.ranges.items():
            entry = file[joint]
            found, expected = entry["range_max"] - entry["range_min"], (upper - lower) * COUNTS_PER_RAD
            if joint not in arm.full_turns:
                assert abs(found - expected) < 2 * NEAR_COUNTS, (joint, entry, expected)

        # LeRobot has switched the torque on, an SO-101's with whatever goals the servos had: the hands have held the arm
        # until it gets others. It then holds by itself, and the positions are those of the middle.
        robot.send_action(robot.get_observation())
        for joint in arm.ranges:
            hand.take(joint, "free")
        hand.still()
        seen = robot.get_observation()
        assert all(abs(seen[f"{joint}.pos"]) < 6.0 for joint in arm.ranges if joint != "gripper"), seen
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
        robot = arm.connect_to(port, folder)
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
        set_up(sys.argv[1], sys.argv[2], Path(folder))
        check(sys.argv[1], sys.argv[2], Path(folder))


if __name__ == "__main__":
    main()
