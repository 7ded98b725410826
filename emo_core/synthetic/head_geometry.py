"""The head as a solid: a stack of horizontal slices that can be turned, and seen from the front.

Head units: half the width of an average face is 1. Axes: x to the right of the picture, y down,
z towards the viewer; the eyes lie at y = 0, the chin at about y = 1.2. A point of the surface is
named by its angle round the vertical axis (0 in front, 90 at the right ear) and its height y.
Letters in this file: S slices, N points.

Features drawn on this surface move with the right parallax when the head turns: the far eye
narrows, the nose shifts, the ears come and go. No mesh is needed, since a convex solid seen from
anywhere is one smooth outline, which `silhouette` finds from the extent in 48 directions.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..face.motion import rotation_matrices
from .face_state import FaceState
from .portrait import FACE_SHAPES, Portrait

HAIRLINE_Y = -0.76
CROWN_Y = -1.26
CHIN_Y = 1.2
PIVOT = np.array([0.0, 0.75, -0.35])
VIEWER_DISTANCE = 9.0
JAW_DROP = 0.2

_DIRECTIONS = np.radians(np.arange(48) * 7.5)
_NORMALS = np.stack([np.cos(_DIRECTIONS), np.sin(_DIRECTIONS)])
_TANGENTS = np.stack([-np.sin(_DIRECTIONS), np.cos(_DIRECTIONS)])
_TURN = _DIRECTIONS[1]

# Heights at which the profiles below are given, for a face of length 1.
_HEIGHTS = np.array(
    [-1.26, -1.22, -1.12, -0.95, -0.7, -0.4, -0.1, 0.2, 0.45, 0.7, 0.88, 1.02, 1.13, 1.2]
)
_FRONT_Z = np.array(
    [-0.1, 0.16, 0.40, 0.60, 0.74, 0.81, 0.82, 0.83, 0.84, 0.85, 0.84, 0.82, 0.78, 0.68]
)
_MIDDLE_Z = np.array(
    [-0.3, -0.3, -0.3, -0.28, -0.26, -0.24, -0.22, -0.18, -0.12, 0.0, 0.1, 0.25, 0.42, 0.55]
)
_BACK_Z = np.array(
    [-0.5, -0.75, -1.0, -1.2, -1.32, -1.34, -1.28, -1.12, -0.8, -0.45, -0.2, 0.0, 0.25, 0.45]
)


@dataclass(frozen=True, eq=False)
class Head:
    """Profiles of one person's head over `heights`, and a cloud of points on its surface."""

    heights: np.ndarray
    widths: np.ndarray
    front_z: np.ndarray
    middle_z: np.ndarray
    back_z: np.ndarray
    cloud_angle_deg: np.ndarray
    cloud_y: np.ndarray
    cloud: np.ndarray
    """[N, 3]: points for the angles and heights above."""
    length: float
    """Factor on everything below the eyes."""

    def points(
        self, angle_deg: np.ndarray, y: np.ndarray, *, lift: np.ndarray | float = 0.0
    ) -> np.ndarray:
        """Surface points [N, 3]; `lift` raises them off the surface, in head units."""
        angle = np.radians(angle_deg)
        width = np.interp(y, self.heights, self.widths)
        middle = np.interp(y, self.heights, self.middle_z)
        front = np.interp(y, self.heights, self.front_z)
        back = np.interp(y, self.heights, self.back_z)
        forward, sideways = np.cos(angle), np.sin(angle)
        depth = np.where(forward >= 0, front - middle, middle - back)
        # A slice is a superellipse, a little flatter in front than an ellipse.
        x = np.sign(sideways) * np.abs(sideways) ** 0.92 * (width + lift)
        z = middle + forward * (depth + lift)
        return np.stack([x, np.broadcast_to(y, x.shape), z], axis=-1)

    def on_face(self, xy_N2: np.ndarray, *, lift: np.ndarray | float = 0.0) -> np.ndarray:
        """Lift points of the flat face drawing onto the front of the surface: [N, 3]."""
        x, y = xy_N2[:, 0], xy_N2[:, 1]
        width = np.interp(y, self.heights, self.widths)
        middle = np.interp(y, self.heights, self.middle_z)
        front = np.interp(y, self.heights, self.front_z)
        sideways = np.minimum(np.abs(x) / np.maximum(width, 1e-6), 0.985) ** (1 / 0.92)
        z = middle + (front - middle) * np.sqrt(1 - sideways * sideways) + lift
        return np.stack([x, y, z], axis=1)


@lru_cache(maxsize=64)
def head_of(portrait: Portrait) -> Head:
    """Build the head of a person."""
    width, jaw, chin, length = FACE_SHAPES[portrait.face_shape]
    width *= 0.87 * portrait.face_width
    jaw *= portrait.jaw_width * width
    chin *= portrait.chin_width
    if portrait.style == "anime":
        jaw, chin = 0.94 * jaw, 0.6 * chin
    length *= portrait.face_length
    widths = [0.0, 0.24, 0.48, 0.685, 0.815, 0.87, 0.5 * (0.88 + width), width]
    widths += [0.45 * jaw + 0.55 * width, 0.87 * jaw + 0.13 * width, 0.93 * jaw]
    widths += [0.62 * jaw + 0.38 * chin, 0.28 * jaw + 0.72 * chin, 0.6 * chin]
    knots = np.where(_HEIGHTS > 0, _HEIGHTS * length, _HEIGHTS)
    heights = np.linspace(knots[0], knots[-1], 44)
    smooth = [
        _smoothed(np.interp(heights, knots, profile))
        for profile in (np.array(widths), _FRONT_Z, _MIDDLE_Z, _BACK_Z)
    ]
    angle = np.arange(-180.0, 180.0, 7.5)
    cloud_angle, cloud_y = (grid.ravel() for grid in np.meshgrid(angle, heights))
    head = Head(heights, *smooth, cloud_angle, cloud_y, np.empty((0, 3)), length)
    cloud = head.points(cloud_angle, cloud_y)
    return Head(heights, *smooth, cloud_angle, cloud_y, cloud, length)


def _smoothed(profile: np.ndarray) -> np.ndarray:
    """Round the corners at the knots, keep both ends."""
    inner = 0.25 * profile[:-2] + 0.5 * profile[1:-1] + 0.25 * profile[2:]
    return np.concatenate([profile[:1], inner, profile[-1:]])


@dataclass(frozen=True, eq=False)
class View:
    """Where head points fall in the picture, in thousandths of its side."""

    rotation: np.ndarray
    yaw_deg: float
    pivot_x: float
    pivot_y: float
    unit: float
    """Thousandths per head unit."""

    def project(self, points_N3: np.ndarray) -> np.ndarray:
        """[N, 2] picture points, with a mild perspective."""
        turned = (points_N3 - PIVOT) @ self.rotation.T
        scale = self.unit * VIEWER_DISTANCE / (VIEWER_DISTANCE - turned[:, 2:])
        return turned[:, :2] * scale + (self.pivot_x, self.pivot_y)

    def facing(self, angle_deg: np.ndarray) -> np.ndarray:
        """Limit angles round the head to the half that is seen.

        A curve that runs behind the head then follows its rim instead of folding back.
        """
        return np.clip(angle_deg, -88.0 - self.yaw_deg, 88.0 - self.yaw_deg)


def view_of(portrait: Portrait, state: FaceState, *, follow: float = 1.0) -> View:
    """The view of the head, or of things that follow its turning only in part (0..1)."""
    unit = 1000.0 * portrait.face_fraction / (CHIN_Y * head_of(portrait).length - HAIRLINE_Y)
    angles = (state.yaw_deg * follow, state.pitch_deg * follow, state.roll_deg * follow)
    return View(
        rotation=rotation_matrices(*(np.array(angle) for angle in angles))[0],
        yaw_deg=angles[0],
        pivot_x=1000.0 * (portrait.center_x + state.offset_x * follow),
        pivot_y=1000.0 * (portrait.center_y + state.offset_y * follow) + PIVOT[1] * unit,
        unit=unit,
    )


def drop_jaw(points_N3: np.ndarray, *, mouth_open: float, length: float) -> np.ndarray:
    """Move the lower face down as the mouth opens."""
    share = np.clip((points_N3[:, 1] / length - 0.3) / 0.75, 0.0, 1.0)
    dropped = points_N3.copy()
    dropped[:, 1] += JAW_DROP * mouth_open * share * share * (3 - 2 * share)
    return dropped


def silhouette(points_N2: np.ndarray) -> np.ndarray:
    """The smooth convex outline [48, 2] of a cloud of picture points, clockwise from the right."""
    reach = (points_N2 @ _NORMALS).max(axis=0)
    slope = (np.roll(reach, -1) - reach * np.cos(_TURN)) / np.sin(_TURN)
    corners = (_NORMALS * reach + _TANGENTS * slope).T
    return 0.5 * (corners + np.roll(corners, 1, axis=0))
