"""What changes from frame to frame in a drawn face."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FaceState:
    """Pose and expression of one frame. All zeros: frontal, at rest, lips closed, eyes open."""

    yaw_deg: float = 0.0
    """Positive turns the face to the viewer's right. Drawn well up to +-30."""
    pitch_deg: float = 0.0
    """Positive lifts the face. Drawn well up to +-18."""
    roll_deg: float = 0.0
    """Positive tilts clockwise in the picture. Drawn well up to +-15."""
    offset_x: float = 0.0
    """Shift of the head, in fractions of the picture side; the shoulders follow a little."""
    offset_y: float = 0.0
    mouth_open: float = 0.0
    """0..1: gap between the lips; 1 is about 0.16 of the height of the face."""
    mouth_width: float = 0.0
    """-1..1: corners drawn in or apart."""
    lip_round: float = 0.0
    """0..1: lips pushed forward and narrow."""
    teeth: float = 0.0
    """0..1: how much of the teeth shows in an open mouth."""
    tongue: float = 0.0
    """0..1: height of the tongue in an open mouth."""
    blink_left: float = 0.0
    """0..1: eye on the left of the picture, open to closed."""
    blink_right: float = 0.0
    brow_raise: float = 0.0
    """-1..1: frowning to raised."""
    gaze_x: float = 0.0
    """-1..1: to the left or right of the picture."""
    gaze_y: float = 0.0
    """-1..1: up to down."""
    smile: float = 0.0
    """0..1."""
