"""Ways to train the benchmark's nets: what a user would write, what a good one would, and ours.

A peer takes the arrays of a task and returns a function that takes all their steps once more and gives the losses of
the last call's steps, [E, S]. What a first call costs more than a second one is its compile time.
"""

import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.task import BATCH, MOMENTUM, WEIGHT_DECAY, Arrays, Task

Train = Callable[[], np.ndarray]


def naive(task: Task, arrays: Arrays, device: str) -> Train:
    """The loop that everyone writes first: nn.Module, DataLoader, torch.optim.SGD, one net at a time."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    one = {name: torch.from_numpy(value[0]) for name, value in arrays.items()}
    first, last = torch.nn.Linear(one["W"].shape[1], task.m), torch.nn.Linear(task.m, 1, bias=False)
    first.weight.data, first.bias.data, last.weight.data = one["W"].clone(), one["b"], one["a"][None]
    layers: list[torch.nn.Module] = [first, torch.nn.ReLU()]
    trained = [first.weight]
    if task.layers == 3:
        second = torch.nn.Linear(task.m, task.m)
        second.weight.data, second.bias.data = one["V"].clone(), one["b2"]
        layers += [second, torch.nn.ReLU()]
        trained.append(second.weight)
    net = torch.nn.Sequential(*layers, last).to(device)
    for parameter in net.parameters():
        parameter.requires_grad_(any(parameter is each for each in trained))
    optimizer = torch.optim.SGD(trained, lr=task.lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    loss_of = torch.nn.MSELoss()
    loader = DataLoader(TensorDataset(one["x"], one["y"][:, None]), batch_sampler=one["index"].tolist())

    def train() -> np.ndarray:
        losses = []
        for x, y in loader:
            optimizer.zero_grad()
            loss = loss_of(net(x.to(device)), y.to(device))
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return torch.stack(losses).cpu().numpy()[None]

    return train


def torch_vmap(task: Task, arrays: Arrays, device: str) -> Train:
    """torch.func: the gradient of one net's loss, vmapped over the nets, in a torch.compile'd step."""
    import torch
    from torch.func import grad_and_value, vmap

    def loss_of(trained: dict, frozen: dict, x: Any, y: Any) -> Any:
        w = trained | frozen
        hidden = torch.relu(x @ w["W"].T + w["b"])
        if task.layers == 3:
            hidden = torch.relu(hidden @ w["V"].T + w["b2"])
        return ((hidden @ w["a"]) - y).square().mean()

    return _torch(task, arrays, device, vmap(grad_and_value(loss_of)))


def torch_batched(task: Task, arrays: Arrays, device: str) -> Train:
    """Batched matrix products and a gradient by hand, in a torch.compile'd step."""
    import torch

    def gradients(trained: dict, frozen: dict, x: Any, y: Any) -> Any:
        w = trained | frozen
        z = torch.baddbmm(w["b"][:, None], x, w["W"].mT)
        hidden = z.relu()
        if task.layers == 3:
            z2 = torch.baddbmm(w["b2"][:, None], hidden, w["V"].mT)
            residual = (z2.relu() @ w["a"][:, :, None]).squeeze(-1) - y
            back2 = (residual[:, :, None] * (2 / BATCH) * w["a"][:, None]) * (z2 >= 0)
            back = torch.bmm(back2, w["V"]) * (z >= 0)
            return {"W": back.mT @ x, "V": back2.mT @ hidden}, residual.square().mean(-1)
        residual = (hidden @ w["a"][:, :, None]).squeeze(-1) - y
        back = (residual[:, :, None] * (2 / BATCH) * w["a"][:, None]) * (z >= 0)
        return {"W": back.mT @ x}, residual.square().mean(-1)

    return _torch(task, arrays, device, gradients)


def _torch(task: Task, arrays: Arrays, device: str, gradients: Callable) -> Train:
    import torch

    tensors = {name: torch.from_numpy(value).to(device) for name, value in arrays.items()}
    x, y, index = (tensors.pop(name) for name in ("x", "y", "index"))
    trained = {name: tensors.pop(name) for name in ("W", "V") if name in tensors}
    velocity = {name: torch.zeros_like(value) for name, value in trained.items()}
    members = torch.arange(task.E, device=device)[:, None]

    @torch.compile(mode="reduce-overhead" if device == "cuda" else "default")
    def step(trained: dict, velocity: dict, batch: Any) -> Any:
        found, losses = gradients(trained, tensors, x[members, batch], y[members, batch])
        for name, weights in trained.items():
            velocity[name].mul_(MOMENTUM).add_(found[name]).add_(weights, alpha=WEIGHT_DECAY)
            weights.add_(velocity[name], alpha=-task.lr)
        return losses

    batches = [batch.contiguous() for batch in index.unbind(1)]

    @torch.no_grad()
    def train() -> np.ndarray:
        losses = torch.stack([step(trained, velocity, batch).clone() for batch in batches], 1)
        return losses.cpu().numpy()

    return train


def jax_grad(task: Task, arrays: Arrays, device: str) -> Train:
    """JAX: jax.grad of one net's loss, vmap over the nets, lax.scan over the steps, all in one jit."""
    import jax
    import jax.numpy as jnp

    def loss_of(trained: dict, frozen: dict, x: Any, y: Any) -> Any:
        w = trained | frozen
        hidden = jax.nn.relu(x @ w["W"].T + w["b"])
        if task.layers == 3:
            hidden = jax.nn.relu(hidden @ w["V"].T + w["b2"])
        return jnp.square(hidden @ w["a"] - y).mean()

    def gradients(trained: dict, frozen: dict, x: Any, y: Any) -> Any:
        value, found = jax.value_and_grad(loss_of)(trained, frozen, x, y)
        return found, value

    return _jax(task, arrays, device, gradients)


def jax_by_hand(task: Task, arrays: Arrays, device: str) -> Train:
    """The same with the gradient written out, as one product a layer."""
    import jax.numpy as jnp

    def gradients(trained: dict, frozen: dict, x: Any, y: Any) -> Any:
        w = trained | frozen
        z = x @ w["W"].T + w["b"]
        hidden = jnp.maximum(z, 0)
        if task.layers == 3:
            z2 = hidden @ w["V"].T + w["b2"]
            residual = jnp.maximum(z2, 0) @ w["a"] - y
            back2 = jnp.where(z2 >= 0, (residual * (2 / BATCH))[:, None] * w["a"], 0)
            back = jnp.where(z >= 0, back2 @ w["V"], 0)
            return {"W": back.T @ x, "V": back2.T @ hidden}, jnp.square(residual).mean()
        residual = hidden @ w["a"] - y
        back = jnp.where(z >= 0, (residual * (2 / BATCH))[:, None] * w["a"], 0)
        return {"W": back.T @ x}, jnp.square(residual).mean()

    return _jax(task, arrays, device, gradients)


def jax_sharded(task: Task, arrays: Arrays, device: str) -> Train:
    """The same on a CPU that JAX is told to take for one device a core, with the members spread over these."""
    cores = len(os.sched_getaffinity(0))
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={cores}"
    return jax_by_hand(task, arrays, device)


def _jax(task: Task, arrays: Arrays, device: str, gradients: Callable) -> Train:
    import jax

    jax.config.update("jax_platforms", "cpu" if device == "cpu" else "cuda")
    devices = math.gcd(task.E, jax.device_count())
    mesh = jax.make_mesh((devices,), ("members",), devices=jax.devices()[:devices])
    spread = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("members"))
    put = {name: jax.device_put(value, spread) for name, value in arrays.items()}
    x, y, index = (put.pop(name) for name in ("x", "y", "index"))
    trained = {name: put.pop(name) for name in ("W", "V") if name in put}
    velocity = jax.tree.map(lambda value: value * 0, trained)

    def member(trained: dict, velocity: dict, frozen: dict, x: Any, y: Any, index: Any) -> Any:
        def step(carry: Any, batch: Any) -> Any:
            trained, velocity = carry
            found, loss = gradients(trained, frozen, x[batch], y[batch])
            velocity = {name: MOMENTUM * velocity[name] + found[name] + WEIGHT_DECAY * trained[name]
                        for name in trained}
            return ({name: trained[name] - task.lr * velocity[name] for name in trained}, velocity), loss

        (trained, velocity), losses = jax.lax.scan(step, (trained, velocity), index)
        return trained, velocity, losses

    each = jax.shard_map(jax.vmap(member), mesh=mesh, in_specs=spread.spec, out_specs=spread.spec)
    run = jax.jit(each, donate_argnums=(0, 1))
    state = {"trained": trained, "velocity": velocity}

    def train() -> np.ndarray:
        state["trained"], state["velocity"], losses = run(state["trained"], state["velocity"], put, x, y, index)
        return np.asarray(jax.block_until_ready(losses))

    return train


def reference(task: Task, arrays: Arrays, device: str) -> Train:
    """Our reference engine: batched PyTorch without a compiler."""
    from ovpnet.engine.steppers.reference import ReferenceStepper

    return _ours(task, arrays, device, ReferenceStepper())


def fused(task: Task, arrays: Arrays, device: str) -> Train:
    """Our fused engine."""
    from ovpnet.engine.steppers.fused_cpu import FusedCpuStepper
    from ovpnet.engine.steppers.fused_cuda import FusedCudaStepper

    return _ours(task, arrays, device, FusedCpuStepper() if device == "cpu" else FusedCudaStepper())


def _ours(task: Task, arrays: Arrays, device: str, engine: Any) -> Train:
    import torch

    from ovpnet.engine.steps import Chunk, Rule, State
    from ovpnet.nets.regularization import Penalties, Penalty
    from ovpnet.spec.choices import LEARNERS, LOSSES

    tensors = {name: torch.from_numpy(value).to(device) for name, value in arrays.items()}
    x, y, index = (tensors.pop(name) for name in ("x", "y", "index"))
    if task.layers == 3:
        tensors["b1"] = tensors.pop("b")
    weights = {name: value[:, None] if name == "a" else value for name, value in tensors.items()}
    net = LEARNERS["two_layer" if task.layers == 2 else "three_layer"](trained="hidden").net()
    each = torch.ones(task.E, device=device)
    penalties = {name: Penalty("frobenius", WEIGHT_DECAY * each) for name in net.trained}
    rule = Rule(net, LOSSES["l2"](), Penalties(penalties), MOMENTUM * each)
    state = State(weights, {name: torch.zeros_like(weights[name]) for name in net.trained},
                  {name: weights[name].clone() for name in net.trained})
    chunk = Chunk(x, y[..., None], index, torch.full(index.shape[:2], task.lr, device=device))

    def train() -> np.ndarray:
        losses = engine.advance(rule, state, chunk).train
        return losses.cpu().numpy()

    return train


# A line of the tables each; of several ways to write one, the fastest counts.
PEERS: dict[str, list[Callable[[Task, Arrays, str], Train]]] = {
    "naive loop": [naive], "torch.compile": [torch_vmap, torch_batched], "JAX": [jax_grad, jax_by_hand],
    "JAX sharded": [jax_sharded], "reference": [reference], "fused": [fused]}
