"""Times a control tick on one emulated SO-101: of this project, of rustypot, and of LeRobot's bus.

    hindsight sim --arm so101 --protocol feetech --task reach --link /tmp/arm &
    pip install -r tests/peers/requirements-servo.txt
    python tests/peers/servo_tick.py /tmp/arm

A tick reads six servos and writes six goals. "states" reads what a control loop is about: position, speed and load, by
the fewest questions that the software has for it. "positions" reads nothing else, as LeRobot's robots do. The three take
turns, so that whatever else the machine does disturbs all alike, and are compared by the best tenth of their ticks and
by their processor time. Fails where this project is slower than rustypot, or not three times quicker than LeRobot, at
the same work.
"""

import json
import statistics
import subprocess
import sys
import time

import rustypot
from lerobot.motors import Motor, MotorNormMode
from lerobot.motors.feetech import FeetechMotorsBus

IDS = [1, 2, 3, 4, 5, 6]
BAUD = 1_000_000
STATE = (56, 15)
TICKS = 500
ROUNDS = 3
MIDDLE = 2048
# Differences below 5 % are the machine's.
NOISE = 1.05


def timed(tick) -> dict:
    times, cpu = [], time.process_time()
    for _ in range(TICKS):
        begun = time.perf_counter()
        tick()
        times.append(1e6 * (time.perf_counter() - begun))
    cpu_us = 1e6 * (time.process_time() - cpu) / TICKS
    cuts = statistics.quantiles(times, n=100)
    return {"p10_us": cuts[9], "p50_us": cuts[49], "p99_us": cuts[98], "cpu_us": cpu_us}


def ours(port: str, command: list[str]) -> dict:
    told = subprocess.run([*command, port], check=True, capture_output=True, text=True)
    return json.loads(told.stdout.splitlines()[-1])


def rusty(port: str) -> dict:
    bus = rustypot.Sts3215PyController(port, BAUD, 0.1)
    goals = [0.0] * len(IDS)

    def states():
        assert len(bus.sync_read_raw_data(IDS, *STATE)) == len(IDS)
        bus.sync_write_goal_position(IDS, goals)

    def positions():
        assert len(bus.sync_read_present_position(IDS)) == len(IDS)
        bus.sync_write_goal_position(IDS, goals)

    return {"states": timed(states), "positions": timed(positions)}


def lerobot(port: str) -> dict:
    bus = FeetechMotorsBus(port, {f"joint_{id}": Motor(id, "sts3215", MotorNormMode.DEGREES) for id in IDS})
    bus.connect()
    goals = dict.fromkeys(bus.motors, MIDDLE)

    def read(*registers: str):
        for register in registers:
            assert len(bus.sync_read(register, normalize=False, num_retry=2)) == len(IDS)
        bus.sync_write("Goal_Position", goals, normalize=False)

    result = {
        "states": timed(lambda: read("Present_Position", "Present_Velocity", "Present_Load")),
        "positions": timed(lambda: read("Present_Position")),
    }
    bus.disconnect()
    return result


def main() -> None:
    port = sys.argv[1]
    command = sys.argv[2:] or ["cargo", "bench", "--quiet", "--bench", "servo_tick", "--"]
    clients = {
        "hindsight": lambda: ours(port, command),
        "rustypot": lambda: rusty(port),
        "LeRobot": lambda: lerobot(port),
    }
    rounds = [{name: client() for name, client in clients.items()} for _ in range(ROUNDS)]
    bad = []
    for work in ("states", "positions"):
        print(f"| {work:9} | Best tenth, ms | Median, ms | 99 % within, ms | CPU, ms |\n|---|---|---|---|---|")
        medians = {}
        for name in clients:
            keys = ("p10_us", "p50_us", "p99_us", "cpu_us")
            of = {key: statistics.median(r[name][work][key] for r in rounds) for key in keys}
            medians[name] = of
            print("| " + " | ".join([f"{name:9}", *(f"{of[key] / 1e3:.3f}" for key in keys)]) + " |")
        own, rust, le = (medians[name] for name in clients)
        for key in ("p10_us", "cpu_us"):
            print(f"{work} {key}: rustypot / ours {rust[key] / own[key]:.2f}, LeRobot / ours {le[key] / own[key]:.2f}")
            if own[key] > NOISE * rust[key]:
                bad.append(f"{work} {key}: slower than rustypot")
            # Of positions alone the wire takes 0.9 ms, whoever asks.
            if 3 * own[key] > le[key] and (work, key) != ("positions", "p10_us"):
                bad.append(f"{work} {key}: LeRobot takes only {le[key] / own[key]:.1f} x as much")
    sys.exit("\n".join(bad) or None)


if __name__ == "__main__":
    main()
