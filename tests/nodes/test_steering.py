"""Face region and head speed: what becomes of masks, boxes, landmarks and curves."""

import dataclasses

import numpy as np
import pytest
import torch
from graph import Graph, make_graph, sound
from tiny import tiny_config

from emo_core.checkpoints.emo import build_networks, save_emo

DEFAULTS = (25.0, 1.0, 0.2)
"""Of landmarks_fps, landmarks_scale and smoothing."""


@pytest.fixture(scope="module")
def graph(pack, toy) -> Graph:
    return make_graph(pack, toy)


def region(graph, growth=0.0, feather=0, **inputs) -> torch.Tensor:
    made = graph.node("FaceRegion").execute(graph.reference, growth, feather, **inputs)
    assert torch.equal(made.args[0].placement.mask_HW, made.args[1][0])
    return made.args[0].placement.mask_HW


def extent(mask: torch.Tensor) -> tuple[float, float, float, float]:
    rows, columns = torch.nonzero(mask > 0.5, as_tuple=True)
    return tuple(float(v) for v in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))


def face(x0, y0, x1, y1, pose=None) -> dict:
    spread = np.random.default_rng(0).random((478, 2)) * (x1 - x0, y1 - y0) + (x0, y0)
    return {
        "bbox_xyxy": np.array([x0, y0, x1, y1], float),
        "landmarks_xy": spread.astype(np.float32),
        "transformation_matrix": pose,
    }


def test_nothing_connected_is_a_usual_portraits_face(graph):
    mask = region(graph)
    assert mask.shape == (64, 64)
    assert extent(mask) == pytest.approx((14, 12, 50, 55), abs=1)


def test_mask_boxes_and_landmarks_of_one_place_agree(graph):
    """The toy portrait is 100x120; the film keeps the middle 100x100 at 64x64."""
    drawn = torch.zeros(1, 120, 100)
    drawn[:, 30:90, 20:70] = 1.0
    box = {"x": 20, "y": 30, "width": 50, "height": 60}
    landmarks = {"frames": [[face(20, 30, 70, 90)]], "image_size": (120, 100)}
    wanted = (12.8, 12.8, 44.8, 51.2)
    for inputs in ({"mask": drawn}, {"boxes": [[box]]}, {"boxes": box}, {"landmarks": landmarks}):
        assert extent(region(graph, **inputs)) == pytest.approx(wanted, abs=1.0), inputs.keys()
        grown = extent(region(graph, growth=0.2, **inputs))
        assert grown == pytest.approx((6.4, 5.1, 51.2, 58.9), abs=1.5), inputs.keys()


def test_a_feathered_edge_falls_slowly(graph):
    hard, soft = region(graph), region(graph, feather=8)
    assert set(hard.unique().tolist()) == {0.0, 1.0}
    assert soft.unique().numel() > 10
    assert float((soft - hard).abs().sum()) > 0
    assert float(soft[32, 32]) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"mask": torch.zeros(1, 120, 100)}, "EMO Face Region: the region is empty"),
        ({"boxes": [[]]}, "EMO Face Region: no face was found"),
        (
            {"mask": torch.ones(1, 8, 8), "boxes": [[]]},
            "mask and boxes are connected. Expected one of them at most",
        ),
    ],
)
def test_unusable_regions_are_explained(graph, inputs, message):
    with pytest.raises(ValueError, match=message):
        region(graph, **inputs)


def speeds(graph, speed=20.0, defaults=DEFAULTS, **inputs) -> torch.Tensor:
    wire = graph.node("HeadSpeed").execute(speed, *defaults, **inputs).args[0]
    return wire.track.at_frames(num_frames=100, fps=25.0)


def test_a_curve_spreads_over_the_film_and_reaches_the_speed(graph):
    ramp = {"points": [[0.0, 0.0], [1.0, 1.0]], "interpolation": "linear"}
    values = speeds(graph, curve=ramp)
    assert values[0] == pytest.approx(0.1, abs=0.15)
    assert values[49:51].mean() == pytest.approx(10.0, abs=0.1)
    assert values[-1] == pytest.approx(19.9, abs=0.15)
    assert (speeds(graph) == 20.0).all()


def test_the_head_of_a_driving_video_sets_the_speed(graph):
    from emo_core.face.motion import rotation_matrices

    yaw = np.arange(51) * 0.8
    poses = 3.0 * rotation_matrices(yaw, 0 * yaw, 0 * yaw)
    matrices = np.tile(np.eye(4), (51, 1, 1))
    matrices[:, :3, :3] = poses
    frames = [[face(0, 0, 1, 1, pose)] for pose in matrices]
    values = speeds(graph, landmarks={"frames": frames, "image_size": (9, 9)})
    assert values[:50].numpy() == pytest.approx(np.full(50, 20.0), abs=1e-3)
    halved = speeds(graph, defaults=(25.0, 0.5, 0.2), landmarks={"frames": frames})
    assert float(halved[20]) == pytest.approx(10.0, abs=1e-3)
    # A frame in which no face was found holds the pose.
    frames[10] = []
    assert float(speeds(graph, defaults=(25.0, 1.0, 0.0), landmarks={"frames": frames})[10]) == 0.0


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"landmarks": {"frames": [[], []]}}, "no face in 2 frames of the driving video"),
        ({"curve": [[0, 1], [1, 1]], "landmarks": {"frames": []}}, "a curve and landmarks"),
    ],
)
def test_unusable_speeds_are_explained(graph, inputs, message):
    with pytest.raises(ValueError, match=message):
        speeds(graph, **inputs)


def test_wrong_wires_name_the_node_and_the_cure(graph, toy):
    """Bad graphs that no type check catches."""
    encode, listen = graph.node("ReferenceEncode"), graph.node("AudioEncode")
    net, vae, picture = graph.reference_net, graph.vae, torch.rand(1, 40, 40, 3)

    class OtherVAE:
        latent_dim = 2
        latent_channels = 16

    cases = [
        (lambda: encode.execute(net, vae, picture[:0], 0, 0, "center"), "batch of 0 images"),
        (lambda: encode.execute(net, vae, picture.repeat(3, 1, 1, 1), 0, 0, "center"), "of 3 imag"),
        (lambda: encode.execute(net, OtherVAE(), picture, 0, 0, "center"), "16 latent channels"),
        (lambda: encode.execute(net, vae, picture, 100, 64, "center"), "100x64 pixels.*multiples"),
        (lambda: listen.execute(graph.model, sound(0.0), 0.0), "EMO Audio Encode: audio.*no samp"),
        (lambda: listen.execute(graph.model, sound(0.5), 0.5), "fps is 0.5. Expected 1 to 120"),
    ]
    for run, message in cases:
        with pytest.raises(ValueError, match=message) as caught:
            run()
        assert str(caught.value).startswith("EMO "), caught.value
    fast = graph.node("HeadSpeed").execute(90.0, *DEFAULTS).args[0]
    with pytest.raises(ValueError, match="EMO Guider: head speed 90: expected 0 to 60"):
        graph.guider(head_speed=fast)
    with pytest.raises(ValueError, match="EMO Conditioning: first_frame is 15, but the film"):
        graph.conditioning(first_frame=15)
    with pytest.raises(ValueError, match="EMO Conditioning: previous has frames of shape"):
        graph.conditioning(previous={"samples": torch.zeros(4, 4, 9, 9)})
    with pytest.raises(ValueError, match="EMO Clip Stitcher: the VAE has 4 latent channels"):
        bad = {"latent_0": {"samples": torch.zeros(4, 16, 8, 8)}}
        graph.node("ClipStitcher").execute(bad, graph.vae, 0.0, 18)


def test_another_familys_model_is_refused(graph):
    class OtherModel:
        model = torch.nn.Linear(1, 1)

    for run in (
        lambda: graph.guider(model=OtherModel()),
        lambda: graph.node("AudioEncode").execute(OtherModel(), sound(0.5), 0.0),
        lambda: graph.node("DDIM").execute(OtherModel(), 5),
    ):
        with pytest.raises(ValueError, match="EMO .*: the MODEL is Linear. Expected one that"):
            run()


def test_a_speed_for_a_checkpoint_without_speed_layers_is_refused(pack, toy, tmp_path):
    config = tiny_config()
    backbone = dataclasses.replace(config.backbone, speed=None)
    networks = build_networks(dataclasses.replace(config, backbone=backbone))
    save_emo(networks, tmp_path / "speechless.safetensors", dtype=torch.float32)
    files = dataclasses.replace(toy, model=tmp_path / "speechless.safetensors")
    without = make_graph(pack, files)
    speed = without.node("HeadSpeed").execute(12.0, *DEFAULTS).args[0]
    with pytest.raises(ValueError, match="EMO Guider: a head speed is connected, but this checkp"):
        without.guider(head_speed=speed)
    assert torch.isfinite(without.film()).all()


def test_a_reference_of_another_checkpoint_is_refused(graph):
    net = graph.reference.net
    unet = dataclasses.replace(net.config.backbone.unet, layers_per_block=2)
    backbone = dataclasses.replace(net.config.backbone, unet=unet)
    other = dataclasses.replace(net, config=dataclasses.replace(net.config, backbone=backbone))
    mixed = dataclasses.replace(graph, reference=dataclasses.replace(graph.reference, net=other))
    with pytest.raises(ValueError, match="encoded by another checkpoint's ReferenceNet"):
        mixed.guider()
