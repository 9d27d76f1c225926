"""Puts the parts of learning beside other people's, on the same machine and in one go.

    python tests/peers/learner.py [updates] [sampling] [steps] [memory] [--repeat N]

Needs tests/peers/requirements-fetch.txt and cargo. Ours is `cargo bench --bench learning`; it and the peers take turns,
`--repeat` times, so that a machine that is busy at times slows both. Printed are medians and the best of each, and the
ratio of the medians, as Markdown tables.
"""

import argparse
import functools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LAYOUT = dict(observation=25, goal=3, action=4)
# What our networks see: observation, achieved goal, goal, and the goals' difference.
FEATURES = LAYOUT["observation"] + 3 * LAYOUT["goal"]
BATCH = 256
TRANSITIONS = 1_000_000


@functools.cache
def built():
    """Our benchmark's program, built once."""
    command = ["cargo", "bench", "--quiet", "--bench", "learning", "--no-run", "--message-format=json"]
    out = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    messages = [json.loads(line) for line in out.splitlines()]
    return next(m["executable"] for m in messages if m.get("executable") and m["target"]["name"] == "learning")


def bench(section):
    """Our figures of a section: what was measured, and the numbers with their units."""
    out = subprocess.run([built(), section], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [line[len(section) :].strip() for line in out.splitlines() if line.startswith(section)]


def number_before(line, unit):
    words = line.split()
    return float(words[words.index(unit) - 1])


def table(title, rows, reference):
    """Rows of (name, list of figures); ratios of medians to the row named `reference`."""
    base = statistics.median(dict(rows)[reference])
    print(f"\n{title}\n\n| | Median | Best | Median of ours over it |\n|---|---|---|---|")
    ours = statistics.median(rows[0][1])
    for name, figures in rows:
        median = statistics.median(figures)
        print(f"| {name} | {median:,.0f} | {max(figures):,.0f} | {ours / median:.2f} |")
    return ours / base


def child(*arguments, threads=1, **environment):
    """Runs a measurement of this file in a process of its own, so that thread settings take effect; returns its JSON."""
    env = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), **environment}
    out = subprocess.run([sys.executable, __file__, "--measure", *map(str, arguments)], check=True, capture_output=True, text=True, env=env)
    return json.loads(out.stdout.splitlines()[-1])


# --- updates -----------------------------------------------------------------------------------------------------------


def torch_updates(threads, compiled, seconds=3.0):
    """Updates a second of the same DDPG update as ours, as quick as PyTorch does it: no framework around it, fused Adam,
    targets moved by one call, random numbers and batches made before."""
    import torch
    from torch import nn

    torch.set_num_threads(threads)
    torch.manual_seed(0)

    def network(inputs, outputs, *last):
        sizes = [inputs, 256, 256, 256]
        layers = [layer for i, o in zip(sizes, sizes[1:]) for layer in (nn.Linear(i, o), nn.ReLU())]
        return nn.Sequential(*layers, nn.Linear(256, outputs), *last)

    action = LAYOUT["action"]
    actor, critic = network(FEATURES, action, nn.Tanh()), network(FEATURES + action, 1)
    actor_target, critic_target = network(FEATURES, action, nn.Tanh()), network(FEATURES + action, 1)
    actor_target.load_state_dict(actor.state_dict())
    critic_target.load_state_dict(critic.state_dict())
    optimisers = [torch.optim.Adam(n.parameters(), lr=1e-3, fused=True) for n in (actor, critic)]
    online = [*actor.parameters(), *critic.parameters()]
    targets = [*actor_target.parameters(), *critic_target.parameters()]
    now, then = torch.randn(BATCH, FEATURES), torch.randn(BATCH, FEATURES)
    taken, reward = torch.rand(BATCH, action) * 2 - 1, -torch.randint(0, 2, (BATCH, 1)).float()

    def critic_loss():
        with torch.no_grad():
            value = critic_target(torch.cat([then, actor_target(then)], 1))
            target = (reward + 0.98 * value).clamp_(-50.0, 0.0)
        return (critic(torch.cat([now, taken], 1)) - target).square().mean()

    def actor_loss():
        chosen = actor(now)
        return -critic(torch.cat([now, chosen], 1)).mean() + 0.1 * chosen.square().mean()

    if compiled:
        critic_loss, actor_loss = torch.compile(critic_loss), torch.compile(actor_loss)
    actor_parameters = list(actor.parameters())

    def update(count):
        optimisers[1].zero_grad()
        critic_loss().backward()
        # The critic's own gradient is not asked for where the actor learns.
        gradients = torch.autograd.grad(actor_loss(), actor_parameters)
        for parameter, gradient in zip(actor_parameters, gradients):
            parameter.grad = gradient
        for optimiser in optimisers:
            optimiser.step()
        if count % 2 == 0:
            with torch.no_grad():
                torch._foreach_lerp_(targets, online, 0.05)

    for count in range(30):
        update(count)
    begun, before, count = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - begun < seconds:
        update(count)
        count += 1
    # One thread is judged by processor time, as ours is.
    return count / (time.process_time() - before if threads == 1 else time.perf_counter() - begun)


def torch_peak(threads, seconds=2.0):
    """GFLOP/s of square products that fit the second-level cache, one a thread."""
    import torch
    from concurrent.futures import ThreadPoolExecutor

    torch.set_num_threads(1)
    side = 384
    pairs = [(torch.randn(side, side), torch.randn(side, side), torch.empty(side, side)) for _ in range(threads)]

    def work(pair):
        left, right, out = pair
        begun, count = time.perf_counter(), 0
        before = time.thread_time()
        while time.perf_counter() - begun < seconds:
            torch.mm(left, right, out=out)
            count += 1
        spent = time.thread_time() - before if threads == 1 else time.perf_counter() - begun
        return count / spent

    with ThreadPoolExecutor(threads) as pool:
        calls = sum(pool.map(work, pairs))
    return calls * 2 * side**3 / 1e9


def updates(repeat):
    ours, torch_eager, torch_compiled, peaks, flops = {}, {}, {}, {}, {}
    for _ in range(repeat):
        for line in bench("paper"):
            threads = int(line.split("threads=")[1].split()[0])
            ours.setdefault(threads, []).append(number_before(line, "updates/s"))
            flops.setdefault(threads, []).append(number_before(line, "GFLOP/s"))
        for line in bench("peak"):
            peaks.setdefault(int(line.split("threads=")[1].split()[0]), []).append(number_before(line, "GFLOP/s"))
        for threads in (1, 2):
            torch_eager.setdefault(threads, []).append(child("torch", threads, 0, threads=threads))
            torch_compiled.setdefault(threads, []).append(child("torch", threads, 1, threads=threads))
            peaks[threads].append(child("torch_peak", threads))
    for threads in (1, 2):
        rows = [("ours", ours[threads]), ("PyTorch, torch.compile", torch_compiled[threads]), ("PyTorch, eager", torch_eager[threads])]
        table(f"DDPG updates/s, 3x256, batch {BATCH}, threads {threads}", rows, "ours")
        done, peak = statistics.median(flops[threads]), max(peaks[threads])
        print(f"\n{done:.0f} GFLOP/s of {peak:.0f}, the quickest matrix product measured here: {done / peak:.0%}")


# --- sampling ----------------------------------------------------------------------------------------------------------


def sb3_sampling(transitions, seconds=5.0):
    """Batches a second out of stable-baselines3's buffer, future goals, k = 4."""
    import gymnasium
    import numpy as np
    from stable_baselines3.common.vec_env import DummyVecEnv
    from stable_baselines3.her import HerReplayBuffer

    spaces = gymnasium.spaces
    sizes = {"achieved_goal": LAYOUT["goal"], "desired_goal": LAYOUT["goal"], "observation": LAYOUT["observation"]}

    class Sizes(gymnasium.Env):
        observation_space = spaces.Dict({k: spaces.Box(-np.inf, np.inf, (n,), np.float64) for k, n in sizes.items()})
        action_space = spaces.Box(-1, 1, (LAYOUT["action"],))

        def compute_reward(self, achieved, desired, info):
            # As gymnasium-robotics does it.
            return -(np.linalg.norm(achieved - desired, axis=-1) > 0.05).astype(np.float32)

    env = DummyVecEnv([Sizes])
    buffer = HerReplayBuffer(
        transitions, Sizes.observation_space, Sizes.action_space, env, device="cpu", n_envs=1, n_sampled_goal=4,
        goal_selection_strategy="future", copy_info_dict=False,
    )
    rng = np.random.default_rng(0)
    seen = [{k: rng.normal(size=(1, n)) for k, n in sizes.items()} for _ in range(1000)]
    action, reward = np.full((1, LAYOUT["action"]), 0.1), np.array([-1.0])
    for step in range(transitions):
        done = step % 50 == 49
        infos = [{"TimeLimit.truncated": done}]
        buffer.add(seen[step % 1000], seen[(step + 1) % 1000], action, reward, np.array([done]), infos)
    for _ in range(20):
        buffer.sample(BATCH)
    begun, before, count = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - begun < seconds:
        buffer.sample(BATCH)
        count += 1
    rate = count / (time.process_time() - before)
    return {"rate": rate, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def sampling(repeat):
    ours, theirs = [], []
    for _ in range(repeat):
        ours += [number_before(line, "batches/s") for line in bench("sampling")]
        theirs.append(child("sampling", TRANSITIONS)["rate"])
    rows = [("ours", ours), ("stable-baselines3 HerReplayBuffer", theirs)]
    table(f"Batches of {BATCH} a second out of {TRANSITIONS:,} transitions, future, k = 4, one thread", rows, "ours")


# --- steps -------------------------------------------------------------------------------------------------------------


def fetch_steps(bare):
    """Environment steps a second of FetchPush-v4 while the gripper pushes the block: all steps, and those that moved it.

    `bare` times MuJoCo's own step alone: 20 of 2 ms, no Python around them.
    """
    import gymnasium
    import gymnasium_robotics
    import mujoco
    import numpy as np

    gymnasium.register_envs(gymnasium_robotics)
    env = gymnasium.make("FetchPush-v4", disable_env_checker=True)
    inner = env.unwrapped
    spent = [0.0]
    if bare:

        def mujoco_step(_action):
            begun = time.thread_time()
            mujoco.mj_step(inner.model, inner.data, nstep=inner.n_substeps)
            spent[0] = time.thread_time() - begun

        inner._mujoco_step = mujoco_step
    whole, pushing = [0.0, 0], [0.0, 0]
    for seed in range(40):
        seen, _ = env.reset(seed=seed)
        for _ in range(50):
            grip, block, goal = seen["observation"][:3], seen["achieved_goal"], seen["desired_goal"]
            along = (goal - block)[:2] / max(np.linalg.norm((goal - block)[:2]), 1e-6)
            behind = np.append(block[:2] - 0.06 * along, block[2])
            offset = grip[:2] - block[:2]
            is_behind = offset @ along < -0.03 and abs(offset @ np.array([-along[1], along[0]])) < 0.02
            at_height = abs(grip[2] - block[2]) < 0.02
            if np.linalg.norm(goal - block) < 0.02:
                aim = grip
            elif is_behind and at_height:
                aim = np.append(block[:2] + 0.1 * along, block[2])
            elif is_behind or np.linalg.norm(grip[:2] - behind[:2]) < 0.02:
                aim = np.append(behind[:2], block[2])
            else:
                aim = np.append(behind[:2], block[2] + 0.08)
            action = np.append(np.clip(10.0 * (aim - grip), -1.0, 1.0), 0.0).astype(np.float32)
            begun = time.thread_time()
            after, *_ = env.step(action)
            took = spent[0] if bare else time.thread_time() - begun
            moved = np.linalg.norm(after["achieved_goal"] - block) > 4e-3
            for sums in [whole] + [pushing] * bool(moved):
                sums[0] += took
                sums[1] += 1
            seen = after
    return {"whole": whole[1] / whole[0], "pushing": pushing[1] / pushing[0], "pushed": pushing[1]}


def steps(repeat):
    rows = {(who, what): [] for what in ("whole", "pushing") for who in ("ours", "fetch", "mujoco")}
    pushed = {}
    for _ in range(repeat):
        for line in bench("steps"):
            rows["ours", "whole" if line.startswith("whole") else "pushing"].append(number_before(line, "steps/s"))
        for who, bare in (("fetch", 0), ("mujoco", 1)):
            measured = child("steps", bare)
            pushed[who] = measured["pushed"]
            for what in ("whole", "pushing"):
                rows[who, what].append(measured[what])
    names = {"ours": "ours, SO-101 push, 80 ms a step", "fetch": "gymnasium-robotics FetchPush-v4, 40 ms a step", "mujoco": "its 20 steps of MuJoCo alone"}
    for what, title in (("whole", "whole episodes of pushing by rules"), ("pushing", "steps that moved the object")):
        table(f"Environment steps/s on one core, {title}", [(names[who], rows[who, what]) for who in names], names["ours"])
    print(f"\nSteps of Fetch that moved the block: {pushed}")


# --- memory ------------------------------------------------------------------------------------------------------------


def memory(_repeat):
    """Peak memory of a training that has gathered a million transitions. Updates are few, which changes no memory."""
    subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=ROOT, check=True)
    with tempfile.TemporaryDirectory() as folder:
        hyper = Path(folder) / "hyper.toml"
        hyper.write_text("hidden = [256, 256, 256]\ntwin_critic = true\nsteps_per_update = 500.0\n")
        command = [ROOT / "target/release/hindsight", "train", "--task", "push", "--hyper", hyper, "--env-steps", str(TRANSITIONS + 10_000)]
        command += ["--out", Path(folder) / "m.onnx", "--episodes", "8", "--json"]
        peak = child("rusage", *command)["peak_mb"]
    theirs = child("sampling", TRANSITIONS)["peak_mb"]
    print(f"\nPeak memory with {TRANSITIONS:,} transitions\n\n| | MB |\n|---|---|")
    print(f"| ours, a whole `train --task push` | {peak:.0f} |\n| stable-baselines3, HerReplayBuffer alone with Python and PyTorch | {theirs:.0f} |")


def rusage(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return {"peak_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024}


def main():
    if sys.argv[1:2] == ["--measure"]:
        what, *rest = sys.argv[2:]
        measures = {
            "torch": lambda: torch_updates(int(rest[0]), rest[1] == "1"),
            "torch_peak": lambda: torch_peak(int(rest[0])),
            "sampling": lambda: sb3_sampling(int(rest[0])),
            "steps": lambda: fetch_steps(rest[0] == "1"),
            "rusage": lambda: rusage(*rest),
        }
        print(json.dumps(measures[what]()))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sections = {"updates": updates, "sampling": sampling, "steps": steps, "memory": memory}
    parser.add_argument("sections", nargs="*", metavar="section", help=", ".join(sections))
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    unknown = set(arguments.sections) - set(sections)
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}")
    for name in arguments.sections or sections:
        sections[name](arguments.repeat)


if __name__ == "__main__":
    main()
