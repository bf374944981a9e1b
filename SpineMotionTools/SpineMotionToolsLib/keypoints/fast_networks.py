"""The published keypoint networks, rearranged to run more than twice as fast on a CPU in float32.

The same weights and the same mathematics, other order: batch norms folded into convolutions, maps with channels last
(1, rows, columns, channels), 3x3 convolutions by `common.winograd`, and no coarse map enlarged before it is convolved.
Results differ from the plain networks by rounding (about 1e-5 of the logits' range).

The two forms are used alike: `encode_image`, `fuse` and `maps` take and give tensors (1, channels, rows, columns).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from SpineMotionToolsLib.common.fast_layers import Maker, Pointwise, fold
from SpineMotionToolsLib.common.packed import Convolution, Product, activate_
from SpineMotionToolsLib.keypoints.fast_hrnet import FINE, FastHRNet, OverResolutions, enlarged
from SpineMotionToolsLib.keypoints.networks import (
    KEYPOINTS,
    DoubleConv,
    Gating,
    HintFusion,
    HRNetOCR,
    ObjectContext,
    OldHead,
    UNet,
    Up,
)

PIXELS_AT_ONCE = 1024  # so that a pixel's features stay in the processor's cache from one product to the next


def accelerated(network: HRNetOCR | UNet) -> FastHRNetOCR | FastUNet:
    """The fast form of a published network in evaluation mode, for one picture at a time."""
    return (FastUNet if isinstance(network, UNet) else FastHRNetOCR)(network).eval()


class FastFusion(nn.Module):
    """The first layers: `HintFusion`, or those of the network without hints."""

    def __init__(self, layers: HintFusion | HRNetOCR, make: Maker) -> None:
        super().__init__()
        self.image_encoder = make.direct(*layers.image_encoder[:2])
        self.last_encoder = make.direct(*layers.last_encoder[:2])
        if isinstance(layers, HintFusion):
            _, activation, conv = layers.hintmap_encoder
            self.slope = activation.negative_slope
            weight, bias = (value * layers.scale.detach().abs() for value in fold(conv))
            self.hints = Convolution(weight, bias, conv.stride, conv.padding, slope=None)

    def forward(self, mixed: Tensor | None, encoded_image: Tensor) -> Tensor:
        if mixed is not None:
            encoded_image = self.hints(activate_(mixed, self.slope)).add_(encoded_image)
        return self.last_encoder(encoded_image)


class FastGating(nn.Module):
    """`Gating` -> (1, 1, 1, channels)."""

    def __init__(self, gating: Gating, make: Maker) -> None:
        super().__init__()
        (conv, norm, _), *following = gating.hintEncoder.convs
        weight, bias = fold(conv, norm)
        self.features = Convolution(weight[:, :-KEYPOINTS], bias, conv.stride, conv.padding, slope=None)
        self.hints = weight[:, -KEYPOINTS:].flatten(2).permute(1, 2, 0).contiguous()  # (keypoint, tap, output)
        self.following = nn.Sequential(*(make.three(conv, norm) for conv, norm, _ in following))
        self.ends = nn.Sequential(Pointwise(gating.conv1, slope=0.0), Pointwise(gating.conv2), nn.Sigmoid())

    def forward(self, features: Tensor, hint: Tensor, keypoints: Sequence[int] | None) -> Tensor:
        x = self.features(features)
        given = range(KEYPOINTS) if keypoints is None else keypoints
        if len(given):
            taps = functional.unfold(hint, 3, padding=1, stride=2)[0].T
            x.view(-1, x.shape[-1]).addmm_(taps, self.hints[list(given)].flatten(0, 1))
        strongest = self.following(x.relu_()).amax((1, 2), keepdim=True)
        return self.ends(strongest)


class FastContext(nn.Module):
    """`OcrHead` and the last convolution on pixels (m, 256) and object vectors (68, 256) -> (m, 68)."""

    def __init__(self, network: HRNetOCR) -> None:
        super().__init__()
        head = network.ocr_distri_head
        context: ObjectContext = head.object_context_block
        self.query, self.key, self.value = (
            [Product(*_matrix(conv, norm[0]), slope=0.0) for conv, norm in zip(block[::2], block[1::2])]
            for block in (context.f_pixel, context.f_object, context.f_down)
        )
        self.factor = context.factor
        self.up_matrix, self.up_bias = _matrix(context.f_up[0], context.f_up[1][0])
        matrix, bias = _matrix(head.conv_bn_dropout[0], head.conv_bn_dropout[1][0])
        self.from_context, self.from_pixels = matrix[:256].contiguous(), Product(matrix[256:], bias)
        self.last = Product(*_matrix(network.cls_head))

    def forward(self, pixels: Tensor, objects: Tensor) -> Tensor:
        key = self.factor * _chain(self.key, objects).T
        # Mixing the objects' values and the convolution that follows are both linear, the second once per object.
        value = torch.addmm(self.up_bias, _chain(self.value, objects), self.up_matrix)
        return torch.cat([self._some(part, key, value) for part in pixels.split(PIXELS_AT_ONCE)])

    def _some(self, pixels: Tensor, key: Tensor, value: Tensor) -> Tensor:
        weights = torch.softmax(_chain(self.query, pixels) @ key, 1)
        context = (weights @ value).relu_()
        return self.last(self.from_pixels(pixels).addmm_(context, self.from_context).relu_())


def _matrix(conv: nn.Module, norm: nn.Module | None = None) -> tuple[Tensor, Tensor]:
    """A 1x1 convolution as (in, out) matrix and bias."""
    weight, bias = fold(conv, norm)
    return weight.flatten(1).T.contiguous(), bias.contiguous()


def _chain(products: Sequence[Product], rows: Tensor) -> Tensor:
    for product in products:
        rows = product(rows)
    return rows


class FastNetwork(nn.Module):
    """What both networks begin with."""

    def __init__(self, network: HRNetOCR | UNet, make: Maker) -> None:
        super().__init__()
        self.fusion = FastFusion(getattr(network, "hint_fusion_layer", network), make)

    def encode_image(self, image: Tensor) -> Tensor:
        return self.fusion.image_encoder(image.movedim(1, -1)).movedim(-1, 1)

    def fuse(self, mixed: Tensor | None, encoded_image: Tensor) -> Tensor:
        mixed = None if mixed is None else mixed.movedim(1, -1)
        return self.fusion(mixed, encoded_image.movedim(1, -1)).movedim(-1, 1)


class FastHRNetOCR(FastNetwork):
    """`HRNetOCR` for inference on a CPU."""

    def __init__(self, network: HRNetOCR) -> None:
        make = Maker()
        super().__init__(network, make)
        self.hrnet = FastHRNet(network.hrnet, make)
        self.gate = FastGating(network.iggnet, make) if network.iggnet is not None else None
        self.auxiliary = OverResolutions(*network.aux_head[:2], make)
        self.auxiliary_last = Product(*_matrix(network.aux_head[3]))
        self.pixels = OverResolutions(*network.conv3x3_ocr[:2], make)
        self.context = FastContext(network)

    def maps(self, fused: Tensor, hint: Tensor | None, keypoints: Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
        """See `HRNetOCR.maps`."""
        first, xs = self.hrnet(fused.movedim(1, -1))
        if self.gate is not None:
            factors = self.gate(first, hint, keypoints).split([x.shape[-1] for x in xs], -1)
            xs = [x * factor for x, factor in zip(xs, factors)]
        rows, columns = xs[0].shape[1:3]
        fine = torch.cat([enlarged(x, (rows, columns)) for x in xs[:FINE]], -1)
        auxiliary = self.auxiliary(fine, xs[FINE:], self.auxiliary_last)
        pixels = self.pixels(fine, xs[FINE:])
        objects = torch.softmax(auxiliary, 0).T @ pixels
        logits = self.context(pixels, objects)
        return tuple(maps.T.reshape(1, -1, rows, columns) for maps in (logits, auxiliary))


class FastDoubleConv(nn.Module):
    """`DoubleConv`; several maps are joined along the channels. `tile`: see `WinogradConv`; None for maps so small that
    direct convolution is faster.
    """

    def __init__(self, block: DoubleConv, make: Maker, tile: int | None = 4) -> None:
        super().__init__()
        layers = block.double_conv
        slope = getattr(layers[2], "negative_slope", 0.0)
        self.steps = nn.ModuleList(
            make.direct(conv, norm, slope) if tile is None else make.three(conv, norm, slope, tile)
            for conv, norm in (layers[:2], layers[3:5])
        )

    def forward(self, *parts: Tensor) -> Tensor:
        first, second = self.steps
        return second(first(*parts)).clone()


class FastUp(nn.Module):
    def __init__(self, block: Up, make: Maker, tile: int) -> None:
        super().__init__()
        weight = block.up.weight.detach()  # (in, out, 2, 2)
        self.up = Product(weight.permute(0, 2, 3, 1).flatten(1), block.up.bias.detach().repeat(4))
        self.conv = FastDoubleConv(block.conv, make, tile)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        h, w, channels = x.shape[1:]
        x = self.up(x.view(h * w, channels)).view(1, h, w, 2, 2, -1).transpose(2, 3).reshape(1, 2 * h, 2 * w, -1)
        rows, columns = skip.shape[1] - 2 * h, skip.shape[2] - 2 * w
        x = functional.pad(x, (0, 0, columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        return self.conv(skip, x)


class FastUNet(FastNetwork):
    """`UNet` for inference on a CPU."""

    def __init__(self, network: UNet) -> None:
        make = Maker()
        super().__init__(network, make)
        self.gate = FastGating(network.iggnet, make) if network.iggnet is not None else None
        downs = (network.down1, network.down2, network.down3, network.down4)
        self.downs = nn.ModuleList(
            FastDoubleConv(down.maxpool_conv[1], make, tile) for down, tile in zip(downs, (4, 4, None, None))
        )
        ups = (network.up1, network.up2, network.up3, network.up4)
        self.ups = nn.ModuleList(FastUp(up, make, tile) for up, tile in zip(ups, (2, 4, 4, 4)))
        if isinstance(network.outc, OldHead):
            self.head = nn.Sequential(Pointwise(network.outc.conv))
        else:
            conv, norm, activation, last = network.outc.aux_head
            self.head = nn.Sequential(Pointwise(conv, norm, activation.negative_slope), Pointwise(last))

    def maps(self, fused: Tensor, hint: Tensor, keypoints: Sequence[int] | None = None) -> tuple[Tensor, None]:
        """See `UNet.maps`."""
        skips = [fused.movedim(1, -1)]
        for down in self.downs:
            halved = functional.max_pool2d(skips[-1].movedim(-1, 1), 2).movedim(1, -1)
            skips.append(down(halved))
        x = skips.pop()
        for up in self.ups:
            x = up(x, skips.pop())
        if self.gate is not None:
            x = x * self.gate(fused.movedim(1, -1), hint, keypoints)
        return self.head(x).movedim(-1, 1), None
