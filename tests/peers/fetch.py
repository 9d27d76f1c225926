"""Who solves a Fetch task first: ours, or stable-baselines3's DDPG and SAC with HerReplayBuffer?

    python tests/peers/fetch.py --out FOLDER [--env FetchPush-v4] [--seeds 0 1 2] [--only ours ddpg sac] [--minutes 120]

Needs tests/peers/requirements-fetch.txt and cargo. The learners run one after another on the same machine with all of its
cores, each until 90 % of 100 episodes end at their goal (deterministic, the same seeds for all), or until the time is up.
Evaluation counts in our time and not in theirs. `FOLDER/curves.csv` and `curves.svg` have every evaluation; a learner and
seed that are there already are not run again.

On a machine with other work, compare processor time, and give stable-baselines3 one thread (`--threads 1`): PyTorch's
threads wait for each other by spinning.
"""

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = 0.9
# `hindsight train` looks at the same seeds.
GLANCE_SEEDS = range(2 << 40, (2 << 40) + 100)
GLANCE_EVERY = 10_000
FIELDS = ["learner", "seed", "env_steps", "elapsed_s", "cpu_s", "success_rate"]


def success(env, act):
    hits = 0
    for seed in GLANCE_SEEDS:
        seen, _ = env.reset(seed=seed)
        done = False
        while not done:
            seen, _, terminated, truncated, info = env.step(act(seen))
            done = terminated or truncated
        hits += bool(info["is_success"])
    return hits / len(GLANCE_SEEDS)


def stable_baselines3(algorithm, env_id, seed, minutes, threads, keep):
    """The settings that its documentation and its zoo give for Fetch: 3x256, batch 256, gamma 0.95, tau 0.05, rate 1e-3, an
    update a step, four goals of the future."""
    import gymnasium
    import gymnasium_robotics
    import numpy as np
    import torch
    from stable_baselines3 import DDPG, SAC, HerReplayBuffer
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.noise import NormalActionNoise

    gymnasium.register_envs(gymnasium_robotics)
    torch.set_num_threads(threads)
    judge = gymnasium.make(env_id)

    class Glances(BaseCallback):
        def _on_training_start(self):
            self.begun, self.cpu, self.judging, self.judging_cpu = time.perf_counter(), time.process_time(), 0.0, 0.0

        def _on_step(self):
            elapsed = time.perf_counter() - self.begun - self.judging
            if self.num_timesteps % GLANCE_EVERY:
                return elapsed < 60.0 * minutes
            cpu = time.process_time() - self.cpu - self.judging_cpu
            begun, begun_cpu = time.perf_counter(), time.process_time()
            rate = success(judge, lambda seen: self.model.predict(seen, deterministic=True)[0])
            self.judging += time.perf_counter() - begun
            self.judging_cpu += time.process_time() - begun_cpu
            point = dict(env_steps=self.num_timesteps, elapsed_s=elapsed, cpu_s=cpu, success_rate=rate)
            print(algorithm, seed, point, file=sys.stderr, flush=True)
            keep(point)
            return rate < TARGET and elapsed < 60.0 * minutes

    env = gymnasium.make(env_id)
    more = {}
    if algorithm == "ddpg":
        more["action_noise"] = NormalActionNoise(np.zeros(4), 0.2 * np.ones(4))
    model = {"ddpg": DDPG, "sac": SAC}[algorithm](
        "MultiInputPolicy", env, seed=seed, batch_size=256, gamma=0.95, tau=0.05, learning_rate=1e-3, buffer_size=1_000_000,
        learning_starts=1_000, replay_buffer_class=HerReplayBuffer,
        replay_buffer_kwargs=dict(n_sampled_goal=4, goal_selection_strategy="future"),
        policy_kwargs=dict(net_arch=[256, 256, 256]), **more,
    )
    model.learn(10_000_000, callback=Glances())


def ours(env_id, seed, minutes, hyper, folder, keep):
    out = folder / f"ours-{seed}.onnx"
    command = [ROOT / "target/release/hindsight", "train", "--env", f"gymnasium:{env_id}", "--seed", str(seed), "--out", out, "--json"]
    command += ["--target", str(TARGET), "--minutes", str(minutes), "--episodes", "200", "--force"]
    command += ["--hyper", hyper] if hyper else []
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "HINDSIGHT_PYTHON": sys.executable}).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print("ours", seed, said.splitlines()[-1], file=sys.stderr, flush=True)
    report = json.loads(said.splitlines()[-1])
    rows = list(csv.DictReader(out.with_suffix(".csv").open()))
    # Processor time is known of the whole run alone; its last evaluation of 200 episodes and the floors' are in it.
    last = cpu * report["train_s"] / report["elapsed_s"]
    for row in rows:
        keep({**row, "cpu_s": last if row is rows[-1] else ""})


def draw(rows, file):
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5))
    colours = {"ours": "tab:blue", "ddpg": "tab:orange", "sac": "tab:green"}
    for learner, seed in dict.fromkeys((row["learner"], row["seed"]) for row in rows):
        points = [(float(r["elapsed_s"]) / 60.0, float(r["success_rate"])) for r in rows if (r["learner"], r["seed"]) == (learner, seed)]
        label = {"ours": "hindsight"}.get(learner, f"stable-baselines3 {learner.upper()}")
        axes.plot(*zip(*points), color=colours[learner], marker=".", label=label if seed == rows[0]["seed"] else None)
    axes.axhline(TARGET, color="grey", linewidth=0.5)
    axes.set(xlabel="minutes", ylabel="success of 100 episodes", ylim=(0, 1))
    axes.legend()
    figure.savefig(file)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--env", default="FetchPush-v4")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=["ours", "ddpg", "sac"], default=["ours", "ddpg", "sac"])
    parser.add_argument("--minutes", type=float, default=120.0, help="for each learner and seed")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of PyTorch, for stable-baselines3")
    parser.add_argument("--hyper", type=Path, help="hyper-parameters of ours; its preset otherwise")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if "ours" in arguments.only:
        subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=ROOT, check=True)
    table = arguments.out / "curves.csv"
    rows = list(csv.DictReader(table.open())) if table.exists() else []
    done = {(row["learner"], row["seed"]) for row in rows}
    for seed in arguments.seeds:
        for learner in arguments.only:
            if (learner, str(seed)) in done:
                continue

            def keep(point):
                rows.append({"learner": learner, "seed": str(seed), **{k: str(v) for k, v in point.items()}})
                with table.open("w", newline="") as file:
                    writer = csv.DictWriter(file, FIELDS)
                    writer.writeheader()
                    writer.writerows(rows)
                draw(rows, arguments.out / "curves.svg")

            if learner == "ours":
                ours(arguments.env, seed, arguments.minutes, arguments.hyper, arguments.out, keep)
            else:
                stable_baselines3(learner, arguments.env, seed, arguments.minutes, arguments.threads, keep)
    print("\n| Learner | Seed | First evaluation at 90 % or more | Minutes | Processor, min | Last evaluation |\n|---|---|---|---|---|---|")
    for learner, seed in dict.fromkeys((row["learner"], row["seed"]) for row in rows):
        curve = [row for row in rows if (row["learner"], row["seed"]) == (learner, seed)]
        first = next((row for row in curve if float(row["success_rate"]) >= TARGET), None)
        steps = f"{float(first['env_steps']):,.0f} steps" if first else "never"
        end = first or curve[-1]
        cpu = f"{float(end['cpu_s']) / 60:.1f}" if end["cpu_s"] else ""
        print(f"| {learner} | {seed} | {steps} | {float(end['elapsed_s']) / 60:.1f} | {cpu} | {float(curve[-1]['success_rate']):.0%} |")


if __name__ == "__main__":
    main()
