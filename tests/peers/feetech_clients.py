"""Drives an emulated SO-101 with software that was not written here: Feetech's SDK, and rustypot.

    hindsight sim --arm so101 --protocol feetech --task reach --link /tmp/arm &
    pip install -r tests/peers/requirements-feetech.txt
    python tests/peers/feetech_clients.py /tmp/arm

Each client connects, pings, reads all servos at once, moves the gripper and lets go. Says how long a reading of all
positions takes in each. Fails where a client does not get what it asks for.
"""

import statistics
import sys
import time

import rustypot
import scservo_sdk as scs

IDS = [1, 2, 3, 4, 5, 6]
BAUD = 1_000_000
GRIPPER = 6
TORQUE_ENABLE, GOAL_POSITION, LOCK, PRESENT_POSITION = 40, 42, 55, 56
HOMING_OFFSET = 31
READINGS = 300


def feetech(port_name: str) -> float:
    port = scs.PortHandler(port_name)
    assert port.openPort() and port.setBaudRate(BAUD)
    bus = scs.PacketHandler(0)
    for servo in IDS:
        model, result, error = bus.ping(port, servo)
        assert (model, result, error) == (777, scs.COMM_SUCCESS, 0), (servo, model, result, error)
    assert bus.ping(port, 9)[1] == scs.COMM_RX_TIMEOUT

    group = scs.GroupSyncRead(port, bus, PRESENT_POSITION, 2)
    for servo in IDS:
        assert group.addParam(servo)
    times = []
    for _ in range(READINGS):
        begun = time.perf_counter()
        assert group.txRxPacket() == scs.COMM_SUCCESS
        times.append(time.perf_counter() - begun)
    positions = {servo: group.getData(servo, PRESENT_POSITION, 2) for servo in IDS}
    assert all(0 <= position <= 4095 for position in positions.values()), positions

    def write2(address, value):
        result, error = bus.write2ByteTxRx(port, GRIPPER, address, value)
        assert (result, error) == (scs.COMM_SUCCESS, 0), (address, result, error)

    def write1(address, value):
        result, error = bus.write1ByteTxRx(port, GRIPPER, address, value)
        assert (result, error) == (scs.COMM_SUCCESS, 0), (address, result, error)

    def read2(address):
        value, result, error = bus.read2ByteTxRx(port, GRIPPER, address)
        assert (result, error) == (scs.COMM_SUCCESS, 0), (address, result, error)
        return value

    begin = positions[GRIPPER]
    write2(GOAL_POSITION, begin)
    write1(TORQUE_ENABLE, 1)
    for goal in (begin + 400, begin):
        write2(GOAL_POSITION, goal)
        deadline = time.monotonic() + 3.0
        while abs(read2(PRESENT_POSITION) - goal) > 25:
            assert time.monotonic() < deadline, f"the gripper stands at {read2(PRESENT_POSITION)}, not at {goal}"
    write1(TORQUE_ENABLE, 0)

    # Sign and magnitude, through the lock, as a calibration does it.
    write1(LOCK, 0)
    write2(HOMING_OFFSET, 100 | 1 << 11)
    assert read2(HOMING_OFFSET) == 100 | 1 << 11
    deadline = time.monotonic() + 1.0
    while abs(read2(PRESENT_POSITION) - begin - 100) > 25:
        assert time.monotonic() < deadline, read2(PRESENT_POSITION)
    write2(HOMING_OFFSET, 0)
    write1(LOCK, 1)
    port.closePort()
    return statistics.median(times)


def rusty(port_name: str) -> float:
    bus = rustypot.Sts3215PyController(port_name, BAUD, 0.1)
    assert all(bus.ping(servo) for servo in IDS)
    times = []
    for _ in range(READINGS):
        begun = time.perf_counter()
        positions = bus.sync_read_present_position(IDS)
        times.append(time.perf_counter() - begun)
    assert len(positions) == len(IDS)
    begin = positions[-1]
    bus.sync_write_goal_position([GRIPPER], [begin])
    bus.sync_write_torque_enable([GRIPPER], [True])
    bus.sync_write_goal_position([GRIPPER], [begin + 0.4])
    deadline = time.monotonic() + 3.0
    while abs(bus.sync_read_present_position([GRIPPER])[0] - begin - 0.4) > 0.05:
        assert time.monotonic() < deadline, "the gripper did not follow rustypot"
    bus.sync_write_torque_enable([GRIPPER], [False])
    return statistics.median(times)


def main() -> None:
    port = sys.argv[1]
    for name, client in (("feetech-servo-sdk", feetech), ("rustypot", rusty)):
        print(f"{name}: all positions in {1e3 * client(port):.2f} ms (median of {READINGS})")


if __name__ == "__main__":
    main()
