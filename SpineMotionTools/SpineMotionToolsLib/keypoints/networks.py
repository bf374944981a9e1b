"""The published interactive keypoint networks; state-dict names equal the weight contracts.

hint, previous: (B, 68, H, W) Gaussian hints and the last round's probabilities; image: (B, 3, H, W) in -1..1; result:
logits (B, 68, H, W). Sources: Kim et al., MICCAI 2022 (HRNet-OCR with interaction-guided gating) and the two networks
of the "Project" work that follows it. Every network keeps its logits at a quarter of the size until the last step
(`maps`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.keypoints.hrnet import FEATURES, HRNet, conv_bn, conv_bn_relu, resize

KEYPOINTS = 68
SMALLEST_SIDE = 32
SMALLEST_SIDE_UNET = 64  # a quarter, then four halvings


class HintFusion(nn.Module):
    """Hints and previous maps, added to the image's first features: 64 channels at a quarter of the size."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.full((1,), 0.05))
        self.hintmap_encoder = nn.Sequential(
            nn.Conv2d(2 * KEYPOINTS, 16, 1), nn.LeakyReLU(0.2), nn.Conv2d(16, 64, 3, 2, 1)
        )
        self.image_encoder = conv_bn_relu(3, 64, stride=2)
        self.last_encoder = conv_bn_relu(64, 64, stride=2)

    def forward(self, hint: Tensor, previous: Tensor, image: Tensor) -> Tensor:
        return self.join(self.hintmap_encoder[0](torch.cat((hint, previous), 1)), self.image_encoder(image))

    def join(self, mixed: Tensor, encoded_image: Tensor) -> Tensor:
        """The rest from the first convolution of the hints and from the encoded image, which corrections never
        change.
        """
        return self.last_encoder(self.hintmap_encoder[1:](mixed) * self.scale.abs() + encoded_image)


class HintEncoder(nn.Module):
    """Holds the gate's three convolutions under their published name; `Gating` runs them."""

    def __init__(self, inputs: int):
        super().__init__()
        self.convs = nn.ModuleList(
            [conv_bn_relu(inputs, 256, stride=2), conv_bn_relu(256, 256), conv_bn_relu(256, 256)]
        )


class Gating(nn.Module):
    """Interaction-guided gating: one factor in 0..1 for every feature channel, (B, C, 1, 1), from features and
    hints.
    """

    def __init__(self, features: int, channels: int):
        super().__init__()
        self.hintEncoder = HintEncoder(features + KEYPOINTS)
        self.conv1 = nn.Conv2d(256, 16, 1)
        self.conv2 = nn.Conv2d(16, channels, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)

    def forward(self, features: Tensor, hint: Tensor, keypoints: Sequence[int] | None = None) -> Tensor:
        """`keypoints`: which channels `hint` holds, when it leaves out those that are zero."""
        convolution, *following = self.hintEncoder.convs[0]
        if keypoints is None:
            x = convolution(torch.cat((features, hint), 1))
        else:
            own = features.shape[1]
            kept = [*range(own), *(own + k for k in keypoints)]
            weight = convolution.weight if len(keypoints) == KEYPOINTS else convolution.weight[:, kept]
            x = functional.conv2d(torch.cat((features, hint), 1), weight, convolution.bias, 2, 1)
        for layer in (*following, *self.hintEncoder.convs[1:]):
            x = layer(x)
        strongest = x.amax((2, 3), keepdim=True)
        return torch.sigmoid(self.conv2(functional.relu(self.conv1(strongest))))


class ObjectContext(nn.Module):
    """Attention of every pixel to the 68 object vectors."""

    def __init__(self, channels: int = 256, keys: int = 128):
        super().__init__()

        def block(*widths: int) -> nn.Sequential:
            layers: list[nn.Module] = []
            for inputs, outputs in zip(widths, widths[1:]):
                conv, norm = conv_bn(inputs, outputs, 1)
                layers += [conv, nn.Sequential(norm, nn.ReLU(inplace=True))]
            return nn.Sequential(*layers)

        self.f_pixel = block(channels, keys, keys)
        self.f_object = block(channels, keys, keys)
        self.f_down = block(channels, keys)
        self.f_up = block(keys, channels)
        self.factor = keys**-0.5

    def forward(self, pixels: Tensor, objects: Tensor) -> Tensor:
        query = self.f_pixel(pixels).flatten(2).transpose(1, 2)
        key = self.f_object(objects).flatten(2)
        value = self.f_down(objects).flatten(2).transpose(1, 2)
        weights = torch.softmax(query @ key * self.factor, -1)
        mixed = (weights @ value).transpose(1, 2).reshape(pixels.shape[0], -1, *pixels.shape[2:])
        return self.f_up(mixed)


class OcrHead(nn.Module):
    """Pixel features joined with their object context."""

    def __init__(self):
        super().__init__()
        self.object_context_block = ObjectContext()
        conv, norm = conv_bn(512, 256, 1)
        self.conv_bn_dropout = nn.Sequential(conv, nn.Sequential(norm, nn.ReLU(inplace=True)), nn.Dropout2d(0.05))

    def forward(self, pixels: Tensor, objects: Tensor) -> Tensor:
        return self.conv_bn_dropout(torch.cat((self.object_context_block(pixels, objects), pixels), 1))


class PublishedNetwork(nn.Module):
    """How both networks begin."""

    def encode_image(self, image: Tensor) -> Tensor:
        """What depends on the image alone."""
        return getattr(self, "hint_fusion_layer", self).image_encoder(image)

    def fuse(self, mixed: Tensor | None, encoded_image: Tensor) -> Tensor:
        """The features `maps` takes; `mixed`: see `HintFusion.join`, None for the network without hints."""
        return self.last_encoder(encoded_image) if mixed is None else self.hint_fusion_layer.join(mixed, encoded_image)


class HRNetOCR(PublishedNetwork):
    """HRNet-W32 with an object-contextual head; `interactive` with hints, `gated` with interaction-guided gating.

    `forward` returns (logits, auxiliary logits).
    """

    def __init__(self, interactive: bool = True, gated: bool = True):
        super().__init__()
        if interactive:
            self.hint_fusion_layer = HintFusion()
        else:
            self.image_encoder = conv_bn_relu(3, 64, stride=2)
            self.last_encoder = conv_bn_relu(64, 64, stride=2)
        self.hrnet = HRNet()
        self.iggnet = Gating(256, FEATURES) if interactive and gated else None
        self.aux_head = nn.Sequential(
            nn.Conv2d(FEATURES, FEATURES, 1), nn.BatchNorm2d(FEATURES), nn.ReLU(inplace=True),
            nn.Conv2d(FEATURES, KEYPOINTS, 1),
        )  # fmt: skip
        self.conv3x3_ocr = nn.Sequential(nn.Conv2d(FEATURES, 256, 3, 1, 1), nn.BatchNorm2d(256), nn.ReLU(inplace=True))
        self.ocr_distri_head = OcrHead()
        self.cls_head = nn.Conv2d(256, KEYPOINTS, 1)

    def forward(self, hint: Tensor | None, previous: Tensor | None, image: Tensor) -> tuple[Tensor, Tensor]:
        _check_size(image, SMALLEST_SIDE)
        if hasattr(self, "hint_fusion_layer"):
            fused = self.hint_fusion_layer(hint, previous, image)
        else:
            fused = self.fuse(None, self.encode_image(image))
        size = tuple(image.shape[-2:])
        logits, auxiliary = self.maps(fused, hint)
        return resize(logits, size), resize(auxiliary, size)

    def maps(self, fused: Tensor, hint: Tensor | None, keypoints: Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
        """(logits, auxiliary logits) at a quarter of the size from the fused first features; for `keypoints` see
        `Gating`.
        """
        first, features = self.hrnet(fused)
        if self.iggnet is not None:
            features = features * self.iggnet(first, resize(hint, first.shape[-2:]), keypoints)
        auxiliary = self.aux_head(features)
        pixels = self.conv3x3_ocr(features)
        where = torch.softmax(auxiliary.flatten(2), -1)
        objects = (where @ pixels.flatten(2).transpose(1, 2)).transpose(1, 2)[..., None]
        return self.cls_head(self.ocr_distri_head(pixels, objects)), auxiliary


class DoubleConv(nn.Module):
    def __init__(self, inputs: int, outputs: int, activation: type[nn.Module]):
        super().__init__()
        self.double_conv = nn.Sequential(
            *conv_bn(inputs, outputs), activation(inplace=True), *conv_bn(outputs, outputs), activation(inplace=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.double_conv(x)


class Down(nn.Module):
    def __init__(self, inputs: int, outputs: int, activation: type[nn.Module]):
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), DoubleConv(inputs, outputs, activation))

    def forward(self, x: Tensor) -> Tensor:
        return self.maxpool_conv(x)


class Up(nn.Module):
    def __init__(self, inputs: int, activation: type[nn.Module]):
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, inputs // 2, 2, 2)
        self.conv = DoubleConv(inputs, inputs // 2, activation)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = self.up(x)
        rows, columns = (skip.shape[axis] - x.shape[axis] for axis in (2, 3))
        x = functional.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        return self.conv(torch.cat((skip, x), 1))


class OldHead(nn.Module):
    """The single 1 x 1 convolution of checkpoints from before 23 December 2023."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(64, KEYPOINTS, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class NewHead(nn.Module):
    def __init__(self):
        super().__init__()
        self.aux_head = nn.Sequential(
            nn.Conv2d(64, 64, 1), nn.BatchNorm2d(64), nn.LeakyReLU(0.01, inplace=True), nn.Conv2d(64, KEYPOINTS, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.aux_head(x)


class UNet(PublishedNetwork):
    """UNet on the fused features; `old_head`: the ReLU body and single-convolution head of early checkpoints.

    `forward` returns (logits, None), like `HRNetOCR` without auxiliary logits.
    """

    def __init__(self, gated: bool = True, old_head: bool = False):
        super().__init__()
        activation = nn.ReLU if old_head else nn.LeakyReLU
        self.iggnet = Gating(64, 64) if gated else None
        self.hint_fusion_layer = HintFusion()
        self.down1, self.down2, self.down3, self.down4 = (Down(c, 2 * c, activation) for c in (64, 128, 256, 512))
        self.up1, self.up2, self.up3, self.up4 = (Up(c, activation) for c in (1024, 512, 256, 128))
        self.outc = OldHead() if old_head else NewHead()

    def forward(self, hint: Tensor, previous: Tensor, image: Tensor) -> tuple[Tensor, None]:
        _check_size(image, SMALLEST_SIDE_UNET)
        logits, _ = self.maps(self.hint_fusion_layer(hint, previous, image), hint)
        return resize(logits, tuple(image.shape[-2:])), None

    def maps(self, fused: Tensor, hint: Tensor, keypoints: Sequence[int] | None = None) -> tuple[Tensor, None]:
        """(logits, None) at a quarter of the size from the fused first features; for `keypoints` see `Gating`."""
        x2 = self.down1(fused)
        x3 = self.down2(x2)
        x4 = self.down3(x3)
        x = self.up1(self.down4(x4), x4)
        x = self.up4(self.up3(self.up2(x, x3), x2), fused)
        if self.iggnet is not None:
            x = x * self.iggnet(fused, resize(hint, fused.shape[-2:]), keypoints)
        return self.outc(x), None


def _check_size(image: Tensor, smallest: int) -> None:
    if min(image.shape[-2:]) < smallest:
        raise InputError(
            f"The network's input is {image.shape[-2]} x {image.shape[-1]} pixels; at least {smallest} are needed on "
            "both sides. Prepare the radiograph with keypoints.preprocessing, which resizes it to 512 x 256."
        )


@dataclass(frozen=True)
class Architecture:
    """A published network by name: how it is built, which contract its files meet, and how it is used.

    `decoding` and `previous` are the published loop's defaults (see `heatmaps.decode` and `prediction.Predictor`).
    """

    name: str
    contract: str
    decoding: str  # "expectation" or "patch"
    previous: str  # which channels of the last maps are fed back: "all" or "hinted"

    @property
    def interactive(self) -> bool:
        """Whether it takes hints."""
        return "plain" not in self.name

    def build(self) -> nn.Module:
        if self.name.startswith("unet"):
            return UNet(gated="noigg" not in self.name, old_head=self.name.endswith("old"))
        return HRNetOCR(interactive=self.interactive, gated="noigg" not in self.name)


ARCHITECTURES = {
    architecture.name: architecture
    for architecture in (
        Architecture("hrnet-ocr", "keypoints-hrnet-ocr", "expectation", "all"),
        Architecture("hrnet-ocr-noigg", "keypoints-hrnet-ocr-noigg", "expectation", "all"),
        Architecture("hrnet-ocr-plain", "keypoints-hrnet-ocr-plain", "expectation", "all"),
        Architecture("unet", "keypoints-unet", "expectation", "all"),
        Architecture("unet-noigg", "keypoints-unet-noigg", "expectation", "all"),
        Architecture("unet-old", "", "expectation", "all"),
        Architecture("unet-noigg-old", "", "expectation", "all"),
        Architecture("ritm-se-hrnet32", "keypoints-ritm-se-hrnet32", "patch", "hinted"),
    )
}
