"""Exports small stable-baselines3 actors as ONNX, for the import's tests.

    python tests/peers/export_actors.py tests/fixtures/actors

Writes `ddpg.onnx` (three inputs, no normaliser) and `sac.onnx` (one input in stable-baselines3's order, achieved goal,
desired goal, observation, behind a normaliser such as VecNormalize's). Weights are untrained and seeded, and larger
than they start, so that actions are all over [-1, 1].
"""

import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3 import DDPG, SAC

class Goals(gym.Env):
    """Sizes only; never stepped."""

    def __init__(self, sizes, actions):
        self.observation_space = gym.spaces.Dict({k: gym.spaces.Box(-np.inf, np.inf, (n,)) for k, n in sizes.items()})
        self.action_space = gym.spaces.Box(-1, 1, (actions,))


class Rows(torch.nn.Module):
    """The deterministic action of a row, normalised first where a mean is given."""

    def __init__(self, layers, mean=None, deviation=None):
        super().__init__()
        self.layers = layers
        self.normalised = mean is not None
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)

    def forward(self, rows):
        if self.normalised:
            rows = torch.clamp((rows - self.mean) / self.deviation, -10.0, 10.0)
        return self.layers(rows)


class Inputs(Rows):
    def forward(self, achieved_goal, desired_goal, observation):
        return super().forward(torch.cat([achieved_goal, desired_goal, observation], dim=1))


def enlarge(layers):
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter *= 2.0
    return layers


def export(folder, observation, actions, hidden):
    """Writes both actors for observations and actions of these sizes, and 3 numbers of a goal."""
    folder.mkdir(parents=True, exist_ok=True)
    # stable-baselines3 sorts the names: this is the order in which MultiInputPolicy joins them.
    sizes = {"achieved_goal": 3, "desired_goal": 3, "observation": observation}
    kwargs = dict(policy="MultiInputPolicy", env=Goals(sizes, actions), seed=1, policy_kwargs={"net_arch": hidden}, buffer_size=100)
    how = dict(opset_version=17, dynamo=False)
    ddpg = DDPG(**kwargs).policy.actor
    rows = {k: torch.zeros(1, n) for k, n in sizes.items()}
    free = {name: {0: "N"} for name in [*sizes, "action", "input"]}
    torch.onnx.export(
        Inputs(enlarge(ddpg.mu)), tuple(rows.values()), folder / "ddpg.onnx",
        input_names=list(sizes), output_names=["action"], dynamic_axes={k: free[k] for k in [*sizes, "action"]}, **how,
    )
    sac = SAC(**kwargs).policy.actor
    layers = enlarge(torch.nn.Sequential(*sac.latent_pi, sac.mu, torch.nn.Tanh()))
    torch.manual_seed(2)
    mean, deviation = torch.randn(6 + observation), torch.rand(6 + observation) + 0.1
    # A number that never varied: VecNormalize divides by sqrt(1e-8).
    deviation[6] = 1e-4
    torch.onnx.export(
        Rows(layers, mean, deviation), torch.zeros(1, 6 + observation), folder / "sac.onnx",
        input_names=["input"], output_names=["action"], dynamic_axes={k: free[k] for k in ["input", "action"]}, **how,
    )


if __name__ == "__main__":
    export(Path(sys.argv[1]), observation=5, actions=2, hidden=[8, 8])
