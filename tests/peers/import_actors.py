"""Checks `hindsight import` against onnxruntime: an imported actor must do what the foreign one does.

    python tests/peers/import_actors.py

Needs tests/peers/requirements-actors.txt and cargo. Exports stable-baselines3 actors of the sizes of push (DDPG with three
named inputs; SAC with one input in stable-baselines3's order, behind a normaliser), imports them, and runs both files in
onnxruntime on the same observations; then looks whether the program itself runs the imported one.
"""

import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime

from export_actors import export

ROOT = Path(__file__).resolve().parents[2]
ROWS = 10_000
# Rounding of f32 through three layers, and tanh.
TOLERANCE = 2e-5


def hindsight(*arguments):
    command = ["cargo", "run", "--release", "--quiet", "--", *map(str, arguments), "--json"]
    out = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return json.loads(out.splitlines()[-1])


def act(file, **inputs):
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run(None, {name: rows.astype(np.float32) for name, rows in inputs.items()})[0]


def main():
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        export(folder, observation=25, actions=4, hidden=[64, 64])
        # Within the bounds of an actor without a normaliser: an imported one sees at most 5.
        achieved, desired, observation = (rng.uniform(-4.0, 4.0, (ROWS, n)) for n in (3, 3, 25))
        ours = np.concatenate([observation, achieved, desired], axis=1)
        theirs = np.concatenate([achieved, desired, observation], axis=1)
        for name, order, inputs in [
            ("ddpg", [], dict(achieved_goal=achieved, desired_goal=desired, observation=observation)),
            ("sac", ["--input-order", "sb3"], dict(input=theirs)),
        ]:
            out = folder / f"{name}-imported.onnx"
            hindsight("import", folder / f"{name}.onnx", "--task", "push", "--out", out, *order)
            expected, found = act(folder / f"{name}.onnx", **inputs), act(out, observation=ours)
            difference = np.abs(expected - found).max()
            assert np.abs(expected).max() > 0.9 and expected.std() > 0.2, "the actor says nothing"
            assert difference < TOLERANCE, f"{name}: {difference}"
            judged = hindsight("eval", "--task", "push", "--port", "sim", "--policy", out, "--episodes", 8)
            print(f"{name}: {ROWS} actions differ by {difference:.1e} at most; runs as {judged['policy']}")


if __name__ == "__main__":
    main()
