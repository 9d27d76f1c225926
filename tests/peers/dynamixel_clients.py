"""Drives an emulated Koch with software that was not written here: ROBOTIS' SDK, and LeRobot's Koch follower.

    hindsight sim --arm koch --protocol dynamixel --task reach --link /tmp/koch &
    pip install -r tests/peers/requirements-dynamixel.txt
    python tests/peers/dynamixel_clients.py /tmp/koch

Each client connects, reads all servos at once, moves the gripper and lets go; LeRobot calibrates before. Says how long a
reading of all positions takes in each. Fails where a client does not get what it asks for. LeRobot is left out, and said
to be, where it is not installed.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import dynamixel_sdk as dxl

IDS = [1, 2, 3, 4, 5, 6]
MODELS = [1060, 1060, 1200, 1200, 1200, 1200]
BAUD = 1_000_000
PAN, GRIPPER = 1, 6
OPERATING_MODE, HOMING_OFFSET, TORQUE_ENABLE = 11, 20, 64
GOAL_CURRENT, GOAL_POSITION, PRESENT_POSITION = 102, 116, 132
READINGS = 300
TRIES = 5
ACCESS_ERROR = 7


class Silence(Exception):
    """No answer in time."""


def answered(reply: tuple) -> tuple:
    """What came with the answer: (values..., error)."""
    *values, result, error = reply
    if result == dxl.COMM_RX_TIMEOUT:
        raise Silence("no answer in time")
    assert result == dxl.COMM_SUCCESS, reply
    return (*values, error)


def signed(value: int) -> int:
    return value - (1 << 32) if value >= 1 << 31 else value


def robotis(port_name: str) -> float:
    port = dxl.PortHandler(port_name)
    assert port.openPort() and port.setBaudRate(BAUD)
    bus = dxl.PacketHandler(2.0)
    for servo, expected in zip(IDS, MODELS):
        assert answered(bus.ping(port, servo)) == (expected, 0), servo
    found, result = bus.broadcastPing(port)
    assert result == dxl.COMM_SUCCESS and sorted(found) == IDS, (result, found)
    assert bus.ping(port, 9)[1] == dxl.COMM_RX_TIMEOUT

    def write(size, address, value, servo=GRIPPER):
        send = {1: bus.write1ByteTxRx, 2: bus.write2ByteTxRx, 4: bus.write4ByteTxRx}[size]
        (error,) = answered(send(port, servo, address, value & (1 << 8 * size) - 1))
        return error

    def read4(address, servo=GRIPPER):
        value, error = answered(bus.read4ByteTxRx(port, servo, address))
        assert error == 0, (address, error)
        return signed(value)

    # As delivered each servo waits 0.5 ms.
    for servo in IDS:
        assert write(1, TORQUE_ENABLE, 0, servo) == 0
        assert write(1, 9, 0, servo) == 0

    group = dxl.GroupSyncRead(port, bus, PRESENT_POSITION, 4)
    for servo in IDS:
        assert group.addParam(servo)
    times = []
    for _ in range(READINGS):
        begun = time.perf_counter()
        answered((group.txRxPacket(), 0))
        times.append(time.perf_counter() - begun)
    positions = {servo: signed(group.getData(servo, PRESENT_POSITION, 4)) for servo in IDS}
    assert all(-4096 <= position <= 8191 for position in positions.values()), positions

    # A sign that a mix-up would turn round, and a memory that is closed while the torque is on.
    assert write(1, OPERATING_MODE, 5) == 0
    begin = read4(PRESENT_POSITION)
    assert write(4, HOMING_OFFSET, -100) == 0
    deadline = time.monotonic() + 1.0
    while abs(read4(PRESENT_POSITION) - (begin - 100)) > 3:
        assert time.monotonic() < deadline, (begin, read4(PRESENT_POSITION))
    assert write(4, HOMING_OFFSET, 0) == 0
    while abs(read4(PRESENT_POSITION) - begin) > 3:
        assert time.monotonic() < deadline
    assert write(4, GOAL_POSITION, begin) == 0
    assert write(1, TORQUE_ENABLE, 1) == 0
    assert write(4, HOMING_OFFSET, 5) == ACCESS_ERROR

    sync = dxl.GroupSyncWrite(port, bus, GOAL_POSITION, 4)
    for goal in (begin + 400, begin):
        sync.clearParam()
        assert sync.addParam(GRIPPER, list((goal & 0xFFFF_FFFF).to_bytes(4, "little")))
        assert sync.txPacket() == dxl.COMM_SUCCESS
        deadline = time.monotonic() + 3.0
        while abs(read4(PRESENT_POSITION) - goal) > 25:
            assert time.monotonic() < deadline, f"the gripper stands at {read4(PRESENT_POSITION)}, not at {goal}"
    assert write(1, TORQUE_ENABLE, 0) == 0
    # It comes back from a reboot.
    assert bus.reboot(port, GRIPPER)[0] == dxl.COMM_SUCCESS
    deadline = time.monotonic() + 2.0
    while bus.ping(port, GRIPPER)[1] != dxl.COMM_SUCCESS:
        assert time.monotonic() < deadline
    port.closePort()
    return statistics.median(times)


def lerobot(port_name: str) -> float:
    from lerobot.robots.koch_follower import KochFollower, KochFollowerConfig

    with tempfile.TemporaryDirectory() as folder:
        robot = KochFollower(KochFollowerConfig(port=port_name, id="emulated", calibration_dir=Path(folder)))
        robot.connect(calibrate=False)
        robot.bus.disable_torque()
        # What a person does by hand when asked, and LeRobot's own steps of calibrate(): the arm lies where it rests.
        for motor in robot.bus.motors:
            robot.bus.write("Operating_Mode", motor, 4)
        offsets = robot.bus.set_half_turn_homings()
        homed = robot.bus.sync_read("Present_Position", normalize=False)
        assert all(abs(ticks - 2047) <= 3 for ticks in homed.values()), homed
        from lerobot.motors import MotorCalibration

        calibration = {
            name: MotorCalibration(
                id=motor.id, drive_mode=0, homing_offset=offsets[name], range_min=1000, range_max=3000
            )
            for name, motor in robot.bus.motors.items()
        }
        robot.bus.write_calibration(calibration)
        robot.calibration = calibration
        assert robot.bus.read_calibration() == calibration
        assert robot.is_calibrated
        robot.configure()
        times = []
        for _ in range(READINGS):
            begun = time.perf_counter()
            seen = robot.get_observation()
            times.append(time.perf_counter() - begun)
        assert len(seen) == len(IDS), seen
        begin = seen["gripper.pos"]
        for goal in (begin + 15.0, begin):
            robot.send_action({"gripper.pos": goal})
            deadline = time.monotonic() + 3.0
            while abs(robot.get_observation()["gripper.pos"] - goal) > 2.0:
                assert time.monotonic() < deadline, (goal, robot.get_observation())
        robot.disconnect()
    return statistics.median(times)


def main() -> None:
    port = sys.argv[1]
    clients = [("dynamixel-sdk", robotis)]
    try:
        import lerobot as _  # noqa: F401

        clients.append(("lerobot", lerobot))
    except ImportError:
        print("lerobot: left out, as it is not installed")
    for name, client in clients:
        for attempt in range(1, TRIES + 1):
            try:
                print(f"{name}: all positions in {1e3 * client(port):.2f} ms (median of {READINGS})")
                break
            except (Silence, ConnectionError) as error:
                # The clients wait some 20 ms, which a busy machine may not keep; nothing else is tried again.
                print(f"{name}: {error} (attempt {attempt} of {TRIES})")
                if attempt == TRIES:
                    raise


if __name__ == "__main__":
    main()
