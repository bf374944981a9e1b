"""Every place where this library may do better than the published program, one named switch each.

`Departures()` is the published behaviour. What made the published program stop with an error (no vertebra found, a disc
at the lower or right edge of the picture, a self-crossing outline, bodies in a single slice) gives a result here,
without a switch. So does what a scan needs to be one: negative values are shifted, thin slices averaged, pixels made
square when it is read, which its warnings and notes tell (`scans.py`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True)
class Departures:
    """Switches, all off by default; `Departures.recommended()` is what the starter networks are read with."""

    float_resampling: bool = False
    """Resample integer scans as float32; published: patches and volumes are rounded to whole grey levels."""

    true_patch_scale: bool = False
    """Map a corner from patch to scan with its own patch's size and half-pixel centres; published: the first patch's
    width for both axes of all patches and no half-pixel shift, a bias of up to half a patch pixel (0.6 mm)."""

    subpixel_peaks: bool = False
    """Refine corner peaks below the pixel by a parabola through the neighbours' logarithms; published: whole pixels."""

    fractional_vectors: bool = False
    """Keep fractions of the corner-to-centroid vectors; published: truncated to whole patch pixels."""

    blend_patches: bool = False
    """Let a patch's centroid map fade out towards those of its borders that lie inside the scan; published: the plain
    mean, which dilutes a vertebra that a neighbouring patch sees only in part."""

    merge_corners: bool = False
    """Average a corner that overlapping patches found more than once; published: duplicates stay, the best aimed
    wins."""

    limits_in_mm: bool = False
    """Judge a lost corner at 12 mm and a shared corner at 1.2 mm; published: 20 and 2 pixels, whatever the spacing."""

    check_completed: bool = False
    """Accept a body with one completed corner only if its outline is simple and holds its centroid; published:
    always."""

    highest_corners: bool = False
    """Of several corners aimed at one centroid take the highest peak; published: the best aimed, however faint."""

    single_deletion: bool = False
    """Join vertebrae that overlap as one body does, and of two that overlap less keep the one that more slices show;
    published: whatever overlaps by 5 % is joined, and a body that joins two others also takes a third with it."""

    true_angle: bool = False
    """Straighten a vertebra by the arctangent of its slope; published: by the hyperbolic tangent (the weights saw
    it)."""

    pad_volumes: bool = False
    """Pad a vertebra's volume with zeros on all sides; published: near the left edge the whole volume becomes zero."""

    keep_first_s1: bool = False
    """Leave the first of two S1 at the top as it is; published: it is renamed S2, although it lies above."""

    sacral_bodies: bool = False
    """Take bodies below S1 for S2, S3 and so on without penalty, leave out those below S2, and count a body that tapers
    downwards as S1 does as a sign of S1; published: a second S1 is penalised so much that where few bodies show, S2 is
    named S1 and all names above are one level off."""

    drop_outliers: bool = False
    """Drop bodies beside a fifth-degree curve through all bodies; published: written, but never used."""

    drop_beside: bool = False
    """Drop bodies that lie beside the row of the others rather than above or below it; published: they stay (where few
    bodies show, the starter network sometimes takes a loop of bowel for two)."""

    drop_between: bool = False
    """Drop a body that lies between two neighbours at the usual distance of each other and shows in fewer slices than
    both; published: it stays (in enlarged pictures a disc is sometimes taken for a body)."""

    @classmethod
    def recommended(cls) -> Departures:
        """All that improve positions and names and cost no body above S3; the tangent stays, since networks are trained
        with it."""
        off = {"true_angle", "drop_outliers"}
        return cls(**{field.name: field.name not in off for field in fields(cls)})

    def to_dict(self) -> dict[str, bool]:
        return asdict(self)


FAITHFUL = Departures()
RECOMMENDED = Departures.recommended()
