"""Serves Gymnasium goal environments over standard input and output, as docs/env-protocol.md says.

Usage: python3 gymnasium.py ENV_ID
"""

import os
import struct
import sys

VERSION = 1
HELLO, RESET, STEP, CLOSE = 1, 2, 3, 4
WELCOME, STATE, STEPPED, ERROR = 129, 130, 131, 255
TERMINATED, TRUNCATED, SUCCESS = 1, 2, 4


def private_pipes():
    """Standard input and output for the protocol alone: what an environment prints goes to standard error."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    return requests, answers


def receive(requests):
    """The next frame's kind and payload; close at the end of input."""
    head = requests.read(4)
    if len(head) < 4:
        return CLOSE, b""
    body = requests.read(struct.unpack("<I", head)[0])
    return (body[0], body[1:]) if body else (CLOSE, b"")


def send(answers, kind, payload):
    answers.write(struct.pack("<IB", 1 + len(payload), kind) + payload)
    answers.flush()


def make(env_id):
    """An environment whose action space is a box, with goals."""
    import gymnasium

    try:
        import gymnasium_robotics

        gymnasium.register_envs(gymnasium_robotics)
    except ImportError:
        pass  # Goal environments come from elsewhere, too.
    env = gymnasium.make(env_id, disable_env_checker=True)
    keys = getattr(env.observation_space, "spaces", {}).keys()
    if not {"observation", "achieved_goal", "desired_goal"} <= set(keys):
        raise ValueError(f"{env_id} is no goal environment: its observation has {sorted(keys)}")
    if not hasattr(env.action_space, "low"):
        raise ValueError(f"{env_id} has actions {env.action_space}; expected a box")
    if env.spec.max_episode_steps is None:
        raise ValueError(f"{env_id} has no time limit; register it with max_episode_steps")
    return env


def success_radius(env, goal_size):
    """The radius of the sparse reward, checked against what the environment computes.

    Rewards may be -1/0, as in the Fetch tasks, or 0/1, as in the mazes: what counts is where they change.
    """
    import numpy as np

    inner = env.unwrapped
    radius = next((float(getattr(inner, name)) for name in ("distance_threshold", "goal_radius") if hasattr(inner, name)), None)
    if radius is None:
        raise ValueError("no distance_threshold: the environment does not say where its goal ends")
    rng = np.random.default_rng(0)
    desired = rng.normal(size=(1000, goal_size))
    away = rng.normal(size=(1000, goal_size))
    away *= (radius * rng.uniform(0.0, 2.0, size=(1000, 1))) / np.linalg.norm(away, axis=1, keepdims=True)
    achieved = desired + away
    rewards = np.array([inner.compute_reward(a, d, {}) for a, d in zip(achieved, desired)], dtype=float)
    hit = np.linalg.norm(away, axis=1) <= radius
    if rewards[hit].min() != rewards[hit].max() or rewards[~hit].min() != rewards[~hit].max() or rewards[hit][0] <= rewards[~hit][0]:
        raise ValueError(f"the reward is not a sparse one of radius {radius}; see docs/env-protocol.md")
    return radius


def serve(env_id, requests, answers):
    import numpy as np

    envs, low, span = [], None, None

    def floats(seen):
        parts = [np.ravel(seen[key]) for key in ("observation", "achieved_goal", "desired_goal")]
        return np.concatenate(parts).astype("<f4").tobytes()

    while True:
        kind, payload = receive(requests)
        if kind == HELLO:
            version, count = struct.unpack("<II", payload)
            if version != VERSION:
                raise ValueError(f"the host speaks version {version}, this server {VERSION}")
            envs = [make(env_id) for _ in range(count)]
            space, action = envs[0].observation_space, envs[0].action_space
            low, span = action.low.ravel(), (action.high - action.low).ravel()
            sizes = [int(np.prod(space[key].shape)) for key in ("observation", "achieved_goal")] + [low.size]
            radius = success_radius(envs[0], sizes[1])
            send(answers, WELCOME, struct.pack("<IIIIf", VERSION, *sizes, radius) + env_id.encode())
        elif kind == RESET:
            number, seed = struct.unpack("<IQ", payload)
            seen, _ = envs[number].reset(seed=seed)
            send(answers, STATE, floats(seen))
        elif kind == STEP:
            env = envs[struct.unpack_from("<I", payload)[0]]
            action = low + span * (np.frombuffer(payload, "<f4", offset=4) + 1.0) / 2.0
            seen, reward, terminated, truncated, info = env.step(action.reshape(env.action_space.shape))
            success = bool(info.get("is_success", info.get("success", False)))
            flags = TERMINATED * bool(terminated) | TRUNCATED * bool(truncated) | SUCCESS * success
            send(answers, STEPPED, bytes([flags]) + floats(seen))
        elif kind == CLOSE:
            return
        else:
            raise ValueError(f"unknown kind {kind}")


def main():
    requests, answers = private_pipes()
    try:
        serve(sys.argv[1], requests, answers)
    except BrokenPipeError:
        pass  # The host is gone.
    except Exception as error:
        send(answers, ERROR, f"{type(error).__name__}: {error}".encode())
        raise


main()
