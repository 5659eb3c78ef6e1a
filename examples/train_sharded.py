"""Trains a small denoiser of photographs on every device of every process.

One process, on all devices that it has:

    python examples/train_sharded.py --checkpoint-dir checkpoints

The same training over several processes, on one host or many; --process is 0 on the
first, 1 on the second, and the coordinator is the first one's host and a free port:

    python examples/train_sharded.py --coordinator HOST:PORT --processes 2 --process 0

The batch of a step depends on the seed and the step alone, so the losses are the same
however many processes and devices share the work, up to rounding.
"""

import functools
import json
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from flax import nnx
from jax import Array
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from skimage import data
from tqdm import tqdm

from jax_fused_ssim import fused_ssim, photometric_loss

SIGMA = 0.1  # of the noise, where pixels are in [0, 1]

# Colour photographs that scikit-image carries in its wheel.
TRAINING = {
    "astronaut": data.astronaut,
    "hubble": data.hubble_deep_field,
    "motorcycle": lambda: data.stereo_motorcycle()[0],
    "rocket": data.rocket,
}
HELD_OUT = {"chelsea": data.chelsea, "coffee": data.coffee}
HELD_OUT_SIZE = (slice(300), slice(450))  # one shape, so one batch


class Denoiser(nnx.Module):
    """A residual CNN: predicts the noise of [N, H, W, 3] images and takes it away."""

    def __init__(self, features: int, layers: int, rngs: nnx.Rngs):
        conv = functools.partial(nnx.Conv, kernel_size=(3, 3), rngs=rngs)
        self.first = conv(3, features)
        self.middle = nnx.List([conv(features, features) for _ in range(layers - 2)])
        # Zeros: training starts from the noisy image itself.
        self.last = conv(features, 3, kernel_init=nnx.initializers.zeros)

    def __call__(self, noisy: Array) -> Array:
        x = nnx.relu(self.first(noisy))
        for layer in self.middle:
            x = nnx.relu(layer(x))
        return noisy - self.last(x)


def loss_of(restored: Array, clean: Array) -> Array:
    """0.8 L1 + 0.2 (1 - SSIM) of two [N, H, W, 3] batches."""
    return photometric_loss(restored, clean, data_format="NHWC")


def clean_and_noisy(pixels: Array, key: Array) -> tuple[Array, Array]:
    """uint8 pixels [N, H, W, 3] as floats in [0, 1], and the same with noise."""
    clean = pixels.astype(jnp.float32) / 255
    return clean, clean + SIGMA * jax.random.normal(key, clean.shape)


def cut_patches(
    photographs: list[np.ndarray], rows: Iterable[int], step: int, args: Namespace
) -> np.ndarray:
    """Some rows of the batch of a step: random crops, flipped at random.

    Every process draws the choices for the whole batch, and cuts its own rows only.

    Returns:
      uint8 [len(rows), patch, patch, 3].
    """
    rng = np.random.default_rng((args.seed, step))
    which = rng.integers(len(photographs), size=args.batch)
    corners = rng.random((args.batch, 2))
    strides = rng.choice((-1, 1), size=(args.batch, 2))

    def cut(row: int) -> np.ndarray:
        image = photographs[which[row]]
        room = np.array(image.shape[:2]) - args.patch + 1
        y, x = (corners[row] * room).astype(int)
        down, right = strides[row]
        return image[y : y + args.patch, x : x + args.patch][::down, ::right]

    return np.stack([cut(row) for row in rows])


def rows_of_this_process(batch: int, sharding: NamedSharding) -> np.ndarray:
    """The rows of a global batch that the devices of this process hold."""
    indices = sharding.addressable_devices_indices_map((batch,)).values()
    return np.unique(np.concatenate([np.arange(batch)[index] for index in indices]))


def make_training(
    args: Namespace, replicated: NamedSharding
) -> tuple[nnx.State, nnx.GraphDef, Callable]:
    """The state of model and optimizer, their structure, and the training step.

    The step maps (state, pixels, number of the step) to (state, loss). Its pixels are
    uint8 [N, H, W, 3], cut over devices along N; state and loss are on every device.
    """
    schedule = optax.warmup_cosine_decay_schedule(
        0, args.learning_rate, args.steps // 10, args.steps
    )

    def create() -> tuple[Denoiser, nnx.Optimizer]:
        model = Denoiser(args.features, args.layers, nnx.Rngs(args.seed))
        return model, nnx.Optimizer(model, optax.adam(schedule), wrt=nnx.Param)

    graph, _ = nnx.split(nnx.eval_shape(create))
    state = jax.jit(lambda: nnx.state(create()), out_shardings=replicated)()
    key = jax.random.key(args.seed)

    @functools.partial(jax.jit, donate_argnums=0, out_shardings=replicated)
    def train_step(state, pixels, step):
        model, optimizer = nnx.merge(graph, state)
        clean, noisy = clean_and_noisy(pixels, jax.random.fold_in(key, step))
        loss, gradients = nnx.value_and_grad(lambda m: loss_of(m(noisy), clean))(model)
        optimizer.update(model, gradients)
        return nnx.state((model, optimizer)), loss

    return state, graph, train_step


class Checkpoints:
    """Saves and restores the state under a directory; does nothing without one."""

    def __init__(self, directory: str | None, every: int, last: int):
        self.every, self.last = every, last
        self.manager = directory and ocp.CheckpointManager(
            Path(directory).absolute(),
            options=ocp.CheckpointManagerOptions(max_to_keep=2),
        )

    def restore(self, state: nnx.State) -> tuple[nnx.State, int]:
        """The newest state saved and its step, or the given one and 0."""
        done = self.manager.latest_step() if self.manager else None
        if done is None:
            return state, 0
        saved = self.manager.restore(done, args=ocp.args.StandardRestore(state))
        return saved, done

    def save(self, state: nnx.State, done: int) -> None:
        if self.manager and (done % self.every == 0 or done == self.last):
            self.manager.save(done, args=ocp.args.StandardSave(state))

    def close(self) -> None:
        """Waits for what is still being written."""
        if self.manager:
            self.manager.close()


def train(args: Namespace, mesh: Mesh) -> dict:
    """Trains, and returns what `--log` writes."""
    cut = NamedSharding(mesh, PartitionSpec("data"))
    replicated = NamedSharding(mesh, PartitionSpec())
    photographs = [load() for load in TRAINING.values()]
    rows = rows_of_this_process(args.batch, cut)
    state, graph, train_step = make_training(args, replicated)
    checkpoints = Checkpoints(args.checkpoint_dir, args.checkpoint_every, args.steps)
    state, first = checkpoints.restore(state)

    losses = []
    start = time.perf_counter()
    bar = tqdm(
        range(first, args.steps),
        initial=first,
        total=args.steps,
        unit="step",
        disable=jax.process_index() != 0,
    )
    for step in bar:
        local = cut_patches(photographs, rows, step, args)
        pixels = jax.make_array_from_process_local_data(cut, local)
        state, loss = train_step(state, pixels, step)
        losses.append(loss)
        checkpoints.save(state, step + 1)
        if step == first:  # which compiled
            loss.block_until_ready()
            start = time.perf_counter()
        if step % 20 == 0:  # reading the value waits for the devices
            bar.set_postfix_str(f"loss {loss:.4f}")
    jax.block_until_ready(state)
    images = args.batch * max(len(losses) - 1, 0)
    images_per_second = images / (time.perf_counter() - start)
    checkpoints.close()
    return {
        "first_step": first,
        "losses": [float(loss) for loss in losses],
        "images_per_second": images_per_second,
        "held_out": evaluate(graph, state, replicated, args.seed),
    }


def evaluate(
    graph: nnx.GraphDef, state: nnx.State, replicated: NamedSharding, seed: int
) -> dict[str, dict[str, float]]:
    """SSIM of the held-out photographs with noise, and restored by the model."""

    @functools.partial(jax.jit, out_shardings=replicated)
    def score(state, pixels):
        model, _ = nnx.merge(graph, state)
        clean, noisy = clean_and_noisy(pixels, jax.random.key(seed + 1))
        ssim = functools.partial(
            fused_ssim, img2=clean, data_format="NHWC", reduction="per_image"
        )
        return ssim(noisy), ssim(model(noisy))

    local = np.stack([load()[HELD_OUT_SIZE] for load in HELD_OUT.values()])
    pixels = jax.make_array_from_process_local_data(replicated, local)
    scores = np.stack(score(state, pixels), axis=-1).tolist()
    return {
        name: {"noisy": noisy, "restored": restored}
        for name, (noisy, restored) in zip(HELD_OUT, scores, strict=True)
    }


def parse_arguments() -> Namespace:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--steps", type=int, default=400)
    add("--batch", type=int, default=16, help="images in a step, over all devices")
    add("--patch", type=int, default=64, help="height and width of a training image")
    add("--features", type=int, default=32)
    add("--layers", type=int, default=5)
    add("--learning-rate", type=float, default=2e-3)
    add("--seed", type=int, default=0)
    add("--checkpoint-dir", help="save here, and go on from what is there; all see it")
    add("--checkpoint-every", type=int, default=100, metavar="STEPS")
    add("--log", help="a JSON file for losses, held-out SSIM and images per second")
    add("--coordinator", metavar="HOST:PORT", help="where process 0 listens")
    add("--processes", type=int, help="how many there are")
    add("--process", type=int, help="which one this is, from 0")
    add("--distributed", action="store_true", help="ask the cluster for those three")
    args = parser.parse_args()
    if args.coordinator and None in (args.processes, args.process):
        parser.error("--coordinator needs --processes and --process")
    return args


def main() -> None:
    args = parse_arguments()
    if args.coordinator or args.distributed:  # before anything asks for a device
        jax.distributed.initialize(args.coordinator, args.processes, args.process)
    devices = jax.device_count()
    if args.batch % devices:
        raise SystemExit(f"--batch {args.batch} does not divide by {devices} devices")
    mesh = jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,))
    speaks = jax.process_index() == 0
    if speaks:
        kind = jax.devices()[0].device_kind
        print(f"JAX {jax.__version__}, {jax.process_count()} processes, ", end="")
        print(f"{devices} devices: {kind}", flush=True)

    result = train(args, mesh)
    if speaks:
        for name, ssim in result["held_out"].items():
            print(
                f"{name}: SSIM noisy {ssim['noisy']:.4f}, "
                f"restored {ssim['restored']:.4f}"
            )
        if result["images_per_second"]:
            print(f"{result['images_per_second']:.1f} images per second")
        if args.log:
            Path(args.log).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
